package topics

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestMatches: every field of an exception that is set must match, and what it says of networks, clients and methods it must
// say of each.
func TestMatches(t *testing.T) {
	subject := Subject{
		Principal: "1/user/zoë", Role: "Admin", Place: "FR", Accounts: []string{"1", "2"},
		Networks: []string{"AS3215"}, Clients: []string{"aws-cli on macos", "browser on macos"}, Methods: []string{"s3:GetObject", "s3:ListBuckets"},
	}
	for _, c := range []struct {
		name string
		e    Exception
		want bool
	}{
		{"a principal", Exception{Principal: "1/user/zoë"}, true},
		{"another", Exception{Principal: "1/user/max"}, false},
		{"a part of a name is not the name", Exception{Principal: "1/user/z"}, false},
		{"a pattern", Exception{Principal: "1/user/*"}, true},
		{"a pattern in the middle", Exception{Principal: "1/*/zoë"}, true},
		{"a role", Exception{Role: "Admin"}, true},
		{"the caller's account", Exception{Account: "1"}, true},
		{"the account that is called", Exception{Account: "2"}, true},
		{"another account", Exception{Account: "3"}, false},
		{"a country", Exception{Place: "FR"}, true},
		{"two conditions", Exception{Place: "FR", Role: "Admin"}, true},
		{"one of two", Exception{Place: "FR", Role: "Auditor"}, false},
		{"a network", Exception{Network: "AS3215"}, true},
		{"one of its clients", Exception{Client: "browser on macos"}, false},
		{"all of its clients", Exception{Client: "* on macos"}, true},
		{"one of its methods", Exception{Method: "s3:GetObject"}, false},
		{"all of its methods", Exception{Method: "s3:*"}, true},
		{"anything", Exception{Method: "*"}, true},
	} {
		if got := c.e.Matches(&subject); got != c.want {
			t.Errorf("%s (%s): %v", c.name, c.e.Match(), got)
		}
	}
	if (&Exception{Network: "*"}).Matches(&Subject{Principal: "p"}) {
		t.Error("a condition on networks matches an alert without one")
	}
}

// TestLike holds the patterns against a plain search of all ways to match.
func TestLike(t *testing.T) {
	var plain func(pattern, s string) bool
	plain = func(pattern, s string) bool {
		switch {
		case pattern == "":
			return s == ""
		case pattern[0] == '*':
			return plain(pattern[1:], s) || s != "" && plain(pattern, s[1:])
		}
		return s != "" && s[0] == pattern[0] && plain(pattern[1:], s[1:])
	}
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab*]{1,8}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab]{0,10}`).Draw(t, "text")
		if got, want := like(pattern, s), plain(pattern, s); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, s, got, want)
		}
	})
}

func TestCheckOfExceptions(t *testing.T) {
	good := func() *Exception { return fullException() }
	if err := good().Check(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spoil func(*Exception)
		want  string
	}{
		{func(e *Exception) {
			*e = Exception{ID: e.ID, Reason: e.Reason, Author: e.Author}
		}, "silence every alert"},
		{func(e *Exception) { e.Reason = "" }, "a reason and an author"},
		{func(e *Exception) { e.Author = "" }, "a reason and an author"},
		{func(e *Exception) { e.Expires = e.Created }, "before it begins"},
	} {
		e := good()
		c.spoil(e)
		if err := e.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one about %q", err, c.want)
		}
	}
	if got, want := (&Exception{Place: "FR", Method: "s3:*"}).Match(), "country=FR method=s3:*"; got != want {
		t.Errorf("the match is spelled %q, want %q", got, want)
	}
}
