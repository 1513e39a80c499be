package geo

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"
	"github.com/phuslu/iploc"
)

// database is what look-ups answer from: a country database, and one of networks if the user has one. It never changes; a
// reload of either makes another.
type database struct {
	source
	places   string       // build of the source
	networks *asnDatabase // nil: no address has a network
	build    string       // of everything that answers depend on
}

// source answers for public addresses that are not AWS's, IPv4 never in IPv6 form. It is safe for concurrent use.
type source interface {
	// country returns the placeID of a country, or noPlace. It does not allocate.
	country(netip.Addr) placeID
	// detail fills in what the source knows beyond the country.
	detail(netip.Addr, *Detail)
}

// embedded is the database inside the binary. Its IPv6 half unpacks at the first use, which takes 100 ms and grows the
// heap by 25 MB, of which 11 stay in use. Only newEmbedded makes one, so that no event waits for that, and a process with
// a database of its own never pays for it. The environment variable IPLOC_IPV4ONLY leaves the IPv6 half out: IPv6
// addresses then have no place.
type embedded struct{}

func newEmbedded() embedded {
	iploc.IPCountry(netip.IPv6Unspecified())
	return embedded{}
}

func (embedded) country(addr netip.Addr) placeID { return countryID(iploc.IPCountry(addr)) }

func (embedded) detail(netip.Addr, *Detail) {}

const embeddedBuild = "iploc " + iploc.Version

// maxDatabaseBytes bounds a database file, which is held in memory, and twice during a reload. A free City database has
// about a tenth of it.
const maxDatabaseBytes = 1 << 30

// mmdb is a database file, held in memory whole: a mapped file changes or faults under its readers when someone
// overwrites it in place.
type mmdb struct {
	reader *maxminddb.Reader
	typed  *geoip2.Reader // nil if the database is of a type that geoip2 does not know
	// index holds the country of each network, as a placeID.
	index addressIndex
	// countries holds the country of each record, by its offset. Databases have a record for each of their countries, or
	// cities, and many networks for each record.
	countries map[uint32]placeID
	ipv4Only  bool
}

// countryPaths are where databases keep the code of a record's country: MaxMind's and DB-IP's form, the flat form, and
// ipinfo's older one (whose newer one has country_code, and the country's name in country). The country that an
// address is registered in (registered_country) is not where it is, and is never used.
var countryPaths = [...][]any{{"country", "iso_code"}, {"country_code"}, {"country"}}

func (m *mmdb) country(addr netip.Addr) placeID {
	if m.ipv4Only && !addr.Is4() {
		return noPlace // Lookup would allocate an error
	}
	v := m.index.find(addr)
	if v != finer {
		return placeID(v)
	}
	r := m.reader.Lookup(addr)
	if !r.Found() {
		return noPlace
	}
	return m.countries[uint32(r.Offset())]
}

// errChanging is the error for a file that someone writes to while it is read.
var errChanging = errors.New("the file changed while it was read")

// readDatabase reads a whole file and returns its stamp too.
func readDatabase(path string) ([]byte, fileStamp, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileStamp{}, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, fileStamp{}, err
	}
	if before.Size() > maxDatabaseBytes {
		return nil, fileStamp{}, fmt.Errorf("%d bytes are more than the limit of %d", before.Size(), maxDatabaseBytes)
	}
	data := make([]byte, before.Size())
	if _, err := io.ReadFull(f, data); errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fileStamp{}, errChanging
	} else if err != nil && err != io.EOF {
		return nil, fileStamp{}, err
	}
	after, err := f.Stat()
	if err != nil {
		return nil, fileStamp{}, err
	}
	stamp := fileStamp{info: before}
	if !stamp.equal(fileStamp{info: after}) {
		return nil, fileStamp{}, errChanging
	}
	return data, stamp, nil
}

// openMMDB opens a database and reads the country of every record in it, which proves the parts that look-ups use. It
// fails if the file is damaged, or if no record names a country. It keeps data.
func openMMDB(data []byte) (*mmdb, error) {
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, err
	}
	m := &mmdb{reader: reader, countries: map[uint32]placeID{}, ipv4Only: reader.Metadata.IPVersion == 4}
	typed, err := geoip2.OpenBytes(data)
	var unknown geoip2.UnknownDatabaseTypeError
	switch {
	case err == nil:
		// The type is known, but it may be one without countries, such as ASN.
		var wrong geoip2.InvalidMethodError
		if _, err := typed.Country(netip.IPv4Unspecified()); errors.As(err, &wrong) {
			return nil, fmt.Errorf("a database of type %s has no countries", label(reader.Metadata.DatabaseType))
		}
		m.typed = typed
	case !errors.As(err, &unknown):
		return nil, err
	}
	if err := m.readCountries(); err != nil {
		return nil, err
	}
	return m, nil
}

// maxLeavesPerNode ends the walk through a damaged tree, which can lead through the same nodes 2^128 times. A sound tree
// has one leaf more than it has nodes, or a few times as many if its writer shares nodes between equal subtrees.
const maxLeavesPerNode = 16

// readCountries walks the tree and fills m.countries and m.index.
func (m *mmdb) readCountries() error {
	var path []any // the country path of this database, once a record has shown it
	index, err := indexNetworks(m.reader, func(r maxminddb.Result) (uint32, error) {
		offset := uint32(r.Offset())
		id, ok := m.countries[offset]
		if ok {
			return uint32(id), nil
		}
		paths := countryPaths[:]
		if path != nil {
			paths = [][]any{path}
		}
		for _, p := range paths {
			var err error
			if id, err = decodeCountry(r, p); err != nil {
				return 0, err
			}
			if id != noPlace {
				path = p
				break
			}
		}
		m.countries[offset] = id
		return uint32(id), nil
	})
	if err != nil {
		return err
	}
	m.index = index
	if path == nil {
		return fmt.Errorf("no record of this database of type %s names a country, in country.iso_code, country_code or country",
			label(m.reader.Metadata.DatabaseType))
	}
	return nil
}

// indexNetworks walks the tree and asks for the value of every network that has a record, so for most records more than once. The
// value of a network without one is 0. What the walk leaves out, such as IPv4 networks that appear again among those of IPv6, and
// what is too fine for an index, is finer there.
func indexNetworks(reader *maxminddb.Reader, value func(r maxminddb.Result) (uint32, error)) (addressIndex, error) {
	found := newAddressRuns()
	leaves := maxLeavesPerNode * (reader.Metadata.NodeCount + 1)
	for r := range reader.Networks(maxminddb.IncludeNetworksWithoutData()) {
		if err := r.Err(); err != nil {
			return addressIndex{}, err
		}
		if leaves == 0 {
			return addressIndex{}, errors.New("the search tree does not end")
		}
		leaves--
		v := uint32(0)
		if r.Found() {
			var err error
			if v, err = value(r); err != nil {
				return addressIndex{}, err
			}
		}
		found.add(r.Prefix(), v)
	}
	return found.index(), nil
}

// decodeCountry returns noPlace if the path leads nowhere or to something that is no country. Its errors are those of a
// damaged file.
func decodeCountry(r maxminddb.Result, path []any) (placeID, error) {
	var code string
	err := decodePath(r, &code, path) // leaves alone what is no text, such as the map that country is in MaxMind's form
	return countryID(code), err
}

// decodePath leaves v alone if the path leads nowhere or to something of another type. Its errors are those of a damaged file.
func decodePath(r maxminddb.Result, v any, path []any) error {
	err := r.DecodePath(v, path...)
	var damaged maxminddb.InvalidDatabaseError
	if errors.As(err, &damaged) {
		return err
	}
	return nil
}

// buildOf names a database in records: its type and the day that it was built.
func buildOf(r *maxminddb.Reader) string {
	return label(r.Metadata.DatabaseType) + " " + r.Metadata.BuildTime().UTC().Format(time.DateOnly)
}

// maxLabelBytes bounds the database type, which is part of every record that names the build.
const maxLabelBytes = 40

// label makes a database type fit for records and logs.
func label(databaseType string) string {
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, databaseType[:min(len(databaseType), maxLabelBytes)])
	if s == "" {
		return "mmdb"
	}
	return s
}

func (m *mmdb) detail(addr netip.Addr, d *Detail) {
	if m.ipv4Only && !addr.Is4() {
		return
	}
	if m.typed == nil {
		m.untypedDetail(addr, d)
		return
	}
	// Enterprise and Country databases answer City too, as far as they go.
	city, err := m.typed.City(addr)
	if err != nil {
		return
	}
	d.City = city.City.Names.English
	if len(city.Subdivisions) > 0 {
		d.Region = city.Subdivisions[0].Names.English
		d.setRegionCode(city.Subdivisions[0].ISOCode)
	}
	if city.Location.Latitude != nil && city.Location.Longitude != nil {
		d.setLocation(*city.Location.Latitude, *city.Location.Longitude)
	}
}

// untypedDetail reads the fields of ipinfo's files and of the flat ones made from DB-IP, and of databases that have
// MaxMind's form under a name of their own.
func (m *mmdb) untypedDetail(addr netip.Addr, d *Detail) {
	var record map[string]any
	if m.reader.Lookup(addr).Decode(&record) != nil {
		return
	}
	d.City = text(record["city"])
	for _, key := range [...]string{"region", "state1", "subdivision"} {
		if d.Region = text(record[key]); d.Region != "" {
			break
		}
	}
	if list, _ := record["subdivisions"].([]any); len(list) > 0 {
		d.Region = text(list[0])
		if subdivision, ok := list[0].(map[string]any); ok {
			d.setRegionCode(text(subdivision["iso_code"]))
		}
	}
	d.setRegionCode(text(record["region_code"]))
	if nested, ok := record["location"].(map[string]any); ok {
		record = nested
	}
	for _, keys := range [...][2]string{{"latitude", "longitude"}, {"lat", "lng"}} {
		lat, ok1 := number(record[keys[0]])
		lon, ok2 := number(record[keys[1]])
		if ok1 && ok2 {
			d.setLocation(lat, lon)
			return
		}
	}
	if lat, lon, ok := strings.Cut(text(record["loc"]), ","); ok {
		lat, ok1 := number(lat)
		lon, ok2 := number(lon)
		if ok1 && ok2 {
			d.setLocation(lat, lon)
		}
	}
}

// text returns a value that is text, or the English name of one in MaxMind's form.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		names, _ := v["names"].(map[string]any)
		name, _ := names["en"].(string)
		return name
	}
	return ""
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case float32:
		return float64(v), true
	case string:
		f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return f, err == nil
	}
	return 0, false
}
