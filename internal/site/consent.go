package site

import (
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/site/frame"
	"cpcds2fhir/internal/smart/authserver"
)

// member is somebody for whom the user may decide.
type member struct {
	Key     string // in forms and URLs: it says nothing to others
	Patient string
	Name    string
	Born    string
	Self    bool
}

// consentPage is what the consent page, and the choice of a member before it, show.
type consentPage struct {
	App      app
	Members  []member // all
	Member   member   // whose data
	Login    string   // of whoever is signed in, if it is an embedded one
	Kinds    []choice
	Identity bool
	Offline  *choice // nil if the app has not asked for it
	Until    []choice
	Means    []string
	Complain bool   // members can report an app
	Back     string // where the browser goes afterwards
	Home     bool   // the name of the other place is a host
}

// choice is a checkbox or a radio button.
type choice struct {
	ID, Value, Title, Text, Part string
	Checked, Needed              bool
}

// pending finds the request that the page is about.
func (v *visit) pending() (*authserver.Pending, error) {
	if v.request == "" {
		return nil, errNoRequest
	}
	p, err := v.Pages.Pending(v.R.Context(), v.request)
	if err != nil {
		return nil, decided(err)
	}
	v.Target = destination(p.RedirectURI).source
	return p, nil
}

// decided turns the errors of decisions into problems.
func decided(err error) error {
	switch {
	case errors.Is(err, accounts.ErrUsed):
		return errUsed
	case errors.Is(err, accounts.ErrNotFound):
		return errExpired
	}
	return fmt.Errorf("authorization request: %w", err)
}

// members are those for whom the user may decide, itself first. One whose Patient cannot be read is left out: its
// data could not be read either.
func (v *visit) members() (list []member, err error) {
	links, err := v.Accounts.Links(v.R.Context(), v.session.User, "")
	if err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	if len(links) == 0 {
		return nil, errNobody
	}
	for _, l := range links {
		name, born, e := v.Member(v.R.Context(), l.Patient)
		if e != nil {
			err = fmt.Errorf("member: %w", e)
			continue
		}
		list = append(list, member{v.memberKey(l.Patient), l.Patient, frame.Plain(name, 80), v.born(born), l.Role == "self"})
	}
	if len(list) == 0 {
		return nil, err
	}
	return list, nil
}

// memberKey names a member within a session.
func (v *visit) memberKey(patient string) string {
	return base64.RawURLEncoding.EncodeToString(v.MAC("member", v.Session, patient)[:12])
}

// ready finds what a consent page needs, and whether it is this user's to decide. It fails with errSignIn if nobody
// has signed in, or not lately enough for the app.
func (v *visit) ready() (*authserver.Pending, *asked, error) {
	p, err := v.pending()
	switch {
	case err != nil:
		return nil, nil, err
	case v.session == nil, v.session.AuthTime.Before(p.AuthAfter):
		return nil, nil, errSignIn
	case p.User != "" && p.User != v.session.User:
		return nil, nil, errOther
	}
	a := read(p.Scopes)
	if len(a.kinds) == 0 && !a.identity {
		return nil, nil, errNothing
	}
	return p, a, nil
}

var errSignIn = errors.New("nobody has signed in")

// showConsent is the consent page, or before it the choice of a member if there are several.
func (v *visit) showConsent() error {
	p, a, err := v.ready()
	if errors.Is(err, errSignIn) {
		return v.see("/login", "request", v.request)
	}
	if err != nil {
		return err
	}
	members, err := v.members()
	if err != nil {
		return err
	}
	c := &consentPage{App: v.app(p.Client), Members: members}
	key := v.R.URL.Query().Get("member")
	i := slices.IndexFunc(members, func(m member) bool { return m.Key == key })
	if i < 0 && len(members) == 1 {
		i = 0
	}
	if i < 0 {
		pg := &page{Title: v.Text("choose.title"), Content: c}
		status := http.StatusOK
		if v.R.URL.Query().Has("choose") { // the form was sent without a choice
			pg.Fields = []fieldError{frame.Wrong("member-"+members[0].Key, v.Text("choose.none"))}
			status = http.StatusUnprocessableEntity
		}
		return v.show(status, "choose", pg)
	}
	c.Member = members[i]
	return v.consentForm(http.StatusOK, p, a, c, &given{kinds: a.kinds, offline: a.offline, until: v.GrantNow}, nil)
}

// given is what a member has chosen.
type given struct {
	kinds   []*kind
	offline bool
	until   time.Duration
}

func (v *visit) consentForm(status int, p *authserver.Pending, a *asked, c *consentPage, g *given, fields []fieldError) error {
	user, err := v.Accounts.User(v.R.Context(), v.session.User)
	if err != nil {
		return fmt.Errorf("user: %w", err)
	}
	if user.Issuer == "" {
		c.Login = frame.Plain(user.Subject, 80)
	}
	for _, k := range a.kinds {
		x := choice{ID: "kind-" + k.name, Value: k.name, Title: v.Text(k.title), Text: v.Text(k.text), Checked: slices.Contains(g.kinds, k), Needed: k == personal}
		if part := a.part(k); part != "" {
			x.Part = v.Text("consent.part", part)
		}
		c.Kinds = append(c.Kinds, x)
	}
	c.Identity = a.identity
	if a.offline {
		c.Offline = &choice{ID: "offline", Text: v.Text("consent.offline.text", v.about(v.Access)), Checked: g.offline}
	}
	for _, d := range v.GrantFor {
		c.Until = append(c.Until, choice{ID: "until-" + strconv.Itoa(int(d/day)), Value: strconv.Itoa(int(d / day)),
			Title: v.howLong(d), Text: v.Text("consent.until.date", v.Date(v.Now().Add(d))), Checked: d == g.until})
	}
	t := destination(p.RedirectURI)
	c.Back, c.Home, c.Complain = t.name, t.web, v.complaint() != nil
	c.Means = v.means()
	title := v.Text("consent.title", c.App.Name)
	if !c.Member.Self {
		title = v.Text("consent.title.other", c.Member.Name, c.App.Name)
	}
	return v.show(status, "consent", &page{Title: title, Content: c, Fields: fields}, "member")
}

// decide takes the decision of a member.
func (v *visit) decide() error {
	err := v.checkForm()
	if err == nil && v.R.PostForm.Get("decision") == "deny" {
		return v.deny()
	}
	if v.session == nil && v.request != "" { // it has ended while the page was read
		return v.see("/login", "request", v.request)
	}
	if err != nil {
		return err
	}
	p, a, err := v.ready()
	if errors.Is(err, errSignIn) {
		return v.see("/login", "request", v.request)
	}
	if err != nil {
		return err
	}
	members, err := v.members()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members, func(m member) bool { return m.Key == v.R.PostForm.Get("member") })
	if i < 0 || v.R.PostForm.Get("decision") != "allow" {
		return v.see("/consent", "request", v.request) // the page was of a session before
	}
	g, fields := v.read(a)
	if len(fields) > 0 {
		return v.consentForm(http.StatusUnprocessableEntity, p, a, &consentPage{App: v.app(p.Client), Members: members, Member: members[i]}, g, fields)
	}
	if destination(p.RedirectURI).bad {
		return errTarget
	}
	if err := v.assign(); err != nil {
		return err
	}
	d := &authserver.Decision{User: v.session.User, Patient: members[i].Patient, Scopes: a.narrow(g.kinds, g.offline), AuthTime: v.session.AuthTime, Until: v.Now().Add(g.until),
		Told: v.told(v.app(p.Client), a)}
	redirect, err := v.Pages.Allow(v.R.Context(), v.request, d)
	if err != nil {
		return decided(err)
	}
	if v.Events.Consented != nil {
		v.Events.Consented(d.User, p.Client.ID, d.Patient, d.Scopes, d.Until)
	}
	return v.leave(redirect, p, "continue.shared")
}

// deny refuses a request: also before anybody has signed in, and for a user who has nothing to give.
func (v *visit) deny() error {
	p, err := v.pending()
	if err != nil {
		return err
	}
	user := ""
	if v.session != nil {
		user = v.session.User
	}
	if p.User != "" && p.User != user {
		return errOther
	}
	if destination(p.RedirectURI).bad {
		return errTarget
	}
	if user != "" {
		if err := v.assign(); err != nil {
			return err
		}
	}
	redirect, err := v.Pages.Deny(v.R.Context(), v.request)
	if err != nil {
		return decided(err)
	}
	if v.Events.Denied != nil {
		v.Events.Denied(user, p.Client.ID)
	}
	return v.leave(redirect, p, "continue.denied")
}

func (v *visit) assign() error {
	err := v.Pages.Assign(v.R.Context(), v.request, v.session.User)
	switch {
	case errors.Is(err, accounts.ErrUsed): // by somebody else, or it was decided
		if _, err := v.pending(); err != nil {
			return err
		}
		return errOther
	case err != nil:
		return decided(err)
	}
	return nil
}

// read reads the choices of a form.
func (v *visit) read(a *asked) (*given, []fieldError) {
	g := &given{offline: a.offline && v.R.PostForm.Get("offline") != ""}
	var fields []fieldError
	for _, k := range a.kinds {
		if slices.Contains(v.R.PostForm["kind"], k.name) {
			g.kinds = append(g.kinds, k)
		}
	}
	if len(g.kinds) == 0 && len(a.kinds) > 0 {
		fields = append(fields, frame.Wrong("kind-"+a.kinds[0].name, v.Text("consent.nokind")))
	}
	n, err := strconv.Atoi(v.R.PostForm.Get("until"))
	if err == nil && n > 0 && slices.Contains(v.GrantFor, time.Duration(n)*day) {
		g.until = time.Duration(n) * day
	} else {
		fields = append(fields, frame.Wrong("until-"+strconv.Itoa(int(v.GrantFor[0]/day)), v.Text("consent.nountil")))
	}
	return g, fields
}

// leave sends the browser to the app: by a redirect if it is a web page, by a link that somebody taps otherwise.
// Browsers on phones do not follow redirects to apps that nobody has tapped.
func (v *visit) leave(redirect string, p *authserver.Pending, key string) error {
	t := destination(redirect)
	if t.bad || strings.ContainsFunc(redirect, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("the redirect of client %s cannot be followed", p.Client.ID)
	}
	if t.source != "" && t.web {
		v.headers()
		v.W.Header().Set("Location", redirect)
		v.W.WriteHeader(http.StatusSeeOther)
		return nil
	}
	a := v.app(p.Client)
	v.request, v.Target = "", "" // it is over
	return v.show(http.StatusOK, "continue", &page{Title: v.Text("continue.title", a.Name), Once: true, Content: struct {
		App  string
		Text string
		Link template.URL
	}{a.Name, v.Text(key, a.Name), template.URL(redirect)}})
}

// place is where a redirect leads.
type place struct {
	source string // as a Content-Security-Policy names it; "" if it cannot, as for IPv6 addresses
	name   string // host, or scheme of an app
	web    bool
	bad    bool // never to be followed
}

var (
	hostSource   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
	schemeSource = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`)
)

// unsafeSchemes run what is in the URL, or open what is on the device.
var unsafeSchemes = []string{"javascript", "vbscript", "data", "blob", "file", "filesystem", "about", "view-source", "mailto", "tel", "sms", "intent", "ms-msdt", "search-ms"}

func destination(redirect string) place {
	u, err := url.Parse(redirect)
	switch {
	case err != nil || !schemeSource.MatchString(u.Scheme) || slices.Contains(unsafeSchemes, u.Scheme):
		return place{bad: true}
	case u.Scheme != "https" && u.Scheme != "http":
		return place{source: u.Scheme + ":", name: u.Scheme}
	case u.Host == "" || u.User != nil:
		return place{bad: true}
	case !hostSource.MatchString(u.Host):
		return place{name: u.Host, web: true}
	}
	return place{source: u.Scheme + "://" + u.Host, name: u.Host, web: true}
}
