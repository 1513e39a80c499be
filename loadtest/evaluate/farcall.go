package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// document is what an alert of farcall says, as far as it is read here.
type document struct {
	Timestamp time.Time `json:"@timestamp"`
	AWS       struct {
		CloudTrail struct {
			EventID string `json:"event_id"`
		} `json:"cloudtrail"`
	} `json:"aws"`
	Source struct {
		Address string `json:"address"`
	} `json:"source"`
	Farcall struct {
		Score     float64 `json:"score"`
		Principal string  `json:"principal"`
		Place     string  `json:"place"`
		Methods   []struct {
			Score   float64 `json:"score"`
			EventID string  `json:"event_id"`
		} `json:"methods"`
	} `json:"farcall"`
}

// farcall runs the binary over a folder and hands over each alert's document.
func farcall(ctx context.Context, binary, dir string, least float64, settings []string, each func(*document) error) error {
	cmd := exec.CommandContext(ctx, binary, "scan", "--quiet", "--output", "ndjson", "--threshold", fmt.Sprint(least), dir)
	// Settings of the caller's environment must not change what is measured.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()}, settings...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s (make build makes it): %w", binary, err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 2<<20)
	var bad error
	for lines.Scan() && bad == nil {
		var d document
		if bad = json.Unmarshal(lines.Bytes(), &d); bad == nil {
			bad = each(&d)
		}
	}
	if bad == nil {
		bad = lines.Err()
	}
	if bad != nil {
		_, _ = io.Copy(io.Discard, out) // let it end
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s scan: %w: %s", binary, err, strings.TrimSpace(stderr.String()))
	}
	if bad != nil {
		return fmt.Errorf("read the alerts of %s: %w", binary, bad)
	}
	return nil
}

// farcallAlerts are the alerts of the judged days at or above a score. Live, an alert comes with the delivery of the first
// event that carries it past the threshold: of the first method that does, or, where none does alone, of the event that leads.
func farcallAlerts(ctx context.Context, binary, dir string, s *stream, least, threshold float64) ([]*alert, error) {
	delivered := s.delivered()
	var alerts []*alert
	err := farcall(ctx, binary, dir, least, nil, func(d *document) error {
		lead, ok := s.numberOf(d.AWS.CloudTrail.EventID)
		if !ok {
			return fmt.Errorf("the alert about %s from %s names event %q, which is none of the simulation", d.Farcall.Principal, d.Farcall.Place, d.AWS.CloudTrail.EventID)
		}
		e := &s.events[delivered[lead].index]
		a := &alert{at: e.at, raised: math.MaxUint32, score: d.Farcall.Score, incident: -1, kind: s.labelOf(e).kind, event: lead}
		if a.at < s.judgedFrom {
			return nil
		}
		a.incident = s.labelOf(e).incident
		for _, m := range d.Farcall.Methods {
			n, ok := s.numberOf(m.EventID)
			if !ok {
				return fmt.Errorf("the alert about %s from %s names event %q, which is none of the simulation", d.Farcall.Principal, d.Farcall.Place, m.EventID)
			}
			if x := s.labelOf(&s.events[delivered[n].index]).incident; x >= 0 {
				a.incident = x
			}
			if m.Score >= threshold {
				a.raised = min(a.raised, delivered[n].at)
			}
		}
		if a.raised == math.MaxUint32 {
			a.raised = delivered[lead].at
		}
		alerts = append(alerts, a)
		return nil
	})
	return alerts, err
}

// asked is how farcall's own look-up compares with the places that worlds are made of.
type asked struct {
	Addresses int      `json:"addresses"`
	Differ    int      `json:"differ"`
	Examples  []string `json:"examples,omitempty"`
}

// hostsPerNetwork is how many addresses of each network and prefix askPlaces looks up.
const hostsPerNetwork = 3

// askPlaces lets farcall locate addresses of every network that a world can use. Each is called from by a user of its own;
// with all thresholds at 0 every one makes an alert, which says the place.
func askPlaces(ctx context.Context, binary string, l *lists) (*asked, error) {
	s := &stream{lists: l, labels: []label{{ordinary, -1}}}
	r := rand.New(rand.NewPCG(1, 'p'))
	want := map[string]string{}
	hours := map[string]uint32{}
	add := func(address, place string) {
		want[address] = place
		// One a place and hour: past 32 principals in a place and hour farcall only counts them, and may take one for another.
		hours[place]++
		s.principals = append(s.principals, principal{kind: iamUser, account: "123456789012", name: fmt.Sprintf("user-%d", len(s.principals))})
		s.sessions = append(s.sessions, session{principal: uint32(len(s.principals) - 1), address: address, account: "123456789012", region: "us-east-1"})
		s.events = append(s.events, event{at: hours[place] * hour, id: uint32(len(s.events)), session: uint32(len(s.sessions) - 1), method: l.method("sts:GetCallerIdentity")})
	}
	for _, code := range l.codes {
		c := l.countries[code]
		for i := range c.networks {
			for range hostsPerNetwork {
				add((&country{networks: c.networks[i : i+1]}).host(r), code)
			}
		}
		for range hostsPerNetwork * len(c.six) {
			add(c.host6(r), code)
		}
	}
	for _, region := range slices.Sorted(maps.Keys(countryOf)) {
		for range hostsPerNetwork {
			add(l.instance(r, region, false), "aws:"+region)
			add(l.instance(r, region, true), "aws:"+region)
		}
	}
	s.count = uint32(len(s.events))
	dir, err := os.MkdirTemp("", "farcall-places-")
	if err != nil {
		return nil, fmt.Errorf("temporary folder: %w", err)
	}
	defer os.RemoveAll(dir)
	if _, err := s.write(dir); err != nil {
		return nil, err
	}
	a := &asked{Addresses: len(want)}
	err = farcall(ctx, binary, dir, 0, []string{"FARCALL_DETECT_FLOOR=0"}, func(d *document) error {
		if want[d.Source.Address] == d.Farcall.Place {
			delete(want, d.Source.Address)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.Differ = len(want)
	for _, address := range slices.Sorted(maps.Keys(want)) {
		if len(a.Examples) < 10 {
			a.Examples = append(a.Examples, address+" "+want[address])
		}
	}
	return a, nil
}

type delivery struct {
	index uint32 // in stream.events
	at    uint32
}

// delivered says of each event, by number, where it is and when it first came.
func (s *stream) delivered() []delivery {
	d := make([]delivery, s.count)
	for i := range s.events {
		e := &s.events[i]
		at := e.at + uint32(e.delay)
		if e.again {
			d[e.id].at = min(d[e.id].at, at)
		} else {
			d[e.id] = delivery{uint32(i), at}
		}
	}
	return d
}
