package stream

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// stopped is an installation that has processed something and stands still, its group empty.
func stopped(t *testing.T, c *counting) (*broker, *member) {
	b := newBroker(t, 2)
	m := b.run("a", disk(), c)
	b.spread(100)
	m.drains()
	m.stop()
	b.dismiss()
	return b, m
}

// setOffset commits an offset for input partition 0 by hand.
func (b *broker) setOffset(at int64) {
	b.t.Helper()
	var os kadm.Offsets
	os.Add(kadm.Offset{Topic: input, Partition: 0, At: at, LeaderEpoch: -1})
	if err := b.adm.CommitAllOffsets(b.t.Context(), group, os); err != nil {
		b.t.Fatal(err)
	}
}

func TestPositionDiffersFromOffset(t *testing.T) {
	t.Parallel()
	b, m := stopped(t, &counting{})
	for _, at := range []int64{40, 51} {
		b.setOffset(at)
		b.run("a", m.disk, &counting{}).fails("in/0", "input offset 50", fmt.Sprintf("group at %d", at))
		b.dismiss()
	}
	b.setOffset(50)
	again := b.run("a", m.disk, &counting{})
	b.spread(20)
	again.drains()
	again.stop()
	b.check(nil)
}

// TestOffsetsMissing is a group that was empty for so long that the broker has forgotten its offsets.
func TestOffsetsMissing(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]bool{"with the local state": true, "with the changelog alone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, m := stopped(t, &counting{})
			if _, err := b.adm.DeleteGroups(t.Context(), group); err != nil {
				t.Fatal(err)
			}
			if at := b.committed(0); at != -1 {
				t.Fatalf("the group still has offset %d", at)
			}
			b.send(1, "k1", "k2")
			d := m.disk
			if !keep {
				d = disk()
			}
			c := &counting{}
			again := b.run("a", d, c)
			again.runs(2)
			await(t, "the new records", func() bool { return b.committed(1) == 52 })
			b.send(0, "k1")
			again.drains()
			again.stop()
			for p := range int32(2) {
				if n := c.attempts(p, 0); n != 0 {
					t.Errorf("the first record of partition %d was processed again", p)
				}
			}
			b.check(nil)
		})
	}
}

func TestChangelogMissing(t *testing.T) {
	t.Parallel()
	b, m := stopped(t, &counting{})
	if err := b.c.DeleteTopic(changelog); err != nil {
		t.Fatal(err)
	}
	if err := b.c.CreateTopic(changelog, 2, nil); err != nil {
		t.Fatal(err)
	}
	says := []string{"group committed offset 50", "changelog changelog holds no position"}
	old := b.run("a", m.disk, &counting{})
	old.fails(says...)
	if n := old.value("farcall_state_wiped_total", "stage", "count", "reason", "foreign topic"); n == 0 {
		t.Error("the local state belongs to the changelog that is gone, and was not wiped")
	}
	b.dismiss()
	b.run("a", disk(), &counting{}).fails(says...)
}

func TestFingerprintChanged(t *testing.T) {
	t.Parallel()
	b, m := stopped(t, &counting{fingerprint: "pane=1h scope=organisation"})
	b.run("a", m.disk, &counting{fingerprint: "pane=1h scope=account"}).fails(
		`written with "pane=1h scope=organisation"`, `configuration now says "pane=1h scope=account"`, changelog)
	b.dismiss()
	again := b.run("a", m.disk, &counting{fingerprint: "pane=1h scope=organisation"})
	b.spread(20)
	again.drains()
	again.stop()
	b.check(nil)
}

// TestStateFolderGone restores everything from the changelog.
func TestStateFolderGone(t *testing.T) {
	t.Parallel()
	b, _ := stopped(t, &counting{})
	again := b.run("a", disk(), &counting{})
	b.spread(100)
	again.drains()
	again.runs(2)
	if n := again.value("farcall_restored_rows_total"); n == 0 {
		t.Error("no rows were restored")
	}
	if n := again.value("farcall_state_wiped_total"); n != 0 {
		t.Errorf("%v empty stores were counted as wiped", n)
	}
	again.stop()
	b.check(nil)
}

// TestForeignStateFolder starts on a state folder of another installation, as if somebody had copied it, and then on a
// changelog that was copied to a new topic: what is local belongs to neither.
func TestForeignStateFolder(t *testing.T) {
	t.Parallel()
	_, stranger := stopped(t, &counting{})
	b, m := stopped(t, &counting{})
	wiped := func(m *member) {
		t.Helper()
		if n := m.value("farcall_state_wiped_total", "reason", "foreign topic"); n != 2 {
			t.Errorf("%v stores were wiped, want 2", n)
		}
		if n := m.value("farcall_restored_rows_total"); n == 0 {
			t.Error("no rows were restored")
		}
	}

	again := b.run("a", stranger.disk, &counting{})
	b.spread(100)
	again.drains()
	again.runs(2)
	wiped(again)
	again.stop()
	b.dismiss()
	b.check(nil)

	var rows []*kgo.Record
	for _, r := range b.read(changelog) {
		rows = append(rows, &kgo.Record{Topic: changelog, Partition: r.Partition, Key: r.Key, Value: r.Value})
	}
	if err := b.c.DeleteTopic(changelog); err != nil {
		t.Fatal(err)
	}
	if err := b.c.CreateTopic(changelog, 2, nil); err != nil {
		t.Fatal(err)
	}
	copier, err := kgo.NewClient(kgo.SeedBrokers(b.c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer copier.Close()
	if err := copier.ProduceSync(t.Context(), rows...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	moved := b.run("a", m.disk, &counting{})
	b.spread(100)
	moved.drains()
	moved.runs(2)
	wiped(moved)
	moved.stop()
	b.check(nil)
}
