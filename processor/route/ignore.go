package route

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Rule drops events at the door: all conditions that are set must match. Texts are matched whole, with * for any run of
// characters. Network is a CIDR.
type Rule struct {
	Name      string `yaml:"name"`
	Category  string `yaml:"category,omitempty"`
	Service   string `yaml:"service,omitempty"`
	Method    string `yaml:"method,omitempty"`
	Principal string `yaml:"principal,omitempty"`
	Account   string `yaml:"account,omitempty"`
	Network   string `yaml:"network,omitempty"`
}

// condition matches one field of an event.
type condition struct {
	field   field
	exact   string
	pattern *regexp.Regexp
}

type field byte

const (
	fieldCategory field = iota
	fieldService
	fieldMethod
	fieldPrincipal
	fieldAccount
)

type compiled struct {
	name       string
	conditions []condition
	network    netip.Prefix
}

// compile checks a rule.
func (r Rule) compile() (compiled, error) {
	c := compiled{name: r.Name}
	if r.Name == "" {
		return c, errors.New("an ignore rule needs a name: drops are counted by it")
	}
	for f, text := range map[field]string{
		fieldCategory: r.Category, fieldService: r.Service, fieldMethod: r.Method, fieldPrincipal: r.Principal, fieldAccount: r.Account,
	} {
		switch {
		case text == "":
		case strings.Contains(text, "*"):
			parts := strings.Split(text, "*")
			for i := range parts {
				parts[i] = regexp.QuoteMeta(parts[i])
			}
			re, err := regexp.Compile("^(?s:" + strings.Join(parts, ".*") + ")$")
			if err != nil {
				return c, fmt.Errorf("ignore rule %q: %w", r.Name, err)
			}
			c.conditions = append(c.conditions, condition{field: f, pattern: re})
		default:
			c.conditions = append(c.conditions, condition{field: f, exact: text})
		}
	}
	if r.Network != "" {
		p, err := netip.ParsePrefix(r.Network)
		if err != nil {
			return c, fmt.Errorf("ignore rule %q: network must be a CIDR such as 192.0.2.0/24: %w", r.Name, err)
		}
		c.network = p.Masked()
	}
	if len(c.conditions) == 0 && !c.network.IsValid() {
		return c, fmt.Errorf("ignore rule %q has no condition and would drop everything", r.Name)
	}
	return c, nil
}

// Check reports what is wrong with a rule.
func (r Rule) Check() error {
	_, err := r.compile()
	return err
}

// subject is what rules look at.
type subject struct {
	texts   [5][]byte // by field
	address string
}

func (c *compiled) matches(s *subject) bool {
	for i := range c.conditions {
		cond := &c.conditions[i]
		text := s.texts[cond.field]
		if cond.pattern != nil && !cond.pattern.Match(text) || cond.pattern == nil && string(text) != cond.exact {
			return false
		}
	}
	if c.network.IsValid() {
		a, err := netip.ParseAddr(s.address)
		return err == nil && c.network.Contains(a.Unmap().WithZone(""))
	}
	return true
}
