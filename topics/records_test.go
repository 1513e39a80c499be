package topics

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files of the newest versions")

// record is what the kinds have in common.
type record interface {
	Decode(b []byte) error
	encode() []byte
}

func (v *Visit) encode() []byte      { return v.Append(nil) }
func (s *Sighting) encode() []byte   { return s.Append(nil, nil) }
func (a *Anomaly) encode() []byte    { return a.Append(nil, nil) }
func (e *Exception) encode() []byte  { return e.Append(nil) }
func (v *Verdict) encode() []byte    { return v.Append(nil) }
func (r *Retraction) encode() []byte { return r.Append(nil) }
func (p *Pulse) encode() []byte      { return p.Append(nil) }
func (p *Position) encode() []byte   { return p.Append(nil) }

func fresh(k Kind) record {
	switch k {
	case KindVisit:
		return &Visit{}
	case KindSighting:
		return &Sighting{}
	case KindAnomaly:
		return &Anomaly{}
	case KindException:
		return &Exception{}
	case KindVerdict:
		return &Verdict{}
	case KindRetraction:
		return &Retraction{}
	case KindPulse:
		return &Pulse{}
	case KindPosition:
		return &Position{}
	}
	panic(fmt.Sprintf("kind %d", k))
}

func allKinds() []Kind {
	return []Kind{KindVisit, KindSighting, KindAnomaly, KindException, KindVerdict, KindRetraction, KindPulse, KindPosition}
}

func newestVersion(k Kind) byte {
	return map[Kind]byte{
		KindVisit: visitVersion, KindSighting: sightingVersion, KindAnomaly: anomalyVersion,
		KindException: exceptionVersion, KindVerdict: verdictVersion, KindRetraction: retractionVersion, KindPulse: pulseVersion,
		KindPosition: positionVersion,
	}[k]
}

func fullVisit() *Visit {
	return &Visit{
		Scope: "123456789012", Method: "iam:CreateUser", Principal: "123456789012/role/Admin", Place: "KP",
		Pane: 1_700_000_000 / 3600 * 3600, Outcome: Allowed | Denied, Quiet: Late, Horizon: 1_700_000_123_456,
		Evidence: Evidence{
			EventTime: 1_700_000_100_000, Delivered: 1_700_000_123_000,
			Source:  Source{Topic: "cloudtrail", Partition: 7, Offset: 1 << 33, Byte: 4711},
			EventID: "9f1c0f3a-0000-4000-8000-000000000001", SharedEventID: "9f1c0f3a-0000-4000-8000-000000000002",
			EventSource: "iam.amazonaws.com", EventName: "CreateUser", EventType: "AwsApiCall", EventCategory: "Management",
			Region: "us-east-1", Account: "123456789012", PrincipalAccount: "210987654321", IdentityType: "AssumedRole",
			ARN: "arn:aws:sts::123456789012:assumed-role/Admin/zoë", PrincipalID: "AROAEXAMPLE:zoë", UserName: "zoë",
			AccessKeyID: "ASIAEXAMPLE", SessionName: "zoë", IssuerARN: "arn:aws:iam::123456789012:role/Admin",
			SourceIdentity: "zoe@example.com", OnBehalfOf: "d-1234567890", InvokedBy: "cloudformation.amazonaws.com",
			Address: "175.45.176.1", UserAgent: "aws-cli/2.15.0", VPCEndpointID: "vpce-0a1b2c3d", ErrorCode: "AccessDenied",
			ErrorMessage: "not authorised", RequestParameters: `{"userName":"mallory"}`,
			Resources: []string{"arn:aws:iam::123456789012:user/mallory", ""}, MFA: No, ReadOnly: Yes, GeoBuild: "2026-01-01",
			Network: "AS64496", NetworkName: "Example Hosting",
		},
	}
}

func bareVisit() *Visit { return &Visit{Method: "m", Principal: "p", Place: "DE", Outcome: Denied} }

func fullSighting() *Sighting {
	s := &Sighting{Network: "AS16509", Client: "aws-cli on linux", KeyID: "AKIAEXAMPLE", Visit: *fullVisit()}
	s.Visit.Place, s.Visit.Quiet = "aws:eu-central-1", Imported
	return s
}

func bareSighting() *Sighting { return &Sighting{Visit: *bareVisit()} }

func fullAnomaly() *Anomaly {
	return &Anomaly{
		Score: 73.25, Probability: 0.00049, Level: Rare,
		Distribution: Distribution{
			Visits: 1_234_567, PlaceVisits: 3, Support: 2, Places: 6, Others: 1, Own: -1,
			Top:         []PlaceCount{{"DE", 1_000_000}, {"FR", 200_000}, {"aws:us-east-1", 34_000}, {"US", 500}, {"GB", 64}},
			MethodSince: 1_690_000_000, PlaceSince: 1_699_000_000, PlaceLast: 1_699_900_000,
		},
		Visit: *fullVisit(),
	}
}

func bareAnomaly() *Anomaly { return &Anomaly{Level: Unseen, Visit: *bareVisit()} }

func fullException() *Exception {
	return &Exception{
		ID: "x-1", Principal: "123456789012/user/*", Role: "Admin", Account: "123456789012", Place: "FR", Network: "AS3215",
		Client: "aws-cli on macos", Method: "s3:*", Reason: "offsite in Paris", Author: "zoë",
		Created: 1_700_000_000_000, Expires: 1_701_000_000_000, Removed: true,
	}
}

func fullVerdict() *Verdict {
	return &Verdict{
		Principal: "123456789012/user/zoë", AlertID: "00112233445566778899aabbccddeeff", Malicious: true, Author: "max", Note: "key was on a public page",
		Created: 1_700_000_000_000,
	}
}

func fullRetraction() *Retraction {
	return &Retraction{
		Scope: "123456789012", Method: "iam:CreateUser", Place: "KP", Principal: "123456789012/user/zoë", From: 1_699_999_200, To: 1_700_002_800,
		AlertID: "00112233445566778899aabbccddeeff",
	}
}

func fullPulse() *Pulse {
	return &Pulse{Account: "123456789012", Region: "eu-central-1", Topic: "cloudtrail", Partition: 7, Pane: 1_699_999_200, EventTime: 1_700_000_100_000}
}

func fullPosition() *Position {
	return &Position{TopicID: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, Next: 1 << 40, StreamTime: 1_700_000_100_000, Since: 12}
}

// goldens are records as each version wrote them. Entries and files of old versions stay for ever.
func goldens() []golden {
	return []golden{
		{"visit.v1.hex", KindVisit, 1, fullVisit()},
		{"visit-bare.v1.hex", KindVisit, 1, bareVisit()},
		{"sighting.v1.hex", KindSighting, 1, fullSighting()},
		{"sighting-bare.v1.hex", KindSighting, 1, bareSighting()},
		{"anomaly.v1.hex", KindAnomaly, 1, fullAnomaly()},
		{"anomaly-bare.v1.hex", KindAnomaly, 1, bareAnomaly()},
		{"exception.v1.hex", KindException, 1, fullException()},
		{"exception-bare.v1.hex", KindException, 1, &Exception{ID: "x"}},
		{"verdict.v1.hex", KindVerdict, 1, fullVerdict()},
		{"verdict-bare.v1.hex", KindVerdict, 1, &Verdict{Principal: "p", AlertID: "a"}},
		{"retraction.v1.hex", KindRetraction, 1, fullRetraction()},
		{"retraction-bare.v1.hex", KindRetraction, 1, &Retraction{Method: "m", Place: "DE", Principal: "p"}},
		{"pulse.v1.hex", KindPulse, 1, fullPulse()},
		{"pulse-bare.v1.hex", KindPulse, 1, &Pulse{Topic: "t"}},
		{"position.v1.hex", KindPosition, 1, fullPosition()},
		{"position-bare.v1.hex", KindPosition, 1, &Position{}},
	}
}

type golden struct {
	file    string
	kind    Kind
	version byte
	want    record
}

func (g golden) read(tb testing.TB) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", g.file))
	if err != nil {
		tb.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		tb.Fatalf("%s: %v", g.file, err)
	}
	return b
}

func hexLines(b []byte) []byte {
	var out []byte
	for len(b) > 0 {
		n := min(32, len(b))
		out = append(hex.AppendEncode(out, b[:n]), '\n')
		b = b[n:]
	}
	return out
}

func TestGolden(t *testing.T) {
	covered := map[string]bool{}
	for _, g := range goldens() {
		covered[g.file] = true
		t.Run(g.file, func(t *testing.T) {
			if *update && g.version == newestVersion(g.kind) {
				if err := os.WriteFile(filepath.Join("testdata", g.file), hexLines(g.want.encode()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			b := g.read(t)
			if b[0] != byte(g.kind) || b[1] != g.version {
				t.Fatalf("starts with kind %d version %d, want %d and %d", b[0], b[1], g.kind, g.version)
			}
			got := fresh(g.kind)
			if err := got.Decode(b); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(g.want, got); d != "" {
				t.Fatalf("reads as something else (-want +got):\n%s", d)
			}
			if g.version == newestVersion(g.kind) && !bytes.Equal(got.encode(), b) {
				t.Fatalf("writes other bytes than version %d did:\n%s", g.version, hexLines(got.encode()))
			}
		})
	}
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !covered[filepath.Base(f)] {
			t.Errorf("%s is in no test: golden files stay for ever, and so do their entries", f)
		}
	}
	for _, k := range allKinds() {
		for v := byte(1); v <= newestVersion(k); v++ {
			if name := fmt.Sprintf("%s.v%d.hex", k, v); !covered[name] {
				t.Errorf("version %d of the %s has no golden file %s", v, k, name)
			}
		}
	}
}

// text draws UTF-8 of at most limit bytes.
func text(limit int) *rapid.Generator[string] { return rapid.StringN(0, -1, min(limit, 40)) }

// draw fills every field that reflection reaches, so that a field that is added and not written fails the round trip.
func draw(t *rapid.T, v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			draw(t, v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	case reflect.String:
		v.SetString(text(limitOf(path)).Draw(t, path))
	case reflect.Int32, reflect.Int64:
		n := rapid.Int64().Draw(t, path)
		if v.Kind() == reflect.Int32 {
			n = int64(int32(n))
		}
		v.SetInt(n)
	case reflect.Uint8:
		bounds, ok := map[string][2]uint64{"Outcome": {1, 3}, "Quiet": {0, 2}, "Answer": {0, 2}, "Level": {1, 4}}[v.Type().Name()]
		if !ok {
			t.Fatalf("%s: no generator for %s", path, v.Type())
		}
		v.SetUint(rapid.Uint64Range(bounds[0], bounds[1]).Draw(t, path))
	case reflect.Array:
		reflect.Copy(v, reflect.ValueOf(rapid.SliceOfN(rapid.Byte(), v.Len(), v.Len()).Draw(t, path)))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, path))
	case reflect.Float64:
		most := 1.0
		if strings.HasSuffix(path, ".Score") {
			most = 100
		}
		v.SetFloat(rapid.Float64Range(0, most).Draw(t, path))
	case reflect.Slice:
		n := rapid.IntRange(0, listLimitOf(path)).Draw(t, path+" length")
		if n == 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			draw(t, v.Index(i), path+"[]")
		}
	default:
		t.Fatalf("%s: no generator for %s", path, v.Type())
	}
}

// limitOf is the cap of a text field by its path below the record.
func limitOf(path string) int {
	switch {
	case strings.HasSuffix(path, ".RequestParameters"):
		return MaxRequestBytes
	case strings.Contains(path, ".Evidence."), path == ".Note":
		return MaxFieldBytes
	}
	return MaxKeyBytes
}

func listLimitOf(path string) int {
	if strings.HasSuffix(path, ".Resources") {
		return MaxResources
	}
	return MaxTopCountries
}

func TestRoundTrip(t *testing.T) {
	for _, k := range allKinds() {
		t.Run(k.String(), func(t *testing.T) {
			reused := fresh(k) // decoding into a record that was used before must leave nothing of it
			rapid.Check(t, func(t *rapid.T) {
				want := fresh(k)
				draw(t, reflect.ValueOf(want).Elem(), "")
				for _, v := range visitsOf(want) {
					for _, s := range []*string{&v.Method, &v.Principal, &v.Place} {
						*s = "x" + *s
					}
				}
				must := []*string{} // what may not be empty
				switch r := want.(type) {
				case *Exception:
					must = append(must, &r.ID)
				case *Verdict:
					must = append(must, &r.Principal, &r.AlertID)
				case *Pulse:
					must = append(must, &r.Topic)
				case *Position:
					r.Next = max(0, r.Next)
				case *Retraction:
					must = append(must, &r.Method, &r.Place, &r.Principal)
					r.From, r.To = min(r.From, r.To), max(r.From, r.To)
				}
				for _, s := range must {
					*s = "x" + *s
				}
				b := want.encode()
				got := fresh(k)
				for _, into := range []record{got, reused} {
					if err := into.Decode(b); err != nil {
						t.Fatalf("decode: %v", err)
					}
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Fatalf("round trip (-want +got):\n%s", d)
				}
				if !bytes.Equal(reused.encode(), b) {
					t.Fatal("a record that was used before decodes to something else")
				}
				if KindOf(b) != k {
					t.Fatalf("KindOf is %d, want %d", KindOf(b), k)
				}
			})
		})
	}
}

func visitsOf(r record) []*Visit {
	switch r := r.(type) {
	case *Visit:
		return []*Visit{r}
	case *Sighting:
		return []*Visit{&r.Visit}
	case *Anomaly:
		return []*Visit{&r.Visit}
	}
	return nil
}

// stringFields lists the text fields of a record with their paths; lists count with their first element.
func stringFields(v reflect.Value, path string, fn func(path string, field reflect.Value)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			stringFields(v.Field(i), path+"."+v.Type().Field(i).Name, fn)
		}
	case reflect.Slice:
		if v.Len() > 0 {
			stringFields(v.Index(0), path+"[]", fn)
		}
	case reflect.String:
		fn(path, v)
	}
}

func TestEveryTextIsClipped(t *testing.T) {
	for _, r := range []record{fullVisit(), fullSighting(), fullAnomaly(), fullException(), fullVerdict(), fullRetraction(), fullPulse(), fullPosition()} {
		fields := 0
		stringFields(reflect.ValueOf(r).Elem(), "", func(path string, f reflect.Value) {
			fields++
			limit := limitOf(path)
			before := f.String()
			defer f.SetString(before)
			for _, c := range []struct {
				text string
				keep int // bytes of it that stay
			}{
				{strings.Repeat("a", limit), limit},
				{strings.Repeat("a", limit+1), limit},
				{strings.Repeat("a", limit-1) + "é", limit - 1},
				{strings.Repeat("a", limit-2) + "é" + "b", limit},
				{strings.Repeat("a", limit-3) + "🜚" + "b", limit - 3},
				{strings.Repeat("a", limit-1) + "🜚", limit - 1},
				{strings.Repeat("\x80", limit+10), limit}, // no UTF-8: cut, but not lost
				{"ab" + strings.Repeat("\x80", limit), limit},
			} {
				f.SetString(c.text)
				got := fresh(KindOf(r.encode()))
				if err := got.Decode(r.encode()); err != nil {
					t.Fatalf("%T%s: %v", r, path, err)
				}
				stringFields(reflect.ValueOf(got).Elem(), "", func(p string, g reflect.Value) {
					if p != path {
						return
					}
					if want := c.text[:c.keep]; g.String() != want {
						t.Errorf("%T%s: %d bytes of text kept as %d, want %d", r, path, len(c.text), g.Len(), c.keep)
					}
					if utf8.ValidString(c.text) && !utf8.ValidString(g.String()) {
						t.Errorf("%T%s: cut inside a UTF-8 sequence", r, path)
					}
				})
			}
		})
		if want := map[Kind]int{KindVisit: 4 + 28 + 2, KindSighting: 3 + 4 + 28 + 2, KindAnomaly: 1 + 4 + 28 + 2,
			KindException: 10, KindVerdict: 4, KindRetraction: 5, KindPulse: 3, KindPosition: 0}[KindOf(r.encode())]; fields != want {
			t.Errorf("%T has %d text fields, this test knows %d", r, fields, want)
		}
	}
}

// stuff makes every field of a record as large as it can be, and more.
func stuff(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			stuff(v.Field(i))
		}
	case reflect.String:
		v.SetString(strings.Repeat("x", 3*MaxRequestBytes))
	case reflect.Int32:
		v.SetInt(math.MinInt32)
	case reflect.Int64:
		v.SetInt(math.MinInt64)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 100, 100))
		for i := range v.Len() {
			stuff(v.Index(i))
		}
	}
}

func TestWorstCaseSizes(t *testing.T) {
	var v Visit
	var s Sighting
	a := Anomaly{Score: 100, Probability: 1, Level: Frequent}
	var e Exception
	var d Verdict
	var back Retraction
	all := []record{&v, &s, &a, &e, &d, &back}
	for _, r := range all {
		stuff(reflect.ValueOf(r).Elem())
	}
	for _, r := range all {
		for _, v := range visitsOf(r) {
			v.Outcome, v.Evidence.MFA = Allowed, No
		}
	}
	if n := len(v.Append(nil)); n > MaxVisitBytes {
		t.Errorf("a visit can take %d bytes, past MaxVisitBytes of %d", n, MaxVisitBytes)
	} else if n < MaxVisitBytes/2 {
		t.Errorf("the largest visit takes %d bytes: MaxVisitBytes of %d bounds nothing", n, MaxVisitBytes)
	}
	const topicLimit = 1 << 20 // below max.message.bytes of every topic, less the overhead of a batch
	for _, r := range all {
		b := r.encode()
		if len(b) > topicLimit/8 {
			t.Errorf("%T can take %d bytes, too near to max.message.bytes", r, len(b))
		}
		if err := fresh(KindOf(b)).Decode(b); err != nil {
			t.Errorf("%T of the largest size: %v", r, err)
		}
		t.Logf("largest %T: %d bytes", r, len(b))
	}
	if n := len(v.Key()); n > 2*MaxKeyBytes+1 {
		t.Errorf("a visit's key can take %d bytes", n)
	}
	if n := len(a.Key()); n > MaxKeyBytes {
		t.Errorf("an anomaly's key can take %d bytes", n)
	}
	if !bytes.Equal(a.Key(), s.Key()) || !bytes.Equal(a.Key(), d.Key()) {
		t.Error("sightings, anomalies and verdicts of one principal have different keys")
	}
	if !bytes.Equal(v.Key(), back.Key()) {
		t.Error("visits and retractions of one method have different keys")
	}
}

// TestEventTime reads the time of visits and sightings, and of nothing that ends before it.
func TestEventTime(t *testing.T) {
	const at = 1_767_608_123_456
	for name, r := range map[string]interface{ encode() []byte }{"visit": fullVisit(), "bare visit": bareVisit(), "sighting": fullSighting(), "bare sighting": bareSighting()} {
		switch r := r.(type) {
		case *Visit:
			r.Evidence.EventTime = at
		case *Sighting:
			r.Visit.Evidence.EventTime = at
		}
		b := r.encode()
		if got, err := EventTime(b); got != at || err != nil {
			t.Errorf("%s: %d, %v, want %d", name, got, err, at)
		}
		for n := range 12 {
			if _, err := EventTime(b[:n:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: of %d bytes: error %v", name, n, err)
			}
		}
	}
	if _, err := EventTime((&Anomaly{Visit: *fullVisit()}).encode()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("of an anomaly: error %v", err)
	}
}

func TestTruncatedOrExtended(t *testing.T) {
	for _, g := range goldens() {
		b := g.want.encode()
		for n := range len(b) {
			if err := fresh(g.kind).Decode(b[:n:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: the first %d of %d bytes: error %v, want ErrCorrupt", g.file, n, len(b), err)
			}
		}
		if err := fresh(g.kind).Decode(append(bytes.Clone(b), 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: one byte more: error %v, want ErrCorrupt", g.file, err)
		}
		for _, other := range allKinds() {
			if other == g.kind {
				continue
			}
			if err := fresh(other).Decode(b); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s read as %s: error %v, want ErrCorrupt", g.file, other, err)
			}
		}
	}
}

func TestVersions(t *testing.T) {
	for _, k := range allKinds() {
		for _, c := range []struct {
			version byte
			want    error
		}{{0, ErrCorrupt}, {newestVersion(k) + 1, ErrNewer}, {255, ErrNewer}} {
			// What follows the version of a newer record is nothing that this build may judge.
			for _, rest := range []string{"", "whatever a newer build writes"} {
				err := fresh(k).Decode(append([]byte{byte(k), c.version}, rest...))
				if !errors.Is(err, c.want) {
					t.Errorf("%s of version %d: error %v, want %v", k, c.version, err, c.want)
				}
				if c.want == ErrNewer && errors.Is(err, ErrCorrupt) {
					t.Errorf("%s of version %d passes for corrupt, and would be dropped: %v", k, c.version, err)
				}
			}
		}
	}
	// A newer visit inside a record of a known version.
	v := fullVisit().Append(nil)
	v[1] = visitVersion + 1
	if err := new(Anomaly).Decode(fullAnomaly().Append(nil, v)); !errors.Is(err, ErrNewer) {
		t.Errorf("anomaly around a newer visit: error %v, want ErrNewer", err)
	}
	if err := new(Sighting).Decode(fullSighting().Append(nil, v)); !errors.Is(err, ErrNewer) {
		t.Errorf("sighting around a newer visit: error %v, want ErrNewer", err)
	}
}

func TestImpossibleValues(t *testing.T) {
	for name, r := range map[string]record{
		"no method":               &Visit{Principal: "p", Place: "DE", Outcome: Allowed},
		"no principal":            &Visit{Method: "m", Place: "DE", Outcome: Allowed},
		"no place":                &Visit{Method: "m", Principal: "p", Outcome: Allowed},
		"no outcome":              &Visit{Method: "m", Principal: "p", Place: "DE"},
		"quiet 3":                 &Visit{Method: "m", Principal: "p", Place: "DE", Outcome: Allowed, Quiet: 3},
		"quiet without any":       &Visit{Method: "m", Principal: "p", Place: "DE", Quiet: Late},
		"quiet of more bits":      &Visit{Method: "m", Principal: "p", Place: "DE", Outcome: Allowed, Quiet: 4 | Late},
		"MFA 3":                   &Visit{Method: "m", Principal: "p", Place: "DE", Outcome: Allowed, Evidence: Evidence{MFA: 3}},
		"read-only 3":             &Visit{Method: "m", Principal: "p", Place: "DE", Outcome: Allowed, Evidence: Evidence{ReadOnly: 3}},
		"flags above":             &Visit{Method: "m", Principal: "p", Place: "DE", Outcome: Allowed, Evidence: Evidence{ReadOnly: 4}},
		"sighting of nobody":      &Sighting{Visit: Visit{Method: "m", Place: "DE", Outcome: Allowed}},
		"sighting of nothing":     &Sighting{Network: "AS1", Client: "aws-cli", KeyID: "AKIA"},
		"score below 0":           &Anomaly{Score: -0.01, Level: Rare, Visit: *bareVisit()},
		"score past 100":          &Anomaly{Score: 100.01, Level: Rare, Visit: *bareVisit()},
		"score NaN":               &Anomaly{Score: math.NaN(), Level: Rare, Visit: *bareVisit()},
		"probability past 1":      &Anomaly{Probability: 1.01, Level: Rare, Visit: *bareVisit()},
		"probability NaN":         &Anomaly{Probability: math.NaN(), Level: Rare, Visit: *bareVisit()},
		"level 0":                 &Anomaly{Visit: *bareVisit()},
		"level 5":                 &Anomaly{Level: 5, Visit: *bareVisit()},
		"exception without an id": &Exception{Principal: "p"},
		"verdict on nobody":       &Verdict{AlertID: "a"},
		"verdict on nothing":      &Verdict{Principal: "p"},
		"retraction of no method": &Retraction{Place: "DE", Principal: "p"},
		"retraction from nowhere": &Retraction{Method: "m", Principal: "p"},
		"retraction of nobody":    &Retraction{Method: "m", Place: "DE"},
		"retraction of no time":   &Retraction{Method: "m", Place: "DE", Principal: "p", From: 1},
		"pulse from nowhere":      &Pulse{Account: "a", Region: "r"},
		"position before all":     &Position{Next: -1},
		"bad visit inside":        &Anomaly{Level: Rare},
	} {
		b := r.encode()
		if err := fresh(KindOf(b)).Decode(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: error %v, want ErrCorrupt", name, err)
		}
	}
	// A truth is 0 or 1, so that a record has one form.
	for name, r := range map[string]record{"exception": fullException(), "verdict": fullVerdict()} {
		b := r.encode()
		at := len(b) - 1
		if name == "verdict" {
			at = bytes.Index(b, []byte("ddeeff")) + len("ddeeff")
		}
		if b[at] != 1 {
			t.Fatalf("%s: this test does not know where its truth stands", name)
		}
		b[at] = 2
		if err := fresh(KindOf(b)).Decode(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s neither true nor false: error %v, want ErrCorrupt", name, err)
		}
	}
	// A partition past 32 bits must not become another partition.
	v := bareVisit()
	v.Horizon = 1
	b := v.Append(nil)
	at := bytes.Index(b, []byte{2, 0, 0, 0, 0, 0, 0}) + 3 // horizon, event time, delivered, partition, offset, byte, flags
	wide := append(binary.AppendVarint(bytes.Clone(b[:at]), 1<<32), b[at+1:]...)
	if err := new(Visit).Decode(wide); !errors.Is(err, ErrCorrupt) {
		t.Errorf("partition 1<<32: error %v, want ErrCorrupt", err)
	}
	if err := new(Visit).Decode(append(binary.AppendVarint(bytes.Clone(b[:at]), 1<<31-1), b[at+1:]...)); err != nil {
		t.Errorf("partition 1<<31-1: %v", err)
	}
}

// TestForgedLengths holds that what a decoder allocates is bounded by the format, whatever lengths a record claims.
func TestForgedLengths(t *testing.T) {
	zeros := bytes.Repeat([]byte{0}, 1<<20)
	visit := bareVisit().Append(nil)
	anomaly := bareAnomaly()
	head := writer{}
	head.byte(byte(KindAnomaly))
	head.byte(anomalyVersion)
	head.float(0)
	head.float(0)
	head.byte(byte(Unseen))
	for range 9 { // the counts and times of the distribution
		head.varint(0)
	}
	if !bytes.HasPrefix(anomaly.Append(nil, nil), head.b) {
		t.Fatal("this test does not know the head of an anomaly")
	}
	for name, b := range map[string][]byte{
		"a million resources":     append(binary.AppendUvarint(bytes.Clone(visit[:len(visit)-1]), 1<<20), zeros...),
		"more resources than int": append(bytes.Clone(visit[:len(visit)-1]), bytes.Repeat([]byte{0xFF}, 9)...),
		"a million countries":     append(binary.AppendUvarint(bytes.Clone(head.b), 1<<19), zeros...),
		"text of all memory":      append([]byte{byte(KindVisit), visitVersion}, binary.AppendUvarint(nil, math.MaxUint64)...),
		"visit of all memory":     append(append(bytes.Clone(head.b), 0), binary.AppendUvarint(nil, math.MaxInt64)...),
		"sighting of all memory":  append([]byte{byte(KindSighting), sightingVersion, 0, 0, 0}, binary.AppendUvarint(nil, math.MaxInt64)...),
		"number without an end":   append([]byte{byte(KindSighting), sightingVersion}, bytes.Repeat([]byte{0x80}, 30)...),
	} {
		t.Run(name, func(t *testing.T) {
			r := fresh(KindOf(b))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := r.Decode(b)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error %v, want ErrCorrupt", err)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 64<<10 {
				t.Errorf("decoding %d forged bytes takes %d bytes of memory", len(b), took)
			}
		})
	}
}

// TestVisitWithin holds that a visit that was encoded before takes no other form inside a record than one that was not.
func TestVisitWithin(t *testing.T) {
	s, a := fullSighting(), fullAnomaly()
	if !bytes.Equal(s.Append(nil, s.Visit.Append(nil)), s.Append(nil, nil)) {
		t.Error("a sighting has two forms")
	}
	if !bytes.Equal(a.Append(nil, a.Visit.Append(nil)), a.Append(nil, nil)) {
		t.Error("an anomaly has two forms")
	}
	// What stands before is the caller's.
	if got := s.Append([]byte("before"), nil); !bytes.Equal(got, append([]byte("before"), s.Append(nil, nil)...)) {
		t.Error("a sighting that is appended overwrites what stands before it")
	}
}

func TestMethodKey(t *testing.T) {
	long := strings.Repeat("m", MaxKeyBytes+1)
	for _, c := range []struct{ scope, method, want string }{
		{"", "iam:CreateUser", "iam:CreateUser"},
		{"123456789012", "iam:CreateUser", "123456789012|iam:CreateUser"},
		{"", long, long[:MaxKeyBytes]},
		{long, long, long[:MaxKeyBytes] + "|" + long[:MaxKeyBytes]},
		{"", "iam:\x00Create\x00", "iam:?Create?"},
		{"a\x00", "b", "a?|b"},
	} {
		if got := string(AppendMethodKey(nil, c.scope, c.method)); got != c.want {
			t.Errorf("key of %q in %q is %q, want %q", c.method, c.scope, got, c.want)
		}
		v := Visit{Scope: c.scope, Method: c.method}
		if got := string(v.Key()); got != c.want {
			t.Errorf("the visit's key is %q, want %q", got, c.want)
		}
		// What stands before is the caller's.
		if got := string(AppendMethodKey([]byte("\x00w"), c.scope, c.method)); got != "\x00w"+c.want {
			t.Errorf("appended to other bytes the key is %q", got)
		}
	}
	// The key that a receiver computes is the one that the record travelled under.
	sent := Visit{Scope: "é" + long, Method: strings.Repeat("é", MaxKeyBytes), Principal: "p", Place: "DE", Outcome: Allowed}
	var received Visit
	if err := received.Decode(sent.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sent.Key(), received.Key()) {
		t.Error("sender and receiver of a clipped method have different keys")
	}
}

func TestPrincipalHash(t *testing.T) {
	// The published vectors of XXH64 with seed 0, less the two low bits.
	for name, want := range map[string]uint64{"": 0xef46db3751d8e999, "a": 0xd24ec4f1a98c6e5b} {
		if got := PrincipalHash(name); got != want&^3 {
			t.Errorf("hash of %q is %#x, want %#x: stored rows are keyed by it", name, got, want&^3)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		if h := PrincipalHash(rapid.String().Draw(t, "principal")); h&3 != 0 {
			t.Fatalf("hash %#x uses the bits of the outcome", h)
		}
	})
}

func TestWords(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"visit": KindVisit, "sighting": KindSighting, "anomaly": KindAnomaly, "exception": KindException, "verdict": KindVerdict, "retraction": KindRetraction, "pulse": KindPulse, "position": KindPosition, "unknown": Kind(99),
		"allowed": Allowed, "denied": Denied, "allowed and denied": Allowed | Denied, "none": Outcome(0),
		"timely": Timely, "late": Late, "imported": Imported,
		"UNSEEN": Unseen, "RARE": Rare, "INFREQUENT": Infrequent, "FREQUENT": Frequent, "UNKNOWN": Level(0),
	} {
		if got.String() != want {
			t.Errorf("%#v is called %q, want %q", got, got, want)
		}
	}
	if got := Quiet(3).String(); got != "unknown" {
		t.Errorf("a quiet that there is not is called %q", got)
	}
	if KindOf(nil) != 0 {
		t.Error("an empty record has a kind")
	}
}

// fuzz holds for any bytes: decoding them succeeds or fails with one of the two errors, takes no more lists than the format
// has, and what was read is written and read again the same.
func fuzz(f *testing.F, k Kind) {
	for _, g := range goldens() {
		b := g.read(f)
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append([]byte{byte(k), newestVersion(k) + 1}, b[2:]...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := fresh(k)
		if err := r.Decode(b); err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		for _, v := range visitsOf(r) {
			if len(v.Evidence.Resources) > MaxResources {
				t.Fatalf("%d resources", len(v.Evidence.Resources))
			}
		}
		once := r.encode()
		again := fresh(k)
		if err := again.Decode(once); err != nil {
			t.Fatalf("does not read what it wrote: %v", err)
		}
		if twice := again.encode(); !bytes.Equal(once, twice) {
			t.Fatal("writes the same record in two ways")
		}
		clipped := false
		stringFields(reflect.ValueOf(r).Elem(), "", func(path string, s reflect.Value) { clipped = clipped || s.Len() > limitOf(path) })
		for _, v := range visitsOf(r) {
			for _, s := range v.Evidence.Resources {
				clipped = clipped || len(s) > MaxFieldBytes
			}
		}
		if a, ok := r.(*Anomaly); ok {
			for _, pc := range a.Distribution.Top {
				clipped = clipped || len(pc.Place) > MaxKeyBytes
			}
		}
		if d := cmp.Diff(r, again); d != "" && !clipped {
			t.Fatalf("round trip:\n%s", d)
		}
	})
}

func FuzzVisit(f *testing.F)      { fuzz(f, KindVisit) }
func FuzzSighting(f *testing.F)   { fuzz(f, KindSighting) }
func FuzzAnomaly(f *testing.F)    { fuzz(f, KindAnomaly) }
func FuzzException(f *testing.F)  { fuzz(f, KindException) }
func FuzzVerdict(f *testing.F)    { fuzz(f, KindVerdict) }
func FuzzRetraction(f *testing.F) { fuzz(f, KindRetraction) }
func FuzzPulse(f *testing.F)      { fuzz(f, KindPulse) }
func FuzzPosition(f *testing.F)   { fuzz(f, KindPosition) }
