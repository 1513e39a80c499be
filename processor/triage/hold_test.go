package triage

import (
	"fmt"
	"testing"
	"time"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// loud is an anomaly that wakes somebody by itself: of a principal without a history, in a country that scores 100.
func loud(principal string, second int64) topics.Anomaly {
	a := anomaly("iam:CreateUser", 100, "NG", second)
	a.Visit.Principal = principal
	return a
}

// easily is a configuration in which one method of a principal without a history makes an alert.
func easily() Config {
	c := DefaultConfig()
	c.Threshold = 100 * pointsMethodAlone
	return c
}

func TestExceptions(t *testing.T) {
	d := newDesk(t, easily())
	d.now = monday * 1000
	e := topics.Exception{ID: "one", Principal: "*/user/anna", Place: "NG", Reason: "she lives there", Author: "ops", Created: d.now, Expires: d.now + 10*day*1000}
	if v := d.excepts(e); v != Decided {
		t.Fatalf("an exception is %s", v)
	}
	if v := d.find(loud("1/user/anna", 0)); v != HeldBack || len(d.alerts) != 0 || len(d.held) != 1 {
		t.Fatalf("excepted: %s, %d alerts, %d held back", v, len(d.alerts), len(d.held))
	}
	for _, a := range d.held {
		if a.HeldBack != "exception" || a.Exception != "one" {
			t.Errorf("held back by %q %q", a.HeldBack, a.Exception)
		}
	}
	if v := d.find(loud("1/user/hanna", 10)); v != Created {
		t.Errorf("another principal: %s", v)
	}
	// Another method of an excepted stay is excepted too, in a task that was made anew.
	d.commit()
	d.reopen(monday * 1000)
	more := loud("1/user/anna", 20)
	more.Visit.Method = "iam:CreateAccessKey"
	if v := d.find(more); v != HeldBack {
		t.Errorf("another method after a restart: %s", v)
	}
	// What an exception kept goes out when it is taken back and something new happens.
	gone := e
	gone.Removed = true
	d.excepts(gone)
	more.Visit.Method = "iam:PutUserPolicy"
	if v := d.find(more); v != Created {
		t.Errorf("after its removal: %s", v)
	}
	// And an expired one falls away, by the time of the records.
	d.excepts(e)
	d.now += 11 * day * 1000
	if v := d.find(loud("2/user/anna", 11*day)); v != Created {
		t.Errorf("after it expired: %s", v)
	}
	d.commit()
	if n := len(d.rows(state.ExceptionPrefix())); n != 0 {
		t.Errorf("%d rows of expired exceptions", n)
	}
}

// TestExceptionsAreNarrow checks that an exception for one thing hides nothing beside it.
func TestExceptionsAreNarrow(t *testing.T) {
	d := newDesk(t, easily())
	d.excepts(topics.Exception{ID: "m", Method: "iam:Create*", Reason: "r", Author: "a"})
	if v := d.find(loud("1/user/anna", 0)); v != HeldBack {
		t.Fatalf("the excepted method: %s", v)
	}
	other := loud("1/user/anna", 30)
	other.Visit.Method = "kms:Decrypt"
	if v := d.find(other); v != Created {
		t.Errorf("a method beside the excepted one: %s", v)
	}
}

func TestCap(t *testing.T) {
	cfg := easily()
	cfg.Cap, cfg.Partitions, cfg.Partition = 8, 2, 1 // four for this task
	d := newDesk(t, cfg)
	counts := map[Result]int{}
	for i := range 30 {
		counts[d.find(loud(fmt.Sprint("1/user/", i), int64(i)))]++
	}
	if counts[Created] != 4 || counts[HeldBack] != 26 || len(d.alerts) != 4 || len(d.held) != 26 {
		t.Fatalf("%v, %d alerts, %d held back", counts, len(d.alerts), len(d.held))
	}
	// 26 held back are announced at 1, 2, 4, 8 and 16, all under one id.
	if len(d.rollUps) != 5 {
		t.Fatalf("%d roll-ups", len(d.rollUps))
	}
	last := d.rollUps[4]
	if r := last.RollUp; r.Held != 16 || r.Low+r.Medium+r.High != 16 || d.held[r.Strongest] == nil || last.Version != 5 || last.ID != d.rollUps[0].ID {
		t.Errorf("the last roll-up: %+v, version %d", r, last.Version)
	}
	// What was held back stays there as it grows, until it is critical.
	grown := loud("1/user/20", 40)
	grown.Visit.Method = "iam:CreateAccessKey"
	if v := d.find(grown); v != HeldBack {
		t.Errorf("one that grows: %s", v)
	}
	// Stream time brings the task's share back: four in 15 minutes, one in four of them.
	d.commit()
	d.reopen(d.task.StreamTime())
	minutes := int64(4 * 60)
	told := len(d.rollUps)
	if v := d.find(loud("1/user/later", 29+minutes)); v != Created {
		t.Errorf("after four minutes: %s", v)
	}
	if v := d.find(loud("1/user/later still", 29+minutes)); v != HeldBack {
		t.Errorf("right after it: %s", v)
	}
	if len(d.rollUps) != told {
		t.Errorf("%d roll-ups in the middle of the window", len(d.rollUps)-told)
	}
	// The end of the window brings the last count: 27 are held back by then, and the next window has a roll-up of its own.
	next := int64(capWindow / time.Second)
	d.commit()
	d.reopen(d.task.StreamTime())
	for i := range 4 {
		if v := d.find(loud(fmt.Sprint("1/user/next ", i), 29+minutes+next)); v != Created {
			t.Errorf("%d of the next window: %s", i, v)
		}
	}
	if end := d.rollUps[len(d.rollUps)-1]; len(d.rollUps) != told+1 || end.RollUp.Held != 27 || end.ID != last.ID || end.Version != last.Version+1 ||
		end.RollUp.Low+end.RollUp.Medium+end.RollUp.High != 27 || d.held[end.RollUp.Strongest] == nil {
		t.Errorf("%d roll-ups at the end of the window, the last one %+v, version %d", len(d.rollUps)-told, end.RollUp, end.Version)
	}
	before := len(d.rollUps)
	d.find(loud("1/user/next 5", 29+minutes+next))
	if len(d.rollUps) != before+1 || d.rollUps[before].ID == last.ID || d.rollUps[before].RollUp.Held != 1 {
		t.Errorf("the next window's roll-up: %+v", d.rollUps[len(d.rollUps)-1].RollUp)
	}
}

// TestCapSparesCritical checks that nothing critical is held back, however many there are.
func TestCapSparesCritical(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Cap, cfg.Partitions = 1, 64 // a share below one
	d := newDesk(t, cfg)
	d.find(loud("1/user/first", 0))
	for i := range 20 {
		who := fmt.Sprint("1/role/job-", i)
		for k := range int64(12) { // a history inside AWS
			s := sighting("aws:eu-west-1", -20*day+k*day)
			s.Visit.Principal, s.Client = who, "Boto3 on linux"
			d.sight(s)
		}
		s := sighting("NG", int64(i))
		s.Visit.Principal, s.Client = who, "aws-cli on windows"
		d.sight(s)
		a := loud(who, int64(i))
		a.Distribution.Own = 0
		d.find(a)
	}
	critical := 0
	for _, a := range d.alerts {
		if alert.SeverityOf(a.Score) == alert.Critical {
			critical++
		}
	}
	if critical != 20 {
		t.Errorf("%d of 20 critical alerts went out; held back: %d", critical, len(d.held))
	}
}

func TestVerdicts(t *testing.T) {
	stolen := func(d *desk) *alert.Alert {
		d.officeDays("DE", 12)
		s := client("aws-cli on windows").at("NG", 0)
		d.sight(s)
		a := anomaly("iam:CreateUser", 100, "NG", 60)
		a.Distribution.Own = 0
		d.find(a)
		b := anomaly("iam:CreateAccessKey", 90, "NG", 4000)
		b.Distribution.Own = 0
		d.find(b)
		found := d.of("NG")
		if len(found) != 1 {
			t.Fatalf("%d alerts", len(found))
		}
		return found[0]
	}
	t.Run("benign", func(t *testing.T) {
		d := newDesk(t, DefaultConfig())
		a := stolen(d)
		if v := d.decided(topics.Verdict{Principal: a.Lead.Visit.Principal, AlertID: a.ID, Author: "ops"}); v < Created {
			t.Fatalf("a verdict is %s", v)
		}
		after := d.of("NG")[0]
		if after.Version <= a.Version || after.Score >= d.cfg.Threshold {
			t.Errorf("version %d scores %g after version %d with %g", after.Version, after.Score, a.Version, a.Score)
		}
		// The next visit wakes nobody.
		for i := range int64(3) {
			d.sight(client("aws-cli on windows").at("NG", (10+i)*day))
			d.find(anomaly("s3:ListBuckets", 60, "NG", (10+i)*day+60))
		}
		if n := len(d.of("NG")); n != 1 {
			t.Errorf("%d alerts about a place that was found benign", n)
		}
		if len(d.retractions) != 0 {
			t.Errorf("retractions of a benign stay: %v", d.retractions)
		}
	})
	t.Run("malicious", func(t *testing.T) {
		d := newDesk(t, DefaultConfig())
		a := stolen(d)
		d.decided(topics.Verdict{Principal: a.Lead.Visit.Principal, AlertID: a.ID, Malicious: true, Author: "ops"})
		methods := map[string]bool{}
		for _, r := range d.retractions {
			methods[r.Method] = true
			if r.Place != "NG" || r.Principal != a.Lead.Visit.Principal || r.From > monday || r.To < monday+hour || r.AlertID != a.ID {
				t.Errorf("retraction %+v", r)
			}
		}
		if len(methods) != 3 || !methods[topics.AnyMethod] || !methods["iam:CreateUser"] || !methods["iam:CreateAccessKey"] {
			t.Errorf("retracted: %v", methods)
		}
		// However long the intruder comes back, it stays news.
		for i := range int64(8) {
			d.sight(client("aws-cli on windows").at("NG", (10+i)*day))
		}
		var again *alert.Alert
		for _, o := range d.of("NG") {
			if o.ID != a.ID {
				again = o
			}
		}
		if again == nil || len(again.Context.NewClients) != 1 || again.Context.HereDays != 0 {
			t.Errorf("when the intruder came back: %+v", again)
		}
	})
	t.Run("of nothing", func(t *testing.T) {
		d := newDesk(t, DefaultConfig())
		if v := d.decided(topics.Verdict{Principal: "p", AlertID: "gone", Author: "ops"}); v != Decided || d.written != 0 {
			t.Errorf("%s, %d written", v, d.written)
		}
	})
}
