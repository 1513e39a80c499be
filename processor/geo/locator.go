package geo

import (
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/bits"
	"sync"
	"sync/atomic"
)

// Place is where a call came from.
type Place struct {
	// Kind is what the source address is; it is always set.
	Kind Kind
	// Name is the place in records: an ISO 3166-1 alpha-2 code in capitals or XK, "aws:" and a region ("aws:global" for
	// ranges that no region has), or "" if there is none. It lives as long as the program.
	Name string
	// Country is Name if that is a country, and "" for an address that AWS owns.
	Country string
	// Network is the autonomous system of the address, "AS64496", and Organisation whose it is, as the database of networks
	// has it. Both are empty without such a database, and for an address that AWS owns: its place says whose it is.
	Network, Organisation string
}

// Detail is what is known of an address beyond its place. Fields that the database does not have are empty, and those
// of an address without a country all are: for an AWS-owned one, the database would describe a data centre.
type Detail struct {
	Place
	// CountryName is in English.
	CountryName string
	City        string // English name
	Region      string // English name of the state, province or other first-level subdivision
	RegionCode  string // its ISO 3166-2 code, "GB-ENG"
	// Location is near the address, often only the middle of its city or country; nil if unknown.
	Location *Location
}

// Location is a point in degrees: latitude north of the equator, longitude east of Greenwich.
type Location struct{ Latitude, Longitude float64 }

func (d *Detail) setRegionCode(subdivision string) {
	if subdivision != "" && d.Country != "" {
		d.RegionCode = d.Country + "-" + subdivision
	}
}

func (d *Detail) setLocation(lat, lon float64) {
	if lat >= -90 && lat <= 90 && lon >= -180 && lon <= 180 {
		d.Location = &Location{lat, lon}
	}
}

// DefaultCacheEntries is how many addresses a Lookup remembers by default: 1 MiB.
const DefaultCacheEntries = 1 << 14

// MaxCacheEntries is the most that a Lookup can be told to remember: 64 MiB.
const MaxCacheEntries = 1 << 20

// Options says what a Locator answers from. The zero value is a good choice.
type Options struct {
	// Path is a MaxMind DB file with countries or cities. Empty: the embedded database. The file is held in memory,
	// together with a few bytes for each of its records.
	Path string
	// ASNPath is a MaxMind DB file with autonomous systems, held like the other. Empty: no address has a network.
	ASNPath string
	// NoAWSPrefixes turns off the recognition of addresses that AWS owns: they then get the country of their region.
	NoAWSPrefixes bool
	// CacheEntries is the size of the cache of each Lookup, rounded up to a power of two; an entry takes 64 bytes.
	// 0: DefaultCacheEntries.
	CacheEntries int
	// Log gets a line when a file changed. nil: no log.
	Log *slog.Logger
	// OnReload is called by Watch, from its goroutine: with nil for each new database in use, and when the file of one
	// in use is back; with the error, once for each change, when a file can't be used.
	OnReload func(err error)
}

// Locator holds the databases. It is safe for concurrent use; look-ups go through a Lookup.
type Locator struct {
	opts    Options
	aws     *awsRanges // nil if turned off
	current atomic.Pointer[database]

	closeOnce sync.Once
	closed    chan struct{}

	mu    sync.Mutex // held during a poll
	files []*watchedFile
}

// Open loads the databases that the options name. The embedded one takes 100 ms because it unpacks its IPv6 half. It fails
// if a file can't be read, is damaged, or has no countries, or no networks, and if CacheEntries is out of range.
func Open(opts Options) (*Locator, error) {
	if opts.CacheEntries == 0 {
		opts.CacheEntries = DefaultCacheEntries
	}
	if opts.CacheEntries < 0 || opts.CacheEntries > MaxCacheEntries {
		return nil, fmt.Errorf("geo: a cache of %d entries: must be 1 to %d", opts.CacheEntries, MaxCacheEntries)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	l := &Locator{opts: opts, closed: make(chan struct{})}
	if !opts.NoAWSPrefixes {
		aws, err := ownList()
		if err != nil {
			return nil, fmt.Errorf("geo: %w", err)
		}
		l.aws = aws
	}
	if opts.Path == "" {
		l.use(func(db *database) { db.source, db.places = newEmbedded(), embeddedBuild })
	} else {
		l.files = append(l.files, &watchedFile{name: "database", path: opts.Path, open: openPlaces})
	}
	if opts.ASNPath != "" {
		l.files = append(l.files, &watchedFile{name: "ASN database", path: opts.ASNPath, open: openNetworks})
	}
	for _, f := range l.files {
		stamp, err := l.load(f)
		if err != nil {
			return nil, fmt.Errorf("geo: %s %s: %w", f.name, f.path, err)
		}
		f.inUse = stamp
	}
	return l, nil
}

// openPlaces and openNetworks open the content of a file, and return what puts it in use.

func openPlaces(data []byte) (func(*database), error) {
	m, err := openMMDB(data)
	if err != nil {
		return nil, err
	}
	return func(db *database) { db.source, db.places = m, buildOf(m.reader) }, nil
}

func openNetworks(data []byte) (func(*database), error) {
	a, err := openASN(data)
	return func(db *database) { db.networks = a }, err
}

// load reads a file and puts it in use. On an error nothing has changed.
func (l *Locator) load(f *watchedFile) (fileStamp, error) {
	data, stamp, err := readDatabase(f.path)
	if err != nil {
		return fileStamp{}, err
	}
	change, err := f.open(data)
	if err != nil {
		return fileStamp{}, err
	}
	l.use(change)
	return stamp, nil
}

// use puts a changed copy of the database in use. Nobody else may call it at the time.
func (l *Locator) use(change func(*database)) {
	var db database
	if old := l.current.Load(); old != nil {
		db = *old
	}
	change(&db)
	db.build = db.places
	if db.networks != nil {
		db.build += ", " + db.networks.build
	}
	if l.aws != nil {
		db.build += ", aws " + l.aws.date
	}
	l.current.Store(&db)
}

// Build names the databases in use and the list of AWS's ranges, such as "iploc v1.0.20260915, aws 2026-08-22" or
// "GeoLite2-Country 2026-11-01, GeoLite2-ASN 2026-11-01, aws 2026-08-22". Two builds may give an address different places.
func (l *Locator) Build() string { return l.current.Load().build }

// Close ends Watch. Look-ups still work on what is in memory. It always returns nil.
func (l *Locator) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return nil
}

// NewLookup returns a Lookup with an empty cache.
func (l *Locator) NewLookup() *Lookup {
	logSize := bits.Len(uint(l.opts.CacheEntries - 1))
	return &Lookup{
		locator: l,
		db:      l.current.Load(),
		seed:    maphash.MakeSeed(),
		cache:   make([]cached, 1<<logSize),
	}
}

// Lookup locates addresses, and remembers the latest ones. It must not be used by two goroutines at once. It keeps the
// database of its latest answer in memory, even when a newer one is in use.
type Lookup struct {
	locator *Locator
	db      *database
	seed    maphash.Seed // private, so that nobody can choose addresses that evict each other
	cache   []cached     // direct-mapped by the hash of the address, as written
}

// cached fills one cache line. Longer addresses are looked up each time: an IPv6 address takes at most 45 bytes, so
// these are lists, zones and junk.
type cached struct {
	size uint8 // of the address; 0: an empty entry
	text [maxCachedBytes]byte
	found
}

const maxCachedBytes = 55

// found is what was found of an address, in numbers.
type found struct {
	kind    Kind
	place   placeID
	network uint32 // index into asnDatabase.all
}

// Locate says where an address is: an IP address, a list of them, or whatever else sourceIPAddress holds. It allocates
// nothing, and does not keep the address, which may stand in a buffer that is used again.
//
// A recent address takes some 30 ns. Another one is parsed and searched for, 0.2 to 0.5 µs when none of the database is
// in the processor's caches. For a stream of 100,000 addresses by a Zipf law that makes 50 to 150 ns on average
// (BenchmarkLocate).
func (k *Lookup) Locate(address string) Place {
	if db := k.locator.current.Load(); db != k.db {
		clear(k.cache)
		k.db = db
	}
	if len(address) == 0 || len(address) > maxCachedBytes {
		return k.locator.spell(k.db, k.locator.find(k.db, address))
	}
	e := &k.cache[maphash.String(k.seed, address)&uint64(len(k.cache)-1)]
	if string(e.text[:e.size]) != address {
		e.found = k.locator.find(k.db, address)
		e.size = uint8(copy(e.text[:], address))
	}
	return k.locator.spell(k.db, e.found)
}

// Build names the database that the latest answer came from. During a reload it may differ from that of the Locator.
func (k *Lookup) Build() string { return k.db.build }

// Detail says more of an address than Locate, from the database in use. It is made for alerts: it takes microseconds
// and allocates.
func (l *Locator) Detail(address string) Detail {
	db := l.current.Load()
	d := Detail{Place: l.spell(db, l.find(db, address))}
	if d.Country == "" {
		return d
	}
	d.CountryName = CountryName(d.Country)
	_, addr := read(address)
	db.detail(addr, &d)
	return d
}

// find reads an address and asks first the list of AWS's ranges, then the databases.
func (l *Locator) find(db *database, address string) found {
	kind, addr := read(address)
	if !addr.IsValid() {
		return found{kind: kind}
	}
	if l.aws != nil {
		if id := l.aws.find(addr); id != noPlace {
			if kind != List {
				kind = AWSOwned
			}
			return found{kind: kind, place: id}
		}
	}
	f := found{kind: kind, place: db.country(addr)}
	if db.networks != nil {
		f.network = db.networks.find(addr)
	}
	return f
}

func (l *Locator) spell(db *database, f found) Place {
	if f.place >= firstRegion {
		return Place{Kind: f.kind, Name: l.aws.places[f.place-firstRegion].name}
	}
	c := &countryPlaces[f.place]
	p := Place{Kind: f.kind, Name: c.name, Country: c.country}
	if f.network != 0 {
		n := &db.networks.all[f.network]
		p.Network, p.Organisation = n.name, n.organisation
	}
	return p
}
