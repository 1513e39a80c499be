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
	// NoAWSPrefixes turns off the recognition of addresses that AWS owns: they then get the country of their region.
	NoAWSPrefixes bool
	// CacheEntries is the size of the cache of each Lookup, rounded up to a power of two; an entry takes 64 bytes.
	// 0: DefaultCacheEntries.
	CacheEntries int
	// Log gets a line when the file changed. nil: no log.
	Log *slog.Logger
	// OnReload is called by Watch, from its goroutine: with nil for each new database in use, and when the file of the one
	// in use is back; with the error, once for each change, when the file can't be used.
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
	watch watchState
}

// Open loads the database that the options name, or the embedded one, which takes 100 ms because it unpacks its IPv6
// half. It fails if the file can't be read, is damaged, or has no countries, and if CacheEntries is out of range.
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
		l.use(newEmbedded(), embeddedBuild)
		return l, nil
	}
	stamp, err := l.load()
	if err != nil {
		return nil, fmt.Errorf("geo: database %s: %w", opts.Path, err)
	}
	l.watch.inUse = stamp
	return l, nil
}

// load reads the file at Path and puts it in use. On an error nothing has changed.
func (l *Locator) load() (fileStamp, error) {
	data, stamp, err := readDatabase(l.opts.Path)
	if err != nil {
		return fileStamp{}, err
	}
	m, err := openMMDB(data)
	if err != nil {
		return fileStamp{}, err
	}
	l.use(m, m.build())
	return stamp, nil
}

func (l *Locator) use(s source, build string) {
	if l.aws != nil {
		build += ", aws " + l.aws.date
	}
	l.current.Store(&database{s, build})
}

// Build names the database in use and the list of AWS's ranges, such as "GeoLite2-Country 2026-11-01, aws 2026-08-22"
// or "iploc v1.0.20260915, aws 2026-08-22". Two builds may give an address different places.
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
	size  uint8 // of the address; 0: an empty entry
	kind  Kind
	place placeID
	text  [60]byte
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
	if len(address) == 0 || len(address) > len(cached{}.text) {
		kind, id := k.locator.find(k.db, address)
		return k.locator.place(kind, id)
	}
	e := &k.cache[maphash.String(k.seed, address)&uint64(len(k.cache)-1)]
	if string(e.text[:e.size]) != address {
		kind, id := k.locator.find(k.db, address)
		e.kind, e.place = kind, id
		e.size = uint8(copy(e.text[:], address))
	}
	return k.locator.place(e.kind, e.place)
}

// Build names the database that the latest answer came from. During a reload it may differ from that of the Locator.
func (k *Lookup) Build() string { return k.db.build }

// Detail says more of an address than Locate, from the database in use. It is made for alerts: it takes microseconds
// and allocates.
func (l *Locator) Detail(address string) Detail {
	db := l.current.Load()
	kind, id := l.find(db, address)
	d := Detail{Place: l.place(kind, id)}
	if d.Country == "" {
		return d
	}
	d.CountryName = CountryName(d.Country)
	_, addr := read(address)
	db.detail(addr, &d)
	return d
}

// find reads an address and asks first the list of AWS's ranges, then the database.
func (l *Locator) find(db *database, address string) (Kind, placeID) {
	kind, addr := read(address)
	if !addr.IsValid() {
		return kind, noPlace
	}
	if l.aws != nil {
		if id := l.aws.find(addr); id != noPlace {
			if kind != List {
				kind = AWSOwned
			}
			return kind, id
		}
	}
	return kind, db.country(addr)
}

func (l *Locator) place(kind Kind, id placeID) Place {
	if id >= firstRegion {
		return Place{Kind: kind, Name: l.aws.places[id-firstRegion].name}
	}
	p := &countryPlaces[id]
	return Place{Kind: kind, Name: p.name, Country: p.country}
}
