package demo

import (
	"fmt"
	"time"
)

// operatorRole is the role that developers take on to look into production.
const operatorRole = "PlatformOperator"

// salted folds a text into a salt.
func salted(salt uint64, s string) uint64 {
	for i := range len(s) {
		salt = mix(salt, uint64(s[i]))
	}
	return salt
}

// ssoRole returns the role that IAM Identity Center makes of a permission set in an account.
func (o *organisation) ssoRole(set string, account int) string {
	b := append([]byte("AWSReservedSSO_"), set...)
	b = append(b, '_')
	return string(appendHex(b, salted(o.salt+uint64(account), set), 16))
}

// roleSession is what a role session's identity is made of.
type roleSession struct {
	account    int
	path, role string // the path is empty or ends in a slash
	self       string // session name
	key        uint64 // what the access key id is drawn from
	since      time.Time
	context    string // members of sessionContext after the attributes, each with a comma before it
	extra      string // members of userIdentity after sessionContext, the same
}

// identity returns the userIdentity of a role session and its ARN.
func (o *organisation) identity(r roleSession) (identity []byte, arn string) {
	acct := o.accounts[r.account].ID
	roleID := keyID("AROA", 17, salted(o.salt+uint64(r.account), r.role))
	arn = fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", acct, r.role, r.self)
	return fmt.Appendf(nil, `{"type":"AssumedRole","principalId":"%s:%s","arn":"%s","accountId":"%s","accessKeyId":"%s","sessionContext":`+
		`{"sessionIssuer":{"type":"Role","principalId":"%s","arn":"arn:aws:iam::%s:role/%s%s","accountId":"%s","userName":"%s"},`+
		`"attributes":{"creationDate":"%s","mfaAuthenticated":"false"}%s}%s}`,
		roleID, r.self, arn, acct, keyID("ASIA", 16, r.key),
		roleID, acct, r.path, r.role, acct, r.role, appendTime(nil, r.since.UnixMilli()), r.context, r.extra), arn
}

// userIdentity returns the userIdentity of an IAM user and its ARN. The key is the user's own, or a temporary one of the
// console with the members of userIdentity that come with it.
func (o *organisation) userIdentity(account int, user, consoleKey, extra string) (identity []byte, arn string) {
	acct, salt := o.accounts[account].ID, salted(o.salt+uint64(account), user)
	key := consoleKey
	if key == "" {
		key = keyID("AKIA", 16, salt+1)
	}
	arn = fmt.Sprintf("arn:aws:iam::%s:user/%s", acct, user)
	return fmt.Appendf(nil, `{"type":"IAMUser","principalId":"%s","arn":"%s","accountId":"%s","accessKeyId":"%s","userName":"%s"%s}`,
		keyID("AIDA", 17, salt), arn, acct, key, user, extra), arn
}

// session returns the session of an owner in an hour, made by open when it is first asked for on a day.
func (t *traffic) session(owner, sort uint64, h int64, open func(salt uint64) *session) *session {
	k := sessionKey{owner, sort, h / 24}
	s := t.sessions[k]
	if s == nil {
		s = open(mix(owner, sort<<32|uint64(k.day)))
		t.sessions[k] = s
	}
	return s
}

// staff returns the session that a person has in an account on the day of an hour, in the console or outside it.
func (t *traffic) staff(p *person, address string, account int, console bool, h int64) *session {
	sort := uint64(account) << 1
	if console {
		sort |= 1
	}
	if address != p.desk {
		sort |= 1 << 8
	}
	return t.session(p.salt, sort, h, func(salt uint64) *session {
		s := &session{
			self: p.mail, address: address, agent: p.shell, account: account, region: regionHome, console: console, failing: 0.015, denials: 0.1,
		}
		if console {
			s.agent = p.browser
		}
		if salt%8 == 0 {
			s.region = regionSecond
		}
		signedIn := time.Unix(h/24*86400+5*3600+int64(salt%3000), 0)
		if p.user != "" {
			s.self = p.user
			key, extra := "", ""
			if console {
				key = keyID("ASIA", 16, salt)
				extra = fmt.Sprintf(`,"sessionContext":{"attributes":{"creationDate":"%s","mfaAuthenticated":"true"}}`, appendTime(nil, signedIn.UnixMilli()))
			}
			s.identity, s.arn = t.org.userIdentity(account, p.user, key, extra)
			return s
		}
		s.failing += p.set.denials
		s.denials = p.set.denials / s.failing
		s.identity, s.arn = t.org.identity(roleSession{
			account: account, path: "aws-reserved/sso.amazonaws.com/" + t.org.regions[regionHome] + "/",
			role: t.org.ssoRole(p.set.name, account), self: p.mail, key: salt, since: signedIn,
		})
		return s
	})
}

// operator returns the session in which a person has taken on the operator role for an hour.
func (t *traffic) operator(p *person, address string, h int64) *session {
	return t.session(p.salt, 1<<16|uint64(h%24), h, func(salt uint64) *session {
		s := &session{self: p.mail, address: address, agent: p.shell, account: accountProduction, failing: 0.01}
		s.identity, s.arn = t.org.identity(roleSession{
			account: accountProduction, role: operatorRole, self: p.mail, key: salt, since: time.Unix(h*3600, 0),
		})
		return s
	})
}

// host returns the session of one host of a machine in an hour. Temporary credentials are renewed four times a day.
func (t *traffic) host(m *machine, i int, h int64) *session {
	return t.session(m.salt, uint64(i)<<8|uint64(h%24/6), h, func(salt uint64) *session {
		at := m.hosts[i]
		s := &session{
			self: at.name, address: at.address, agent: m.agent, account: m.account, region: m.region, endpoint: m.endpoint,
			failing: m.failing, denials: m.denials,
		}
		acct := t.org.accounts[m.account].ID
		r := roleSession{account: m.account, role: m.role, self: at.name, key: salt, since: time.Unix(h/6*6*3600-int64(salt%1800), 0)}
		switch m.kind {
		case instanceRole:
			r.context = `,"ec2RoleDelivery":"2.0"`
			s.identity, s.arn = t.org.identity(r)
		case serviceRole:
			s.identity, s.arn = t.org.identity(r)
		case staticUser:
			s.self = m.role
			s.identity, s.arn = t.org.userIdentity(m.account, m.role, "", "")
		case webIdentity:
			s.identity = fmt.Appendf(nil, `{"type":"WebIdentityUser","principalId":"arn:aws:iam::%s:oidc-provider/ci.example.com:sts.amazonaws.com:project:%s",`+
				`"userName":"project:%s","identityProvider":"arn:aws:iam::%s:oidc-provider/ci.example.com"}`, acct, at.name, at.name, acct)
		case linkedRole:
			caller := m.role + ".amazonaws.com"
			s.inside, s.agent = true, caller
			r.path, r.role, r.extra = "aws-service-role/"+caller+"/", "AWSServiceRoleFor"+at.name, `,"invokedBy":"`+caller+`"`
			s.identity, s.arn = t.org.identity(r)
		case amazonItself:
			caller := m.role + ".amazonaws.com"
			s.inside, s.agent, s.self = true, caller, m.role
			s.identity = fmt.Appendf(nil, `{"type":"AWSService","invokedBy":"%s"}`, caller)
			if m.role == "kms" || m.role == "secretsmanager" {
				s.identity = fmt.Appendf(nil, `{"accountId":"%s","invokedBy":"%s"}`, acct, caller)
			}
		}
		return s
	})
}
