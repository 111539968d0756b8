package docs

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/smart/authserver"
)

// Settings are what the pages say about an agency. Zero values mean defaults where a field says so; other fields may be
// empty unless they are said to be needed.
type Settings struct {
	Agency string // its name; needed
	Portal string // origin of the pages, such as https://developers.example.gov; needed

	Production Endpoints // needed
	Sandbox    Endpoints // needed
	Try        Try

	// Pages of the portal, as URLs or paths.
	SignUp     string // needed
	SignIn     string
	PHRForm    string // the form without an account
	Directory  string // approved apps
	Status     string
	MemberApps string // what a member has connected; "" is /apps of the authorization server
	Complaint  string // where a member complains about an app
	TryPage    string // page that runs a request of its query, "request", against the sandbox; "": examples have no links that run them

	Support   string // request form of the technical desk: URL or e-mail address; needed
	Contact   string // for general questions: URL or e-mail address; needed
	Community string // forum
	Phone     string
	TTY       string // how to reach the agency by relay
	Address   string // postal, in one line
	Hours     string // when the desk answers

	Policy   string // URL of the agency's privacy policy
	Notices  string // URL of its notices on language help and nondiscrimination
	Security string // where a weakness is reported: URL or e-mail address; "" is Support

	SandboxDays int // working days until a questionnaire is answered; 0 is 1
	ReviewDays  int // working days until a production application is answered; 0 is 10
	AnswerDays  int // working days until the desk answers; 0 is 2
	NoticeDays  int // days between the notice of a change that breaks apps, and the change; 0 is 180
	VisitDays   int // days that the log of the server is kept; 0 is 30
	LogDays     int // days that the log of an app's requests is kept; 0 is 90
	KeepYears   int // years that applications are kept after their last decision; 0 is 7
	OverlapMax  int // hours that two secrets may be good at a time; 0 is 168

	Times  Times
	Limits Limits
}

// Endpoints are the URLs of one environment.
type Endpoints struct {
	FHIRBase, Issuer                                     string
	Authorize, Token, Revoke, Introspect, Register, Keys string
	SMART, OpenID, Brands                                string
	UtahAuthorize, UtahToken                             string
}

// Embedded are the endpoints of the authorization server of this program.
func Embedded(fhirBase, issuer string) Endpoints {
	return Endpoints{
		FHIRBase: fhirBase, Issuer: issuer, Authorize: issuer + authserver.AuthorizePath, Token: issuer + authserver.TokenPath,
		Revoke: issuer + authserver.RevokePath, Introspect: issuer + authserver.IntrospectPath, Register: issuer + authserver.RegisterPath,
		Keys: issuer + authserver.KeysPath, SMART: fhirBase + "/.well-known/smart-configuration", OpenID: issuer + authserver.DiscoveryPath,
		Brands: issuer + authserver.BrandsPath, UtahAuthorize: issuer + authserver.UtahAuthorizePath, UtahToken: issuer + authserver.UtahTokenPath,
	}
}

// Try is what everybody may try the sandbox with: a member and three clients. Zero values are those of 'cpcds2fhir
// sandbox'.
type Try struct {
	Login, Password                  string
	Public                           string // client id
	Confidential, ConfidentialSecret string
	Utah, UtahSecret                 string
}

// Times are how long things are good. Zero values are the defaults of the authorization server.
type Times struct {
	Code, Request, Access, Service, Grace time.Duration
}

// Limits are those of the API. Zero values are its defaults.
type Limits struct {
	Client, Member int // requests a minute
	Rows, Included int
	Parallel       int // requests at a time
	URL, Body      int // bytes
	Time           time.Duration
}

// sandboxLogin is the member with everything, of 'cpcds2fhir sandbox'.
const sandboxLogin = "elena"

// values are the placeholders in the pages.
//
// Spans of working days are in the language of the page.
func (s Settings) values(lang string) (*values, error) {
	s.fill()
	builtIn := ""
	if s.Try.Login == sandboxLogin { // then its other members are there too
		builtIn = "yes"
	}
	v := &values{texts: map[string]string{
		"agency": s.Agency, "portal": s.Portal, "sign_up": s.SignUp, "sign_in": s.SignIn, "phr_form": s.PHRForm, "directory": s.Directory,
		"status": s.Status, "member_apps": s.MemberApps, "complaint": s.Complaint, "try_page": s.TryPage,
		"support": link(s.Support), "contact": link(s.Contact), "contact_text": linkText(s.Contact), "community": s.Community, "phone": s.Phone,
		"tty": s.TTY, "address": s.Address, "hours": s.Hours, "policy": s.Policy, "notices": s.Notices, "security": link(s.Security),
		"login": s.Try.Login, "password": s.Try.Password,
		"public_client": s.Try.Public, "confidential_client": s.Try.Confidential, "confidential_secret": s.Try.ConfidentialSecret,
		"utah_client": s.Try.Utah, "utah_secret": s.Try.UtahSecret,
		"sandbox_days": workingDays(lang, s.SandboxDays), "review_days": workingDays(lang, s.ReviewDays), "answer_days": workingDays(lang, s.AnswerDays),
		"notice_days": strconv.Itoa(s.NoticeDays), "visit_days": strconv.Itoa(s.VisitDays), "log_days": strconv.Itoa(s.LogDays), "keep_years": strconv.Itoa(s.KeepYears),
		"overlap_hours": strconv.Itoa(s.OverlapMax),
		"code_seconds":  count(int(s.Times.Code / time.Second)), "request_minutes": count(int(s.Times.Request / time.Minute)),
		"access_minutes": count(int(s.Times.Access / time.Minute)), "access_seconds": strconv.Itoa(int(s.Times.Access / time.Second)),
		"service_minutes": count(int(s.Times.Service / time.Minute)), "grace_seconds": count(int(s.Times.Grace / time.Second)),
		"limit_client": count(s.Limits.Client), "limit_member": count(s.Limits.Member), "limit_rows": count(s.Limits.Rows),
		"limit_included": count(s.Limits.Included), "limit_parallel": count(s.Limits.Parallel), "limit_url": count(s.Limits.URL),
		"limit_body": count(s.Limits.Body), "limit_seconds": count(int(s.Limits.Time / time.Second)),
		"page_size": "50", "page_max": "500", "builtin": builtIn,
	}}
	for prefix, e := range map[string]*Endpoints{"": &s.Production, "sandbox_": &s.Sandbox} {
		maps.Copy(v.texts, map[string]string{
			prefix + "issuer": e.Issuer, prefix + "authorize": e.Authorize, prefix + "token": e.Token, prefix + "revoke": e.Revoke,
			prefix + "introspect": e.Introspect, prefix + "register": e.Register, prefix + "keys": e.Keys, prefix + "smart_configuration": e.SMART,
			prefix + "openid_configuration": e.OpenID, prefix + "brands": e.Brands, prefix + "utah_authorize": e.UtahAuthorize,
			prefix + "utah_token": e.UtahToken,
		})
	}
	v.texts["fhir_base"], v.texts["sandbox_base"] = s.Production.FHIRBase, s.Sandbox.FHIRBase
	v.texts["utah_authorize_port"], v.texts["utah_token_port"] = withPort(s.Production.UtahAuthorize), withPort(s.Production.UtahToken)
	v.names = slices.Sorted(maps.Keys(v.texts))
	for _, needed := range []string{"agency", "portal", "fhir_base", "authorize", "token", "smart_configuration", "sandbox_base", "sandbox_authorize",
		"sandbox_token", "sandbox_smart_configuration", "sign_up", "support", "contact"} {
		if v.texts[needed] == "" {
			return nil, fmt.Errorf("the documentation needs the setting %s", needed)
		}
	}
	for name, text := range v.texts {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || isMark(r) }) {
			return nil, fmt.Errorf("the setting %s of the documentation has characters that do not belong into a text", name)
		}
		if u, err := url.Parse(text); err == nil && u.Scheme != "" && strings.Contains(text, "//") && u.Scheme != "https" && u.Scheme != "http" {
			return nil, fmt.Errorf("the setting %s of the documentation is no address of the web", name)
		}
	}
	return v, nil
}

// fill sets defaults.
func (s *Settings) fill() {
	t := &s.Try
	t.Login, t.Password = cmp.Or(t.Login, sandboxLogin), cmp.Or(t.Password, "elena-sandbox")
	t.Public = cmp.Or(t.Public, "sandbox-public")
	t.Confidential, t.ConfidentialSecret = cmp.Or(t.Confidential, "sandbox-confidential"), cmp.Or(t.ConfidentialSecret, "sandbox-confidential-secret")
	t.Utah, t.UtahSecret = cmp.Or(t.Utah, "sandbox-utah"), cmp.Or(t.UtahSecret, "sandbox-utah-secret")
	s.SandboxDays, s.ReviewDays, s.AnswerDays = cmp.Or(s.SandboxDays, 1), cmp.Or(s.ReviewDays, 10), cmp.Or(s.AnswerDays, 2)
	s.NoticeDays, s.OverlapMax = cmp.Or(s.NoticeDays, 180), cmp.Or(s.OverlapMax, 168)
	s.VisitDays, s.LogDays, s.KeepYears = cmp.Or(s.VisitDays, 30), cmp.Or(s.LogDays, 90), cmp.Or(s.KeepYears, 7)
	s.Security = cmp.Or(s.Security, s.Support)
	s.SignIn = cmp.Or(s.SignIn, s.SignUp)
	if s.MemberApps == "" && s.Production.Issuer != "" {
		s.MemberApps = s.Production.Issuer + "/apps"
	}
	d := &s.Times
	d.Code, d.Request, d.Access = cmp.Or(d.Code, time.Minute), cmp.Or(d.Request, 30*time.Minute), cmp.Or(d.Access, time.Hour)
	d.Service, d.Grace = cmp.Or(d.Service, 5*time.Minute), cmp.Or(d.Grace, 45*time.Second)
	l := &s.Limits
	l.Client, l.Member = cmp.Or(l.Client, 60_000), cmp.Or(l.Member, 1_200)
	l.Rows, l.Included, l.Parallel = cmp.Or(l.Rows, 20_000), cmp.Or(l.Included, 1_000), cmp.Or(l.Parallel, 256)
	l.URL, l.Body, l.Time = cmp.Or(l.URL, 8192), cmp.Or(l.Body, 65_536), cmp.Or(l.Time, 30*time.Second)
}

// link is an address to which a link may lead.
func link(to string) string {
	if strings.Contains(to, "@") && !strings.Contains(to, ":") {
		return "mailto:" + to
	}
	return to
}

// linkText is how such an address is written.
func linkText(to string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(to, "https://"), "mailto:"), "/")
}

// withPort is a URL that names its port, as the pages of Utah write theirs.
func withPort(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Port() != "" {
		return text
	}
	u.Host += map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	return u.String()
}

func workingDays(lang string, n int) string {
	if n == 1 {
		return "1 " + word(lang, "day")
	}
	return strconv.Itoa(n) + " " + word(lang, "days")
}

// count writes a whole number with commas.
func count(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
