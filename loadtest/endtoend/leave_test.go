package endtoend

import (
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/loadtest/kafka"
)

// TestLeave stops a process with SIGTERM, twice: its seats in the groups stay, and with --leave they are free at once. The
// session outlasts the test, so that nothing but the process can free them.
func TestLeave(t *testing.T) {
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
	i := newInstallation(t, c, "leave")
	if out, err := i.output("topics", "apply"); err != nil {
		t.Fatalf("topics apply: %v\n%s", err, out)
	}
	groups := []string{"leave.route", "leave.detect", "leave.triage"}
	seats := func() (names []string) {
		t.Helper()
		gs, err := adm.DescribeGroups(t.Context(), groups...)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range gs.Sorted() {
			for _, m := range g.Members {
				if m.InstanceID != nil {
					names = append(names, *m.InstanceID)
				}
			}
		}
		return names
	}
	t.Setenv("FARCALL_STREAM_SESSION_TIMEOUT", "5m")
	for _, args := range [][]string{nil, {"--leave"}} {
		i.start(args...)
		i.await("readiness", func() bool { status, _ := i.get("/readyz"); return status == 200 })
		if got := seats(); len(got) != 3 {
			t.Errorf("in operation the seats are %v", got)
		}
		i.end(syscall.SIGTERM)
		want := 3
		if args != nil {
			want = 0
		}
		if got := seats(); len(got) != want {
			t.Errorf("after run %s the seats are %v, want %d", strings.Join(args, " "), got, want)
		}
	}
}
