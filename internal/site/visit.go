package site

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
)

// visit is one request of a browser.
type visit struct {
	*Site
	w http.ResponseWriter
	r *http.Request

	lang    string
	session *accounts.Session // nil if nobody has signed in
	id      string            // of the session, as the cookie has it
	lapsed  bool              // the cookie has a session that has ended
	form    string            // id of a browser in which nobody has signed in yet, for the login form
	request string            // authorization request that the page is about, "" if none

	self      string // link to the page, if it is not the path with the parameters that are kept
	reference string // id of whoever could not be matched to a member, for the help desk

	target string // origin or scheme that forms of the page may lead to, besides the own origin
}

// problemError is an error that a member can read: key.title, key.text and key.next are its texts.
type problemError struct {
	status int
	key    string
}

func (p *problemError) Error() string { return p.key }

// Problems.
var (
	errMissing     = &problemError{http.StatusNotFound, "missing"}
	errFault       = &problemError{http.StatusServiceUnavailable, "fault"}
	errForm        = &problemError{http.StatusForbidden, "form"} // a form of another site, or of a session before
	errUsed        = &problemError{http.StatusConflict, "used"}
	errExpired     = &problemError{http.StatusGone, "expired"}
	errNoRequest   = &problemError{http.StatusBadRequest, "norequest"}
	errOther       = &problemError{http.StatusForbidden, "other"}   // somebody else decides this request
	errNobody      = &problemError{http.StatusForbidden, "nobody"}  // no member belongs to the user
	errNothing     = &problemError{http.StatusForbidden, "nothing"} // the app asked for nothing that can be given
	errTarget      = &problemError{http.StatusBadRequest, "target"} // of a scheme that is never followed
	errLevel       = &problemError{http.StatusForbidden, "level"}   // these are refusals of Upstream
	errCancelled   = &problemError{http.StatusForbidden, "cancelled"}
	errUnavailable = &problemError{http.StatusServiceUnavailable, "unavailable"}
	errLate        = &problemError{http.StatusForbidden, "late"}
	errRefused     = &problemError{http.StatusForbidden, "refused"}
	errApp         = &problemError{http.StatusBadRequest, "app"} // an app has sent a request that is wrong
	errClient      = &problemError{http.StatusBadRequest, "client"}
	errRedirect    = &problemError{http.StatusBadRequest, "redirect"}
)

const bodyMax = 64 << 10

// handle serves a page. Errors become pages too.
func (s *Site) handle(f func(*visit) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{Site: s, w: w, r: r}
		r.Body = http.MaxBytesReader(w, r.Body, bodyMax)
		v.lang = v.language()
		v.request = requestID(r.URL.Query().Get("request"))
		err := v.open()
		if err == nil {
			err = f(v)
		}
		if err == nil {
			return
		}
		p, ok := errors.AsType[*problemError](err)
		if !ok {
			p = errFault
			if s.Events.Fault != nil && r.Context().Err() == nil {
				s.Events.Fault(r.URL.Path, err)
			}
		}
		v.showProblem(p, "")
	})
}

// open finds the session.
func (v *visit) open() error {
	if c, err := v.r.Cookie(v.cookieName("form")); err == nil && randomID.MatchString(c.Value) {
		v.form = c.Value
	}
	cookies := v.r.CookiesNamed(v.cookieName("session"))
	if len(cookies) == 0 || !randomID.MatchString(cookies[0].Value) {
		return nil
	}
	id := cookies[0].Value
	session, err := v.Accounts.Session(v.r.Context(), id, v.Idle)
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		v.lapsed = true
		v.setCookie("session", "", -1)
	case err != nil:
		return fmt.Errorf("session: %w", err)
	default:
		v.session, v.id = session, id
	}
	return nil
}

// randomID is how accounts.NewSecret makes ids.
var randomID = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

var requestForm = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,256}$`)

func requestID(text string) string {
	if !requestForm.MatchString(text) {
		return ""
	}
	return text
}

// cookieName has the prefix with which browsers let no other host and no http page set the cookie (RFC 6265bis,
// 4.1.3). Cookies of loopback addresses are shared by all ports, hence the name of the program there.
func (s *Site) cookieName(name string) string {
	if s.secure {
		return "__Host-" + name
	}
	return "cpcds2fhir_" + name
}

// setCookie sets a cookie of the origin. age is in seconds: 0 is until the browser ends, -1 deletes it.
func (v *visit) setCookie(name, value string, age int) {
	http.SetCookie(v.w, &http.Cookie{Name: v.cookieName(name), Value: value, Path: "/", MaxAge: age, Secure: v.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// signIn begins a session with a new id, so that an id that somebody has planted is worth nothing. If the same user
// has signed in meanwhile in another tab, that session stays: forms of the other tab go on working.
func (v *visit) signIn(user, level string, at time.Time) error {
	if v.form != "" { // forms of before are worth nothing any more
		v.form = ""
		v.setCookie("form", "", -1)
	}
	if v.session != nil && v.session.User == user && v.session.Level == level && !v.again() {
		return nil
	}
	now := v.Now()
	s := &accounts.Session{ID: accounts.NewSecret(), User: user, Level: level, AuthTime: at, Seen: now, Created: now, Expires: now.Add(v.Absolute)}
	if err := v.Accounts.AddSession(v.r.Context(), s); err != nil {
		return fmt.Errorf("session: %w", err)
	}
	if v.session != nil {
		if err := v.Accounts.EndSession(v.r.Context(), v.id); err != nil {
			return fmt.Errorf("session before: %w", err)
		}
	}
	v.session, v.id = s, s.ID
	v.setCookie("session", s.ID, 0)
	if v.Events.SignedIn != nil {
		v.Events.SignedIn(user, level)
	}
	return nil
}

// mac is a code over parts that only this site can make.
func (s *Site) mac(parts ...string) []byte {
	m := hmac.New(sha256.New, s.key)
	for _, p := range parts {
		fmt.Fprintf(m, "%d:%s", len(p), p)
	}
	return m.Sum(nil)
}

const saltLen = 16

// Token is what a form must send back. It is of the session, or before anybody has signed in of the browser, and
// differs each time, so that its letters cannot be guessed one by one from compressed pages.
func (v *visit) token() string {
	of := v.id
	if of == "" {
		if v.form == "" {
			v.form = accounts.NewSecret()
			v.setCookie("form", v.form, 0)
		}
		of = v.form
	}
	salt := accounts.NewSecret()[:saltLen]
	return salt + base64.RawURLEncoding.EncodeToString(v.mac("form", of, salt))
}

// checkForm reads a form, and refuses those that another site has sent or made.
func (v *visit) checkForm() error {
	h := v.r.Header
	// Pages have the policy no-referrer, with which browsers send "null" as the origin of their own forms. Older
	// browsers do not send Sec-Fetch-Site; the token decides there.
	if site := h.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return errForm
	}
	if origin := h.Get("Origin"); origin != "" && origin != "null" && origin != v.Issuer {
		return errForm
	}
	if err := v.r.ParseForm(); err != nil {
		return errForm
	}
	v.request = requestID(v.r.PostForm.Get("request"))
	token := v.r.PostForm.Get("token")
	if len(token) < saltLen {
		return errForm
	}
	salt := token[:saltLen]
	got, err := base64.RawURLEncoding.DecodeString(token[saltLen:])
	if err != nil {
		return errForm
	}
	list := []string{v.id}
	if v.id == "" || v.r.URL.Path == "/login" || v.r.PostForm.Get("decision") == "deny" {
		list = append(list, v.form) // it may be older than the session, or of somebody else
	}
	for _, of := range list {
		if of != "" && hmac.Equal(got, v.mac("form", of, salt)) {
			return nil
		}
	}
	return errForm
}

// see sends the browser to another page of the site.
func (v *visit) see(path string, query ...string) error {
	q := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		if query[i+1] != "" {
			q.Set(query[i], query[i+1])
		}
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	v.headers()
	v.w.Header().Set("Location", path)
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// headers are those of every page.
func (v *visit) headers() {
	h := v.w.Header()
	forms := "'self'"
	if v.target != "" {
		forms += " " + v.target
	}
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action "+forms+"; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()")
	h.Add("Vary", "Cookie, Accept-Language")
	// A window that an app has opened for the request must find its opener again when it comes back to the app.
	if v.request == "" {
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
}

// page is what all templates show.
type page struct {
	v       *visit
	Title   string
	Fields  []fieldError // what is wrong in a form
	Notice  string       // what has happened before
	Style   string
	Mark    string
	Path    string // of this page, for the other language
	Once    bool   // it can be seen once only, so there is no link to it in the other language
	Content any
}

// fieldError says what is wrong with a field.
type fieldError struct{ ID, Text string }

// T is a text in the language of the page.
func (p *page) T(key string, args ...any) string { return p.v.text(key, args...) }

// Lang is the language of the page.
func (p *page) Lang() string { return p.v.lang }

// Agency is whose pages they are.
func (p *page) Agency() string { return p.v.Name }

// Request is the authorization request that the page is about.
func (p *page) Request() string { return p.v.request }

// Token is what forms must send back.
func (p *page) Token() string { return p.v.token() }

// SignedIn reports whether somebody has.
func (p *page) SignedIn() bool { return p.v.session != nil }

// Policy, Notices and Contact are links of the agency.
func (p *page) Policy() string  { return webLink(p.v.Policy) }
func (p *page) Notices() string { return webLink(p.v.Notices) }

// Contact is a link to the agency's support, "" if there is none.
func (p *page) Contact() string {
	if c := p.v.Site.Contact; strings.Contains(c, "@") && !strings.Contains(c, ":") {
		return "mailto:" + c
	}
	return webLink(p.v.Site.Contact)
}

// ContactText is how the support is written.
func (p *page) ContactText() string {
	c := strings.TrimPrefix(p.v.Site.Contact, "mailto:")
	return strings.TrimSuffix(strings.TrimPrefix(c, "https://"), "/")
}

// Error is what is wrong with a field, "" if nothing is.
func (p *page) Error(id string) string {
	for _, f := range p.Fields {
		if f.ID == id {
			return f.Text
		}
	}
	return ""
}

// Other is the other language, and a link to this page in it.
func (p *page) Other() struct{ Lang, Name, URL string } {
	lang := "es"
	if p.v.lang == "es" {
		lang = "en"
	}
	u := p.Path
	if strings.Contains(u, "?") {
		u += "&lang=" + lang
	} else {
		u += "?lang=" + lang
	}
	return struct{ Lang, Name, URL string }{lang, languages[lang], u}
}

// show writes a page. keep are the parameters that a link to the same page needs, besides the request.
func (v *visit) show(status int, name string, p *page, keep ...string) error {
	p.v = v
	if len(p.Fields) > 0 {
		p.Title = v.text("page.error", p.Title)
	}
	p.Style = "/static/site.css?v=" + v.versions["site.css"]
	p.Mark = "/static/mark.svg?v=" + v.versions["mark.svg"]
	q := url.Values{}
	for _, k := range append(keep, "request") {
		value := v.r.FormValue(k)
		if k == "request" {
			value = v.request
		}
		if value != "" {
			q.Set(k, value)
		}
	}
	p.Path = v.r.URL.Path
	if len(q) > 0 {
		p.Path += "?" + q.Encode()
	}
	switch {
	case p.Once:
		p.Path = ""
	case v.self != "":
		p.Path = v.self
	}
	var b bytes.Buffer
	if err := v.templates[name].ExecuteTemplate(&b, "layout", p); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	v.headers()
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.lang)
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes())
	return nil
}

// showProblem writes the page of a problem. code is for the support of an app, "" for none.
func (v *visit) showProblem(p *problemError, code string) {
	q := struct {
		Text, Next, Code, Retry, Other, Reference string
		Deny, Leave                               bool
	}{Text: v.text(p.key + ".text"), Next: v.text(p.key + ".next")}
	if p == errNobody {
		if v.session != nil {
			v.reference = v.session.User
		}
		switch {
		case v.Site.Upstream != nil:
			q.Other = v.start(true)
		case v.session != nil:
			q.Leave = true
		}
	}
	if v.reference != "" {
		q.Reference = v.text("problem.reference", plain(v.reference, 80))
	}
	if code != "" {
		q.Code = v.text("problem.code", plain(code, 60))
	}
	switch {
	case p == errForm && v.request != "":
		q.Retry = "/consent?request=" + url.QueryEscape(v.request)
	case p == errForm:
		q.Retry = "/apps"
	case (p == errLate || p == errLevel || p == errCancelled || p == errUnavailable || p == errRefused):
		q.Retry = "/login"
		if v.request != "" {
			q.Retry += "?request=" + url.QueryEscape(v.request)
		}
	case p == errNobody || p == errNothing:
		q.Deny = v.request != ""
	}
	if p.status == http.StatusServiceUnavailable {
		v.w.Header().Set("Retry-After", "10")
	}
	if err := v.show(p.status, "problem", &page{Title: v.text(p.key + ".title"), Content: q}); err != nil && v.Events.Fault != nil {
		v.Events.Fault(v.r.URL.Path, err)
	}
}
