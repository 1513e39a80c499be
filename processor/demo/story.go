package demo

import (
	"slices"
	"time"
)

const (
	// HistoryDays is how long a story's history is.
	HistoryDays = 30
	// LiveSpan is how long its live part is, in event time.
	LiveSpan = 165 * time.Minute
)

// Story is an invented organisation's CloudTrail, fixed byte for byte by its seed and the time at which history ends, so
// that what a demonstration found can be told to others as a seed. It is not changed by being told: any number of tellings
// may run side by side.
//
// A story must never borrow from a real organisation, and it must know nothing of how farcall decides: one that is tuned
// to its detector proves nothing.
type Story struct {
	org        *organisation
	begin, end int64 // hours since the epoch
	live       []call
	plants     []Plant
}

// Record is the delivery of one CloudTrail record.
type Record struct {
	// Partition is the trail that delivered the record, 0 to Partitions-1: each account's log of each region comes in files
	// of its own. A raw topic with fewer partitions takes the remainder.
	Partition int
	Delivered time.Time
	JSON      []byte // valid until the next record
}

// Partitions is how many trails deliver records.
const Partitions = accountCount * regionCount

// NewStory makes the story of a seed. History covers the 30 days before end, which is cut to a whole hour of UTC; the live
// part begins there. See Morning for a good end.
func NewStory(seed uint64, end time.Time) *Story {
	s := &Story{org: newOrganisation(seed), end: end.Unix() / 3600}
	s.begin = s.end - HistoryDays*24
	s.plant(seed)
	return s
}

// Morning returns the latest 08:00 UTC of a working day such that all of a live part that begins there has been delivered
// by now. Offices are busy then, and no call lies in the future.
func Morning(now time.Time) time.Time {
	y, m, d := now.UTC().Date()
	t := time.Date(y, m, d, 8, 0, 0, 0, time.UTC)
	for t.Add(LiveSpan+2*slowest).After(now) || t.Weekday() == time.Saturday || t.Weekday() == time.Sunday {
		t = t.AddDate(0, 0, -1)
	}
	return t
}

// Organisation returns whose CloudTrail this is.
func (s *Story) Organisation() Organisation {
	o := Organisation{Name: s.org.name, Offices: s.org.offices, Accounts: s.org.accounts[:]}
	o.People, o.Machines = s.org.count()
	return o
}

// History yields the records of all calls made before the end, in order of delivery. A few of the last are delivered after
// the end, up to 14 minutes.
func (s *Story) History(yield func(Record) bool) {
	t, w := newTraffic(s.org), scribe{org: s.org}
	for h := s.begin; h < s.end; h++ {
		kept := len(t.calls)
		t.hour(h)
		t.schedule(kept)
		// A call of a later hour can't be delivered before this.
		settled := (h+1)*hourMillis + quickest.Milliseconds()
		n := len(t.calls)
		if h+1 < s.end {
			n = slices.IndexFunc(t.calls, func(c call) bool { return c.due >= settled })
			if n < 0 {
				n = len(t.calls)
			}
		}
		if !w.tell(t.calls[:n], yield) {
			return
		}
		t.calls = append(t.calls[:0], t.calls[n:]...)
	}
}

// Live yields the records of the calls made within LiveSpan after the end, those of the plants among them, in order of
// delivery.
func (s *Story) Live(yield func(Record) bool) {
	w := scribe{org: s.org}
	w.tell(s.live, yield)
}

// Plants returns what was planted in the live part, in order of its first call. The caller must not change it.
func (s *Story) Plants() []Plant { return s.plants }

// tell yields the records of calls and returns whether more are wanted.
func (w *scribe) tell(calls []call, yield func(Record) bool) bool {
	for i := range calls {
		c := &calls[i]
		if !yield(Record{Partition: c.part, Delivered: time.UnixMilli(c.due).UTC(), JSON: w.write(c)}) {
			return false
		}
	}
	return true
}
