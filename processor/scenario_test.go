package processor_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/processor/triage"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// TestScenarios plays the files of testdata/*.scenario through route, detect and triage, step by step and without a Kafka.
// Each line is a step; # begins a comment.
//
//	history METHOD from PLACE principals=N visits=N [hours=N]   N visits spread over the hours before now, default 28 days
//	days PRINCIPAL from PLACE METHOD days=N            one visit in each of the hours 9 to 16 of the N days before today
//	event PRINCIPAL PLACE METHOD [at=-40m] [denied] [times=N] [partition=N] [id=TEXT] [client=WORD] [imported]
//	advance DURATION                                   the clock goes on
//	expect score LOW..HIGH                             of the last event; 0 if it was not judged or not forwarded
//	expect level WORD                                  UNSEEN, RARE, INFREQUENT or FREQUENT, of the last event
//	expect result WORD                                detect's, of the last event; "untold" if route told nothing
//	expect dead-letter REASON                          of the last event
//	expect visits N                                    told by route since the last such line
//	expect alerts N                                    new alerts since the last such line
//	expect methods METHOD,…                            named by the newest alert
//	expect alert-score LOW..HIGH                       of the newest alert
//	expect label WORD                                  the newest alert has it; - stands for a space
//	expect rows N                                      pane rows of detect
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.scenario")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	locator, err := geo.Open(geo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".scenario"), func(t *testing.T) {
			s := newScenario(t, locator)
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			sc := bufio.NewScanner(f)
			checks := 0
			for n := 1; sc.Scan(); n++ {
				line, _, _ := strings.Cut(sc.Text(), "#")
				words := strings.Fields(line)
				if len(words) == 0 {
					continue
				}
				if words[0] == "expect" {
					checks++
				}
				if words[0] == "expect" && len(words) == 2 {
					words = append(words, "") // nothing
				}
				if err := s.step(words); err != nil {
					t.Errorf("%s:%d: %s\n\t%v", file, n, strings.TrimSpace(line), err)
				}
			}
			if checks == 0 {
				t.Errorf("%s expects nothing", file)
			}
		})
	}
}

// addresses are one per place, checked by the embedded database.
var addresses = map[string]string{
	"US": "8.8.8.8", "DE": "78.47.22.10", "NL": "185.141.251.7", "PT": "195.35.66.3", "NG": "102.223.1.9", "BR": "200.149.247.2", "VN": "103.69.189.4",
	"aws:us-east-1": "3.80.0.10",
}

// clients are user agents by the words of scenarios; "usual" is everybody's.
var clients = map[string]string{
	"usual": "aws-cli/2.17.0 md/awscrt#0.20 ua/2.0 os/linux#6.6", "upgraded": "aws-cli/2.31.3 md/awscrt#0.27 ua/2.1 os/linux#6.8",
	"strange": "Boto3/1.34.11 md/Botocore#1.34 ua/2.0 os/linux#6.6.9-amd64 md/distrib#kali.2024.1",
}

type scenario struct {
	t       *testing.T
	now     time.Time
	locator *geo.Locator
	routes  map[int32]*route.Task
	offsets map[int32]int64
	stats   *route.Stats
	windows *state.Store
	detect  *detect.Task
	triage  *triage.Task
	serial  int

	result string
	last   topics.Anomaly
	letter string
	visits int
	alerts map[string]*alert.Alert
	newest *alert.Alert
	told   int
}

func newScenario(t *testing.T, locator *geo.Locator) *scenario {
	s := &scenario{
		t: t, now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), locator: locator, routes: map[int32]*route.Task{}, offsets: map[int32]int64{},
		stats: route.NewStats(), alerts: map[string]*alert.Alert{},
	}
	open := func(dir string) *state.Store {
		st, err := state.Open(dir, state.Options{FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		})
		return st
	}
	var err error
	s.windows = open("detect")
	s.detect = detect.NewTask(detect.DefaultConfig(), s.windows, 0)
	if s.triage, err = triage.NewTask(triage.DefaultConfig(), open("triage"), 0); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scenario) step(words []string) error {
	switch words[0] {
	case "history":
		return s.history(words[1:])
	case "days":
		return s.days(words[1:])
	case "event":
		return s.event(words[1:])
	case "advance":
		d, err := time.ParseDuration(words[1])
		s.now = s.now.Add(d)
		return err
	case "expect":
		return s.expect(words[1], words[2])
	}
	return fmt.Errorf("unknown step %q", words[0])
}

// history spreads visits over the time before now.
func (s *scenario) history(words []string) error {
	method, place := words[0], words[2]
	n := map[string]int{"hours": 28 * 24}
	for _, w := range words[3:] {
		k, v, _ := strings.Cut(w, "=")
		var err error
		if n[k], err = strconv.Atoi(v); err != nil {
			return err
		}
	}
	for i := range n["visits"] {
		age := time.Duration(n["hours"]) * time.Hour * time.Duration(n["visits"]-i) / time.Duration(n["visits"])
		if err := s.feed(fmt.Sprintf("%s-%d", place, i%n["principals"]), place, method, s.now.Add(-age), "", "", "", 0, false); err != nil {
			return err
		}
	}
	s.visits, s.told = 0, len(s.alerts)
	return nil
}

// days are a principal's working life.
func (s *scenario) days(words []string) error {
	n, err := strconv.Atoi(strings.TrimPrefix(words[4], "days="))
	if err != nil {
		return err
	}
	today := s.now.Truncate(24 * time.Hour)
	for day := -n; day < 0; day++ {
		for hour := 9; hour < 17; hour++ {
			if err := s.feed(words[0], words[2], words[3], today.AddDate(0, 0, day).Add(time.Duration(hour)*time.Hour), "", "", "", 0, false); err != nil {
				return err
			}
		}
	}
	s.visits, s.told = 0, len(s.alerts)
	return nil
}

func (s *scenario) event(words []string) error {
	at, id, code, client, times, part, imported := s.now, "", "", "", 1, 0, false
	for _, w := range words[3:] {
		k, v, _ := strings.Cut(w, "=")
		var err error
		switch k {
		case "at":
			var d time.Duration
			d, err = time.ParseDuration(v)
			at = s.now.Add(d)
		case "id":
			id = v
		case "times":
			times, err = strconv.Atoi(v)
		case "partition":
			part, err = strconv.Atoi(v)
		case "denied":
			code = "AccessDenied"
		case "client":
			client = v
		case "imported":
			imported = true
		default:
			err = fmt.Errorf("unknown word %q", w)
		}
		if err != nil {
			return err
		}
	}
	for range times {
		if err := s.feed(words[0], words[1], words[2], at, code, id, client, int32(part), imported); err != nil {
			return err
		}
	}
	return nil
}

// feed delivers one CloudTrail record now.
func (s *scenario) feed(principal, place, method string, at time.Time, code, id, client string, part int32, imported bool) error {
	address := addresses[place]
	if address == "" {
		return fmt.Errorf("no address for %s", place)
	}
	if client == "" {
		client = "usual"
	}
	agent := clients[client]
	if agent == "" {
		return fmt.Errorf("no client %s", client)
	}
	service, action, _ := strings.Cut(method, ":")
	if s.serial++; id == "" {
		id = fmt.Sprint("event-", s.serial)
	}
	record := fmt.Sprintf(`{"eventVersion":"1.11","eventTime":%q,"eventID":%q,"eventSource":%q,"eventName":%q,"awsRegion":"us-east-1","sourceIPAddress":%q,`+
		`"userAgent":%q,"errorCode":%q,"recipientAccountId":"111122223333","eventType":"AwsApiCall",`+
		`"userIdentity":{"type":"IAMUser","accountId":"111122223333","userName":%q,"arn":"arn:aws:iam::111122223333:user/%[9]s"}}`,
		at.UTC().Format(time.RFC3339), id, service+".amazonaws.com", action, address, agent, code, principal, principal)
	if code == "" {
		record = strings.Replace(record, `"errorCode":"",`, "", 1)
	}
	task := s.routes[part]
	if task == nil {
		var err error
		if task, err = route.NewTask(route.DefaultConfig(), nil, s.locator, func() time.Time { return s.now }, 0, s.stats); err != nil {
			return err
		}
		s.routes[part] = task
	}
	s.result, s.letter, s.last = "untold", "", topics.Anomaly{}
	s.offsets[part]++
	out := &scenarioOutput{}
	task.Record(&route.Raw{Source: topics.Source{Topic: "cloudtrail", Partition: part, Offset: s.offsets[part]}, Timestamp: s.now.UnixMilli(), Value: []byte(record), Imported: imported}, out)
	s.letter = out.letter
	for _, b := range out.records {
		if err := s.deliver(b); err != nil {
			return err
		}
	}
	return nil
}

func (s *scenario) deliver(b []byte) error {
	if topics.KindOf(b) == topics.KindVisit {
		var v topics.Visit
		if err := v.Decode(b); err != nil {
			return err
		}
		var a topics.Anomaly
		result, err := s.detect.Visit(&v, &a)
		if err != nil {
			return err
		}
		if v.Method != topics.AnyMethod { // what is asked of the last event is asked of its method
			s.visits++
			s.result, s.last = result.String(), a
		}
		if a.Score < detect.DefaultConfig().Floor || (result != detect.Forwarded && result != detect.Stale) {
			return nil
		}
		b = a.Append(nil, nil)
	}
	_, err := s.triage.Record(b, s.now.UnixMilli(), s)
	return err
}

// Alert implements triage.Output.
func (s *scenario) Alert(a *alert.Alert) error {
	s.alerts[a.ID] = a
	s.newest = a
	return nil
}

// Retract implements triage.Output: no scenario has a verdict.
func (s *scenario) Retract(_, _ []byte) error { return nil }

func (s *scenario) expect(what, want string) error {
	got := ""
	switch what {
	case "score", "alert-score":
		lo, hi, ok := strings.Cut(want, "..")
		low, err1 := strconv.ParseFloat(lo, 64)
		high, err2 := strconv.ParseFloat(hi, 64)
		if !ok || err1 != nil || err2 != nil {
			return fmt.Errorf("score wants LOW..HIGH")
		}
		if what == "alert-score" {
			if a := s.newest; a == nil || a.Score < low || a.Score > high {
				return fmt.Errorf("the newest alert is %s", s.spelled())
			}
			return nil
		}
		if s.last.Score < low || s.last.Score > high {
			return fmt.Errorf("score is %g (p %g, %+v)", s.last.Score, s.last.Probability, s.last.Distribution)
		}
		return nil
	case "level":
		got = s.last.Level.String()
	case "result":
		got = s.result
	case "dead-letter":
		got = s.letter
	case "visits":
		got = strconv.Itoa(s.visits)
		s.visits = 0
	case "alerts":
		got = strconv.Itoa(len(s.alerts) - s.told)
		s.told = len(s.alerts)
		if got != want {
			return fmt.Errorf("got %s; the newest is %s", got, s.spelled())
		}
	case "label":
		if s.newest != nil && slices.Contains(s.newest.Context.Labels, strings.ReplaceAll(want, "-", " ")) {
			got = want
		}
	case "methods":
		if s.newest != nil {
			var names []string
			for _, m := range s.newest.Methods {
				names = append(names, m.Name)
			}
			slices.Sort(names)
			got = strings.Join(names, ",")
		}
	case "rows":
		s.detect.Flush()
		if err := s.windows.Commit(state.Position{}); err != nil {
			return err
		}
		n := 0
		for k := range s.windows.Rows() {
			if strings.HasPrefix(string(k), string(state.AllPanes())) {
				n++
			}
		}
		got = strconv.Itoa(n)
	default:
		return fmt.Errorf("unknown expectation %q", what)
	}
	if got != want {
		return fmt.Errorf("got %s", got)
	}
	return nil
}

// spelled is the newest alert in a line.
func (s *scenario) spelled() string {
	if s.newest == nil {
		return "none"
	}
	return fmt.Sprintf("%s with a score of %g: %v, %v", s.newest.Title(), s.newest.Score, s.newest.Context.Factors, s.newest.Context.Labels)
}

type scenarioOutput struct {
	records [][]byte
	letter  string
}

func (o *scenarioOutput) Visit(_, value []byte) { o.records = append(o.records, slices.Clone(value)) }
func (o *scenarioOutput) Pulse(_, _ []byte)     {}

func (o *scenarioOutput) Sighting(_, value []byte) {
	o.records = append(o.records, slices.Clone(value))
}
func (o *scenarioOutput) DeadLetter(d *topics.DeadLetter) {
	o.letter = d.Reason
}
