package cloudtrail

import "github.com/segmentio/encoding/json"

// Event is one CloudTrail record. Its strings alias the payload that it was decoded from and, like the Event itself, are
// valid only until the handler returns: copy what must outlive it.
//
// A field that the record does not carry is the zero value. JSON names are matched by exact case.
type Event struct {
	EventVersion      string          `json:"eventVersion"`
	EventTime         string          `json:"eventTime"` // as written; Time holds it parsed
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
	ReadOnly          *bool           `json:"readOnly"`
	ManagementEvent   *bool           `json:"managementEvent"`
	RequestParameters json.RawMessage `json:"requestParameters"`

	// TimeMillis is EventTime in milliseconds since the Unix epoch.
	TimeMillis int64 `json:"-"`
	// Offset is where the record starts, in bytes of the expanded payload.
	Offset int64 `json:"-"`
	// Raw is the record's own JSON text.
	Raw []byte `json:"-"`
}

// Identity is the userIdentity element: who made the call.
type Identity struct {
	Type             string         `json:"type"`
	PrincipalID      string         `json:"principalId"`
	ARN              string         `json:"arn"`
	AccountID        string         `json:"accountId"`
	AccessKeyID      string         `json:"accessKeyId"`
	UserName         string         `json:"userName"`
	InvokedBy        string         `json:"invokedBy"`
	IdentityProvider string         `json:"identityProvider"`
	CredentialID     string         `json:"credentialId"`
	SessionContext   SessionContext `json:"sessionContext"`
	OnBehalfOf       OnBehalfOf     `json:"onBehalfOf"`
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

// SessionAttributes carries the age of a session and whether it was opened with a second factor ("true" or "false").
type SessionAttributes struct {
	CreationDate     string `json:"creationDate"`
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
