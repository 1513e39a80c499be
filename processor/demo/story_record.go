package demo

import (
	"fmt"
	"strings"
	"time"
)

// template is JSON text to fill in: literal pieces, each followed by a slot.
type template []piece

type piece struct {
	literal string
	slot    slot
}

// slot names a value that a record draws. Within one record a slot has one value, however often it is named.
type slot uint8

const (
	slotNone slot = iota
	slotAccount
	slotRegion
	slotAddress
	slotSelf // session or user name of the caller
	slotNow
	slotLater // an hour from now
	slotHex8
	slotHex12
	slotHex16
	slotHex16b
	slotUUID
	slotNumber
	slotKey13
	slotKey16
	slotKey17
	// From here on the organisation has a list of values to pick from.
	slotBucket
	slotUser
	slotRole
	slotSecret
	slotFunction
	slotTable
	slotGroup
	slotPath
	slotDatabase
	slotSize
	slotKMSKey
	slotCount
)

var slotNames = map[string]slot{
	"acct": slotAccount, "region": slotRegion, "addr": slotAddress, "self": slotSelf, "now": slotNow, "later": slotLater,
	"hex8": slotHex8, "hex12": slotHex12, "hex16": slotHex16, "hex16b": slotHex16b, "uuid": slotUUID, "num": slotNumber,
	"key13": slotKey13, "key16": slotKey16, "key17": slotKey17, "bucket": slotBucket, "user": slotUser, "role": slotRole,
	"secret": slotSecret, "fn": slotFunction, "table": slotTable, "group": slotGroup, "path": slotPath, "db": slotDatabase,
	"size": slotSize, "kmskey": slotKMSKey,
}

// compile reads a template. A slot is $ and its name in small letters and digits; $$ is a dollar. The empty template is
// null.
func compile(s string) template {
	if s == "" {
		return nil
	}
	var t template
	literal := ""
	for {
		before, rest, ok := strings.Cut(s, "$")
		literal += before
		if !ok {
			return append(t, piece{literal, slotNone})
		}
		n := 0
		for n < len(rest) && (rest[n] >= 'a' && rest[n] <= 'z' || rest[n] >= '0' && rest[n] <= '9') {
			n++
		}
		switch {
		case n == 0 && strings.HasPrefix(rest, "$"):
			literal, s = literal+"$", rest[1:]
		case slotNames[rest[:n]] == slotNone:
			panic(fmt.Sprintf("demo: no slot $%s", rest[:n]))
		default:
			t = append(t, piece{literal, slotNames[rest[:n]]})
			literal, s = "", rest[n:]
		}
	}
}

// fault is why a call failed; calls that did not fail have none.
type fault uint8

const (
	faultNone fault = iota
	faultDenied
	faultThrottled
	faultMissing
	faultPassword
)

// session is what a caller shows with each call: a credential, an address and a client.
type session struct {
	identity  []byte // the userIdentity element
	arn, self string
	address   string
	agent     string
	account   int
	region    int
	console   bool
	inside    bool   // made within AWS, so without TLS details
	endpoint  string // VPC endpoint the call came through
	failing   float64
	denials   float64 // share of the failures that are denials
}

// call is one API call before it is written out.
type call struct {
	at  int64  // eventTime, Unix milliseconds
	due int64  // delivery, Unix milliseconds
	id  uint64 // all that is drawn for the record comes from it
	by  *session
	do  *method
	// region is where the call was made and logged
	region, part int
	fault        fault
}

const (
	saltEventID = 1 + iota
	saltRequestID
	saltSlots
	saltDelivery
)

func (c *call) appendEventID(b []byte) []byte {
	return appendUUID(b, mix(c.id, saltEventID), mix(c.id, saltEventID<<32))
}

// scribe writes records for one organisation.
type scribe struct {
	org *organisation
	buf []byte
}

// write returns the record of a call. It is overwritten by the next.
func (w *scribe) write(c *call) []byte {
	m, s, org := c.do, c.by, w.org
	region, account := org.regions[c.region], org.accounts[s.account].ID
	b := append(w.buf[:0], `{"eventVersion":"1.11","userIdentity":`...)
	b = append(b, s.identity...)
	b = append(b, `,"eventTime":"`...)
	b = appendTime(b, c.at)
	b = append(b, `","eventSource":"`...)
	b = append(b, m.source...)
	b = append(b, `","eventName":"`...)
	b = append(b, m.name...)
	b = append(b, `","awsRegion":"`...)
	b = append(b, region...)
	b = append(b, `","sourceIPAddress":"`...)
	b = append(b, s.address...)
	b = append(b, `","userAgent":"`...)
	b = append(b, s.agent...)
	b = append(b, `",`...)
	b = appendFault(b, c)
	b = append(b, `"requestParameters":`...)
	b = w.append(b, m.request, c)
	b = append(b, `,"responseElements":`...)
	switch {
	case c.fault == faultNone:
		b = w.append(b, m.response, c)
	case c.fault == faultPassword:
		b = append(b, `{"ConsoleLogin":"Failure"}`...)
	default:
		b = append(b, "null"...)
	}
	b = append(b, ',')
	if m.extra != nil {
		b = w.append(b, m.extra, c)
		b = append(b, ',')
	}
	if m.flags&(flagService|flagSignIn) == 0 {
		b = append(b, `"requestID":"`...)
		b = appendUUID(b, mix(c.id, saltRequestID), mix(c.id, saltRequestID<<32))
		b = append(b, `",`...)
	}
	b = append(b, `"eventID":"`...)
	b = c.appendEventID(b)
	b = append(b, `","readOnly":`...)
	b = appendBool(b, m.flags&flagWrite == 0)
	if m.resources != nil {
		b = append(b, `,"resources":`...)
		b = w.append(b, m.resources, c)
	}
	b = append(b, `,"eventType":"`...)
	switch {
	case m.flags&flagService != 0:
		b = append(b, "AwsServiceEvent"...)
	case m.flags&flagSignIn != 0:
		b = append(b, "AwsConsoleSignIn"...)
	default:
		b = append(b, "AwsApiCall"...)
	}
	b = append(b, `","managementEvent":`...)
	b = appendBool(b, m.flags&flagData == 0)
	b = append(b, `,"recipientAccountId":"`...)
	b = append(b, account...)
	if m.flags&flagData != 0 {
		b = append(b, `","eventCategory":"Data"`...)
	} else {
		b = append(b, `","eventCategory":"Management"`...)
	}
	if s.endpoint != "" {
		b = append(b, `,"vpcEndpointId":"`...)
		b = append(b, s.endpoint...)
		b = append(b, `","vpcEndpointAccountId":"`...)
		b = append(b, account...)
		b = append(b, '"')
	}
	if !s.inside {
		b = append(b, `,"tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"`...)
		b = append(b, m.host...)
		if m.flags&flagGlobal == 0 {
			b = append(b, '.')
			b = append(b, region...)
		}
		b = append(b, `.amazonaws.com"}`...)
	}
	if s.console {
		b = append(b, `,"sessionCredentialFromConsole":"true"`...)
	}
	w.buf = append(b, '}')
	return w.buf
}

func appendFault(b []byte, c *call) []byte {
	switch c.fault {
	case faultDenied:
		if c.do.source == "ec2.amazonaws.com" {
			b = append(b, `"errorCode":"Client.UnauthorizedOperation","errorMessage":"You are not authorized to perform this operation. User: `...)
		} else {
			b = append(b, `"errorCode":"AccessDenied","errorMessage":"User: `...)
		}
		b = append(b, c.by.arn...)
		b = append(b, ` is not authorized to perform: `...)
		b = append(b, c.do.key...)
		b = append(b, ` because no identity-based policy allows the `...)
		b = append(b, c.do.key...)
		b = append(b, ` action",`...)
	case faultThrottled:
		b = append(b, `"errorCode":"ThrottlingException","errorMessage":"Rate exceeded",`...)
	case faultMissing:
		b = append(b, `"errorCode":"`...)
		b = append(b, c.do.absent...)
		b = append(b, `","errorMessage":"The requested resource was not found.",`...)
	case faultPassword:
		b = append(b, `"errorMessage":"Failed authentication",`...)
	}
	return b
}

func (w *scribe) append(b []byte, t template, c *call) []byte {
	if t == nil {
		return append(b, "null"...)
	}
	for i := range t {
		b = append(b, t[i].literal...)
		if t[i].slot != slotNone {
			b = w.fill(b, t[i].slot, c)
		}
	}
	return b
}

func (w *scribe) fill(b []byte, s slot, c *call) []byte {
	x := mix(c.id, saltSlots<<8|uint64(s))
	switch s {
	case slotAccount:
		return append(b, w.org.accounts[c.by.account].ID...)
	case slotRegion:
		return append(b, w.org.regions[c.region]...)
	case slotAddress:
		return append(b, c.by.address...)
	case slotSelf:
		return append(b, c.by.self...)
	case slotNow:
		return appendTime(b, c.at)
	case slotLater:
		return appendTime(b, c.at+time.Hour.Milliseconds())
	case slotHex8:
		return appendHex(b, x, 8)
	case slotHex12:
		return appendHex(b, x, 12)
	case slotHex16, slotHex16b:
		return appendHex(b, x, 16)
	case slotUUID:
		return appendUUID(b, x, mix(x, saltSlots))
	case slotNumber:
		n := 1000 + scale(x, 90000)
		for div := 10000; div > 0; div /= 10 {
			if n >= div {
				b = append(b, byte('0'+n/div%10))
			}
		}
		return b
	case slotKey13:
		return appendKey(b, x, 13)
	case slotKey16:
		return appendKey(b, x, 16)
	case slotKey17:
		return appendKey(b, x, 17)
	}
	l := w.org.values[s]
	return append(b, l[scale(x, len(l))]...)
}

func appendKey(b []byte, x uint64, n int) []byte {
	for i := range n {
		b = append(b, keyDigits[x>>(3*uint(i))&31])
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, "true"...)
	}
	return append(b, "false"...)
}

// appendTime appends a time as CloudTrail writes it, "2026-11-02T09:14:07Z".
func appendTime(b []byte, milli int64) []byte {
	return time.UnixMilli(milli).UTC().AppendFormat(b, "2006-01-02T15:04:05Z")
}
