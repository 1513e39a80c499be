package demo

import (
	"fmt"
	"net/netip"
)

// networks holds a few /24 networks for each country that a story can play in. All 256 addresses of each lie in that
// country by the embedded database and by two others that were asked, and none is Amazon's.
var networks = map[string][]string{
	"DE": {"45.135.191", "78.47.22", "80.208.209", "193.47.187", "192.41.227", "212.23.157", "192.103.27", "195.51.14", "194.120.111", "37.157.44", "85.131.134", "62.23.250"},
	"NL": {"44.32.106", "185.141.251", "213.152.168", "45.142.37", "103.206.117", "185.183.115", "195.191.1", "198.17.182", "37.74.45", "171.25.138", "62.3.37", "5.133.84"},
	"PT": {"195.35.66", "88.84.87", "192.136.31", "192.82.214", "185.142.131", "94.46.142", "195.246.238", "192.122.238", "85.88.148", "85.88.134", "158.173.244", "192.26.239"},
	"AT": {"84.16.187", "77.74.115", "194.88.8", "84.14.249", "195.130.192", "213.164.5", "193.228.232", "193.187.14", "185.240.63", "195.79.56", "194.107.89", "91.212.187"},
	"PL": {"185.15.3", "91.192.56", "193.106.79", "195.128.154", "96.62.228", "89.107.157", "185.13.168", "136.0.165", "51.83.241", "89.39.108", "88.221.209", "185.204.218"},

	"IT": {"185.177.193", "46.229.94", "185.16.132", "37.60.38"},
	"CH": {"193.8.254", "193.151.94", "83.137.84", "136.144.39"},
	"SE": {"185.240.208", "212.100.117", "80.248.228", "46.246.1"},
	"CA": {"199.185.118", "205.207.227", "208.84.105", "205.237.1"},

	"LT": {"188.190.28", "86.38.230", "79.98.29", "31.213.230"},
	"MD": {"93.113.69", "93.117.141", "80.91.210", "186.247.42"},
	"SC": {"24.235.27", "41.79.63", "196.223.43", "185.95.156"},
	"BG": {"79.124.5", "93.123.88", "46.10.21", "85.187.205"},
	"RO": {"194.169.202", "195.90.111", "86.106.49", "89.34.93"},
	"HK": {"103.112.29", "116.92.133", "115.85.134", "210.176.141"},

	"BR": {"200.149.247", "179.111.84", "181.191.216", "189.84.77"},
	"VN": {"122.10.224", "103.69.189", "103.250.78", "103.161.178"},
	"NG": {"102.223.1", "102.210.168", "102.210.192", "41.79.67"},
	"TR": {"17.77.149", "62.68.78", "212.47.46", "176.53.171"},
	"ID": {"103.247.218", "202.46.131", "103.161.163", "103.136.183"},
	"UA": {"185.109.51", "79.124.188", "91.228.146", "91.201.68"},
	"KR": {"115.68.243", "169.140.52", "45.38.186", "20.194.28"},
	"IN": {"103.199.192", "103.98.110", "161.248.46", "103.144.215"},
	"ZA": {"164.151.115", "66.22.240", "165.145.47", "196.6.254"},
	"MX": {"185.81.174", "200.33.118", "89.42.113", "205.220.115"},
}

// networks6 holds /64 networks of the countries that have offices, for people who work from home over IPv6.
var networks6 = map[string][]string{
	"DE": {"2a01:4f9:3a:274b", "2001:67c:a00:9547"},
	"NL": {"2a0e:b107:2848:d321", "2a13:bbc4:6056:8e36"},
	"PT": {"2a01:3e0:1900:100", "2001:158a:bf96:541b"},
	"AT": {"2a07:cec0:4003:32ca", "2a03:f80:9001:213"},
	"PL": {"2a00:4124:79a:7183", "2a06:5cc4:15:673c"},
}

// The countries that each part of a story is drawn from. The lists share no country, so that no two parts of one story
// play in the same place by accident.
var (
	officePairs      = [][2]string{{"DE", "NL"}, {"DE", "PT"}, {"NL", "DE"}, {"AT", "DE"}, {"PT", "NL"}, {"PL", "DE"}}
	travelCountries  = []string{"IT", "CH", "SE", "CA"}
	hostingCountries = []string{"LT", "MD", "SC", "BG", "RO", "HK"}
	farCountries     = []string{"BR", "VN", "NG", "TR", "ID", "UA", "KR", "IN", "ZA", "MX"}
)

// utcOffset is the winter offset of an office's clock in hours. Only office hours depend on it, so summer time is left
// out.
var utcOffset = map[string]int64{"DE": 1, "NL": 1, "PT": 0, "AT": 1, "PL": 1}

// amazonPrefixes holds EC2 prefixes that Amazon publishes for the regions a story uses.
var amazonPrefixes = map[string][]netip.Prefix{
	"eu-central-1": {netip.MustParsePrefix("3.64.0.0/12"), netip.MustParsePrefix("18.192.0.0/13"), netip.MustParsePrefix("52.28.0.0/15")},
	"eu-west-1":    {netip.MustParsePrefix("34.240.0.0/12"), netip.MustParsePrefix("52.208.0.0/13"), netip.MustParsePrefix("54.72.0.0/14")},
	"us-east-1":    {netip.MustParsePrefix("3.208.0.0/12"), netip.MustParsePrefix("44.192.0.0/11"), netip.MustParsePrefix("54.80.0.0/13")},
}

// hostIn returns an address of a country's n-th network, wrapping around.
func hostIn(d *dice, country string, n int) string {
	l := networks[country]
	return fmt.Sprintf("%s.%d", l[n%len(l)], 2+d.below(252))
}

func hostIn6(d *dice, country string) string {
	x := d.next()
	return fmt.Sprintf("%s:%x:%x:%x:%x", pick(d, networks6[country]), 0x1000|x>>48, 0x1000|x>>32&0xffff, 0x1000|x>>16&0xffff, 0x1000|x&0xffff)
}

// amazonAddress returns an address of an EC2 prefix of a region.
func amazonAddress(d *dice, region string) string {
	p := pick(d, amazonPrefixes[region])
	first := p.Addr().As4()
	n := uint32(first[0])<<24 | uint32(first[1])<<16 | uint32(first[2])<<8 | uint32(first[3])
	n += uint32(d.below(1 << (32 - p.Bits())))
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}).String()
}
