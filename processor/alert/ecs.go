package alert

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/encoding/json"

	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/topics"
)

// ECSVersion is the version of the Elastic Common Schema that the documents follow.
const ECSVersion = "8.17.0"

// The rule that every alert names. It takes the place of Elastic's "Unusual Country For an AWS Command".
const (
	RuleID      = "farcall.unusual-country-for-method"
	RuleName    = "Unusual Country For an AWS Method"
	RuleVersion = "1"
)

// The types below are an ECS document; what is empty is left out, except where a reader would miss it.
type (
	ecsDoc struct {
		Timestamp string        `json:"@timestamp"`
		Message   string        `json:"message"`
		Tags      []string      `json:"tags"`
		ECS       ecsVersion    `json:"ecs"`
		Event     ecsEvent      `json:"event"`
		Rule      ecsRule       `json:"rule"`
		Threat    ecsThreat     `json:"threat"`
		Source    ecsSource     `json:"source"`
		User      ecsUser       `json:"user"`
		UserAgent *ecsUserAgent `json:"user_agent,omitempty"`
		Cloud     ecsCloud      `json:"cloud"`
		AWS       ecsAWS        `json:"aws"`
		Related   ecsRelated    `json:"related"`
		Observer  ecsObserver   `json:"observer"`
		Farcall   ecsFarcall    `json:"farcall"`
	}
	ecsVersion struct {
		Version string `json:"version"`
	}
	ecsEvent struct {
		Kind          string   `json:"kind"`
		Category      []string `json:"category"`
		Type          []string `json:"type"`
		Action        string   `json:"action"`
		Provider      string   `json:"provider"`
		Outcome       string   `json:"outcome"`
		ID            string   `json:"id"`
		Code          string   `json:"code"`
		Module        string   `json:"module"`
		Dataset       string   `json:"dataset"`
		Severity      int      `json:"severity"`
		RiskScore     float64  `json:"risk_score"`
		RiskScoreNorm float64  `json:"risk_score_norm"`
		Reason        string   `json:"reason"`
		Sequence      int64    `json:"sequence"`
		Created       string   `json:"created"`
		Start         string   `json:"start"`
		End           string   `json:"end"`
	}
	ecsRule struct {
		ID          string `json:"id"`
		Name        string `json:"name"`
		Description string `json:"description"`
		Version     string `json:"version"`
		Category    string `json:"category"`
		Ruleset     string `json:"ruleset"`
	}
	ecsThreat struct {
		Framework string       `json:"framework"`
		Tactic    ecsNamed     `json:"tactic"`
		Technique ecsTechnique `json:"technique"`
	}
	ecsNamed struct {
		ID        []string `json:"id"`
		Name      []string `json:"name"`
		Reference []string `json:"reference"`
	}
	ecsTechnique struct {
		ecsNamed
		Subtechnique ecsNamed `json:"subtechnique"`
	}
	ecsSource struct {
		Address string  `json:"address"`
		IP      string  `json:"ip,omitempty"`
		Geo     *ecsGeo `json:"geo,omitempty"`
		AS      *ecsAS  `json:"as,omitempty"`
	}
	ecsAS struct {
		Number       uint32           `json:"number"`
		Organisation *ecsOrganisation `json:"organization,omitempty"`
	}
	ecsOrganisation struct {
		Name string `json:"name"`
	}
	ecsGeo struct {
		CountryISOCode string `json:"country_iso_code"`
		CountryName    string `json:"country_name,omitempty"`
	}
	ecsUser struct {
		ID   string `json:"id,omitempty"`
		Name string `json:"name,omitempty"`
	}
	ecsUserAgent struct {
		Original string `json:"original"`
	}
	ecsCloud struct {
		Provider string      `json:"provider"`
		Account  ecsID       `json:"account"`
		Region   string      `json:"region,omitempty"`
		Service  *ecsService `json:"service,omitempty"`
	}
	ecsID struct {
		ID string `json:"id,omitempty"`
	}
	ecsService struct {
		Name string `json:"name"`
	}
	ecsAWS struct {
		CloudTrail ecsCloudTrail `json:"cloudtrail"`
	}
	ecsCloudTrail struct {
		EventID            string        `json:"event_id,omitempty"`
		SharedEventID      string        `json:"shared_event_id,omitempty"`
		EventType          string        `json:"event_type,omitempty"`
		EventCategory      string        `json:"event_category,omitempty"`
		RecipientAccountID string        `json:"recipient_account_id,omitempty"`
		ErrorCode          string        `json:"error_code,omitempty"`
		ErrorMessage       string        `json:"error_message,omitempty"`
		ReadOnly           *bool         `json:"read_only,omitempty"`
		VPCEndpointID      string        `json:"vpc_endpoint_id,omitempty"`
		RequestParameters  string        `json:"request_parameters,omitempty"`
		Resources          []ecsResource `json:"resources,omitempty"`
		UserIdentity       ecsIdentity   `json:"user_identity"`
	}
	ecsResource struct {
		ARN string `json:"arn"`
	}
	ecsIdentity struct {
		Type           string            `json:"type,omitempty"`
		ARN            string            `json:"arn,omitempty"`
		AccountID      string            `json:"account_id,omitempty"`
		AccessKeyID    string            `json:"access_key_id,omitempty"`
		InvokedBy      string            `json:"invoked_by,omitempty"`
		SourceIdentity string            `json:"source_identity,omitempty"`
		OnBehalfOf     string            `json:"on_behalf_of,omitempty"`
		SessionContext ecsSessionContext `json:"session_context"`
	}
	ecsSessionContext struct {
		MFAAuthenticated *bool  `json:"mfa_authenticated,omitempty"`
		SessionName      string `json:"session_name,omitempty"`
		SessionIssuer    *struct {
			ARN string `json:"arn"`
		} `json:"session_issuer,omitempty"`
	}
	ecsRelated struct {
		IP   []string `json:"ip,omitempty"`
		User []string `json:"user,omitempty"`
	}
	ecsObserver struct {
		Vendor  string `json:"vendor"`
		Product string `json:"product"`
		Type    string `json:"type"`
		Version string `json:"version"`
	}
	ecsFarcall struct {
		AlertID      string         `json:"alert_id"`
		Version      int64          `json:"version"`
		Score        float64        `json:"score"`
		Severity     string         `json:"severity"`
		Method       string         `json:"method"`
		MethodScore  float64        `json:"method_score"`
		Probability  float64        `json:"probability"`
		Level        string         `json:"level"`
		Principal    string         `json:"principal"`
		Place        string         `json:"place"`
		PlaceName    string         `json:"place_name"`
		Outcome      string         `json:"outcome"`
		Pane         ecsPane        `json:"pane"`
		Window       ecsWindow      `json:"window"`
		Methods      []ecsMethod    `json:"methods"`
		MethodsTotal int64          `json:"methods_total"`
		Factors      []ecsFactor    `json:"factors"`
		Labels       []string       `json:"labels"`
		Profile      ecsProfile     `json:"profile"`
		Overlap      *ecsOverlap    `json:"overlap,omitempty"`
		From         *ecsJourney    `json:"from,omitempty"`
		Organisation ecsOrg         `json:"organisation"`
		Earlier      int64          `json:"earlier_alerts"`
		History      ecsHistory     `json:"history"`
		HeldBack     string         `json:"held_back,omitempty"`
		Exception    string         `json:"exception,omitempty"`
		RollUp       *ecsRollUp     `json:"roll_up,omitempty"`
		GeoBuild     string         `json:"geo_build"`
		Source       ecsCoordinates `json:"source"`
	}
	ecsPane struct {
		Start    string `json:"start"`
		Duration string `json:"duration"`
	}
	ecsWindow struct {
		Duration     string   `json:"duration"`
		Visits       int64    `json:"visits"`
		PlaceVisits  int64    `json:"place_visits"`
		Others       int64    `json:"others"`
		Support      int64    `json:"support"`
		Places       int64    `json:"places"`
		TopCountries []ecsTop `json:"top_countries"`
		MethodSince  string   `json:"method_since,omitempty"`
		PlaceSince   string   `json:"place_since,omitempty"`
		PlaceLast    string   `json:"place_last,omitempty"`
	}
	ecsTop struct {
		Place  string  `json:"place"`
		Name   string  `json:"name"`
		Visits int64   `json:"visits"`
		Share  float64 `json:"share"`
	}
	ecsHistory struct {
		OrganisationDays int64 `json:"organisation_days"`
		AccountDays      int64 `json:"account_days"`
		MethodDays       int64 `json:"method_days"`
		PrincipalDays    int64 `json:"principal_days"`
	}
	ecsRollUp struct {
		Held      int64  `json:"held"`
		Low       int64  `json:"low"`
		Medium    int64  `json:"medium"`
		High      int64  `json:"high"`
		Strongest string `json:"strongest"`
		From      string `json:"from"`
		To        string `json:"to"`
	}
	ecsFactor struct {
		Name   string  `json:"name"`
		Points float64 `json:"points"`
		Text   string  `json:"text"`
	}
	ecsProfile struct {
		Since       string    `json:"since,omitempty"`
		Days        int64     `json:"days"`
		HereSince   string    `json:"here_since,omitempty"`
		HereDays    int64     `json:"here_days"`
		Places      []ecsSeen `json:"places"`
		Clients     []string  `json:"clients,omitempty"`
		NewClients  []string  `json:"new_clients,omitempty"`
		Keys        []string  `json:"keys,omitempty"`
		NewKeys     []string  `json:"new_keys,omitempty"`
		Networks    []string  `json:"networks,omitempty"`
		NewNetworks []string  `json:"new_networks,omitempty"`
	}
	ecsSeen struct {
		Place string `json:"place"`
		Name  string `json:"name"`
		Days  int64  `json:"days"`
		Last  string `json:"last"`
	}
	ecsOverlap struct {
		Place      string `json:"place"`
		Name       string `json:"name"`
		Hours      int64  `json:"hours"`
		Kilometres int64  `json:"kilometres"`
		Speed      int64  `json:"speed"`
	}
	ecsJourney struct {
		Place      string `json:"place"`
		Name       string `json:"name"`
		Last       string `json:"last"`
		Hours      int64  `json:"hours"`
		Kilometres int64  `json:"kilometres"`
		Speed      int64  `json:"speed"`
	}
	ecsOrg struct {
		Usual      bool    `json:"usual"`
		Score      float64 `json:"score"`
		Others     int64   `json:"others"`
		Visits     int64   `json:"visits"`
		Since      string  `json:"since,omitempty"`
		PlaceSince string  `json:"place_since,omitempty"`
		PlaceLast  string  `json:"place_last,omitempty"`
	}
	ecsMethod struct {
		Name     string  `json:"name"`
		FirstUse bool    `json:"first_use"`
		Score    float64 `json:"score"`
		Level    string  `json:"level"`
		Outcome  string  `json:"outcome"`
		First    string  `json:"first"`
		EventID  string  `json:"event_id,omitempty"`
		Account  string  `json:"account,omitempty"`
	}
	ecsCoordinates struct {
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
		Offset    int64  `json:"offset"`
		Byte      int64  `json:"byte"`
	}
)

// MaxBytes is the most that ECS returns. The rest of the 1 MiB that the topic and the producer allow is for the batch
// around the record.
const MaxBytes = 900 << 10

// ECS encodes the alert as one JSON document in the Elastic Common Schema, of MaxBytes at the most: where names of control
// characters, which JSON writes sixfold, would make it longer, the latest methods are left out, and methods_total still
// counts them. version is farcall's own, for observer.version.
func (a *Alert) ECS(version string) ([]byte, error) {
	v := &a.Lead.Visit
	e := &v.Evidence
	d := &a.Lead.Distribution
	severity := SeverityOf(a.Score)
	service := strings.TrimSuffix(e.EventSource, ".amazonaws.com")
	doc := ecsDoc{
		Timestamp: millis(e.EventTime),
		Message:   a.Title(),
		Tags: []string{"Domain: Cloud", "Data Source: AWS", "Data Source: AWS CloudTrail", "Tactic: Initial Access",
			"Use Case: Identity Threat Detection", "Level: " + a.Lead.Level.String()},
		ECS: ecsVersion{ECSVersion},
		Event: ecsEvent{
			Kind: "alert", Category: []string{"intrusion_detection"}, Type: []string{"info"},
			Action: e.EventName, Provider: e.EventSource, Outcome: "success",
			ID: a.ID, Code: "unusual-country-for-method", Module: "farcall", Dataset: "farcall.alert",
			Severity: int(severity), RiskScore: a.Score, RiskScoreNorm: a.Score, Reason: a.Reason(), Sequence: a.Version,
			Created: millis(a.Created), Start: millis(a.First), End: millis(a.Last),
		},
		Rule: ecsRule{
			ID: RuleID, Name: RuleName, Version: RuleVersion, Category: "anomaly", Ruleset: "farcall",
			Description: "An AWS API method was called from a country that is unusual for it, judged by the countries of its calls over the window before.",
		},
		Threat: ecsThreat{
			Framework: "MITRE ATT&CK",
			Tactic:    ecsNamed{[]string{"TA0001"}, []string{"Initial Access"}, []string{"https://attack.mitre.org/tactics/TA0001/"}},
			Technique: ecsTechnique{
				ecsNamed{[]string{"T1078"}, []string{"Valid Accounts"}, []string{"https://attack.mitre.org/techniques/T1078/"}},
				ecsNamed{[]string{"T1078.004"}, []string{"Cloud Accounts"}, []string{"https://attack.mitre.org/techniques/T1078/004/"}},
			},
		},
		Source: ecsSource{Address: e.Address},
		User:   ecsUser{ID: e.PrincipalID, Name: userName(e)},
		Cloud:  ecsCloud{Provider: "aws", Account: ecsID{e.Account}, Region: e.Region},
		AWS: ecsAWS{ecsCloudTrail{
			EventID: e.EventID, SharedEventID: e.SharedEventID, EventType: e.EventType, EventCategory: e.EventCategory,
			RecipientAccountID: e.Account, ErrorCode: e.ErrorCode, ErrorMessage: e.ErrorMessage, ReadOnly: truth(e.ReadOnly),
			VPCEndpointID: e.VPCEndpointID, RequestParameters: e.RequestParameters,
			UserIdentity: ecsIdentity{
				Type: e.IdentityType, ARN: e.ARN, AccountID: e.PrincipalAccount, AccessKeyID: e.AccessKeyID, InvokedBy: e.InvokedBy,
				SourceIdentity: e.SourceIdentity, OnBehalfOf: e.OnBehalfOf,
				SessionContext: ecsSessionContext{MFAAuthenticated: truth(e.MFA), SessionName: e.SessionName},
			},
		}},
		Observer: ecsObserver{"farcall", "farcall", "stream processor", version},
		Farcall: ecsFarcall{
			AlertID: a.ID, Version: a.Version, Score: a.Score, Severity: severity.String(),
			Method: v.Method, MethodScore: a.Lead.Score, Probability: a.Lead.Probability, Level: a.Lead.Level.String(),
			Principal: v.Principal, Place: v.Place, PlaceName: PlaceName(v.Place), Outcome: a.Outcome.String(),
			Pane: ecsPane{seconds(v.Pane), a.Pane.String()},
			Window: ecsWindow{
				Duration: a.Window.String(), Visits: d.Visits, PlaceVisits: d.PlaceVisits, Others: d.Others, Support: d.Support, Places: d.Places,
				TopCountries: []ecsTop{}, MethodSince: seconds(d.MethodSince), PlaceSince: seconds(d.PlaceSince), PlaceLast: seconds(d.PlaceLast),
			},
			Methods: []ecsMethod{}, MethodsTotal: int64(len(a.Methods)) + a.Dropped, GeoBuild: e.GeoBuild,
			Source: ecsCoordinates{e.Source.Topic, e.Source.Partition, e.Source.Offset, e.Source.Byte},
		},
	}
	if e.ErrorCode != "" || e.ErrorMessage != "" || v.Outcome == topics.Denied {
		doc.Event.Outcome = "failure"
	}
	for _, o := range []topics.Outcome{topics.Allowed, topics.Denied} {
		if v.Outcome&o != 0 {
			doc.Event.Type = append(doc.Event.Type, o.String())
		}
	}
	if service != "" {
		doc.Cloud.Service = &ecsService{service}
	}
	if ip, err := netip.ParseAddr(e.Address); err == nil {
		doc.Source.IP = ip.WithZone("").String() // Elasticsearch refuses the whole document over a zone
		doc.Related.IP = []string{doc.Source.IP}
	}
	if !strings.HasPrefix(v.Place, "aws:") {
		doc.Source.Geo = &ecsGeo{v.Place, PlaceName(v.Place)}
	}
	if number, ok := geo.ParseNetwork(e.Network); ok {
		doc.Source.AS = &ecsAS{Number: number}
		if e.NetworkName != "" {
			doc.Source.AS.Organisation = &ecsOrganisation{e.NetworkName}
		}
	}
	if e.UserAgent != "" {
		doc.UserAgent = &ecsUserAgent{e.UserAgent}
	}
	if e.IssuerARN != "" {
		doc.AWS.CloudTrail.UserIdentity.SessionContext.SessionIssuer = &struct {
			ARN string `json:"arn"`
		}{e.IssuerARN}
	}
	for _, r := range e.Resources {
		doc.AWS.CloudTrail.Resources = append(doc.AWS.CloudTrail.Resources, ecsResource{r})
	}
	for _, u := range []string{doc.User.Name, e.SessionName, e.SourceIdentity} {
		if u != "" && !slices.Contains(doc.Related.User, u) {
			doc.Related.User = append(doc.Related.User, u)
		}
	}
	for _, pc := range d.Top {
		share := 0.0
		if d.Visits > 0 {
			share = float64(pc.Visits) / float64(d.Visits)
		}
		doc.Farcall.Window.TopCountries = append(doc.Farcall.Window.TopCountries, ecsTop{pc.Place, PlaceName(pc.Place), pc.Visits, share})
	}
	for _, m := range a.Methods {
		doc.Farcall.Methods = append(doc.Farcall.Methods, ecsMethod{m.Name, m.New, m.Score, m.Level.String(), m.Outcome.String(), millis(m.First), m.EventID, m.Account})
	}
	a.context(&doc.Farcall)
	for {
		b, err := json.Marshal(doc)
		if err != nil {
			return nil, fmt.Errorf("encode alert %s: %w", a.ID, err)
		}
		if len(b) <= MaxBytes {
			return b, nil
		}
		// What outsiders can fill goes first, and the sums stay: an alert must not fail for what an intruder calls itself.
		switch f := &doc.Farcall; {
		case len(f.Methods) > 1:
			f.Methods = f.Methods[:len(f.Methods)/2]
		case len(f.Profile.Clients)+len(f.Profile.Keys)+len(f.Profile.Networks) > 0:
			p := &f.Profile
			p.Clients, p.NewClients, p.Keys, p.NewKeys, p.Networks, p.NewNetworks = nil, nil, nil, nil, nil, nil
		case doc.Event.Reason != "":
			doc.Event.Reason = ""
			for i := range f.Factors {
				f.Factors[i].Text = ""
			}
		default:
			return nil, fmt.Errorf("encode alert %s: it takes %d bytes, %d are the most", a.ID, len(b), MaxBytes)
		}
	}
}

// context spells what is known of the principal.
func (a *Alert) context(f *ecsFarcall) {
	c := &a.Context
	f.Factors, f.Labels, f.Earlier = []ecsFactor{}, append([]string{}, c.Labels...), c.Earlier
	days := func(since int64) int64 {
		if since == 0 {
			return 0
		}
		return max(0, (a.First/1000-since)/(24*3600))
	}
	f.History = ecsHistory{days(c.AllSince), days(c.AccountSince), days(a.Lead.Distribution.MethodSince), days(c.Since)}
	f.HeldBack, f.Exception = a.HeldBack, a.Exception
	if r := a.RollUp; r != nil {
		f.RollUp = &ecsRollUp{r.Held, r.Low, r.Medium, r.High, r.Strongest, millis(r.From), millis(r.To)}
	}
	for _, x := range c.Factors {
		f.Factors = append(f.Factors, ecsFactor(x))
	}
	f.Profile = ecsProfile{
		Since: seconds(c.Since), Days: c.Days, HereSince: seconds(c.HereSince), HereDays: c.HereDays, Places: []ecsSeen{},
		Clients: c.Clients, NewClients: c.NewClients, Keys: c.Keys, NewKeys: c.NewKeys, Networks: c.Networks, NewNetworks: c.NewNetworks,
	}
	for _, s := range c.Places {
		f.Profile.Places = append(f.Profile.Places, ecsSeen{s.Name, PlaceName(s.Name), s.Days, seconds(s.Last)})
	}
	if o := &c.Overlap; o.Place != "" {
		f.Overlap = &ecsOverlap{o.Place, PlaceName(o.Place), o.Hours, o.Kilometres, o.Kilometres / max(1, o.Hours)}
	}
	if j := &c.From; j.Place != "" {
		f.From = &ecsJourney{j.Place, PlaceName(j.Place), seconds(j.Last), j.Hours, j.Kilometres, j.Kilometres / max(1, j.Hours)}
	}
	d := &c.Organisation
	f.Organisation = ecsOrg{c.OrganisationUsual, c.OrganisationScore, d.Others, d.Visits, seconds(d.MethodSince), seconds(d.PlaceSince), seconds(d.PlaceLast)}
}

// userName is the name a person knows the caller by: the user's own, else the role's.
func userName(e *topics.Evidence) string {
	if e.UserName != "" {
		return e.UserName
	}
	arn := e.IssuerARN
	if arn == "" {
		arn = e.ARN
	}
	return arn[strings.LastIndexByte(arn, '/')+1:]
}

func truth(a topics.Answer) *bool {
	if a == topics.Unknown {
		return nil
	}
	v := a == topics.Yes
	return &v
}

func millis(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

func seconds(s int64) string {
	if s == 0 {
		return ""
	}
	return time.Unix(s, 0).UTC().Format(time.RFC3339)
}
