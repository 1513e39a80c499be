package triage

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/topics"
)

// from is a sighting from a network.
func from(network, organisation, place string, second int64) topics.Sighting {
	s := sighting(place, second)
	s.Network, s.Visit.Evidence.Network, s.Visit.Evidence.NetworkName = network, network, organisation
	return s
}

func TestHosting(t *testing.T) {
	cfg := DefaultConfig()
	cfg.HostingNetworks = []string{"AS64496"}
	cfg.HostingNames = append(cfg.HostingNames, "Acme Cloud")
	for _, c := range []struct {
		network, organisation string
		want                  bool
	}{
		{"AS64496", "", true},
		{"AS64496", "Somebody's Telecom", true},
		{"AS64497", "Example Hosting GmbH", true},
		{"AS64497", "EXAMPLE-VPN", true},
		{"AS64497", "acme cloud inc.", true},
		{"AS64497", "Somebody's Telecom", false},
		{"AS6449", "", false},
		{"", "", false},
	} {
		if got := newDesk(t, cfg).task.hosting(c.network, c.organisation); got != c.want {
			t.Errorf("%q of %q is a hosting network: %t", c.network, c.organisation, got)
		}
	}
}

// TestHostingFactor: a way through a rented machine counts where the principal never used that network, wherever it is.
func TestHostingFactor(t *testing.T) {
	const factor, rented, home = "hosting network", "AS64500", "AS1"
	for _, c := range []struct {
		name    string
		history []topics.Sighting
		do      []topics.Sighting
		want    string // the factor's text; none: no factor
	}{
		{"never used", nil, []topics.Sighting{from(rented, "Example Hosting", "NG", 10*hour)}, "from a hosting or VPN network: AS64500 Example Hosting"},
		{"beside the usual one", nil, []topics.Sighting{from(home, "Telecom", "NG", 10*hour), from(rented, "Example Hosting", "NG", 10*hour)}, "from a hosting or VPN network: AS64500 Example Hosting"},
		{"used before, elsewhere", []topics.Sighting{from(rented, "Example Hosting", "DE", -day)}, []topics.Sighting{from(rented, "Example Hosting", "NG", 10*hour)}, ""},
		{"used since", nil, []topics.Sighting{from(rented, "Example Hosting", "NG", 10*hour), from(rented, "Example Hosting", "DE", 20*hour)}, "from a hosting or VPN network: AS64500 Example Hosting"},
		{"another one used before", []topics.Sighting{from("AS64501", "Other Hosting", "DE", -day)}, []topics.Sighting{from(rented, "Example Hosting", "NG", 10*hour)}, "from a hosting or VPN network: AS64500 Example Hosting"},
		{"no hosting", nil, []topics.Sighting{from("AS64502", "Telecom", "NG", 10*hour)}, ""},
		{"no database", nil, []topics.Sighting{from("", "", "NG", 10*hour)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, DefaultConfig())
			d.officeDays("DE", 12)
			for _, s := range append(c.history, c.do...) {
				d.sight(s)
			}
			var g group
			for _, s := range d.staysOf("alice") {
				if s.place == "NG" {
					d.load(alert.ID("alice", "NG", s.day), &g)
				}
			}
			var p profile
			d.profileOf("alice", &p)
			_, context := d.task.weigh(&p, &g, "NG")
			got := ""
			for _, f := range context.Factors {
				if f.Name == factor {
					got = f.Text
					if f.Points != pointsHosting {
						t.Errorf("%g points", f.Points)
					}
				}
			}
			if got != c.want || slices.Contains(context.Labels, factor) != (c.want != "") {
				t.Errorf("factor %q, labels %q, want %q", got, context.Labels, c.want)
			}
		})
	}
}

// TestNetworksAreASet: what a group knows of networks depends neither on the order in which they came nor on repeats.
func TestNetworksAreASet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seen := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) network {
			return network{rapid.SampledFrom([]string{"", "AS1", "AS2", "AS3"}).Draw(rt, "number"), rapid.SampledFrom([]string{"", "A", "B"}).Draw(rt, "name")}
		}), 1, 10).Draw(rt, "seen")
		var one, other networks
		for _, n := range seen {
			one.add(n.Number, n.Name)
		}
		for _, n := range append(rapid.Permutation(seen).Draw(rt, "order"), seen...) {
			other.add(n.Number, n.Name)
		}
		if d := cmp.Diff(one, other); d != "" {
			rt.Fatal(d)
		}
		if other.add(seen[0].Number, seen[0].Name) {
			rt.Fatal("a repeat changed something")
		}
	})
	var l networks
	for i := range 2 * maxOthers {
		l.add(string(rune('a'+i)), "")
	}
	if len(l) != maxOthers {
		t.Errorf("%d networks kept, want %d", len(l), maxOthers)
	}
}
