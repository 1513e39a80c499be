package stream

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// paceMemory is how long a worker's word on its backlog counts: some commits.
const paceMemory = 2 * time.Second

// pace is what the workers of a process know of each other's backlogs, by stage, in the order of the flow. What a stage that is behind
// tells is old already, so that those behind it in the flow gain nothing from committing it at once, while each commit costs
// them the same however little is in it.
type pace []struct{ behind, live atomic.Int64 } // Unix nanoseconds of the last such word

// note has a worker of a stage say whether all that it reads is behind.
func (p pace) note(stage int, behind bool) {
	at := &p[stage].live
	if behind {
		at = &p[stage].behind
	}
	at.Store(time.Now().UnixNano())
}

// upstream says whether a stage before this one is behind, all of its workers in this process.
func (p pace) upstream(stage int) bool {
	now := time.Now().UnixNano()
	for i := range p[:stage] {
		s := &p[i]
		if now-s.behind.Load() < int64(paceMemory) && now-s.live.Load() >= int64(paceMemory) {
			return true
		}
	}
	return false
}

// waits says whether behind what was polled so many records more wait to be read, and behind each partition of it another poll's
// worth. One that is not behind has somebody who waits for its alerts.
func waits(fs kgo.Fetches, poll, txn int) bool {
	behind, all := true, int64(0)
	fs.EachPartition(func(p kgo.FetchTopicPartition) {
		if n := len(p.Records); n > 0 {
			waiting := p.LastStableOffset - p.Records[n-1].Offset - 1
			behind = behind && waiting >= int64(poll)
			all += waiting
		}
	})
	return behind && all >= int64(txn)
}

// due is when the running transaction should commit: an interval after the last commit, so that sparse traffic commits at
// once and steady traffic at the interval; stretched while polls come back full, and further in a backlog. Behind the first stage it is
// half of it: what comes there comes in one piece with each commit of the stage before, has waited once, and with an interval as long as
// theirs would wait again, now less and now more, as the two drift past each other.
func (w *worker) due() time.Time {
	d := w.o.CommitInterval
	if w.order > 0 {
		d /= 2
	}
	switch {
	case w.behind, w.o.pace.upstream(w.order):
		d = max(w.o.CommitStretch, w.o.TxnTimeout/10)
	case w.full:
		d = w.o.CommitStretch
	}
	return w.lastCommit.Add(d)
}
