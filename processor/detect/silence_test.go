package detect

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// ear is a task with its store, and the notices that it gave.
type ear struct {
	t       testing.TB
	cfg     Config
	store   *state.Store
	task    *Task
	notices []alert.Silence
	// ahead is how far the wall clock of the records is ahead of event time.
	ahead time.Duration
}

func newEar(t testing.TB, cfg Config) *ear {
	e := &ear{t: t, cfg: cfg, store: newStore(t)}
	e.reopen()
	return e
}

// reopen commits and makes the task anew, as a restart does.
func (e *ear) reopen() {
	e.t.Helper()
	if e.task != nil {
		e.task.Flush()
		if err := e.store.Commit(state.Position{}); err != nil {
			e.t.Fatal(err)
		}
	}
	e.task = newTask(e.t, e.cfg, e.store)
}

// voice is a pulse, some hours after monday.
type voice struct {
	account, region string
	partition       int32
	hour            int64
}

func (e *ear) pulse(v voice) *topics.Pulse {
	at := monday + v.hour*3600
	return &topics.Pulse{Account: v.account, Region: v.region, Topic: "cloudtrail", Partition: v.partition, Pane: e.task.paneOf(at * 1000), EventTime: at * 1000}
}

func (e *ear) hear(voices ...voice) {
	e.t.Helper()
	for _, v := range voices {
		p := e.pulse(v)
		heard, err := e.task.Pulse(p, p.EventTime+e.ahead.Milliseconds(), func(s *alert.Silence) error {
			e.notices = append(e.notices, *s)
			return nil
		})
		if err != nil || !heard {
			e.t.Fatalf("%+v: heard %t, %v", v, heard, err)
		}
	}
}

// hours has each voice speak in every hour from one to another.
func (e *ear) hours(from, to int64, voices ...voice) {
	e.t.Helper()
	for h := from; h < to; h++ {
		for _, v := range voices {
			v.hour = h
			e.hear(v)
		}
	}
}

// said takes what was told since the last call, in sentences.
func (e *ear) said() (sentences []string) {
	for i := range e.notices {
		sentences = append(sentences, e.notices[i].Reason())
	}
	e.notices = nil
	return sentences
}

func (e *ear) want(silent Silent, sentences ...string) {
	e.t.Helper()
	if d := cmp.Diff(sentences, e.said()); d != "" {
		e.t.Errorf("said (-want +got):\n%s", d)
	}
	if got, _ := e.task.Silent(); got != silent {
		e.t.Errorf("silent are %+v, want %+v", got, silent)
	}
}

var (
	alive = voice{account: "111122223333", region: "us-east-1"}
	other = voice{account: "444455556666", region: "eu-west-1", partition: 1}
)

// TestSilence: one account and the partition that it alone is in fall silent, and speak again.
func TestSilence(t *testing.T) {
	e := newEar(t, DefaultConfig())
	e.hours(0, 240, alive, other)
	e.want(Silent{})
	e.hours(240, 246, alive)
	e.want(Silent{}) // 6 hours since hour 239
	e.hours(246, 247, alive)
	account, partition := e.notices[0], e.notices[1]
	e.want(Silent{Accounts: 1, Partitions: 1},
		"account 444455556666 has been silent for 7 h; its longest pause in 9 days was 1 h",
		"partition 1 of topic cloudtrail has been silent for 7 h; its longest pause in 9 days was 1 h")
	if account.Since != monday+239*3600 || account.Until != 0 || account.Version() != 1 || account.Time != (monday+246*3600)*1000 || account.What() != "account" || partition.What() != "partition" {
		t.Errorf("the account's notice is %+v", account)
	}
	e.hours(247, 258, alive) // once is enough
	e.want(Silent{Accounts: 1, Partitions: 1})
	other := other
	other.hour = 100 // a late event is no end of it
	e.hear(other)
	e.want(Silent{Accounts: 1, Partitions: 1})
	other.hour = 258
	e.hear(other)
	if end := e.notices[1]; end.ID() != account.ID() || end.Version() != 2 || end.Since != account.Since || end.Until != monday+258*3600 {
		t.Errorf("the notice of the end is %+v, of the silence %+v", end, account)
	}
	e.want(Silent{},
		"partition 1 of topic cloudtrail speaks again, after 19 h of silence",
		"account 444455556666 speaks again, after 19 h of silence")
	// Three times the pause that it had is no news now.
	e.hours(259, 259+3*19, alive)
	e.want(Silent{})
	e.hours(259+3*19, 259+3*19+1, alive)
	e.want(Silent{Accounts: 1, Partitions: 1},
		"account 444455556666 has been silent for 58 h; its longest pause in 10 days was 19 h",
		"partition 1 of topic cloudtrail has been silent for 58 h; its longest pause in 10 days was 19 h")
}

// TestWhoIsNotSilent: those who have a reason are not told of.
func TestWhoIsNotSilent(t *testing.T) {
	office := func(e *ear, days int64) { // Monday to Friday, from 9 to 17 o'clock
		for d := range days {
			for h := range int64(24) {
				e.hours(d*24+h, d*24+h+1, alive)
				if d%7 < 5 && h >= 9 && h < 17 {
					e.hours(d*24+h, d*24+h+1, other)
				}
			}
		}
	}
	for _, c := range []struct {
		name string
		do   func(*ear)
		want []string
	}{
		{"at night and at the weekend", func(e *ear) { office(e, 60) }, nil},
		{"on holiday, for longer than three weekends", func(e *ear) { office(e, 14); e.hours(14*24, 30*24, alive) }, []string{
			"account 444455556666 has been silent for 8 days; its longest pause in 11 days was 65 h",
			"partition 1 of topic cloudtrail has been silent for 8 days; its longest pause in 11 days was 65 h"}},
		{"new", func(e *ear) { e.hours(0, 168, alive, other); e.hours(168, 400, alive) }, nil},
		{"known for a week", func(e *ear) { e.hours(0, 169, alive, other); e.hours(169, 200, alive) }, []string{
			"account 444455556666 has been silent for 7 h; its longest pause in 7 days was 1 h",
			"partition 1 of topic cloudtrail has been silent for 7 h; its longest pause in 7 days was 1 h"}},
		{"seen once a month", func(e *ear) {
			for m := range int64(5) {
				e.hours(m*720, (m+1)*720, alive)
				e.hours((m+1)*720, (m+1)*720+1, other)
			}
		}, nil},
		{"all together", func(e *ear) { e.hours(0, 240, alive, other); e.hours(300, 310, alive, other) }, nil},
		{"behind a raw partition that is read days ahead", func(e *ear) {
			e.hours(0, 240, alive, other)
			e.ahead = 200 * time.Hour // farcall was away for a week, and reads on within the hour
			for h := int64(240); h < 408; h++ {
				e.hours(h, h+1, alive)
				e.ahead -= time.Hour
			}
			e.ahead = 200 * time.Hour
			e.hours(240, 241, other)
		}, nil},
		{"in front of a farcall that was away", func(e *ear) {
			e.hours(0, 240, alive, other)
			e.hours(270, 271, alive) // the first that it hears again, and then the other
			e.hours(271, 272, alive, other)
		}, []string{ // what was missing in between it has missed, or will hear late: nobody is silent now
		}},
		{"with a region that nobody uses while its account sleeps", func(e *ear) {
			second := other
			second.region = "eu-west-2"
			e.hours(0, 240, alive, other, second)
			e.hours(240, 246, alive, other)
			e.hours(246, 252, alive)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEar(t, DefaultConfig())
			c.do(e)
			if d := cmp.Diff(append([]string(nil), c.want...), e.said()); d != "" {
				t.Errorf("said (-want +got):\n%s", d)
			}
		})
	}
}

// TestSilentRegion: a region is told of while its account speaks elsewhere, and not when the account falls silent as a whole.
func TestSilentRegion(t *testing.T) {
	second := other
	second.region = "us-west-2"
	e := newEar(t, DefaultConfig())
	e.hours(0, 240, alive, other, second)
	e.hours(240, 250, alive, other)
	e.want(Silent{Regions: 1}, "region us-west-2 of account 444455556666 has been silent for 7 h; its longest pause in 9 days was 1 h")
	e.hours(250, 270, alive)
	e.want(Silent{Accounts: 1, Regions: 1, Partitions: 1},
		"account 444455556666 has been silent for 7 h; its longest pause in 10 days was 1 h",
		"partition 1 of topic cloudtrail has been silent for 7 h; its longest pause in 10 days was 1 h")
	e.hours(270, 276, alive, second) // and not of the other regions before they are missed
	e.want(Silent{},
		"partition 1 of topic cloudtrail speaks again, after 21 h of silence",
		"account 444455556666 speaks again, after 21 h of silence",
		"region us-west-2 of account 444455556666 speaks again, after 31 h of silence")
	e.hours(276, 278, alive, second)
	e.want(Silent{Regions: 1}, "region eu-west-1 of account 444455556666 has been silent for 27 h; its longest pause in 10 days was 1 h")
}

// TestSilenceIsForgotten: what has been silent for longer than any pause explains is gone from the rows and from the figures.
func TestSilenceIsForgotten(t *testing.T) {
	e := newEar(t, DefaultConfig())
	e.hours(0, 240, alive, other)
	e.hours(240, 239+4*720+1, alive)
	if n := len(e.task.silence.rows); n != 6 {
		t.Errorf("%d rows after four months, want 6", n)
	}
	e.said()
	e.hours(239+4*720+1, 239+4*720+2, alive)
	e.want(Silent{})
	e.reopen()
	e.hours(239+4*720+2, 239+4*720+3, alive, other)
	e.want(Silent{})
	if r := e.task.silence.rows[string(state.PulseKey(state.PulseOfAccount, other.account, ""))]; r == nil || r.First != r.Last {
		t.Errorf("an account that was forgotten has the row %+v", r)
	}
}

// TestSilenceOfOtherPanes: short panes are heard by the hour, long ones by the pane.
func TestSilenceOfOtherPanes(t *testing.T) {
	for _, c := range []struct {
		pane time.Duration
		want string
	}{
		{time.Minute, "account 444455556666 has been silent for 7 h; its longest pause in 9 days was 1 h"},
		{24 * time.Hour, "account 444455556666 has been silent for 7 days; its longest pause in 9 days was 24 h"},
	} {
		cfg := DefaultConfig()
		cfg.Pane = c.pane
		e := newEar(t, cfg)
		e.hours(0, 240, alive, other)
		e.hours(240, 240+9*24, alive)
		if got := e.said(); len(got) != 2 || got[0] != c.want {
			t.Errorf("panes of %s: said %q, want %q first", c.pane, got, c.want)
		}
	}
}

// drawVoices draws days of a few accounts in order of time, with some out of order.
func drawVoices(rt *rapid.T) (voices []voice) {
	for h := range int64(400) {
		for a := range int32(3) {
			if h > 60*int64(a+1) && h/int64(20+13*a)%int64(a+2) != 0 { // each with pauses of its own
				continue
			}
			voices = append(voices, voice{account: strconv.Itoa(int(a)), region: fmt.Sprint("r", h%int64(a+1)), partition: a % 2, hour: h})
		}
	}
	for range rapid.IntRange(0, 20).Draw(rt, "swaps") {
		i := rapid.IntRange(0, len(voices)-2).Draw(rt, "swap")
		voices[i], voices[i+1] = voices[i+1], voices[i]
	}
	return voices
}

// TestRestartsLeaveNoTrace: with a restart anywhere the notices and the rows are the same.
func TestRestartsLeaveNoTrace(t *testing.T) {
	told := 0
	rapid.Check(t, func(rt *rapid.T) {
		voices := drawVoices(rt)
		run := func(restarts []int) ([]alert.Silence, map[string]string) {
			e := newEar(t, DefaultConfig())
			for i, v := range voices {
				if slices.Contains(restarts, i) {
					e.reopen()
				}
				e.hear(v)
			}
			e.reopen()
			rows := map[string]string{}
			for k, v := range e.store.Rows() {
				rows[string(k)] = string(v)
			}
			return e.notices, rows
		}
		notices, rows := run(nil)
		others, otherRows := run(rapid.SliceOfN(rapid.IntRange(0, len(voices)-1), 1, 5).Draw(rt, "restarts"))
		if d := cmp.Diff(notices, others); d != "" {
			rt.Fatalf("with restarts the notices are others (-without +with):\n%s", d)
		}
		if !maps.Equal(rows, otherRows) {
			rt.Fatal("with restarts the rows are others")
		}
		told += len(notices)
	})
	if told == 0 {
		t.Error("nobody ever fell silent: this test tests nothing")
	}
}

// TestPulsesAreASet: the order of pulses within an hour of writing, and repeats, leave no trace in the rows.
func TestPulsesAreASet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		voices := drawVoices(rt)
		run := func(voices []voice) map[string]string {
			e := newEar(t, DefaultConfig())
			for _, v := range voices {
				p := e.pulse(v)
				if _, err := e.task.Pulse(p, monday*1000, func(*alert.Silence) error { rt.Fatal("a cry within the first hour"); return nil }); err != nil {
					rt.Fatal(err)
				}
			}
			e.reopen()
			rows := map[string]string{}
			for k, v := range e.store.Rows() {
				rows[string(k)] = string(v)
			}
			return rows
		}
		if !maps.Equal(run(voices), run(append(rapid.Permutation(voices).Draw(rt, "order"), voices[:10]...))) {
			rt.Fatal("another order gives other rows")
		}
	})
}

func TestPulseLimits(t *testing.T) {
	e := newEar(t, DefaultConfig())
	p := e.pulse(alive)
	p.Pane += 3600
	if _, err := e.task.Pulse(p, p.EventTime, nil); !errors.Is(err, ErrPane) {
		t.Errorf("a pulse in the wrong pane: %v", err)
	}
	for i := range MaxPulseRows - 1 { // and one row for the partition
		p := e.pulse(voice{account: strconv.Itoa(i)})
		if heard, err := e.task.Pulse(p, p.EventTime, nil); !heard || err != nil {
			t.Fatalf("account %d: heard %t, %v", i, heard, err)
		}
	}
	p = e.pulse(alive)
	if heard, err := e.task.Pulse(p, p.EventTime, nil); heard || err != nil {
		t.Errorf("one account too many: heard %t, %v", heard, err)
	}

	cfg := DefaultConfig()
	cfg.Silence = 0
	deaf := newEar(t, cfg)
	deaf.hours(0, 240, alive, other)
	deaf.hours(240, 300, alive)
	deaf.reopen()
	for k := range deaf.store.Rows() {
		t.Errorf("with nobody listening there is a row %q", k)
	}
	if _, hears := deaf.task.Silent(); hears || len(deaf.notices) > 0 {
		t.Errorf("with nobody listening: %d notices", len(deaf.notices))
	}
}
