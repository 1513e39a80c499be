package endtoend

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// load is a small organisation's CloudTrail: what is sent, and what must come of it.
type load struct {
	payloads [][]byte
	bad      int
	plants   []plant
}

type plant struct{ user, country, method string }

// addresses of each country, on which public databases agree.
var addresses = map[string]string{"DE": "78.47.22.%d", "NL": "185.141.251.%d", "NG": "102.223.1.%d", "VN": "103.69.189.%d", "BR": "200.149.247.%d"}

func newLoad(end time.Time) *load {
	l := &load{}
	rng := rand.New(rand.NewPCG(1, 2))
	methods := []string{"iam:CreateUser", "s3:ListBuckets", "sts:GetCallerIdentity", "ec2:DescribeInstances", "secretsmanager:GetSecretValue", "kms:Decrypt", "lambda:ListFunctions20150331"}
	seq := 0
	const usual, strange = "aws-cli/2.17.1 md/awscrt#0.20 ua/2.0 os/linux#6.6", "Boto3/1.34.11 md/Botocore#1.34 ua/2.0 os/windows#10"
	event := func(at time.Time, user, country, method, code, agent string) string {
		service, action, _ := strings.Cut(method, ":")
		seq++
		e := map[string]any{
			"eventVersion": "1.11", "eventTime": at.UTC().Format(time.RFC3339), "eventID": fmt.Sprintf("00000000-0000-4000-8000-%012d", seq),
			"eventSource": service + ".amazonaws.com", "eventName": action, "awsRegion": "eu-central-1", "sourceIPAddress": fmt.Sprintf(addresses[country], 1+rng.IntN(200)),
			"userAgent": agent, "recipientAccountId": "444455556666", "eventType": "AwsApiCall", "eventCategory": "Management", "readOnly": true,
			"requestParameters": map[string]any{"n": seq},
			"userIdentity":      map[string]any{"type": "IAMUser", "accountId": "444455556666", "userName": user, "arn": "arn:aws:iam::444455556666:user/" + user, "accessKeyId": "AKIAEXAMPLE0" + user},
		}
		if code != "" {
			e["errorCode"] = code
		}
		b, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		return string(b)
	}
	var batch []string
	send := func() {
		if len(batch) == 0 {
			return
		}
		var p []byte
		switch len(l.payloads) % 4 {
		case 0:
			p = []byte(`{"Records":[` + strings.Join(batch, ",") + `]}`)
		case 1:
			p = []byte(strings.Join(batch, "\n"))
		case 2:
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			fmt.Fprintf(z, `{"Records":[%s]}`, strings.Join(batch, ","))
			if err := z.Close(); err != nil {
				panic(err)
			}
			p = b.Bytes()
		default:
			for _, e := range batch {
				l.payloads = append(l.payloads, []byte(e))
			}
			batch = nil
			return
		}
		l.payloads = append(l.payloads, p)
		batch = nil
	}
	add := func(e string) {
		if batch = append(batch, e); len(batch) == 5 {
			send()
		}
	}
	hours := 10 * 24
	// The keys of people who are at work here every day.
	plants := map[int]plant{
		hours - 30: {"user3", "NG", "iam:CreateUser"}, hours - 20: {"user7", "VN", "secretsmanager:GetSecretValue"}, hours - 3: {"user11", "BR", "ec2:DescribeInstances"},
	}
	for h := range hours {
		at := end.Add(time.Duration(h-hours) * time.Hour)
		for range 60 {
			user, country := fmt.Sprint("user", rng.IntN(25)), "DE"
			if rng.IntN(5) == 0 {
				country = "NL"
			}
			code := ""
			if rng.IntN(50) == 0 {
				code = "AccessDenied"
			}
			e := event(at.Add(time.Duration(rng.IntN(3000))*time.Second), user, country, methods[rng.IntN(len(methods))], code, usual)
			add(e)
			if rng.IntN(40) == 0 {
				add(e) // delivered twice
			}
		}
		if p, ok := plants[h]; ok {
			l.plants = append(l.plants, p)
			for range 3 {
				add(event(at.Add(50*time.Minute), p.user, p.country, p.method, "", strange))
			}
		}
		if h%40 == 17 {
			send()
			for _, bad := range []string{`{"eventTime":"yesterday","eventSource":"iam.amazonaws.com","eventName":"X"}`, `not JSON at all`, event(end.AddDate(70, 0, 0), "x", "DE", methods[0], "", usual)} {
				l.payloads = append(l.payloads, []byte(bad))
				l.bad++
			}
		}
	}
	send()
	return l
}

// expect checks that every plant was alerted, with all that a person needs.
func (l *load) expect(t *testing.T, alerts map[string]map[string]any) {
	t.Helper()
	for _, p := range l.plants {
		found := false
		for _, doc := range alerts {
			f := doc["farcall"].(map[string]any)
			if f["principal"] != "444455556666/user/"+p.user || f["place"] != p.country || f["method"] != p.method {
				continue
			}
			found = true
			source := doc["source"].(map[string]any)
			event := doc["event"].(map[string]any)
			if source["geo"].(map[string]any)["country_iso_code"] != p.country || event["kind"] != "alert" || event["risk_score"].(float64) < 50 {
				t.Errorf("alert about %s is incomplete: %v", p.user, doc)
			}
		}
		if !found {
			t.Errorf("no alert about %s calling %s from %s", p.user, p.method, p.country)
		}
	}
}

// corpusPayloads are the files of FARCALL_CORPUS, if it is set.
func corpusPayloads(t *testing.T) (payloads [][]byte) {
	t.Helper()
	root := os.Getenv("FARCALL_CORPUS")
	if root == "" {
		t.Log("FARCALL_CORPUS is not set: generated events only")
		return nil
	}
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if ext := filepath.Ext(path); err == nil && !d.IsDir() && slices.Contains([]string{".json", ".ndjson", ".gz", ".jsonl"}, ext) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) < 900<<10 {
			payloads = append(payloads, b)
		}
	}
	return payloads
}
