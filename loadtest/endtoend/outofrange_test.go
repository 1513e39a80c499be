package endtoend

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/loadtest/kafka"
)

// TestOutOfRange has the broker delete raw records that farcall has not read yet. It refuses to start, says where the hole is,
// and goes on past it when it is told to.
func TestOutOfRange(t *testing.T) {
	c := kafka.Require(t, kafka.Options{})
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(t.Context(), 1, 1, nil, raw); err != nil {
		t.Fatal(err)
	}
	produce := func(n int) {
		t.Helper()
		for range n {
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: raw, Value: []byte("no event")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	i := newInstallation(t, c, "hole")
	if out, err := i.output("topics", "apply"); err != nil {
		t.Fatalf("topics apply: %v\n%s", err, out)
	}
	committed := func(at int64) func() bool {
		return func() bool {
			os, err := adm.FetchOffsets(t.Context(), "hole.route")
			o, ok := os.Lookup(raw, 0)
			return err == nil && ok && o.At == at // the broker takes a moment to have a coordinator
		}
	}
	produce(5)
	i.start()
	i.await("the first records", committed(5))
	i.end(syscall.SIGTERM)

	produce(10)
	var upTo kadm.Offsets
	upTo.Add(kadm.Offset{Topic: raw, At: 12})
	if rs, err := adm.DeleteRecords(t.Context(), upTo); err != nil || rs.Error() != nil {
		t.Fatal(err, rs.Error())
	}
	out, err := i.output("run")
	if err == nil || !strings.Contains(out, raw+"/0: offset 5 is next and the topic has 12 to 15") || !strings.Contains(out, "route.on_offset_out_of_range") {
		t.Fatalf("over a hole farcall run says (%v):\n%s", err, out)
	}
	for _, step := range []struct {
		policy string
		start  int64 // of what the topic holds
		end    int64
		over   int
	}{{"earliest", 12, 15, 7}, {"latest", 20, 25, 10}} {
		var upTo kadm.Offsets
		upTo.Add(kadm.Offset{Topic: raw, At: step.start})
		if rs, err := adm.DeleteRecords(t.Context(), upTo); err != nil || rs.Error() != nil {
			t.Fatal(err, rs.Error())
		}
		t.Setenv("FARCALL_ROUTE_ON_OFFSET_OUT_OF_RANGE", step.policy)
		i.start()
		i.await("the end of the topic with "+step.policy, committed(step.end))
		metric := `farcall_passed_over_records_total{stage="route"} ` + strconv.Itoa(step.over)
		i.await(metric, func() bool { _, body := i.get("/metrics"); return strings.Contains(body, metric+"\n") })
		i.end(syscall.SIGTERM)
		produce(10)
	}
}
