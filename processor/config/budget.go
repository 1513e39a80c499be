package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/state"
)

// Budget is the memory of the process as the settings imply it: what each part takes at the most, in bytes.
type Budget struct {
	Runtime   int64 // the program itself and the runtime of Go
	Cache     int64 // block cache, one for all stores
	MemTables int64 // two of each store
	Stores    int64 // what a store takes without rows
	Fetch     int64 // of every worker two answers of a broker, and what the older one unpacks to
	Produce   int64 // records on their way to the brokers
	Restore   int64 // of the restores that run at a time
	LookUp    int64 // addresses, presences and pulses of route, principals, panes and who is heard of detect
}

const (
	runtimeBytes = 48 << 20
	// storeBytes is an estimate of what an open store without rows takes, memtables apart.
	storeBytes = 256 << 10
	// fetchExpansion is an estimate: CloudTrail of 2 KB records comes out of zstd eight times as large (limits on what a batch may
	// expand to are another matter).
	fetchExpansion = 8
	// ProduceBytes is what a worker may hold of records that are on their way to the brokers.
	ProduceBytes = 8 << 20
	// Sizes of entries, as the comments on the settings have them.
	geoEntryBytes, presenceBytes, detectEntryBytes = 64, 20, 50
	pulseBytes, heardBytes                         = 40, 250
	minMemTable, maxMemTable                       = 256 << 10, 64 << 20
)

func (c *Config) runs(stage string) bool { return slices.Contains(c.Stages, stage) }

// stores is how many stores this process has when it is alone.
func (c *Config) stores() int64 {
	n := int64(0)
	for _, s := range []string{"detect", "triage"} {
		if c.runs(s) {
			n += int64(c.Topics.Partitions)
		}
	}
	return n
}

// MemTableBytes is the size of one memtable: each store has two at the most, and all stores share state.memtables_bytes.
func (c *Config) MemTableBytes() uint64 {
	return uint64(min(max(c.State.MemTablesBytes/max(1, 2*c.stores()), minMemTable), maxMemTable))
}

// Restores are the restores that the settings allow.
func (c *Config) Restores() *state.Restores {
	return state.NewRestores(c.State.Restores, c.State.RestoreBytes)
}

// Budget computes the memory that the settings allow. Of each raw topic one partition counts: how many there are is not known
// here, and each further one that is busy adds its look-up caches.
func (c *Config) Budget() Budget {
	b := Budget{Runtime: runtimeBytes}
	workers := int64(0)
	for stage, n := range map[string]int{"route": c.Route.Workers, "detect": c.Detect.Workers, "triage": c.Triage.Workers} {
		if c.runs(stage) {
			workers += int64(n)
		}
	}
	b.Fetch = workers * 2 * int64(c.Stream.FetchMaxBytes)
	b.Produce = workers * ProduceBytes
	if c.runs("route") {
		b.Fetch += int64(c.Route.Workers) * fetchExpansion * int64(c.Stream.FetchMaxBytes)
		b.LookUp += presenceBytes * (int64(c.Route.MemoryEntries) + int64(c.Route.Workers)*route.PendingEntries)
		b.LookUp += int64(len(c.Topics.Raw)) * (geoEntryBytes*int64(c.Geo.CacheEntries) + pulseBytes*route.MaxPulses)
	}
	if c.runs("detect") {
		b.LookUp += detectEntryBytes*int64(c.Detect.CacheEntries) + heardBytes*detect.MaxPulseRows
	}
	if stores := c.stores(); stores > 0 {
		b.Cache = c.State.CacheBytes
		b.MemTables = 2 * stores * int64(c.MemTableBytes())
		b.Stores = stores * storeBytes
		b.Restore = c.Restores().Bytes()
	}
	return b
}

// Sum is all of it.
func (b Budget) Sum() int64 {
	return b.Runtime + b.Cache + b.MemTables + b.Stores + b.Fetch + b.Produce + b.Restore + b.LookUp
}

// String names the parts and their sum.
func (b Budget) String() string {
	var parts []string
	for _, p := range []struct {
		name  string
		bytes int64
	}{
		{"program and runtime", b.Runtime}, {"block cache", b.Cache}, {"memtables", b.MemTables}, {"stores", b.Stores}, {"fetch buffers", b.Fetch},
		{"produce buffers", b.Produce}, {"restore buffers", b.Restore}, {"look-up caches", b.LookUp},
	} {
		if p.bytes > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", p.name, (p.bytes+1<<19)>>20))
		}
	}
	return fmt.Sprintf("%s, together %d MiB", strings.Join(parts, ", "), (b.Sum()+1<<19)>>20)
}

// RuntimeLimit is the limit of the Go runtime that keeps the process within its budget: the pages of the program are not the
// runtime's, and it needs a little room above its limit.
func (c *Config) RuntimeLimit() int64 { return c.Memory.BudgetBytes - runtimeBytes }
