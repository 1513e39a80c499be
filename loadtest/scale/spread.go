package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/loadtest/generate"
	"github.com/farcall/farcall/topics"
)

// spread is what an hour of an organisation comes to: counted event by event, not estimated.
type spread struct {
	events   int
	told     []told // by number of raw partitions, which grows
	rows     int    // pane rows of detect, those of any method among them
	rowBytes []int  // of these, with their keys, in organisations as many times as large as growths says
	known    int    // principals
	keyings  []keying
}

// growths are how many times larger an organisation may be than the simulated one, with the same methods and as many more of all else.
var growths = []int{1, 10, 100}

// told is what route tells of each event where there are so many raw partitions, each of which tells on its own.
type told struct {
	raw               int
	visits, presences float64 // presences are visits of any method; there are as many sightings
	pulses            float64
}

// records are all that is told of an event.
func (t told) records() float64 { return t.visits + 2*t.presences + t.pulses }

// keying is a way to give records to partitions.
type keying struct {
	name     string
	top      string // its hottest key
	topShare float64
	hottest  []float64 // load of the hottest partition, times the mean, by number of partitions
}

// set is a set of hashes in one block of memory.
type set struct {
	slots []uint64
	n     int
}

func newSet() *set { return &set{slots: make([]uint64, 1<<12)} }

// add says whether the hash is new.
func (s *set) add(h uint64) bool {
	h |= 1 // 0 is an empty slot
	if s.n*4 > len(s.slots)*3 {
		old := s.slots
		s.slots, s.n = make([]uint64, 2*len(old)), 0
		for _, h := range old {
			if h != 0 {
				s.add(h)
			}
		}
	}
	for i := h >> 1 & uint64(len(s.slots)-1); ; i = (i + 1) & uint64(len(s.slots)-1) {
		switch s.slots[i] {
		case h:
			return false
		case 0:
			s.slots[i] = h
			s.n++
			return true
		}
	}
}

// tally is how many records each key has.
type tally map[string]int

// keyed measures a keying over numbers of partitions. One key can be left out.
func (t tally) keyed(name string, partitions []int, without string) keying {
	k := keying{name: name}
	all, most := 0, 0
	for _, key := range slices.Sorted(maps.Keys(t)) {
		if key != without {
			if all += t[key]; t[key] > most {
				k.top, most = strings.ReplaceAll(key, "|", " "), t[key]
			}
		}
	}
	k.topShare = float64(most) / float64(all)
	place := kgo.StickyKeyPartitioner(nil).ForTopic("") // as Kafka's own clients do it
	for _, n := range partitions {
		load := make([]int, n)
		for key, records := range t {
			if key != without {
				load[place.Partition(&kgo.Record{Key: []byte(key)}, n)] += records
			}
		}
		k.hottest = append(k.hottest, float64(slices.Max(load))/float64(all)*float64(n))
	}
	return k
}

// maxPulses bounds the accounts and regions whose signs of life a raw partition remembers. With more, it forgets all and begins anew.
const maxPulses = 8192

// memory is what the raw partitions of one number of them have told: visits and presences all together, and by partition in which hours
// which account spoke in which region.
type memory struct {
	raw               int
	visits, presences *set
	spoke             []map[uint64]uint8
	pulses            int
}

// pulse notes a sign of life in an hour.
func (m *memory) pulse(raw int, of uint64, hour uint) {
	in := m.spoke[raw]
	bits, ok := in[of]
	if bits&(1<<hour) != 0 {
		return
	}
	if !ok && len(in) >= maxPulses {
		clear(in)
		bits = 0
	}
	in[of] = bits | 1<<hour
	m.pulses++
}

// simulate counts so many events of an organisation. How keys spread is counted with spreadRaw raw partitions, one of rawPartitions.
func simulate(o generate.Options, events int, rawPartitions []int, spreadRaw int, partitions []int) (*spread, error) {
	g, err := generate.New(o)
	if err != nil {
		return nil, err
	}
	byMethod, byScope, byVisit, byPrincipal := tally{}, tally{}, tally{}, tally{}
	var memories []*memory
	for _, n := range rawPartitions {
		m := &memory{raw: n, visits: newSet(), presences: newSet()}
		for range n {
			m.spoke = append(m.spoke, map[uint64]uint8{})
		}
		memories = append(memories, m)
	}
	began := o.Start.Unix()/3600 - 1
	known, presences, organisation := newSet(), newSet(), newSet()
	type cell struct {
		method, place string
		hour          int64
	}
	cells := map[cell]int{} // principals
	var b, key []byte
	for i := range events {
		var e *generate.Event
		b, e = g.Append(b[:0])
		byMethod[e.Method]++
		key = append(append(append(key[:0], e.Account...), '|'), e.Method...)
		byScope[string(key)]++ // no memory is made where the key is there
		hour := e.Time / 3600
		spoke := xxhash.Sum64String(e.Account) ^ xxhash.Sum64String(e.Region)*0x9e3779b97f4a7c15
		for _, m := range memories {
			m.pulse(i%m.raw, spoke, uint(hour-began))
		}
		if e.Place == "" {
			continue
		}
		key = append(append(append(key[:0], byte(hour), byte(hour>>8), byte(hour>>16), 0), e.Place...), 0)
		where := xxhash.Sum64(append(key, e.Principal...))
		if known.add(xxhash.Sum64(e.Principal)); e.Denied {
			where = ^where // outcomes are told apart
		}
		visit := where ^ xxhash.Sum64String(e.Method)
		for _, m := range memories {
			raw := uint64(i%m.raw) * 0xd6e8feb86659fd93
			fresh := m.visits.add(visit ^ raw)
			first := m.presences.add(where ^ raw)
			if m.raw == spreadRaw {
				if fresh {
					byVisit[e.Method]++
				}
				if first {
					byVisit[topics.AnyMethod]++
					byPrincipal[string(e.Principal)]++
				}
			}
		}
		if presences.add(visit) {
			cells[cell{e.Method, e.Place, hour}]++
			if organisation.add(where) {
				cells[cell{topics.AnyMethod, e.Place, hour}]++
			}
		}
	}
	s := &spread{events: events, known: known.n}
	for _, m := range memories {
		s.told = append(s.told, told{m.raw, float64(m.visits.n) / float64(events), float64(m.presences.n) / float64(events),
			float64(m.pulses) / float64(events)})
	}
	for _, times := range growths {
		rows, bytes := map[string]bool{}, 0
		for c, n := range cells {
			if row := fmt.Sprint(c.method, c.hour); !rows[row] {
				rows[row] = true
				bytes += len(c.method) + 13
			}
			bytes += 3 + len(c.place) + min(8*n*times, 256) // state/FORMAT.md
		}
		s.rows, s.rowBytes = len(rows), append(s.rowBytes, bytes)
	}
	s.keyings = []keying{
		byMethod.keyed("every event, under its method", partitions, ""), byScope.keyed("every event, under its account and method", partitions, ""),
		byVisit.keyed("told once: `farcall.visits`", partitions, ""), byVisit.keyed("told once, without any method (`*`)", partitions,
			topics.AnyMethod),
		byPrincipal.keyed("told once: `farcall.principals`", partitions, ""),
	}
	return s, nil
}
