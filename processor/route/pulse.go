package route

import (
	"github.com/farcall/farcall/processor/cloudtrail"
	"github.com/farcall/farcall/topics"
)

// pulses remembers of which accounts and regions a sign of life was told, and in which panes. Like told it may forget at any time.
// It takes one look for an event, whatever its pane: it is asked of ignored events too.
type pulses map[uint64]beaten

// beaten is which of the last 64 panes were told: bit i stands for newest − i, by the numbers of the panes.
type beaten struct {
	newest int64
	bits   uint64
}

// MaxPulses bounds the accounts and regions that each task remembers, at about 40 bytes each: past it route begins anew.
const MaxPulses = 14 << 10

// first says whether a pane is told for the first time, and remembers it. What lies 64 panes and more behind the newest is never
// told: history that is brought in beside live events would be told event by event, and says little of who speaks now.
func (p pulses) first(key uint64, pane int64) bool {
	b, ok := p[key]
	switch ahead := pane - b.newest; {
	case !ok:
		if len(p) >= MaxPulses {
			clear(p)
		}
		b = beaten{pane, 1}
	case ahead >= 64:
		b = beaten{pane, 1}
	case ahead > 0:
		b = beaten{pane, b.bits<<ahead | 1}
	case ahead <= -64 || b.bits&(1<<-ahead) != 0:
		return false
	default:
		b.bits |= 1 << -ahead
	}
	p[key] = b
	return true
}

// pulse tells detect that an account, a region of it, and the raw partition are alive.
func (t *Task) pulse(e *cloudtrail.Event, pane int64) {
	account := e.Account()
	t.hashed = append(append(t.hashed[:0], account...), 0)
	t.hashed = append(t.hashed, e.AWSRegion...)
	if !t.pulses.first(hash(t.hashed), pane/t.pane) {
		return
	}
	p := topics.Pulse{Account: account, Region: e.AWSRegion, Topic: t.raw.Source.Topic, Partition: t.raw.Source.Partition, Pane: pane, EventTime: e.TimeMillis}
	t.stats.Pulses++
	t.more = p.Append(t.more[:0])
	t.out.Pulse(p.Key(), t.more)
}
