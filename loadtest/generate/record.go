package generate

import (
	"fmt"
	"time"
)

// machine is a role that programs assume, or a service that calls for itself.
type machine struct {
	account   string
	principal []byte
	agent     string
	region    string
	place     string
	address   func(dst []byte, h uint64) []byte
	// Of a role: the identity in three parts, between which the session's name stands; of a service: the first part is all.
	identity [3]string
}

// session is a person at work.
type session struct {
	left      int // calls
	person    uint64
	account   string
	principal []byte
	identity  []byte
	address   []byte
	place     string
	region    string
	agent     string
}

var sdks = []string{
	"aws-sdk-go-v2/1.32.6 os/linux lang/go#1.23.4 md/GOOS#linux md/GOARCH#amd64 api/s3#1.71.0",
	"Boto3/1.35.80 md/Botocore#1.35.80 ua/2.0 os/linux#5.10.229 md/arch#x86_64 lang/python#3.11.10",
	"aws-sdk-java/2.29.34 md/io#async md/http#NettyNio ua/2.1 os/Linux#5.10.228 lang/java#17.0.13",
	"APN/1.0 HashiCorp/1.0 Terraform/1.9.8 (+https://www.terraform.io) terraform-provider-aws/5.80.0",
	"aws-sdk-nodejs/2.1692.0 linux/v18.20.4 exec-env/AWS_Lambda_nodejs18.x promise",
	"aws-sdk-js/3.709.0 ua/2.0 os/linux#6.1.112 lang/js md/nodejs#20.18.1 api/dynamodb#3.709.0",
}

var browsers = []string{
	"aws-cli/2.22.12 md/awscrt#0.23.4 ua/2.0 os/macos#24.1.0 md/arch#arm64 lang/python#3.12.6",
	"aws-cli/2.22.5 md/awscrt#0.22.0 ua/2.0 os/windows#11 md/arch#amd64 lang/python#3.12.6",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
	"AWS-Internal/3 aws-sdk-java/1.12.779 Linux/5.10.229 OpenJDK_64-Bit_Server_VM/25.432-b06 java/1.8.0_432",
}

var callers = []string{"autoscaling", "cloudformation", "ecs-tasks", "lambda", "elasticloadbalancing", "config", "backup", "guardduty",
	"rds", "logs"}

func (g *Generator) account(h uint64) string {
	return fmt.Sprintf("%012d", 100_000_000_000+mix(uint64(below(h, g.o.Accounts)), 12)%800_000_000_000)
}

// id is 17 characters of an AWS identifier made from a hash.
func id(h uint64) string {
	const chars = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var b [17]byte
	for i := range b {
		if i == 12 {
			h = mix(h, 17)
		}
		b[i] = chars[h>>(5*(i%12))&31]
	}
	return string(b[:])
}

// machine makes the n-th role: two thirds run in AWS, a fifth behind the addresses of the organisation's own sites, some behind
// private addresses; one in twelve is a service.
func (g *Generator) machine(n uint64) machine {
	h := mix(g.o.Seed, 1_000_000+n)
	m := machine{account: g.account(mix(h, 1)), region: busy[below(mix(h, 2), len(busy))], agent: sdks[below(mix(h, 3), len(sdks))]}
	if h%12 == 0 {
		service := callers[below(mix(h, 4), len(callers))] + ".amazonaws.com"
		m.agent, m.principal = service, []byte("service/"+service)
		m.identity[0] = `{"type":"AWSService","invokedBy":"` + service + `"}`
		m.address = func(dst []byte, _ uint64) []byte { return append(dst, service...) }
		return m
	}
	switch x := unit(mix(h, 5)); {
	case x < .68: // one in four of these with an address for each session, as functions have; the others with two
		m.place = "aws:" + m.region
		addresses := uint64(2)
		if h>>8%4 == 0 {
			addresses = 64
		}
		m.address = func(dst []byte, s uint64) []byte { return g.w.appendInstance(dst, m.region, mix(h, s%addresses)) }
	case x < .9:
		m.place = homes[below(mix(h, 6), 8)]
		site := mix(uint64(below(mix(h, 7), 6)), 7)
		m.address = func(dst []byte, _ uint64) []byte { return g.w.appendAddress(dst, m.place, site) }
	default:
		m.address = func(dst []byte, s uint64) []byte {
			x := mix(h, s%8)
			return fmt.Appendf(dst, "10.%d.%d.%d", x&255, x>>8&255, 1+x>>16%250)
		}
	}
	role := fmt.Sprintf("%s-%s-%05d", words[below(mix(h, 8), len(words))], words[below(mix(h, 9), len(words))], n)
	m.principal = []byte(m.account + "/role/service/" + role)
	unique := "AROA" + id(h)
	m.identity = [3]string{
		`{"type":"AssumedRole","principalId":"` + unique + `:`,
		`","arn":"arn:aws:sts::` + m.account + `:assumed-role/` + role + `/`,
		`","accountId":"` + m.account + `","accessKeyId":"ASIA` + id(mix(h, 10))[:16] +
			`","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"` + unique +
			`","arn":"arn:aws:iam::` + m.account + `:role/service/` + role + `","accountId":"` + m.account + `","userName":"` + role +
			`"},"attributes":{"creationDate":"` +
			g.o.Start.Add(-time.Duration(1+h%18_000)*time.Second).UTC().Format(time.RFC3339) +
			`","mfaAuthenticated":"false"},"ec2RoleDelivery":"2.0"}}`,
	}
	return m
}

// open begins a session of a person: somebody who works a lot is met more often.
func (g *Generator) open(s *session, h uint64) {
	u := unit(h)
	p := uint64(u * u * float64(g.o.People))
	s.person = mix(g.o.Seed, 2_000_000_000+p)
	s.left = 1 + int(mix(h, 1)%(2*sessionCalls-1))
	x := s.person
	s.account, s.agent, s.region = g.account(mix(x, 1)), browsers[below(mix(x, 2), len(browsers))], busy[below(mix(x, 3), len(busy))]
	s.place = g.w.home(mix(x, 4))
	line := mix(x, 5)
	switch y := mix(h, 2) % 100; {
	case y < 8: // by mobile network
		line = mix(h, 3)
	case y < 10: // abroad
		s.place = g.w.home(mix(h, 4))
	}
	s.address = g.w.appendAddress(s.address[:0], s.place, line)
	name := fmt.Sprintf("%s.%s-%07d", words[below(mix(x, 6), len(words))], words[below(mix(x, 7), len(words))], p)
	began := g.o.Start.Add(-time.Duration(h%3600) * time.Second).UTC().Format(time.RFC3339)
	s.identity, s.principal = s.identity[:0], s.principal[:0]
	switch unique := id(x); {
	case x%10 < 7:
		role := "AWSReservedSSO_" + []string{"PowerUser", "ReadOnly", "Administrator", "Support"}[x>>8%4] + "_" + id(mix(uint64(x>>8%4), 8))[:16]
		s.identity = fmt.Appendf(s.identity, `{"type":"AssumedRole","principalId":"AROA%[1]s:%[2]s@example.com","arn":"arn:aws:sts::%[3]s:assumed-role/%[4]s/%[2]s@example.com","accountId":"%[3]s","accessKeyId":"ASIA%[5]s","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROA%[1]s","arn":"arn:aws:iam::%[3]s:role/aws-reserved/sso.amazonaws.com/%[4]s","accountId":"%[3]s","userName":"%[4]s"},"attributes":{"creationDate":"%[6]s","mfaAuthenticated":"true"}}}`,
			unique, name, s.account, role, id(h)[:16], began)
		s.principal = append(append(append(append(append(s.principal, s.account...), "/sso/"...), role...), '/'), name+"@example.com"...)
	case x%10 < 9:
		s.identity = g.user(s.identity, unique, s.account, name, id(mix(x, 9))[:16])
		s.principal = append(append(append(s.principal, s.account...), "/user/"...), name...)
	default:
		s.identity = fmt.Appendf(s.identity, `{"type":"AssumedRole","principalId":"AROA%[1]s:%[2]s","arn":"arn:aws:sts::%[3]s:assumed-role/engineers/%[2]s","accountId":"%[3]s","accessKeyId":"ASIA%[4]s","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROA%[1]s","arn":"arn:aws:iam::%[3]s:role/engineers","accountId":"%[3]s","userName":"engineers"},"attributes":{"creationDate":"%[5]s","mfaAuthenticated":"true"},"sourceIdentity":"%[2]s"}}`,
			id(mix(x>>8%4, 10)), name, s.account, id(h)[:16], began)
		s.principal = append(append(append(s.principal, s.account...), "/source-identity/"...), name...)
	}
}

func (g *Generator) user(dst []byte, unique, account, name, key string) []byte {
	return fmt.Appendf(dst, `{"type":"IAMUser","principalId":"AIDA%s","arn":"arn:aws:iam::%[2]s:user/%[3]s","accountId":"%[2]s","accessKeyId":"AKIA%[4]s","userName":"%[3]s"}`, unique, account, name, key)
}

// record appends a new record and fills g.e.
func (g *Generator) record(dst []byte) []byte {
	h := g.random()
	e := &g.e
	switch x := unit(mix(h, 1)); {
	case x < g.o.Intrusions:
		e.Intrusion = true
		return g.stranger(dst, "intruder", g.w.far[below(mix(h, 2), len(g.w.far))], below(mix(h, 3), min(20, len(g.methods))))
	case g.o.World == Worst:
		return g.stranger(dst, "user", g.w.home(mix(h, 2)), g.draw.draw(mix(h, 3)))
	case x < g.o.Intrusions+g.o.ByPeople:
		s := &g.sessions[below(mix(h, 2), len(g.sessions))]
		if s.left == 0 {
			g.open(s, g.random())
		}
		s.left--
		// Of a dozen methods that are this person's own, drawn as all are, so that over people the shares are kept.
		n := g.draw.draw(mix(s.person, 100+mix(h, 3)%12))
		e.Principal, e.Place, e.Account = s.principal, s.place, s.account
		e.Denied = mix(s.person, uint64(n))%64 == 0
		dst = append(append(dst, `{"eventVersion":"1.11","userIdentity":`...), s.identity...)
		dst = g.middle(dst, n, s.region)
		dst = append(dst, s.address...)
		return g.rest(dst, n, s.agent)
	}
	n := g.draw.draw(mix(h, 3))
	// Of the machines that call the method, a few make most calls, and some machines call more methods than others.
	u := unit(mix(h, 4))
	role := mix(uint64(n)<<32+uint64(float64(g.methods[n].roles)*u*u), g.o.Seed)
	v := unit(role)
	m := &g.machines[int(v*v*float64(len(g.machines)))]
	e.Principal, e.Place, e.Account = m.principal, m.place, m.account
	e.Denied = mix(role, 2)%64 == 0
	dst = append(append(dst, `{"eventVersion":"1.11","userIdentity":`...), m.identity[0]...)
	s := mix(h, 5) % 64
	if m.identity[1] != "" {
		name := mix(role, s)
		dst = appendHex(append(dst, "i-0"...), name, 15)
		dst = append(dst, m.identity[1]...)
		dst = appendHex(append(dst, "i-0"...), name, 15)
		dst = append(dst, m.identity[2]...)
	}
	dst = g.middle(dst, n, m.region)
	dst = m.address(dst, s)
	return g.rest(dst, n, m.agent)
}

// stranger appends a record of a user that nobody has met.
func (g *Generator) stranger(dst []byte, prefix, country string, method int) []byte {
	x := mix(g.o.Seed, uint64(g.n))
	e := &g.e
	e.Account, e.Place = g.account(mix(x, 1)), country
	g.name = fmt.Appendf(g.name[:0], "%s/user/%s-%09d", e.Account, prefix, g.n)
	e.Principal = g.name
	dst = append(dst, `{"eventVersion":"1.11","userIdentity":`...)
	dst = g.user(dst, id(x), e.Account, string(g.name[len(e.Account)+len("/user/"):]), id(mix(x, 2))[:16])
	dst = g.middle(dst, method, busy[below(mix(x, 3), len(busy))])
	dst = g.w.appendAddress(dst, country, mix(x, 4))
	return g.rest(dst, method, browsers[below(mix(x, 5), len(browsers))])
}

// middle appends what stands between identity and address.
func (g *Generator) middle(dst []byte, n int, region string) []byte {
	g.e.Method, g.e.Region = g.methods[n].name, region
	dst = append(dst, `,"eventTime":"`...)
	dst = g.appendTime(dst, g.e.Time)
	dst = append(append(dst, g.methods[n].source...), region...)
	return append(dst, `","sourceIPAddress":"`...)
}

// rest appends what stands behind the address.
func (g *Generator) rest(dst []byte, n int, agent string) []byte {
	m := &g.methods[n]
	dst = append(append(dst, `","userAgent":"`...), agent...)
	h := g.random()
	switch {
	case g.e.Denied:
		dst = append(dst, `","errorCode":"AccessDenied","errorMessage":"User is not authorized to perform this operation because no identity-based policy allows it",`...)
	case h%128 == 0 && !m.signIn: // an error that is no denial, as any at a sign-in is
		dst = append(dst, `","errorCode":"ThrottlingException","errorMessage":"Rate exceeded",`...)
	default:
		dst = append(dst, `",`...)
	}
	dst = append(dst, g.bodies[below(mix(h, 1), len(g.bodies))]...)
	dst = appendUUID(append(dst, `,"requestID":"`...), g.random(), g.random())
	dst = appendUUID(append(dst, `","eventID":"`...), g.random(), g.random())
	dst = append(append(dst, m.end...), g.e.Account...)
	return append(dst, `","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256"}}`...)
}

const digits = "0123456789abcdef"

// appendHex appends the lowest n digits of x.
func appendHex(dst []byte, x uint64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, digits[x>>(4*i)&15])
	}
	return dst
}

func appendUUID(dst []byte, a, b uint64) []byte {
	dst = append(appendHex(dst, a>>32, 8), '-')
	dst = append(appendHex(dst, a>>16, 4), '-', '4')
	dst = append(appendHex(dst, a, 3), '-', '8')
	dst = append(appendHex(dst, b>>48, 3), '-')
	return appendHex(dst, b, 12)
}

// appendTime appends Unix seconds as CloudTrail writes them.
func (g *Generator) appendTime(dst []byte, sec int64) []byte {
	const length = 24 * 3600
	day := sec / length
	if day != g.day {
		g.day = day
		time.Unix(day*length, 0).UTC().AppendFormat(g.date[:0], time.DateOnly)
	}
	sec -= day * length
	two := func(dst []byte, n int64) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }
	dst = append(append(dst, g.date[:]...), 'T')
	dst = append(two(dst, sec/3600), ':')
	dst = append(two(dst, sec/60%60), ':')
	return append(two(dst, sec%60), 'Z')
}
