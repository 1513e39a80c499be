package cloudtrail

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// collector is a Handler that keeps copies of all it is told.
type collector struct {
	told     []string // everything, in order
	events   []Event
	skips    []SkipKind
	refusals []Refusal
}

func (c *collector) Event(e *Event) {
	k := cloneEvent(e)
	c.events = append(c.events, k)
	c.told = append(c.told, fmt.Sprintf("event@%d %s %s", e.Offset, e.EventID, e.AppendMethod(nil)))
}

func (c *collector) Skip(k SkipKind) {
	c.skips = append(c.skips, k)
	c.told = append(c.told, "skip "+k.String())
}

func (c *collector) Refuse(r *Refusal) {
	k := *r
	k.Detail = strings.Clone(r.Detail)
	k.Raw = bytes.Clone(r.Raw)
	c.refusals = append(c.refusals, k)
	c.told = append(c.told, fmt.Sprintf("refuse@%d %s: %s", r.Offset, r.Reason, r.Detail))
}

// diff says where two collectors were told different things; empty if nowhere. raws includes the bytes of refusals.
func (c *collector) diff(o *collector, raws bool) string {
	for i := range max(len(c.told), len(o.told)) {
		switch {
		case i >= len(c.told):
			return fmt.Sprintf("only the second has %s", o.told[i])
		case i >= len(o.told):
			return fmt.Sprintf("only the first has %s", c.told[i])
		case c.told[i] != o.told[i]:
			return fmt.Sprintf("%s, against %s", c.told[i], o.told[i])
		}
	}
	for i := range c.events {
		if a, b := fmt.Sprintf("%+v", plain(c.events[i])), fmt.Sprintf("%+v", plain(o.events[i])); a != b {
			return fmt.Sprintf("event %d: %s, against %s", i, a, b)
		}
	}
	for i := range c.refusals {
		if raws && !bytes.Equal(c.refusals[i].Raw, o.refusals[i].Raw) {
			return fmt.Sprintf("refusal %d: %q, against %q", i, c.refusals[i].Raw, o.refusals[i].Raw)
		}
	}
	return ""
}

// plain makes an event printable: flags as they are, not where they are.
func plain(e Event) any {
	flag := func(b *bool) string {
		if b == nil {
			return ""
		}
		return fmt.Sprint(*b)
	}
	ro, me := flag(e.ReadOnly), flag(e.ManagementEvent)
	e.ReadOnly, e.ManagementEvent = nil, nil
	if len(e.Resources) == 0 {
		e.Resources = nil
	}
	return struct {
		Event
		ro, me string
	}{e, ro, me}
}

func (c *collector) summary() map[string]int {
	m := map[string]int{}
	for _, s := range c.skips {
		m["skip "+s.String()]++
	}
	for _, r := range c.refusals {
		m["refuse "+r.Reason.String()+": "+r.Detail]++
	}
	return m
}

// cloneEvent copies all that e aliases.
func cloneEvent(e *Event) Event {
	k := *e
	s := strings.Clone
	k.EventVersion, k.EventTime, k.EventID, k.SharedEventID = s(e.EventVersion), s(e.EventTime), s(e.EventID), s(e.SharedEventID)
	k.EventSource, k.EventName, k.AWSRegion = s(e.EventSource), s(e.EventName), s(e.AWSRegion)
	k.SourceIPAddress, k.UserAgent, k.ErrorCode, k.ErrorMessage = s(e.SourceIPAddress), s(e.UserAgent), s(e.ErrorCode), s(e.ErrorMessage)
	k.EventType, k.EventCategory, k.RecipientAccount, k.VPCEndpointID = s(e.EventType), s(e.EventCategory), s(e.RecipientAccount), s(e.VPCEndpointID)
	a, b := &k.UserIdentity, &e.UserIdentity
	a.Type, a.PrincipalID, a.ARN, a.AccountID, a.AccessKeyID = s(b.Type), s(b.PrincipalID), s(b.ARN), s(b.AccountID), s(b.AccessKeyID)
	a.UserName, a.InvokedBy, a.IdentityProvider, a.CredentialID = s(b.UserName), s(b.InvokedBy), s(b.IdentityProvider), s(b.CredentialID)
	a.SourceIdentity = s(b.SourceIdentity)
	a.OnBehalfOf = OnBehalfOf{s(b.OnBehalfOf.UserID), s(b.OnBehalfOf.IdentityStoreARN)}
	x, y := &a.SessionContext, &b.SessionContext
	x.SourceIdentity = s(y.SourceIdentity)
	x.Attributes = SessionAttributes{CreationDate: s(y.Attributes.CreationDate), MFAAuthenticated: s(y.Attributes.MFAAuthenticated)}
	i := &y.SessionIssuer
	x.SessionIssuer = SessionIssuer{s(i.Type), s(i.PrincipalID), s(i.ARN), s(i.AccountID), s(i.UserName)}
	k.Resources = nil
	for _, r := range e.Resources {
		k.Resources = append(k.Resources, Resource{s(r.ARN), s(r.AccountID), s(r.Type)})
	}
	for _, f := range []**bool{&k.ReadOnly, &k.ManagementEvent} {
		if *f != nil {
			v := **f
			*f = &v
		}
	}
	k.RequestParameters = bytes.Clone(e.RequestParameters)
	k.Raw = bytes.Clone(e.Raw)
	return k
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
