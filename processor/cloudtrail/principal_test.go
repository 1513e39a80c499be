package cloudtrail

import (
	stdjson "encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// identity makes an Event with the given userIdentity.
func identity(t *testing.T, text string) *Event {
	t.Helper()
	record := strings.Replace(rec("x"), `{"type":"IAMUser","userName":"ann","accountId":"111122223333"}`, text, 1)
	c := decode(t, DefaultLimits(), record)
	if len(c.events) != 1 {
		t.Fatalf("%s: %v", text, c.told)
	}
	return &c.events[0]
}

func TestPrincipal(t *testing.T) {
	const (
		role = `"sessionIssuer":{"type":"Role","principalId":"AROAX","arn":"arn:aws:iam::111122223333:role/service/path/app","accountId":"111122223333","userName":"app"}`
		sso  = `"sessionIssuer":{"type":"Role","principalId":"AROAX","arn":"arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Admin_0123","accountId":"111122223333","userName":"AWSReservedSSO_Admin_0123"}`
	)
	for _, c := range []struct{ name, identity, want string }{
		{"IAM user", `{"type":"IAMUser","principalId":"AIDAX","arn":"arn:aws:iam::111122223333:user/dev/ann","accountId":"111122223333","accessKeyId":"AKIAX","userName":"ann"}`, "111122223333/user/ann"},
		{"IAM user without name", `{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/dev/ann"}`, "111122223333/user/ann"},
		{"IAM user by id", `{"type":"IAMUser","principalId":"AIDAX","accountId":"1"}`, "1/user/AIDAX"},
		{"IAM user with a session", `{"type":"IAMUser","accountId":"1","userName":"bob","sessionContext":{"sessionIssuer":{"type":"Root","arn":"arn:aws:iam::1:root","userName":"x"}}}`, "1/user/bob"},
		{"IAM user through a service", `{"type":"IAMUser","accountId":"1","userName":"bob","invokedBy":"signin.amazonaws.com"}`, "1/user/bob"},
		{"role", `{"type":"AssumedRole","principalId":"AROAX:session-1","arn":"arn:aws:sts::111122223333:assumed-role/app/session-1","accountId":"111122223333","sessionContext":{` + role + `}}`, "111122223333/role/service/path/app"},
		{"role, other session", `{"type":"AssumedRole","principalId":"AROAX:session-2","arn":"arn:aws:sts::111122223333:assumed-role/app/session-2","accountId":"111122223333","sessionContext":{` + role + `}}`, "111122223333/role/service/path/app"},
		{"role, no issuer", `{"type":"AssumedRole","principalId":"AROAX:s","arn":"arn:aws:sts::111122223333:assumed-role/app/s"}`, "111122223333/role/app"},
		{"role by id", `{"type":"AssumedRole","principalId":"AROAX:s","accountId":"1"}`, "1/role/AROAX"},
		{"role, masked ARN", `{"type":"AssumedRole","principalId":"AROAX:s","accountId":"1","sessionContext":{"sessionIssuer":{"arn":"arn***/app","userName":"app"}}}`, "1/role/app"},
		{"role itself", `{"type":"Role","arn":"arn:aws:iam::1:role/p/app","accountId":"1"}`, "1/role/p/app"},
		{"role, issuer's account", `{"type":"AssumedRole","sessionContext":{` + role + `}}`, "111122223333/role/service/path/app"},
		{"SSO", `{"type":"AssumedRole","principalId":"AROAX:ann@example.com","arn":"arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Admin_0123/ann@example.com","accountId":"111122223333","sessionContext":{` + sso + `}}`, "111122223333/sso/AWSReservedSSO_Admin_0123/ann@example.com"},
		{"SSO, no issuer", `{"type":"AssumedRole","principalId":"AROAX:ann","arn":"arn:aws:sts::1:assumed-role/AWSReservedSSO_Admin_0123/ann","accountId":"1"}`, "1/sso/AWSReservedSSO_Admin_0123/ann"},
		{"SSO, no ARN", `{"type":"AssumedRole","principalId":"AROAX:ann","accountId":"111122223333","sessionContext":{` + sso + `}}`, "111122223333/sso/AWSReservedSSO_Admin_0123/ann"},
		{"SSO, no session", `{"type":"AssumedRole","accountId":"1","sessionContext":{` + sso + `}}`, "1/role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Admin_0123"},
		{"federated user", `{"type":"FederatedUser","principalId":"1:made-up","arn":"arn:aws:sts::1:federated-user/made-up","accountId":"1","sessionContext":{"sessionIssuer":{"type":"IAMUser","arn":"arn:aws:iam::1:user/broker","userName":"broker"}}}`, "1/federated/broker"},
		{"federated user of the root user", `{"type":"FederatedUser","arn":"arn:aws:sts::1:federated-user/made-up","accountId":"1","sessionContext":{"sessionIssuer":{"type":"Root","arn":"arn:aws:iam::1:root"}}}`, "1/federated/root"},
		{"federated user, no issuer", `{"type":"FederatedUser","principalId":"1:ann","arn":"arn:aws:sts::1:federated-user/ann","accountId":"1"}`, "1/federated/ann"},
		{"federated user by id", `{"type":"FederatedUser","principalId":"1:ann","accountId":"1"}`, "1/federated/ann"},
		{"federated user by an odd id", `{"type":"FederatedUser","principalId":"AIDAX","accountId":"1"}`, "1/federated/AIDAX"},
		{"root", `{"type":"Root","principalId":"1","arn":"arn:aws:iam::1:root","accountId":"1","userName":"alias"}`, "1/root"},
		{"account", `{"type":"AWSAccount","accountId":"1"}`, "1/account"},
		{"account and user", `{"type":"AWSAccount","principalId":"AIDAX","accountId":"1"}`, "1/account/AIDAX"},
		{"account and role", `{"type":"AWSAccount","principalId":"AROAX:session","accountId":"1"}`, "1/account/AROAX"},
		{"nobody", `{"type":"AWSAccount","principalId":"","accountId":"ANONYMOUS_PRINCIPAL"}`, "ANONYMOUS_PRINCIPAL/account"},
		{"service", `{"type":"AWSService","invokedBy":"ec2.amazonaws.com"}`, "service/ec2.amazonaws.com"},
		{"service by id", `{"type":"AWSService","principalId":"x.amazonaws.com"}`, "service/x.amazonaws.com"},
		{"web identity", `{"type":"WebIdentityUser","principalId":"accounts.google.com:app:user","userName":"user","identityProvider":"accounts.google.com"}`, "unknown/web/accounts.google.com/user"},
		{"web identity of a registered provider", `{"type":"WebIdentityUser","principalId":"arn:aws:iam::1:oidc-provider/token.example.com:aud:sub","userName":"repo:o/r:ref:refs/heads/main","identityProvider":"arn:aws:iam::1:oidc-provider/token.example.com"}`, "1/web/token.example.com/repo:o/r:ref:refs/heads/main"},
		{"SAML", `{"type":"SAMLUser","principalId":"Q=:ann@example.com","userName":"ann@example.com","identityProvider":"Q="}`, "unknown/saml/Q=/ann@example.com"},
		{"SAML without anything", `{"type":"SAMLUser"}`, "unknown/saml/unknown/unknown"},
		{"identity center", `{"type":"IdentityCenterUser","accountId":"1","onBehalfOf":{"userId":"91a","identityStoreArn":"arn:aws:identitystore::1:identitystore/d-1"},"credentialId":"c"}`, "identity-center/91a"},
		{"on behalf of", `{"type":"AssumedRole","accountId":"1","sessionContext":{` + role + `,"sourceIdentity":"si"},"onBehalfOf":{"userId":"91a"}}`, "identity-center/91a"},
		{"source identity", `{"type":"AssumedRole","accountId":"1","sessionContext":{` + role + `,"sourceIdentity":"ann"}}`, "1/source-identity/ann"},
		{"source identity, directly", `{"type":"AssumedRole","accountId":"1","sourceIdentity":"ann","sessionContext":{` + role + `}}`, "1/source-identity/ann"},
		{"directory", `{"type":"Directory","accountId":"1","userName":"u"}`, "1/other/u"},
		{"unknown, by issuer", `{"type":"New","accountId":"1","principalId":"p","sessionContext":{` + role + `}}`, "1/other/arn:aws:iam::111122223333:role/service/path/app"},
		{"unknown, by id", `{"type":"Unknown","accountId":"1","principalId":"AROAX:s","arn":"arn:x"}`, "1/other/AROAX"},
		{"unknown, by id that is an ARN", `{"type":"Unknown","accountId":"1","principalId":"arn:aws:x"}`, "1/other/arn:aws:x"},
		{"unknown, by ARN", `{"type":"Unknown","arn":"arn:aws:iam::1:thing/x"}`, "1/other/arn:aws:iam::1:thing/x"},
		{"no type, a service", `{"accountId":"1","invokedBy":"ec2.amazonaws.com"}`, "service/ec2.amazonaws.com"},
		{"nothing", `{}`, "unknown/unknown"},
		{"null", `null`, "unknown/unknown"},
	} {
		if got := string(identity(t, c.identity).AppendPrincipal([]byte(">"))); got != ">"+c.want {
			t.Errorf("%s: got %s, want %s", c.name, got[1:], c.want)
		}
	}
}

func TestPrincipalLength(t *testing.T) {
	named := func(name string) string {
		b, _ := stdjson.Marshal(name)
		return string(identity(t, `{"type":"IAMUser","accountId":"1","userName":`+string(b)+`}`).AppendPrincipal([]byte(">")))[1:]
	}
	seen := map[string]bool{}
	for _, n := range []int{PrincipalBytes - len("1/user/"), PrincipalBytes - len("1/user/") + 1, 600, 601, 5000} {
		for _, tail := range []string{"a", "b", "é"} {
			p := named(strings.Repeat("x", n-len(tail)) + tail)
			if len(p) > PrincipalBytes || len(p) < PrincipalBytes-4 || !utf8.ValidString(p) || seen[p] {
				t.Errorf("%d and %s: %d bytes, %q", n, tail, len(p), p)
			}
			seen[p] = true
		}
	}
	for n := 470; n < 486; n++ {
		if p := named(strings.Repeat("x", n) + strings.Repeat("é", 100)); len(p) > PrincipalBytes || !utf8.ValidString(p) {
			t.Errorf("cut within a letter: %q", p)
		}
	}
	if p := named(strings.Repeat("x", 505)); strings.Contains(p, "~") {
		t.Errorf("what fits is not hashed: %s", p)
	}
}

func TestAccountsAndSessions(t *testing.T) {
	for _, c := range []struct{ identity, account, session string }{
		{`{"type":"AssumedRole","arn":"arn:aws:sts::222:assumed-role/r/s-1","principalId":"AROAX:other","accountId":"111"}`, "111", "s-1"},
		{`{"type":"AssumedRole","principalId":"AROAX:s-2","sessionContext":{"sessionIssuer":{"accountId":"333"}}}`, "333", "s-2"},
		{`{"type":"AssumedRole","arn":"arn:aws:sts::222:assumed-role/r"}`, "222", ""},
		{`{"type":"FederatedUser","arn":"arn:aws:sts::222:federated-user/f","principalId":"222:f"}`, "222", "f"},
		{`{"type":"Unknown","arn":"arn:aws-cn:sts::222:assumed-role/r/s-3"}`, "222", "s-3"},
		{`{"type":"IAMUser","arn":"arn:aws:iam::222:user/u","principalId":"A:B"}`, "222", ""},
		{`{"type":"SAMLUser","principalId":"Q=:ann","identityProvider":"arn:aws:iam::444:saml-provider/p"}`, "444", ""},
		{`{"arn":"arn:aws:iam"}`, "", ""},
		{`{"arn":"arn:aws:iam::5"}`, "", ""},
		{`{}`, "", ""},
	} {
		e := identity(t, c.identity)
		if a, s := e.PrincipalAccount(), e.SessionName(); a != c.account || s != c.session {
			t.Errorf("%s: account %q, session %q", c.identity, a, s)
		}
	}
	e := Event{RecipientAccount: "1", UserIdentity: Identity{AccountID: "2"}}
	if e.Account() != "1" || e.PrincipalAccount() != "2" {
		t.Error("the account that received an event and the caller's are two things")
	}
	e.RecipientAccount = ""
	if e.Account() != "2" {
		t.Error("the caller's account stands in for the one that received")
	}
}

func TestDenied(t *testing.T) {
	for _, c := range []struct {
		source, code, message string
		denied, failed        bool
	}{
		{"s3.amazonaws.com", "", "", false, false},
		{"s3.amazonaws.com", "AccessDenied", "", true, true},
		{"x.amazonaws.com", "AccessDeniedException", "m", true, true},
		{"kms.amazonaws.com", "VpceAccessDenied", "m", true, true},
		{"ec2.amazonaws.com", "Client.UnauthorizedOperation", "m", true, true},
		{"ec2.amazonaws.com", "UnauthorizedOperation", "m", true, true},
		{"ec2.amazonaws.com", "Client.AuthFailure", "", true, true},
		{"cognito-idp.amazonaws.com", "NotAuthorizedException", "", true, true},
		{"sso.amazonaws.com", "UnauthorizedException", "", true, true},
		{"apigateway.amazonaws.com", "ForbiddenException", "", true, true},
		{"sts.amazonaws.com", "ExpiredTokenException", "", true, true},
		{"s3.amazonaws.com", "SignatureDoesNotMatch", "", true, true},
		{"s3.amazonaws.com", "NoSuchBucket", "", false, true},
		{"x.amazonaws.com", "ThrottlingException", "", false, true},
		{"ec2.amazonaws.com", "Client.RequestLimitExceeded", "", false, true},
		{"x.amazonaws.com", "OptInRequired", "", false, true},
		{"x.amazonaws.com", "", "some warning", false, true},
		{"signin.amazonaws.com", "", "Failed authentication", true, true},
		{"signin.amazonaws.com", "", "No username found in supplied account", true, true},
		{"signin.amazonaws.com", "Failure", "", true, true},
		{"signin.amazonaws.com", "", "", false, false},
	} {
		e := Event{EventSource: c.source, ErrorCode: c.code, ErrorMessage: c.message}
		if e.Denied() != c.denied || e.Failed() != c.failed {
			t.Errorf("%s %q %q: denied %t, failed %t", c.source, c.code, c.message, e.Denied(), e.Failed())
		}
	}
}
