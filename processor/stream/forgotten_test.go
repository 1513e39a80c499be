package stream

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
)

// commits is what the group has, to be committed again later.
func (b *broker) commits() kadm.Offsets {
	b.t.Helper()
	rs, err := b.adm.FetchOffsets(b.t.Context(), group)
	if err != nil || rs.Error() != nil {
		b.t.Fatal(err, rs.Error())
	}
	return rs.Offsets()
}

// commit makes the group answer with these offsets from now on.
func (b *broker) commit(os kadm.Offsets) {
	b.t.Helper()
	if err := b.adm.CommitAllOffsets(b.t.Context(), group, os); err != nil {
		b.t.Fatal(err)
	}
}

// TestOffsetsForgotten is a coordinator that answers with older offsets than were committed. The state knows better; and what is
// processed then can abort, and commits behind the position that it had.
func TestOffsetsForgotten(t *testing.T) {
	t.Parallel()
	for name, stateless := range map[string]bool{"with rows": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &counting{stateless: stateless}
			b, m := stopped(t, c)
			old := b.commits()
			m = b.run("a", m.disk, c)
			b.spread(40)
			m.drains()
			m.stop()
			b.dismiss()
			b.commit(old)
			b.send(0, "bad", "k1")
			b.send(1, "k1")
			c = &counting{stateless: stateless, before: poisonous}
			m = b.run("b", disk(), c)
			m.forgotten = 2
			m.drains()
			m.stop()
			if is := c.openings(1); len(is) == 0 || is[0].StreamTime != b.sent[1][69].time {
				t.Errorf("partition 1 went on with %v, want stream time %d", is, b.sent[1][69].time)
			}
			if stateless {
				for p := range int32(2) {
					if n := c.attempts(p, 69); n != 0 {
						t.Errorf("the last record of partition %d before the start was processed again", p)
					}
				}
				b.written() // none of them twice
				return
			}
			b.check(b.isBad)
		})
	}
}

// TestOffsetsSetBack is a person who has a stage without rows read its input again: that is done, though it was processed before.
func TestOffsetsSetBack(t *testing.T) {
	t.Parallel()
	b, m := stopped(t, &counting{stateless: true})
	b.setOffset(40)
	c := &counting{stateless: true}
	again := b.run("a", m.disk, c)
	again.drains()
	again.stop()
	if before, from := c.attempts(0, 39), c.attempts(0, 40); before != 0 || from == 0 {
		t.Errorf("record 39 was processed %d times and record 40 %d times, want none and some", before, from)
	}
}

// TestOffsetsOfAnotherCluster: a tool that mirrors topics and offsets brings farcall's mark along, and the offsets of another topic.
func TestOffsetsOfAnotherCluster(t *testing.T) {
	t.Parallel()
	b, m := stopped(t, &counting{})
	var os kadm.Offsets
	os.Add(kadm.Offset{Topic: input, Partition: 0, At: 40, LeaderEpoch: -1, Metadata: offsetMetadata{horizon: 1, topic: [16]byte{1}}.String()})
	b.commit(os)
	b.run("a", m.disk, &counting{}).fails("in/0", "input offset 50", "group at 40")
	b.dismiss()
	os.Add(kadm.Offset{Topic: input, Partition: 0, At: 50, LeaderEpoch: -1, Metadata: offsetMetadata{horizon: 1, topic: [16]byte{1}}.String()})
	b.commit(os)
	b.run("a", m.disk, &counting{}).fails("in/0", "offset 50 is next in another topic", "The rows of changelog end there")
}

// TestOffsetsMissingWithoutRows is TestOffsetsMissing for a stage without rows that begins with what comes after its start.
func TestOffsetsMissingWithoutRows(t *testing.T) {
	t.Parallel()
	latest := func() *counting { return &counting{stateless: true, start: Latest} }
	b := newBroker(t, 2)
	m := b.run("a", disk(), latest())
	m.runs(2)
	b.spread(100)
	m.drains()
	m.stop()
	if _, err := b.adm.DeleteGroups(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	b.send(1, "k1", "k2")
	c := latest()
	again := b.run("b", disk(), c)
	again.runs(2)
	if is := c.openings(0); len(is) == 0 || is[0].StreamTime != b.sent[0][49].time {
		t.Errorf("partition 0 went on with %v, want stream time %d", is, b.sent[0][49].time)
	}
	b.send(0, "k1")
	again.drains()
	again.stop()
	b.checkRead(nil)
}

// TestPositionOfAnotherTopic: the input was made anew under its name, so its offsets are others.
func TestPositionOfAnotherTopic(t *testing.T) {
	t.Parallel()
	b, m := stopped(t, &counting{stateless: true})
	if _, err := b.adm.DeleteGroups(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	if _, err := b.adm.DeleteTopics(t.Context(), input); err != nil {
		t.Fatal(err)
	}
	if err := b.c.CreateTopic(input, 2, nil); err != nil {
		t.Fatal(err)
	}
	b.connect()
	b.sent = map[int32][]sent{}
	b.send(0, "new")
	c := &counting{stateless: true}
	again := b.run("a", m.disk, c)
	again.drains()
	again.stop()
	if n := c.attempts(0, 0); n != 1 {
		t.Errorf("the first record of the new topic was processed %d times", n)
	}
}

// TestInputRecreated: the input was made anew under its name and is longer by now than the group's offset. What it holds is new all
// the same.
func TestInputRecreated(t *testing.T) {
	t.Parallel()
	b, m := stopped(t, &counting{stateless: true})
	old := b.commits()
	if _, err := b.adm.DeleteTopics(t.Context(), input); err != nil {
		t.Fatal(err)
	}
	if err := b.c.CreateTopic(input, 2, nil); err != nil {
		t.Fatal(err)
	}
	b.connect()
	b.commit(old)
	b.sent = map[int32][]sent{}
	b.spread(150)
	b.run("a", m.disk, &counting{stateless: true}).fails("offset 50 is next in another topic", "Set count.on_offset_out_of_range")
	b.dismiss()
	c := &counting{stateless: true, outOfRange: ToEarliest}
	again := b.run("a", m.disk, c)
	again.drains()
	again.stop()
	for p := range int32(2) {
		if n := c.attempts(p, 0); n == 0 {
			t.Errorf("the first record of partition %d of the new topic was not processed", p)
		}
	}
}

// TestPositionsMissing: the topic of positions is not there, as after an update of farcall alone. Nothing is processed until it is.
func TestPositionsMissing(t *testing.T) {
	t.Parallel()
	b, m := stopped(t, &counting{stateless: true})
	if _, err := b.adm.DeleteTopics(t.Context(), positions); err != nil {
		t.Fatal(err)
	}
	b.send(0, "k1")
	again := b.run("a", m.disk, &counting{stateless: true})
	await(t, "a word about the topic", func() bool {
		return strings.Contains(again.log.String(), "describe "+positions+" (farcall topics apply creates it)")
	})
	if at := b.committed(0); at != 50 {
		t.Errorf("the group is at %d", at)
	}
	if err := b.c.CreateTopic(positions, 3, nil); err != nil {
		t.Fatal(err)
	}
	again.drains()
	again.stop()
	b.checkRead(nil)
}
