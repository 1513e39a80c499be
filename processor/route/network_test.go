package route

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"go4.org/netipx"

	"github.com/farcall/farcall/processor/geo"
)

// TestNetwork: with a database of networks, the network of the address is in the sighting and in the evidence, and a principal that
// comes from another network of the same country is told anew.
func TestNetwork(t *testing.T) {
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "GeoLite2-ASN"})
	if err != nil {
		t.Fatal(err)
	}
	for prefix, record := range map[string]mmdbtype.Map{
		"78.47.0.0/16": {"autonomous_system_number": mmdbtype.Uint32(24940), "autonomous_system_organization": mmdbtype.String("Example Online")},
		"78.46.0.0/16": {"autonomous_system_number": mmdbtype.Uint32(64496)},
	} {
		if err := tree.Insert(netipx.PrefixIPNet(netip.MustParsePrefix(prefix)), record); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "asn.mmdb")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	locator, err := geo.Open(geo.Options{ASNPath: path})
	if err != nil {
		t.Fatal(err)
	}
	r := router{t: t, stats: NewStats()}
	if r.task, err = NewTask(DefaultConfig(), nil, locator, func() time.Time { return noon }, 0, r.stats); err != nil {
		t.Fatal(err)
	}
	out := r.tell(event{address: inDE}, event{address: inDE}, event{address: "78.46.22.10"}, event{address: "78.46.22.11"}, event{address: "78.47.22.11"})
	if len(out.visits) != 1 || len(out.sightings) != 2 {
		t.Fatalf("told %d visits and %d sightings, want one visit of Germany and a sighting for each network", len(out.visits), len(out.sightings))
	}
	for i, want := range [][2]string{{"AS24940", "Example Online"}, {"AS64496", ""}} {
		s := &out.sightings[i]
		if e := &s.Visit.Evidence; s.Network != want[0] || e.Network != want[0] || e.NetworkName != want[1] {
			t.Errorf("sighting %d has network %q, and evidence of %q, %q; want %q", i, s.Network, e.Network, e.NetworkName, want)
		}
	}
	if e := &out.visits[0].Evidence; e.Network != "AS24940" || e.NetworkName != "Example Online" {
		t.Errorf("the visit has network %q of %q", e.Network, e.NetworkName)
	}
}
