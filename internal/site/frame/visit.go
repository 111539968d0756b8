package frame

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Visit is one request of a browser. It belongs to one goroutine.
type Visit struct {
	W    http.ResponseWriter
	R    *http.Request
	Lang string // "en" or "es"

	// Session is the id of a session that the set of pages has found good, "" if nobody has signed in. Forms belong
	// to it. The set of pages fills it, mostly from SessionID.
	Session string

	// Target is an origin or a scheme that forms of the page may lead to, besides the own origin.
	Target string

	// Opener says that the window may have been opened by an app, which it must find again.
	Opener bool

	f    *Frame
	form string // id of a browser in which nobody has signed in yet
	most int64  // bytes of a body
	kept bool   // the answer is of this browser: it has a token or sets a cookie

	parsed *multipart.Form // of a form with documents: it may have temporary files
	end    func()          // gives back its place among uploads; nil if it has none
}

// randomID is the form of the ids that NewID makes: 256 bits in base64url.
var randomID = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// NewID makes an id that nobody can guess.
func NewID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// id is the value of a cookie that has the form of an id, "" for others. If there are several, the first counts.
func (v *Visit) id(cookie string) string {
	cookies := v.R.CookiesNamed(v.f.CookieName(cookie))
	if len(cookies) == 0 || !randomID.MatchString(cookies[0].Value) {
		return ""
	}
	return cookies[0].Value
}

// CookieID is the value of a cookie of the set of pages that has the form of an id, "" if there is none.
func (v *Visit) CookieID(name string) string { return v.id(name) }

// SessionID is the id in the session's cookie, "" if it has none. Whether there is such a session is not known yet.
func (v *Visit) SessionID() string { return v.id(v.f.Config.Session) }

// CookieName has the prefix with which browsers let no other host and no http page set the cookie (RFC 6265bis,
// 4.1.3). Cookies of loopback addresses are shared by all ports, hence the name of the program there.
func (f *Frame) CookieName(name string) string {
	if f.secure {
		return "__Host-" + name
	}
	return "cpcds2fhir_" + name
}

// SetCookie sets a cookie of the origin. age is in seconds: 0 is until the browser ends, -1 deletes it.
func (v *Visit) SetCookie(name, value string, age int) {
	v.kept = true
	http.SetCookie(v.W, &http.Cookie{Name: v.f.CookieName(name), Value: value, Path: "/", MaxAge: age, Secure: v.f.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// SetSession begins a session with a new id, or with "" ends the one of this browser. Forms of before are worth
// nothing any more.
func (v *Visit) SetSession(id string) {
	v.DropForm()
	v.Session = id
	if id == "" {
		v.SetCookie(v.f.Config.Session, "", -1)
		return
	}
	v.SetCookie(v.f.Config.Session, id, 0)
}

// DropForm makes the forms of before the sign-in worth nothing.
func (v *Visit) DropForm() {
	if v.form != "" {
		v.form = ""
		v.SetCookie("form", "", -1)
	}
}

// HasForm reports whether the browser has the cookie of a form of before the sign-in.
func (v *Visit) HasForm() bool { return v.form != "" }

// See sends the browser to another page of the site. query are names and values; empty values are left out.
func (v *Visit) See(path string, query ...string) error {
	q := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		if query[i+1] != "" {
			q.Set(query[i], query[i+1])
		}
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	v.Headers()
	v.W.Header().Set("Location", path)
	v.W.WriteHeader(http.StatusSeeOther)
	return nil
}

// Headers sets those of every page. See and Show do so themselves.
func (v *Visit) Headers() { v.headers(&Page{}) }

func (v *Visit) headers(p *Page) {
	h := v.W.Header()
	policy := "default-src 'none'; style-src 'self'; img-src 'self' data:"
	if len(p.Scripts) > 0 {
		policy += "; script-src 'self'; require-trusted-types-for 'script'; connect-src " + strings.Join(append([]string{"'self'"}, p.Connect...), " ")
	}
	forms := "'self'"
	if v.Target != "" {
		forms += " " + v.Target
	}
	h.Set("Content-Security-Policy", policy+"; form-action "+forms+"; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()")
	h.Add("Vary", "Cookie, Accept-Language")
	if !v.Opener {
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
}

// Show writes a page by the template of this name. A page with Fields has the status 422 unless another one is given.
func (v *Visit) Show(status int, name string, shown Shown) error {
	p := shown.frame()
	p.v = v
	t := v.f.templates[name]
	if t == nil {
		return fmt.Errorf("page %s has no template", name)
	}
	if len(p.Fields) > 0 {
		p.heading, p.Title = p.Title, v.Text("page.error", p.Title)
		if status == http.StatusOK {
			status = http.StatusUnprocessableEntity
		}
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "layout", shown); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	v.headers(p)
	h := v.W.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.Lang)
	if p.Public && status == http.StatusOK && !v.kept && v.Session == "" {
		sum := sha256.Sum256(b.Bytes())
		tag := `"` + hex.EncodeToString(sum[:12]) + `"`
		h.Set("Cache-Control", "private, no-cache")
		h.Set("ETag", tag)
		if match := v.R.Header.Get("If-None-Match"); strings.Contains(match, tag) {
			v.W.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	v.W.WriteHeader(status)
	_, _ = v.W.Write(b.Bytes())
	return nil
}
