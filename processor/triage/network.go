package triage

import (
	"cmp"
	"slices"
	"strings"
)

// DefaultHostingNames are what many providers of machines and tunnels have in the names of their organisations: trades, and names of
// large ones. It finds nobody who calls himself otherwise, and somebody who only happens to be called so.
func DefaultHostingNames() []string {
	return []string{"hosting", "vpn", "datacamp", "m247", "ovh", "digitalocean", "hetzner", "vultr", "linode", "leaseweb", "choopa", "contabo"}
}

// hosting says whether a network, by its own name and that of its organisation, is one that anyone can rent a way through.
func (t *Task) hosting(network, name string) bool {
	name = strings.ToLower(name)
	return slices.Contains(t.cfg.HostingNetworks, network) ||
		slices.ContainsFunc(t.cfg.HostingNames, func(text string) bool { return strings.Contains(name, strings.ToLower(text)) })
}

// network is one that a principal was seen in, and whose it is.
type network struct{ Number, Name string }

// networks are sorted by number.
type networks []network

// add puts a network in and says whether that changed anything. Where databases differ in the name, the last by the alphabet stays.
func (l *networks) add(number, name string) bool {
	if number == "" {
		return false
	}
	at, found := slices.BinarySearchFunc(*l, number, func(n network, number string) int { return cmp.Compare(n.Number, number) })
	switch {
	case found && (*l)[at].Name >= name, !found && len(*l) >= maxOthers:
		return false
	case found:
		(*l)[at].Name = name
	default:
		*l = slices.Insert(*l, at, network{number, name})
	}
	return true
}

func (l networks) numbers() (numbers []string) {
	for _, n := range l {
		numbers = append(numbers, n.Number)
	}
	return numbers
}
