package geo

// Kind says what a source address is. The kinds are disjoint: each address has one.
type Kind uint8

// What an address is comes before how it was written: ::ffff:10.0.0.1 is Private, not Mapped. Only List hides what its
// members are.
const (
	// Absent is an empty address, or "-".
	Absent Kind = iota
	// Public is an IPv4 or IPv6 address that may be routed on the Internet. It has a place if the database knows it.
	Public
	// Mapped is a public IPv4 address written as IPv6, ::ffff:81.2.69.142.
	Mapped
	// AWSOwned is a public address from one of AWS's own ranges, written in either form. Its place is a region.
	AWSOwned
	// List is several addresses separated by commas, as a proxy writes them. Its place is that of the first public one.
	List
	// Private is an address for use inside a network: RFC 1918, RFC 6598 (carrier-grade NAT), RFC 4193.
	Private
	// Reserved is any other address that IANA keeps for a special purpose, or has not given to anyone.
	Reserved
	// AWSService is the DNS name of an AWS service that made the call, ec2.amazonaws.com.
	AWSService
	// AWSInternal is the text "AWS Internal", alone or followed by a slash and more.
	AWSInternal
	// Malformed is everything else: text that is no address, an address with a port, with leading zeros, masked.
	Malformed

	kindCount
)

var kindNames = [kindCount]string{
	Absent:      "absent",
	Public:      "public",
	Mapped:      "ipv4_mapped",
	AWSOwned:    "aws_owned",
	List:        "list",
	Private:     "private",
	Reserved:    "reserved",
	AWSService:  "aws_service",
	AWSInternal: "aws_internal",
	Malformed:   "malformed",
}

// String returns the kind as a metric label, such as "aws_service".
func (k Kind) String() string {
	if k >= kindCount {
		return "invalid"
	}
	return kindNames[k]
}

// Kinds returns every kind, so that a metric can show those that have not occurred.
func Kinds() []Kind {
	kinds := make([]Kind, kindCount)
	for i := range kinds {
		kinds[i] = Kind(i)
	}
	return kinds
}

// Counts says how many addresses were of each kind.
type Counts [kindCount]int64

// Sub is what was counted since it was d.
func (c *Counts) Sub(d *Counts) *Counts {
	var r Counts
	for k := range c {
		r[k] = c[k] - d[k]
	}
	return &r
}

// ByName are the counts that are not zero, by the names of their kinds.
func (c *Counts) ByName() map[string]int64 {
	m := map[string]int64{}
	for k, n := range c {
		if n != 0 {
			m[Kind(k).String()] = n
		}
	}
	return m
}
