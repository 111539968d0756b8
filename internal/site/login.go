package site

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/site/frame"
)

// loginPage is what the login page shows.
type loginPage struct {
	App       string // that waits for the login, "" if none does
	Passwords bool
	Upstream  string // link that signs in by the identity provider, "" if there is none
	Demo      []Login
	Login     string // as it was typed
}

// showLogin is the login page. Whoever has signed in goes on at once.
func (v *visit) showLogin() error {
	if v.session != nil && !v.again() {
		return v.goOn()
	}
	app, err := v.waiting()
	if err != nil {
		return err
	}
	p := &page{}
	switch {
	case v.session != nil:
		p.Notice = v.Text("login.once")
	case v.lapsed:
		p.Notice = v.Text("login.lapsed")
	}
	return v.loginForm(http.StatusOK, app, p)
}

// again reports whether somebody who has signed in must do so once more, because the app wants it.
func (v *visit) again() bool {
	if v.request == "" {
		return false
	}
	p, err := v.pending()
	return err == nil && v.session.AuthTime.Before(p.AuthAfter)
}

// goOn is where a login leads.
func (v *visit) goOn() error {
	if v.request == "" {
		return v.see("/apps")
	}
	return v.see("/consent", "request", v.request)
}

// waiting is the name of the app whose request waits for a login. A request that cannot be decided any more is a
// problem before anybody types a password for it.
func (v *visit) waiting() (string, error) {
	if v.request == "" {
		return "", nil
	}
	pending, err := v.pending()
	if err != nil {
		return "", err
	}
	return appName(pending.Client), nil
}

func (v *visit) loginForm(status int, app string, p *page) error {
	c := loginPage{App: app, Passwords: v.Passwords, Demo: v.Demo, Login: frame.Plain(v.R.PostForm.Get("login"), 200)}
	if v.Site.Upstream != nil {
		c.Upstream = v.start(v.R.FormValue("switch") != "")
	}
	p.Title = v.Text("login.title")
	p.Content = c
	return v.show(status, "login", p, "switch")
}

// start is the link that signs in by the identity provider. other is for somebody who has signed in there with an
// account that is not the right one.
func (v *visit) start(other bool) string {
	q := url.Values{}
	if v.request != "" {
		q.Set("request", v.request)
	}
	if other {
		q.Set("switch", "1")
	}
	if len(q) == 0 {
		return "/login/start"
	}
	return "/login/start?" + q.Encode()
}

// login takes an embedded login.
func (v *visit) login() error {
	if !v.Passwords {
		return errMissing
	}
	if err := v.checkForm(); err != nil {
		v.refused("csrf")
		if v.session != nil && !v.HasForm() { // the login in another tab has ended this form
			return v.goOn()
		}
		return err
	}
	app, err := v.waiting()
	if err != nil {
		return err
	}
	login, password := strings.TrimSpace(v.R.PostForm.Get("login")), v.R.PostForm.Get("password")
	var fields []fieldError
	if login == "" {
		fields = append(fields, frame.Wrong("login", v.Text("login.nologin")))
	}
	if password == "" {
		fields = append(fields, frame.Wrong("password", v.Text("login.nopassword")))
	}
	if len(fields) > 0 {
		return v.loginForm(http.StatusUnprocessableEntity, app, &page{Fields: fields})
	}
	user, err := v.Accounts.CheckPassword(v.R.Context(), login, password)
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		v.refused("password")
		return v.loginForm(http.StatusUnprocessableEntity, app, &page{Fields: []fieldError{frame.Wrong("password", v.Text("login.wrong"))}})
	case errors.Is(err, accounts.ErrLocked):
		v.refused("locked")
		return v.loginForm(http.StatusTooManyRequests, app, &page{Fields: []fieldError{frame.Wrong("password", v.Text("login.locked"))}})
	case err != nil:
		return fmt.Errorf("embedded login: %w", err)
	}
	if err := v.signIn(user.ID, "", v.Now()); err != nil {
		return err
	}
	return v.goOn()
}

func (v *visit) refused(reason string) {
	if v.Events.Refused != nil {
		v.Events.Refused(reason)
	}
}

// startUpstream sends the browser to the identity provider. It is a link and no form: browsers would hold the
// provider's origin against form-action.
func (v *visit) startUpstream() error {
	if v.Site.Upstream == nil {
		return errMissing
	}
	var after time.Time
	if v.request != "" {
		p, err := v.pending()
		if err != nil {
			return err
		}
		after = p.AuthAfter
	}
	if v.R.URL.Query().Has("switch") { // whoever has a session at the provider could not choose another account
		after = v.Now()
	}
	v.headers()
	if err := v.Site.Upstream.Begin(v.W, v.R, v.request, after); err != nil {
		return v.refusal(err)
	}
	return nil
}

// finishUpstream is where the identity provider sends the browser back to.
func (v *visit) finishUpstream() error {
	if v.Site.Upstream == nil {
		return errMissing
	}
	user, level, at, request, err := v.Site.Upstream.Finish(v.W, v.R)
	v.request = requestID(request)
	if err != nil {
		return v.refusal(err)
	}
	if err := v.signIn(user.ID, level, at); err != nil {
		return err
	}
	return v.goOn()
}

// refusal is the problem of a login that the identity provider, or the rules about members, refuse.
func (v *visit) refusal(err error) error {
	r, ok := errors.AsType[interface {
		error
		Reason() string
	}](err)
	if !ok {
		v.Fault(err)
		return errUnavailable
	}
	v.refused(r.Reason())
	if x, ok := errors.AsType[interface {
		error
		Reference() string
	}](err); ok {
		v.reference = x.Reference()
	}
	switch r.Reason() {
	case "cancelled":
		return errCancelled
	case "expired":
		return errLate
	case "level":
		return errLevel
	case "none", "ambiguous":
		return errNobody
	case "unavailable":
		return errUnavailable
	}
	return errRefused
}

// showLogout asks whoever is signed in whether to end the session, and tells others that there is none.
func (v *visit) showLogout() error {
	title := v.Text("logout.title")
	if v.session == nil {
		title = v.Text("logout.done")
	}
	return v.show(http.StatusOK, "logout", &page{Title: title, Content: v.Site.Upstream != nil})
}

// logout ends the session. Somebody else may go on with the request. If the session has ended by itself, its cookie is
// gone with it (open), and nothing is left that a form of another site could do.
func (v *visit) logout() error {
	err := v.checkForm()
	if v.session != nil {
		if err != nil {
			return err
		}
		if err := v.Accounts.EndSession(v.R.Context(), v.Session); err != nil {
			return fmt.Errorf("session: %w", err)
		}
		if v.Events.SignedOut != nil {
			v.Events.SignedOut(v.session.User)
		}
		v.SetCookie("session", "", -1)
	}
	if v.request != "" { // the identity provider must not sign the same account in again
		return v.see("/login", "request", v.request, "switch", "1")
	}
	return v.see("/logout")
}
