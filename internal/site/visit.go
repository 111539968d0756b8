package site

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/site/frame"
)

// visit is one request of a browser.
type visit struct {
	*frame.Visit
	*Site

	session *accounts.Session // nil if nobody has signed in
	lapsed  bool              // the cookie has a session that has ended
	request string            // authorization request that the page is about, "" if none

	self      string // link to the page, if it is not the path with the parameters that are kept
	reference string // id of whoever could not be matched to a member, for the help desk
}

type (
	page         = frame.Page
	fieldError   = frame.FieldError
	problemError = frame.ProblemError
)

// Problems.
var (
	errMissing     = frame.ErrMissing
	errFault       = frame.ErrFault
	errForm        = frame.ErrForm
	errUsed        = &problemError{Status: http.StatusConflict, Key: "used"}
	errExpired     = &problemError{Status: http.StatusGone, Key: "expired"}
	errNoRequest   = &problemError{Status: http.StatusBadRequest, Key: "norequest"}
	errOther       = &problemError{Status: http.StatusForbidden, Key: "other"}   // somebody else decides this request
	errNobody      = &problemError{Status: http.StatusForbidden, Key: "nobody"}  // no member belongs to the user
	errNothing     = &problemError{Status: http.StatusForbidden, Key: "nothing"} // the app asked for nothing that can be given
	errTarget      = &problemError{Status: http.StatusBadRequest, Key: "target"} // of a scheme that is never followed
	errLevel       = &problemError{Status: http.StatusForbidden, Key: "level"}   // these are refusals of Upstream
	errCancelled   = &problemError{Status: http.StatusForbidden, Key: "cancelled"}
	errUnavailable = &problemError{Status: http.StatusServiceUnavailable, Key: "unavailable"}
	errLate        = &problemError{Status: http.StatusForbidden, Key: "late"}
	errRefused     = &problemError{Status: http.StatusForbidden, Key: "refused"}
	errApp         = &problemError{Status: http.StatusBadRequest, Key: "app"} // an app has sent a request that is wrong
	errClient      = &problemError{Status: http.StatusBadRequest, Key: "client"}
	errRedirect    = &problemError{Status: http.StatusBadRequest, Key: "redirect"}
)

// handle serves a page. Errors become pages too.
func (s *Site) handle(f func(*visit) error) http.Handler {
	return s.frame.Handle(func(fv *frame.Visit) error {
		v, err := s.visit(fv)
		if err == nil {
			err = f(v)
		}
		if err != nil {
			v.showProblem(v.Problem(err), "")
		}
		return nil
	})
}

// visit makes a visit with its session.
func (s *Site) visit(fv *frame.Visit) (*visit, error) {
	v := &visit{Visit: fv, Site: s, request: requestID(fv.R.URL.Query().Get("request"))}
	return v, v.open()
}

// open finds the session.
func (v *visit) open() error {
	id := v.SessionID()
	if id == "" {
		return nil
	}
	session, err := v.Accounts.Session(v.R.Context(), id, v.Idle)
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		v.lapsed = true
		v.SetCookie("session", "", -1)
	case err != nil:
		return fmt.Errorf("session: %w", err)
	default:
		v.session, v.Session = session, id
	}
	return nil
}

var requestForm = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,256}$`)

func requestID(text string) string {
	if !requestForm.MatchString(text) {
		return ""
	}
	return text
}

// signIn begins a session with a new id, so that an id that somebody has planted is worth nothing. If the same user
// has signed in meanwhile in another tab, that session stays: forms of the other tab go on working.
func (v *visit) signIn(user, level string, at time.Time) error {
	v.DropForm()
	if v.session != nil && v.session.User == user && v.session.Level == level && !v.again() {
		return nil
	}
	now := v.Now()
	s := &accounts.Session{ID: accounts.NewSecret(), User: user, Level: level, AuthTime: at, Seen: now, Created: now, Expires: now.Add(v.Absolute)}
	if err := v.Accounts.AddSession(v.R.Context(), s); err != nil {
		return fmt.Errorf("session: %w", err)
	}
	if v.session != nil {
		if err := v.Accounts.EndSession(v.R.Context(), v.Session); err != nil {
			return fmt.Errorf("session before: %w", err)
		}
	}
	v.session = s
	v.SetSession(s.ID)
	if v.Events.SignedIn != nil {
		v.Events.SignedIn(user, level)
	}
	return nil
}

// checkForm reads a form, and refuses those that another site has sent or made. The form of a login, or of a refusal,
// may be older than the session, or of somebody else.
func (v *visit) checkForm() error {
	if err := v.ReadForm(); err != nil {
		return errForm
	}
	v.request = requestID(v.R.PostForm.Get("request"))
	return v.CheckToken(v.R.URL.Path == "/login" || v.R.PostForm.Get("decision") == "deny")
}

// headers are those of every page. A window that an app has opened for the request must find its opener again when it
// comes back to the app.
func (v *visit) headers() {
	v.Opener = v.request != ""
	v.Headers()
}

// see sends the browser to another page of the site.
func (v *visit) see(path string, query ...string) error {
	v.Opener = v.request != ""
	return v.See(path, query...)
}

// shown is a page with what all pages of members may show.
type shown struct {
	*page
	v *visit
}

// Request is the authorization request that the page is about.
func (p *shown) Request() string { return p.v.request }

// show writes a page. keep are the parameters that a link to the same page needs, besides the request.
func (v *visit) show(status int, name string, p *page, keep ...string) error {
	v.keep(p, keep)
	return v.Show(status, name, &shown{p, v})
}

// keep makes the link to the same page.
func (v *visit) keep(p *page, names []string) {
	v.Opener = v.request != ""
	q := url.Values{}
	for _, k := range names {
		if value := v.R.FormValue(k); value != "" {
			q.Set(k, value)
		}
	}
	if v.request != "" {
		q.Set("request", v.request)
	}
	p.Self = v.R.URL.Path
	if len(q) > 0 {
		p.Self += "?" + q.Encode()
	}
	if v.self != "" {
		p.Self = v.self
	}
}

// showProblem writes the page of a problem. code is for the support of an app, "" for none.
func (v *visit) showProblem(p *problemError, code string) {
	q := struct {
		Text, Next, Code, Retry, Other, Reference string
		Deny, Leave                               bool
	}{Text: v.Text(p.Key + ".text"), Next: v.Text(p.Key + ".next")}
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
		q.Reference = v.Text("problem.reference", frame.Plain(v.reference, 80))
	}
	if code != "" {
		q.Code = v.Text("problem.code", frame.Plain(code, 60))
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
	pg := &page{Title: v.Text(p.Key + ".title"), Content: q}
	v.keep(pg, nil)
	v.ShowProblemPage(p, &shown{pg, v})
}
