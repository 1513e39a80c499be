// Package geo turns the source address of a CloudTrail record into a Place: a country, or the AWS region that owns the
// address. It also says of what Kind the address was, so that every event is counted, those without a place too.
//
// Places come from a MaxMind DB file that the user supplies (GeoLite2, GeoIP2, DB-IP, ipinfo and databases of their
// form), reloaded while running when the file changes, or else from a database inside the binary:
// github.com/phuslu/iploc, which holds IP2Location LITE data and must be credited where the product is described:
//
//	This site or product includes IP2Location LITE data available from https://lite.ip2location.com.
//
// A second file of that form may name the network of each address, and whose it is (GeoLite2-ASN, DB-IP ASN, ipinfo).
//
// Addresses that AWS owns are recognised before any country database is asked, by the list in data/. Their country is
// only the one that their region stands in, and would make each EC2 instance and NAT gateway a traveller.
//
// What the package must never do: ask a database about a reserved or private address (some answer with a country),
// answer "ZZ" or any other code that is no country, give a place to a name or to text that is not an address, replace a
// working database by a broken one, or allocate on the path of an event.
//
// # Addresses
//
// IPv4-mapped IPv6 (::ffff:81.2.69.142) counts as the IPv4 address in it, and an IPv6 zone is ignored. 6to4 (2002::/16),
// Teredo (2001::/32) and NAT64 (64:ff9b::/96) addresses are reserved: the IPv4 address inside is written by whoever
// sends the packet, or is the relay's, and says nothing of where the caller is. 100.64.0.0/10 (carrier-grade NAT, and
// common inside VPCs) is private.
package geo
