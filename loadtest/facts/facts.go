// Package facts holds lists of what exists outside: methods and how often they are called, networks and the countries they lie in,
// ranges of Amazon's, methods that intrusions use. README.md says where they come from. Whatever simulates CloudTrail draws from
// them. It must never hold anything that was made up.
package facts

import (
	"embed"
	"strings"
)

//go:embed *.txt
var files embed.FS

// Lines calls f with the fields of each line of a list, which README.md describes, in the order of the list.
func Lines(name string, f func(fields []string)) {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // the list is part of the binary
	}
	for line := range strings.Lines(string(b)) {
		f(strings.Fields(line))
	}
}
