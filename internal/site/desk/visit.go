package desk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/site/frame"
)

// Visit is one request of a browser, with who has signed in. It belongs to one goroutine.
type Visit struct {
	*frame.Visit
	Desk  *Desk
	Login *portal.Session // nil if nobody has begun to sign in
	Actor *portal.Actor   // nil unless somebody has signed in fully

	About About // what the page is about, for problems

	lapsed bool   // the browser has the cookie of a session that has ended
	typed  *typed // a form that was kept, of who has signed in
}

type visitKey struct{}

// of is the visit of a request that a Desk handles.
func of(v *frame.Visit) *Visit {
	dv, _ := v.R.Context().Value(visitKey{}).(*Visit)
	return dv
}

// open finds the session.
func (v *Visit) open() error {
	id := v.SessionID()
	if id == "" {
		return nil
	}
	s, err := v.Portal().Session(v.Context(), id)
	if errors.Is(err, portal.ErrSession) {
		v.lapsed = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	v.Visit.Session, v.Login = id, s
	if s.Kind != portal.Full {
		return nil
	}
	v.Actor, err = v.Portal().Actor(v.Context(), id)
	if errors.Is(err, portal.ErrSession) {
		v.Visit.Session, v.Login, v.lapsed = "", nil, true
		return nil
	}
	if err != nil {
		return fmt.Errorf("who has signed in: %w", err)
	}
	return nil
}

// Begin goes on with a session that the portal has just made: its cookie takes the place of the one before. After a full
// sign-in the browser is known.
func (v *Visit) Begin(s *portal.Session) {
	v.SetSession(s.ID)
	v.Login = s
	if s.Kind == portal.Full {
		v.remember(s.Person)
	}
}

// Portal is the portal.
func (v *Visit) Portal() *portal.Portal { return v.Desk.Config.Portal }

// Context is that of the request.
func (v *Visit) Context() context.Context { return v.R.Context() }

// Now is the time.
func (v *Visit) Now() time.Time { return v.Desk.Now() }

// Lapsed reports whether the browser had a session that has ended.
func (v *Visit) Lapsed() bool { return v.lapsed || v.R.URL.Query().Get("lapsed") != "" }

// Typed reports whether a form waits in this browser that was sent after its session had ended.
func (v *Visit) Typed() bool { return v.CookieID(typedCookie) != "" }

// here is the page to which somebody comes back after they have signed in: this one, or the one with its form.
func (v *Visit) here() string {
	u := url.URL{Path: v.R.URL.Path}
	if v.R.Method == http.MethodGet {
		q := v.R.URL.Query()
		q.Del("lang")
		u.RawQuery = q.Encode()
	}
	return Inside(u.String())
}

// Next is where somebody wanted to go, from the field "next": a page of the portal, "" for any other address.
func (v *Visit) Next() string { return Inside(v.R.FormValue("next")) }

// Inside is a path of the portal's own pages that a browser may be sent to, or "".
func Inside(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || strings.ContainsAny(next, "\\\r\n\t") || len(next) > 500 {
		return ""
	}
	for _, root := range []string{"/developers", "/staff"} {
		if u.Path == root || strings.HasPrefix(u.Path, root+"/") {
			return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
		}
	}
	return ""
}

// Page is what templates get: that of the frame, with what the portal's pages need besides.
type Page struct {
	*frame.Page
	V *Visit
}

// Render writes a page by a template.
func (v *Visit) Render(status int, name string, p *frame.Page) error {
	return v.Show(status, name, &Page{p, v})
}

// Actor is who has signed in, nil for nobody.
func (p *Page) Actor() *portal.Actor { return p.V.Actor }

// Signing reports whether somebody has begun to sign in, or has signed in: they can sign out.
func (p *Page) Signing() bool { return p.V.Login != nil }

// Date writes the day of a moment; nothing for no moment.
func (p *Page) Date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return p.V.Date(t)
}

// DateTime writes a moment; nothing for none.
func (p *Page) DateTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return p.V.DateTime(t)
}

// In is a text of a form in the language of the page.
func (p *Page) In(t forms.Text) string { return t.In(p.Lang()) }

// Plain is a text of somebody else on one line.
func (p *Page) Plain(text string) string { return frame.Plain(text, 300) }

// Web is a link of somebody else, "" if it leads to no web page.
func (p *Page) Web(text string) string { return frame.WebLink(text) }

// State is an application's state as a tag.
func (p *Page) State(s any) frame.State { return p.V.State(fmt.Sprint(s)) }
