package generate

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/farcall/farcall/loadtest/facts"
)

// method is one API method, with the texts around what changes.
type method struct {
	name   string // service:Action
	share  float64
	roles  int    // how many of the machines call it
	source string // `","eventSource":"…","eventName":"…","awsRegion":"`
	end    string // `,"readOnly":…`
	signIn bool
}

// unseenShare is the share of the calls of all methods together that published records do not have: every seventh method is seen there.
const unseenShare = .03

// weigh reads the methods and gives each its share of the calls.
func (g *Generator) weigh() {
	type read struct {
		service, action string
		calls           float64
		reads           bool
	}
	var all []read
	facts.Lines("methods.txt", func(f []string) {
		n, err := strconv.ParseFloat(f[2], 64)
		if err != nil {
			panic(err) // the list is part of the binary
		}
		all = append(all, read{f[0], f[1], n, f[3] == "1"})
	})
	facts.Lines("more-methods.txt", func(f []string) {
		for _, a := range f[1:] {
			reads := strings.HasPrefix(a, "Get") || strings.HasPrefix(a, "List") || strings.HasPrefix(a, "Describe")
			all = append(all, read{f[0], a, 0, reads})
		}
	})
	slices.SortStableFunc(all, func(a, b read) int { return int(b.calls - a.calls) })
	seen := 0.0
	unseen := 0
	for _, m := range all {
		if seen += m.calls; m.calls == 0 {
			unseen++
		}
	}
	if g.o.Methods > 0 {
		all = all[:min(g.o.Methods, len(all))]
	}
	total := 0.0
	for _, m := range all {
		share := m.calls / seen * (1 - unseenShare)
		if m.calls == 0 {
			share = unseenShare / float64(unseen)
		}
		total += share
		category := "Management"
		if m.service == "s3" && strings.HasSuffix(m.action, "Object") || m.service == "lambda" && m.action == "Invoke" {
			category = "Data"
		}
		g.methods = append(g.methods, method{
			name: m.service + ":" + m.action, share: share, signIn: m.service == "signin",
			source: `","eventSource":"` + m.service + `.amazonaws.com","eventName":"` + m.action + `","awsRegion":"`,
			end: `","readOnly":` + strconv.FormatBool(m.reads) + `,"eventType":"AwsApiCall","managementEvent":` +
				strconv.FormatBool(category != "Data") +
				`,"eventCategory":"` + category + `","recipientAccountId":"`,
		})
	}
	top := g.methods[0].share / total
	skew := g.o.Skew
	if skew == 0 || len(g.methods) == 1 {
		skew = top
	}
	shares := make([]float64, len(g.methods))
	for i := range g.methods {
		m := &g.methods[i]
		if m.share /= total; i == 0 {
			m.share = skew
		} else if top < 1 {
			m.share *= (1 - skew) / (1 - top)
		}
		// What is called often is called by many: the most called method by two thirds of all roles, most by a few.
		m.roles = max(1, int(float64(g.o.Machines)*math.Sqrt(m.share)))
		shares[i] = m.share
	}
	g.draw = newAlias(shares)
}

// alias draws a number with given probabilities in constant time (Walker's alias method, as Vose builds it).
type alias struct {
	keep  []float64
	other []int32
}

func newAlias(p []float64) alias {
	n := len(p)
	a := alias{make([]float64, n), make([]int32, n)}
	var small, large []int32
	for i, x := range p {
		a.keep[i] = x * float64(n)
		if a.keep[i] < 1 {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a.other[s] = l
		if a.keep[l] -= 1 - a.keep[s]; a.keep[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) { // what rounding left over
		a.keep[i] = 1
	}
	return a
}

func (a *alias) draw(h uint64) int {
	i := below(h, len(a.keep))
	if unit(mix(h, 1)) < a.keep[i] {
		return i
	}
	return int(a.other[i])
}
