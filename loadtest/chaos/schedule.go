package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// fault is one line of a schedule.
type fault struct {
	kind string
	// target is the number of a process or a broker, 0 for one that the kind chooses.
	target int
	// now means that the fault before need not have healed.
	now bool
}

func (f fault) String() string {
	s := f.kind
	if f.target > 0 {
		s += " " + strconv.Itoa(f.target)
	}
	if f.now {
		s += " now"
	}
	return s
}

// kind is a kind of fault.
type kind struct {
	name, what string
	weight     int // share in a schedule of chance
	targets    int // what a target may be at the most; 0: it has none
}

var kinds = []kind{
	{"kill", "kill -9 of a process that restarts at once", 6, processes},
	{"kill-away", "kill -9 of a process that stays away until the others have taken over", 4, processes},
	{"zombie", "SIGSTOP of a process for longer than the session timeout, then SIGCONT", 4, processes},
	{"term", "SIGTERM of a process, which must exit with 0, and its restart", 4, processes},
	{"roll", "SIGTERM and restart of every process, one after the other", 2, 0},
	{"scale", "down to 1 process, up to 4, down to 2, and back to 3", 1, 0},
	{"wipe", "kill -9 of a process and restart without its state folder", 4, processes},
	{"disk-full", "no space left for the state folder of process 1, which must exit with one clear line; then space again", 1, 0},
	{"broker-leader", "kill -9 and restart of the broker that leads a partition between the stages", 2, brokers},
	{"broker-group", "kill -9 and restart of the broker that coordinates a consumer group", 2, brokers},
	{"broker-transaction", "kill -9 and restart of the broker that coordinates the transactions of a worker", 2, brokers},
	{"brokers-roll", "stop and restart of every broker, one after the other", 1, 0},
	{"brokers-all", "kill -9 of all brokers at once, and their restart", 1, 0},
}

func (k kind) broker() bool { return strings.HasPrefix(k.name, "broker") }

func kindOf(name string) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

// chance makes a schedule of n faults: every kind once, in any order, and then by weight. One in five that hit a process comes
// before the fault before it has healed.
func chance(seed uint64, n int) []fault {
	rng := rand.New(rand.NewPCG(seed, 2))
	weights := 0
	for _, k := range kinds {
		weights += k.weight
	}
	order := rng.Perm(len(kinds))
	var faults []fault
	for i := range n {
		var k kind
		if i < len(kinds) {
			k = kinds[order[i]]
		} else {
			at := rng.IntN(weights)
			for _, k = range kinds {
				if at -= k.weight; at < 0 {
					break
				}
			}
		}
		f := fault{kind: k.name}
		if k.targets > 0 && !k.broker() { // a broker is chosen by its role when the time comes
			f.target = 1 + rng.IntN(processes)
			f.now = i > 0 && rng.IntN(5) == 0
		}
		faults = append(faults, f)
	}
	return faults
}

// parseSchedule reads a schedule: one fault a line, in order,
//
//	KIND [TARGET] [now]
//
// KIND is one of kinds; TARGET the number of a process or a broker, from 1, for kinds that hit one, and chosen where it is
// missing; "now" injects the fault without waiting for the one before to heal. Empty lines, and what follows a #, are nothing.
func parseSchedule(r io.Reader) (faults []fault, err error) {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		k, ok := kindOf(words[0])
		if !ok {
			var names []string
			for _, k := range kinds {
				names = append(names, k.name)
			}
			return nil, fmt.Errorf("schedule, line %d: %q is no kind of fault; they are %s", n, words[0], strings.Join(names, ", "))
		}
		f := fault{kind: k.name}
		for _, w := range words[1:] {
			target, err := strconv.Atoi(w)
			switch {
			case w == "now":
				f.now = true
			case err != nil || target < 1 || target > k.targets || f.target > 0:
				return nil, fmt.Errorf("schedule, line %d: %q: %s takes a number from 1 to %d, and the word now (0: no number)", n, w, k.name, k.targets)
			default:
				f.target = target
			}
		}
		faults = append(faults, f)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("schedule: %w", err)
	}
	return faults, nil
}
