package alert

import (
	"encoding/json"
	"testing"
)

// TestSourceAS: the network of the address stands where ECS has it.
func TestSourceAS(t *testing.T) {
	for _, c := range []struct{ network, name, want string }{
		{"AS64496", "Example Hosting", `{"number":64496,"organization":{"name":"Example Hosting"}}`},
		{"AS4294967295", "", `{"number":4294967295}`},
		{"", "", ""},
		{"64496", "no network", ""},
	} {
		a := example()
		a.Lead.Visit.Evidence.Network, a.Lead.Visit.Evidence.NetworkName = c.network, c.name
		b, err := a.ECS("test")
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Source struct {
				AS json.RawMessage `json:"as"`
			} `json:"source"`
		}
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		if string(doc.Source.AS) != c.want {
			t.Errorf("network %q of %q is %s, want %s", c.network, c.name, doc.Source.AS, c.want)
		}
	}
}
