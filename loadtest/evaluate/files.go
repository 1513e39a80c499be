package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// perFile is how much of the deliveries of one account and region a file holds. A real trail writes a file every five
// minutes; the engines read what is in them the same, and most of the time would go into opening files.
const perFile = 3 * hour

// write puts the stream below dir as CloudTrail puts it into a bucket.
func (s *stream) write(dir string) (files int, err error) {
	// Sorted by trail, delivery and number: trails are numbered as they come.
	type place struct {
		key   uint64 // trail, delivery
		event uint32
	}
	trails := map[[2]string]uint64{}
	trailOf := make([]uint64, len(s.sessions))
	for i := range s.sessions {
		k := [2]string{s.sessions[i].account, s.sessions[i].region}
		if _, ok := trails[k]; !ok {
			trails[k] = uint64(len(trails))
		}
		trailOf[i] = trails[k]
	}
	places := make([]place, len(s.events))
	for i := range s.events {
		e := &s.events[i]
		places[i] = place{trailOf[e.session]<<32 | uint64(e.at) + uint64(e.delay), uint32(i)}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.event, b.event)) })
	order := make([]uint32, len(places))
	var parts [][]uint32
	for i, begin := 0, 0; i < len(places); i++ {
		order[i] = places[i].event
		if k := places[i].key; i+1 == len(places) || places[i+1].key>>32 != k>>32 || uint32(places[i+1].key)/perFile != uint32(k)/perFile {
			parts = append(parts, order[begin:i+1])
			begin = i + 1
		}
	}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	for n := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w := &writer{stream: s}
			for i := n; i < len(parts) && errs[n] == nil; i += workers {
				errs[n] = w.file(dir, i, parts[i])
			}
		}()
	}
	wg.Wait()
	for _, e := range errs {
		err = cmp.Or(err, e)
	}
	if err != nil {
		return 0, fmt.Errorf("write CloudTrail files: %w", err)
	}
	return len(parts), nil
}

// writer encodes files; its buffers are used again.
type writer struct {
	*stream
	text []byte
	out  bytes.Buffer
	zip  *gzip.Writer
}

func (w *writer) file(dir string, n int, events []uint32) error {
	w.text = append(w.text[:0], `{"Records":[`...)
	for i, x := range events {
		if i > 0 {
			w.text = append(w.text, ',')
		}
		w.text = w.appendRecord(w.text, &w.events[x])
	}
	w.text = append(w.text, "]}"...)
	last := &w.events[events[len(events)-1]]
	x := &w.sessions[last.session]
	stamp := time.Unix(dayZero+int64(last.at)+int64(last.delay), 0).UTC()
	name := fmt.Sprintf("%s_CloudTrail_%s_%s_%016x.json.gz", x.account, x.region, stamp.Format("20060102T1504Z"), mix(w.seed, uint64(n)))
	folder := filepath.Join(dir, "AWSLogs", x.account, "CloudTrail", x.region, stamp.Format("2006/01/02"))
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	w.out.Reset()
	if w.zip == nil {
		w.zip, _ = gzip.NewWriterLevel(&w.out, gzip.BestSpeed) // the level is valid
	} else {
		w.zip.Reset(&w.out)
	}
	if _, err := w.zip.Write(w.text); err != nil {
		return err
	}
	if err := w.zip.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, name), w.out.Bytes(), 0o640)
}

func (s *stream) appendRecord(b []byte, e *event) []byte {
	x := &s.sessions[e.session]
	p := &s.principals[x.principal]
	m := &s.lists.methods[e.method]
	b = append(b, `{"eventVersion":"1.11","userIdentity":`...)
	b = s.appendIdentity(b, x, p)
	b = append(b, `,"eventTime":"`...)
	b = appendTime(b, e.at)
	b = append(append(append(b, `","eventSource":"`...), m.service...), `.amazonaws.com","eventName":"`...)
	b = append(append(append(b, m.action...), `","awsRegion":"`...), x.region...)
	b = append(append(append(b, `","sourceIPAddress":"`...), x.address...), `","userAgent":"`...)
	b = append(append(b, x.agent...), '"')
	if e.denied {
		b = append(append(append(append(append(b, `,"errorCode":"AccessDenied","errorMessage":"User: `...), p.arn(x.name)...),
			" is not authorized to perform: "...), m.name()...), '"')
	}
	b = append(b, `,"requestParameters":null,"responseElements":null,"requestID":"`...)
	b = appendHex(b, mix(uint64(e.id), s.seed), 16)
	b = append(b, `","eventID":"`...)
	b = s.appendEventID(b, e.id)
	b = append(b, `","readOnly":`...)
	b = appendBool(b, m.reads)
	if m.service == "signin" {
		b = append(b, `,"eventType":"AwsConsoleSignIn"`...)
	} else {
		b = append(b, `,"eventType":"AwsApiCall"`...)
	}
	b = append(append(append(b, `,"managementEvent":true,"recipientAccountId":"`...), x.account...), `","eventCategory":"Management"`...)
	if len(x.address) > 3 && x.address[:3] == "10." {
		b = append(b, `,"vpcEndpointId":"vpce-0a1b2c3d4e5f60718"`...)
	}
	return append(b, '}')
}

func (s *stream) appendIdentity(b []byte, x *session, p *principal) []byte {
	field := func(name, value string) {
		b = append(append(append(append(b, name...), `":"`...), value...), '"')
	}
	if p.kind == awsService {
		field(`{"type":"AWSService","invokedBy`, p.name)
		return append(b, '}')
	}
	if p.kind == iamUser {
		field(`{"type":"IAMUser","principalId`, p.id)
	} else {
		field(`{"type":"AssumedRole","principalId`, p.id+":"+x.name)
	}
	field(`,"arn`, p.arn(x.name))
	field(`,"accountId`, p.account)
	field(`,"accessKeyId`, x.key)
	if p.kind == iamUser {
		field(`,"userName`, p.name)
		if x.key == p.key {
			return append(b, '}')
		}
		b = append(b, `,"sessionContext":{"attributes":{"mfaAuthenticated":"false","creationDate":"`...)
	} else {
		field(`,"sessionContext":{"sessionIssuer":{"type":"Role","principalId`, p.id)
		field(`,"arn`, p.issuer())
		field(`,"accountId`, p.account)
		field(`,"userName`, p.name)
		b = append(b, `},"attributes":{"mfaAuthenticated":"`...)
		b = appendBool(b, x.mfa)
		b = append(b, `","creationDate":"`...)
	}
	b = appendTime(b, x.began)
	return append(b, `"}}}`...)
}

func appendTime(b []byte, at uint32) []byte {
	return time.Unix(dayZero+int64(at), 0).UTC().AppendFormat(b, "2006-01-02T15:04:05Z")
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, "true"...)
	}
	return append(b, "false"...)
}
