package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"
)

const published1 = `{"syncToken": "1", "createDate": "2026-08-22-05-12-10", "prefixes": [
	{"ip_prefix": "52.0.1.0/24", "region": "us-east-1", "service": "EC2"},
	{"ip_prefix": "52.0.0.0/24", "region": "us-east-1", "service": "AMAZON"},
	{"ip_prefix": "52.0.0.0/24", "region": "us-east-1", "service": "EC2"},
	{"ip_prefix": "52.0.2.0/23", "region": "us-east-1", "service": "EC2"},
	{"ip_prefix": "52.0.3.128/25", "region": "us-east-1", "service": "S3"},
	{"ip_prefix": "52.0.2.16/28", "region": "eu-west-1", "service": "S3"},
	{"ip_prefix": "52.0.2.24/29", "region": "us-east-1", "service": "S3"},
	{"ip_prefix": "52.1.1.0/24", "region": "us-east-1", "service": "EC2"},
	{"ip_prefix": "13.32.0.0/15", "region": "GLOBAL", "service": "CLOUDFRONT"},
	{"ip_prefix": "13.34.0.0/15", "region": "GLOBAL", "service": "AMAZON"},
	{"ip_prefix": "13.34.0.0/15", "region": "eu-west-1", "service": "EC2"}
], "ipv6_prefixes": [
	{"ipv6_prefix": "2600:1f18::/33", "region": "us-east-1", "service": "EC2"},
	{"ipv6_prefix": "2600:1f18:8000::/33", "region": "us-east-1", "service": "EC2"},
	{"ipv6_prefix": "2a01:578:0:7300::1/128", "region": "eu-west-1", "service": "EC2"}
]}`

func TestRun(t *testing.T) {
	var out, again bytes.Buffer
	if err := run(strings.NewReader(published1), &out); err != nil {
		t.Fatal(err)
	}
	if err := run(strings.NewReader(published1), &again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Error("two runs differ")
	}
	zr, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"aws-prefixes 1 2026-08-22",
		"GLOBAL", "13.32.0.0/15",
		"eu-west-1", "13.34.0.0/15", "52.0.2.16/28", "2a01:578:0:7300::1/128",
		// 52.0.2.24/29 is an island inside 52.0.2.16/28, and stays.
		"us-east-1", "52.0.0.0/22", "52.0.2.24/29", "52.1.1.0/24", "2600:1f18::/32",
	}, "\n") + "\n"
	if got := string(text); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestRunRefuses(t *testing.T) {
	for want, input := range map[string]string{
		"reading the list":             "<html>",
		"createDate":                   `{"prefixes": []}`,
		`createDate is "yesterday, or`: `{"createDate": "yesterday, or before"}`,
		"is in eu-west-1 and in": `{"createDate": "2026-08-22-00-00-00", "prefixes": [
			{"ip_prefix": "52.0.1.0/24", "region": "eu-west-1"}, {"ip_prefix": "52.0.1.0/24", "region": "us-east-1"}]}`,
		"with region": `{"createDate": "2026-08-22-00-00-00", "prefixes": [{"ip_prefix": "52.0.1.0/24", "region": "a/b"}]}`,
		"52.0.1.1/24": `{"createDate": "2026-08-22-00-00-00", "prefixes": [{"ip_prefix": "52.0.1.1/24", "region": "eu-west-1"}]}`,
	} {
		if err := run(strings.NewReader(input), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}
