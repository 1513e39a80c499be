package cloudtrail

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// PrincipalBytes is the longest principal that AppendPrincipal writes.
const PrincipalBytes = 512

// ssoRole begins the names of the roles that IAM Identity Center creates. Everyone who has the permission set shares the
// role, and Identity Center itself names the session after the user, so here the session name counts.
const ssoRole = "AWSReservedSSO_"

// AppendPrincipal appends who made the call, in a form that is stable over sessions:
//
//	identity-center/<userId>                       onBehalfOf.userId, whatever the type
//	<account>/source-identity/<value>              sourceIdentity, whatever the type
//	<account>/user/<name>                          IAMUser
//	<account>/role/<path and name>                 AssumedRole, Role
//	<account>/sso/<role name>/<session name>       AssumedRole of an AWSReservedSSO_* role
//	<account>/federated/<name>                     FederatedUser: the user that issued the session, see below
//	<account>/root                                 Root
//	<account>/account, <account>/account/<id>      AWSAccount, with principalId
//	<account>/web/<provider>/<user name>           WebIdentityUser
//	<account>/saml/<provider>/<user name>          SAMLUser
//	identity-center/<userId>                       IdentityCenterUser
//	service/<invokedBy>                            AWSService
//	<account>/other/<what there is>                any other type: user name, issuer's ARN, principalId, ARN
//
// An account that the record does not name is "unknown". onBehalfOf stands before sourceIdentity, because AWS vouches for
// it and the caller can choose the other. Session names never count otherwise, because the caller chooses them and could
// be a new principal with every call; that includes the name of a federated user, which whoever holds the issuing user's
// key makes up: it is used only where the record does not say who issued the session.
//
// At most PrincipalBytes are appended; what is longer ends in a hash of the whole, so that distinct ones stay distinct.
func (e *Event) AppendPrincipal(dst []byte) []byte {
	start := len(dst)
	dst = e.appendPrincipal(dst)
	if len(dst)-start > PrincipalBytes {
		dst = dst[:start+len(shorten(dst[start:]))]
	}
	return dst
}

func (e *Event) appendPrincipal(dst []byte) []byte {
	id := &e.UserIdentity
	if id.OnBehalfOf.UserID != "" {
		return appendParts(dst, "identity-center", id.OnBehalfOf.UserID)
	}
	account := e.PrincipalAccount()
	if account == "" {
		account = "unknown"
	}
	if s := e.SourceIdentity(); s != "" {
		return appendParts(dst, account, "source-identity", s)
	}
	issuer := &id.SessionContext.SessionIssuer
	switch id.Type {
	case "IAMUser":
		name := id.UserName
		if name == "" {
			name = lastPart(id.ARN)
		}
		if name == "" {
			name = beforeColon(id.PrincipalID)
		}
		if name != "" {
			return appendParts(dst, account, "user", name)
		}
	case "AssumedRole", "Role":
		if role := e.role(); role != "" {
			if name := lastPart(role); strings.HasPrefix(name, ssoRole) {
				if session := e.SessionName(); session != "" {
					dst = appendParts(dst, account, "sso", name)
					return append(append(dst, '/'), session...)
				}
			}
			return appendParts(dst, account, "role", role)
		}
	case "FederatedUser":
		name := issuer.UserName
		if name == "" && issuer.Type == "Root" {
			name = "root"
		}
		if name == "" {
			name = lastPart(issuer.ARN)
		}
		if name == "" {
			name = e.SessionName()
		}
		if name == "" {
			name = id.PrincipalID
		}
		if name != "" {
			return appendParts(dst, account, "federated", name)
		}
	case "Root":
		return appendParts(dst, account, "root")
	case "AWSAccount":
		if p := beforeColon(id.PrincipalID); p != "" {
			return appendParts(dst, account, "account", p)
		}
		return appendParts(dst, account, "account")
	case "AWSService":
		if id.InvokedBy != "" {
			return appendParts(dst, "service", id.InvokedBy)
		}
		if id.PrincipalID != "" {
			return appendParts(dst, "service", id.PrincipalID)
		}
	case "WebIdentityUser":
		return e.appendProvided(dst, account, "web")
	case "SAMLUser":
		return e.appendProvided(dst, account, "saml")
	}
	for _, s := range [...]string{id.UserName, issuer.ARN, beforeColon(id.PrincipalID), id.ARN} {
		if s != "" {
			return appendParts(dst, account, "other", s)
		}
	}
	if id.InvokedBy != "" {
		return appendParts(dst, "service", id.InvokedBy)
	}
	return appendParts(dst, account, "unknown")
}

// role is the path and name of the role in use, or what best stands for it: sessionIssuer names it with its path, the
// session's own ARN without, principalId by its unique id.
func (e *Event) role() string {
	id := &e.UserIdentity
	issuer := &id.SessionContext.SessionIssuer
	if role, ok := arnAfter(issuer.ARN, ":role/"); ok && role != "" {
		return role
	}
	if issuer.UserName != "" {
		return issuer.UserName
	}
	if role, ok := arnAfter(id.ARN, ":assumed-role/"); ok {
		role, _, _ = strings.Cut(role, "/")
		if role != "" {
			return role
		}
	}
	if role, ok := arnAfter(id.ARN, ":role/"); ok && role != "" {
		return role
	}
	return beforeColon(id.PrincipalID)
}

// appendProvided appends a user of an outside identity provider. The provider is a host name, or the ARN of a provider
// that the account has registered, of which the part behind the account is the name.
func (e *Event) appendProvided(dst []byte, account, kind string) []byte {
	id := &e.UserIdentity
	provider := id.IdentityProvider
	for _, mark := range [...]string{":oidc-provider/", ":saml-provider/"} {
		if name, ok := arnAfter(provider, mark); ok {
			provider = name
		}
	}
	if provider == "" {
		provider = "unknown"
	}
	user := id.UserName
	if user == "" {
		user = id.PrincipalID
	}
	if user == "" {
		user = "unknown"
	}
	dst = appendParts(dst, account, kind, provider)
	return append(append(dst, '/'), user...)
}

func appendParts(dst []byte, first string, rest ...string) []byte {
	dst = append(dst, first...)
	for _, s := range rest {
		dst = append(append(dst, '/'), s...)
	}
	return dst
}

// shorten overwrites the tail of a principal that is too long with a hash of all of it.
func shorten(p []byte) []byte {
	sum := sha256.Sum256(p)
	tail := hex.AppendEncode([]byte{'~'}, sum[:16])
	keep := PrincipalBytes - len(tail)
	for keep > 0 && !utf8.RuneStart(p[keep]) {
		keep--
	}
	return append(p[:keep], tail...)
}

// arnAccount is the account in arn:partition:service:region:account:resource.
func arnAccount(arn string) string {
	if !strings.HasPrefix(arn, "arn:") {
		return ""
	}
	for range 4 {
		_, after, ok := strings.Cut(arn, ":")
		if !ok {
			return ""
		}
		arn = after
	}
	account, _, ok := strings.Cut(arn, ":")
	if !ok {
		return ""
	}
	return account
}

// arnAfter is what follows the first mark, such as ":role/", in an ARN.
func arnAfter(arn, mark string) (string, bool) {
	i := strings.Index(arn, mark)
	if i < 0 {
		return "", false
	}
	return arn[i+len(mark):], true
}

func lastPart(s string) string {
	return s[strings.LastIndexByte(s, '/')+1:]
}

// beforeColon is a principalId without the session name behind the unique id. One that is an ARN stays whole.
func beforeColon(principalID string) string {
	if strings.HasPrefix(principalID, "arn:") {
		return principalID
	}
	id, _, _ := strings.Cut(principalID, ":")
	return id
}
