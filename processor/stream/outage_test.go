package stream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestBrokersAway cuts a process off from its brokers for a while: it must wait, not end, and go on where it was.
func TestBrokersAway(t *testing.T) {
	// The client gives up on a request at once, as it does in a long outage.
	impatient := func(n *network) func(o *Options) {
		return func(o *Options) {
			o.Client = append(o.Client, kgo.Dialer(n.dial), kgo.RequestRetries(1), kgo.RetryTimeout(100*time.Millisecond))
			o.TxnTimeout = time.Second
		}
	}
	t.Run("at the start", func(t *testing.T) {
		t.Parallel()
		b, n := newBroker(t, 2), newNetwork()
		n.set(true)
		m := b.run("a", disk(), &counting{}, impatient(n))
		b.spread(100)
		n.missed(t)
		n.set(false)
		m.drains()
		m.stop()
		b.check(nil)
	})
	t.Run("in traffic", func(t *testing.T) {
		t.Parallel()
		b, n := newBroker(t, 2), newNetwork()
		m := b.run("a", disk(), &counting{}, impatient(n))
		for range 2 {
			b.spread(100)
			m.drains()
			n.set(true)
			b.spread(100)
			n.missed(t)
			n.set(false)
			m.drains()
		}
		m.stop()
		b.check(nil)
	})
	t.Run("in a restore", func(t *testing.T) {
		t.Parallel()
		b, _ := stopped(t, &counting{})
		n := newNetwork()
		b.c.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
			if r.(*kmsg.ListOffsetsRequest).Topics[0].Topic != changelog {
				return nil, nil, false
			}
			b.c.DropControl()
			n.set(true)
			return nil, errors.New("the network is cut"), true
		})
		m := b.run("a", disk(), &counting{}, impatient(n))
		n.missed(t)
		await(t, "clients that are rebuilt", func() bool { return m.restarts() > 0 })
		n.set(false)
		b.spread(100)
		m.drains()
		m.stop()
		b.check(nil)
	})
}

// TestFaults has the brokers answer with errors in the middle of traffic, some of them after doing what was asked. Whatever
// comes of it, all is counted once.
func TestFaults(t *testing.T) {
	for _, f := range []kfake.Fault{
		{Keys: []kmsg.Key{kmsg.Produce}, Topic: output, Err: kerr.NotLeaderForPartition},
		{Keys: []kmsg.Key{kmsg.Produce}, Topic: changelog, Err: kerr.RequestTimedOut},
		{Keys: []kmsg.Key{kmsg.Produce}, Topic: changelog, Err: kerr.InvalidProducerEpoch},
		{Keys: []kmsg.Key{kmsg.Produce}, Topic: output, Err: kerr.TransactionAbortable},
		{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Topic: input, Err: kerr.RebalanceInProgress},
		{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Topic: input, Err: kerr.IllegalGeneration},
		{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Topic: input, Err: kerr.FencedInstanceID},
		{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.ConcurrentTransactions},
		{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.UnknownServerError},
		{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.RequestTimedOut},
		{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.ProducerFenced},
		{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.UnknownMemberID},
		{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.IllegalGeneration},
		{Keys: []kmsg.Key{kmsg.Fetch}, Topic: input, Err: kerr.NotLeaderForPartition, Count: 3},
	} {
		t.Run(fmt.Sprintf("%s %s", f.Keys[0].Name(), f.Err.Message), func(t *testing.T) {
			t.Parallel()
			b := newBroker(t, 2)
			m := b.run("a", disk(), &counting{}, func(o *Options) { o.TxnTimeout = 2 * time.Second })
			b.spread(40)
			m.drains()
			h := b.c.Fault(f)
			for h.Hits() == 0 && !t.Failed() {
				b.spread(40)
				m.drains()
			}
			b.spread(40)
			m.drains()
			m.stop()
			b.check(nil)
		})
	}
}

func TestErrorsAreSorted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want error // nil: fatal
	}{
		{kerr.MessageTooLarge, nil},
		{kerr.TopicAuthorizationFailed, nil},
		{kerr.TransactionalIDAuthorizationFailed, nil},
		{errors.New("write state: no space left on device"), nil},
		{kerr.ProducerFenced, errFenced},
		{kerr.InvalidProducerEpoch, errFenced},
		{kerr.NotLeaderForPartition, errRestart},
		{kgo.ErrRecordTimeout, errRestart},
		{io.EOF, errRestart},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, errRestart},
	} {
		got := sorted(fmt.Errorf("produce 12 bytes to out: %w", c.err))
		if errors.Is(got, errFenced) != (c.want == errFenced) || errors.Is(got, errRestart) != (c.want == errRestart) || !errors.Is(got, c.err) {
			t.Errorf("%v is taken for %v", c.err, got)
		}
	}
}
