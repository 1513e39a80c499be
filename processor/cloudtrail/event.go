package cloudtrail

import (
	"strings"

	"github.com/segmentio/encoding/json"
)

// Event is one CloudTrail record. Its strings alias the payload that it was decoded from and, like the Event itself, are
// valid only until the handler returns: copy what must outlive it (a shallow copy of the Event is not enough).
//
// A field that the record does not carry is the zero value. Its json tag is the key that it comes from, matched by exact case.
// Strings are valid UTF-8: what was not is replaced by U+FFFD, as encoding/json does.
type Event struct {
	EventVersion      string          `json:"eventVersion"`
	EventTime         string          `json:"eventTime"` // as written; TimeMillis holds it parsed
	EventID           string          `json:"eventID"`
	SharedEventID     string          `json:"sharedEventID"`
	EventSource       string          `json:"eventSource"`
	EventName         string          `json:"eventName"`
	AWSRegion         string          `json:"awsRegion"`
	SourceIPAddress   string          `json:"sourceIPAddress"`
	UserAgent         string          `json:"userAgent"`
	ErrorCode         string          `json:"errorCode"`
	ErrorMessage      string          `json:"errorMessage"`
	EventType         string          `json:"eventType"`
	EventCategory     string          `json:"eventCategory"`
	RecipientAccount  string          `json:"recipientAccountId"`
	VPCEndpointID     string          `json:"vpcEndpointId"`
	UserIdentity      Identity        `json:"userIdentity"`
	Resources         []Resource      `json:"resources"`
	ReadOnly          *bool           `json:"readOnly"`        // nil: the record does not say
	ManagementEvent   *bool           `json:"managementEvent"` // nil: the record does not say
	RequestParameters json.RawMessage `json:"requestParameters"`

	// TimeMillis is EventTime in milliseconds since the Unix epoch.
	TimeMillis int64 `json:"-"`
	// Offset is where the record starts, in bytes of the text that it was found in: the payload, or what the gzip or
	// base64 in it expanded to. A record that is carried as a JSON string has the offset of its carrier.
	Offset int64 `json:"-"`
	// Raw is the record's own JSON text, as it was sent.
	Raw []byte `json:"-"`
}

// Identity is the userIdentity element: who made the call.
type Identity struct {
	Type             string `json:"type"`
	PrincipalID      string `json:"principalId"`
	ARN              string `json:"arn"`
	AccountID        string `json:"accountId"`
	AccessKeyID      string `json:"accessKeyId"`
	UserName         string `json:"userName"`
	InvokedBy        string `json:"invokedBy"`
	IdentityProvider string `json:"identityProvider"`
	CredentialID     string `json:"credentialId"`
	// SourceIdentity is set in records that do not have it in SessionContext. Event.SourceIdentity reads both.
	SourceIdentity string         `json:"sourceIdentity"`
	SessionContext SessionContext `json:"sessionContext"`
	OnBehalfOf     OnBehalfOf     `json:"onBehalfOf"`
}

// SessionContext says how a temporary credential came about.
type SessionContext struct {
	SessionIssuer  SessionIssuer     `json:"sessionIssuer"`
	Attributes     SessionAttributes `json:"attributes"`
	SourceIdentity string            `json:"sourceIdentity"`
}

// SessionIssuer is the role or user that issued a temporary credential.
type SessionIssuer struct {
	Type        string `json:"type"`
	PrincipalID string `json:"principalId"`
	ARN         string `json:"arn"`
	AccountID   string `json:"accountId"`
	UserName    string `json:"userName"`
}

// SessionAttributes carries the age of a session and whether it was opened with a second factor.
type SessionAttributes struct {
	CreationDate string `json:"creationDate"`
	// MFAAuthenticated is "true", "false" or empty. CloudTrail writes a string; producers that re-encode records write a
	// JSON boolean, which means the same and is accepted.
	MFAAuthenticated string `json:"mfaAuthenticated"`
}

// OnBehalfOf names the IAM Identity Center user on whose behalf a call was made.
type OnBehalfOf struct {
	UserID           string `json:"userId"`
	IdentityStoreARN string `json:"identityStoreArn"`
}

// Resource is one resource that a call touched.
type Resource struct {
	ARN       string `json:"ARN"`
	AccountID string `json:"accountId"`
	Type      string `json:"type"`
}

// Account is the account that the event belongs to: the one that received it, else the caller's. It is empty when the
// record names neither.
func (e *Event) Account() string {
	if e.RecipientAccount != "" {
		return e.RecipientAccount
	}
	return e.UserIdentity.AccountID
}

// PrincipalAccount is the account that the caller belongs to. It is empty when the record does not say.
func (e *Event) PrincipalAccount() string {
	id := &e.UserIdentity
	switch {
	case id.AccountID != "":
		return id.AccountID
	case id.SessionContext.SessionIssuer.AccountID != "":
		return id.SessionContext.SessionIssuer.AccountID
	}
	for _, arn := range [...]string{id.ARN, id.SessionContext.SessionIssuer.ARN, id.IdentityProvider} {
		if a := arnAccount(arn); a != "" {
			return a
		}
	}
	return ""
}

// SourceIdentity is the identity that was fixed when the session was opened and that follows it through every further
// role. Most records have it in sessionContext, some directly in userIdentity.
func (e *Event) SourceIdentity() string {
	if s := e.UserIdentity.SessionContext.SourceIdentity; s != "" {
		return s
	}
	return e.UserIdentity.SourceIdentity
}

// SessionName is the name that the caller gave the session of a role or a federated user; empty where there is no
// session. It is evidence for a person to read, never part of a principal (except under AWSReservedSSO_* roles, where
// IAM Identity Center sets it).
func (e *Event) SessionName() string {
	id := &e.UserIdentity
	switch id.Type {
	case "AssumedRole", "FederatedUser":
	default:
		if _, ok := arnAfter(id.ARN, ":assumed-role/"); !ok {
			return ""
		}
	}
	if role, ok := arnAfter(id.ARN, ":assumed-role/"); ok {
		if i := strings.IndexByte(role, '/'); i >= 0 {
			return role[i+1:]
		}
	}
	if name, ok := arnAfter(id.ARN, ":federated-user/"); ok {
		return name
	}
	if _, name, ok := strings.Cut(id.PrincipalID, ":"); ok {
		return name
	}
	return ""
}

// Failed reports whether the call did not succeed, for whatever reason.
func (e *Event) Failed() bool { return e.ErrorCode != "" || e.ErrorMessage != "" }

// deniedCodes are the error codes, without "Client." or "Server." before them, by which services say that the caller is
// not who it claims to be or may not do what it asked for, and that match none of deniedParts.
var deniedCodes = [...]string{
	// EC2: the credentials do not verify, or what is named is someone else's. SNS.
	"AuthFailure", "AuthenticationFailed", "AuthorizationError", "AuthorizationErrorException",
	// Signature version 4, in the spellings of S3, the query services and the JSON services.
	"IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException", "InvalidToken",
	"MissingAuthenticationToken", "MissingAuthenticationTokenException", "SignatureDoesNotMatch", "UnrecognizedClient",
	"UnrecognizedClientException",
	// A session that has ended.
	"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired",
	// STS: the identity provider's token does not verify.
	"InvalidIdentityToken", "IDPRejectedClaim",
}

// deniedParts mark an error code as a denial wherever in it they stand: AccessDenied, AccessDeniedException,
// VpceAccessDenied, KMSAccessDeniedException; UnauthorizedOperation, UnauthorizedException, UnauthorizedAccess;
// NotAuthorized, NotAuthorizedException; Forbidden, ForbiddenException.
var deniedParts = [...]string{"AccessDenied", "Unauthorized", "NotAuthorized", "Forbidden"}

// Denied reports whether the call failed because the caller was not authorised, or was not authenticated. Three things
// say so: an error code that contains one of AccessDenied, Unauthorized, NotAuthorized and Forbidden; an error code of
// the list above (authentication: bad signature, unknown or expired key or token); and any error at a sign-in
// (eventSource signin.amazonaws.com), which carries no error code but a message such as "Failed authentication" or
// "No username found in supplied account". An account that has not subscribed to a service (OptInRequired) is no denial,
// nor is a throttled call.
func (e *Event) Denied() bool {
	if !e.Failed() {
		return false
	}
	if e.EventSource == "signin.amazonaws.com" {
		return true
	}
	code := strings.TrimPrefix(strings.TrimPrefix(e.ErrorCode, "Client."), "Server.")
	if code == "" {
		return strings.HasPrefix(e.ErrorMessage, "Failed authentication")
	}
	for _, part := range deniedParts {
		if strings.Contains(code, part) {
			return true
		}
	}
	for _, c := range deniedCodes {
		if code == c {
			return true
		}
	}
	return false
}
