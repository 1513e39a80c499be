package alert

import (
	"strings"
	"testing"

	"github.com/farcall/farcall/topics"
)

// TestSizeOfContextIsBounded: names of clients, keys and networks are outsiders' too. What they take is left out before an alert
// fails; its score, its place and its principal stay.
func TestSizeOfContextIsBounded(t *testing.T) {
	worst := strings.Repeat("\x01", topics.MaxKeyBytes)
	var names []string
	for range 24 {
		names = append(names, worst)
	}
	a := example()
	for len(a.Methods) < MaxMethods {
		a.Methods = append(a.Methods, a.Methods[0])
	}
	c := &a.Context
	c.Clients, c.NewClients, c.Keys, c.NewKeys, c.Networks, c.NewNetworks = names, names, names, names, names, names
	c.Factors = nil
	for range 3 {
		c.Factors = append(c.Factors, Factor{Name: "new client", Points: 20, Text: strings.Join(names, ", ")})
	}
	doc, err := a.ECS("v1.2.3")
	if err != nil || len(doc) > MaxBytes {
		t.Fatalf("%d bytes, %v", len(doc), err)
	}
	b, err := ParseBrief(doc)
	if err != nil || b.Score != a.Score || b.Principal != a.Lead.Visit.Principal || b.MethodsTotal != int64(len(a.Methods))+a.Dropped {
		t.Errorf("what is left: %+v, %v", b, err)
	}
}
