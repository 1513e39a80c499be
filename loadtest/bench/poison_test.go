package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farcall/farcall/loadtest/generate"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/poison"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/topics"
)

// toldOf keeps the reasons of dead letters and the places of visits.
type toldOf struct {
	reasons []string
	places  map[string]bool
}

func (o *toldOf) Visit(_, value []byte) {
	var v topics.Visit
	if err := v.Decode(value); err != nil {
		o.reasons = append(o.reasons, err.Error())
	} else if v.Method != topics.AnyMethod {
		o.places[v.Method+" "+v.Place] = true
	}
}
func (o *toldOf) Pulse(_, _ []byte)               {}
func (o *toldOf) Sighting(_, _ []byte)            {}
func (o *toldOf) DeadLetter(d *topics.DeadLetter) { o.reasons = append(o.reasons, d.Reason) }

// TestBadKinds: made of records of the load, each kind leaves one dead letter with its reason, or none and a visit of the method that is
// left out where rows are compared; and calls from everywhere come from as many places.
func TestBadKinds(t *testing.T) {
	locator, err := geo.Open(geo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	told := func(values ...[]byte) *toldOf {
		task, err := route.NewTask(route.DefaultConfig(), nil, locator, time.Now, 0, route.NewStats())
		if err != nil {
			t.Fatal(err)
		}
		o := &toldOf{places: map[string]bool{}}
		for _, v := range values {
			task.Record(&route.Raw{Value: v}, o)
		}
		return o
	}
	onlyPoison := func(o *toldOf) bool { return len(withoutPoison(slices.Collect(maps.Keys(o.places)))) == 0 }
	for seed := range uint64(20) {
		w := generate.DefaultOptions()
		w.Seed = seed
		small, large, err := badKinds(w)
		if err != nil {
			t.Fatal(err)
		}
		if seed > 0 {
			large = nil // they take long, and are made in one way
		}
		for _, k := range slices.Concat(small, large) {
			o := told(k.Value)
			if got := strings.Join(o.reasons, ","); got != k.Reason || !onlyPoison(o) {
				t.Errorf("seed %d, %s: dead letters %q, want %q; visits %v", seed, k.Name, got, k.Reason, o.places)
			}
			if largest := len(k.Value); largest > 11<<20 {
				t.Errorf("%s has %d bytes", k.Name, largest)
			}
		}
	}
	var all [][]byte
	world := everywhere()
	for n, address := range world {
		all = append(all, fromEverywhere(n, address, generate.DefaultOptions().Start.Unix()))
	}
	if o := told(all...); len(o.reasons) > 0 || len(o.places) < len(world)*9/10 || len(world) < 200 || !onlyPoison(o) {
		t.Errorf("from %d addresses: dead letters %v, %d places", len(world), o.reasons, len(o.places))
	} else {
		t.Logf("%d addresses in %d places", len(world), len(o.places))
	}
	if got := withoutPoison([]string{"ec2:Run\tx", poison.Service + ":Call\tx", poison.Service + "ous:Call\tx"}); len(got) != 2 {
		t.Errorf("left of three rows: %q", got)
	}
}
