package frame

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is a set of pages that uses all that the frame has.
type world struct {
	t      testing.TB
	frame  *Frame
	server http.Handler

	mu       sync.Mutex
	faults   []string
	uploaded *File
	content  []byte // of the document
	during   func() // while the form is taken
}

const issuer = "https://portal.example"

var testTexts = Texts{
	"en": {"test.signout": "Sign out", "test.home": "Home", "test.docs": "Documentation", "test.desk": "Sign in", "things.one": "one thing", "things.many": "%d things", "missing.next": "Go home."},
	"es": {"test.signout": "Salir", "test.home": "Inicio", "test.docs": "Documentación", "test.desk": "Iniciar sesión", "things.one": "una cosa", "things.many": "%d cosas", "missing.next": "Vuelva al inicio."},
}

func newWorld(t testing.TB, edit ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t}
	c := w.config()
	for _, f := range edit {
		f(c)
	}
	var err error
	if w.frame, err = New(c); err != nil {
		t.Fatal(err)
	}
	m := http.NewServeMux()
	for pattern, page := range map[string]func(*Visit) error{
		"GET /{$}": func(v *Visit) error {
			return v.Show(http.StatusOK, "landing", &Page{Title: "Claims for apps", Full: true, Index: true, Public: true, Description: "An API"})
		},
		"GET /docs":  showArticle,
		"GET /desk":  showDesk,
		"GET /apply": func(v *Visit) error { return v.Show(http.StatusOK, "apply", &Page{Title: "Apply"}) },
		"GET /wrong": func(v *Visit) error {
			return v.Show(http.StatusOK, "apply", &Page{Title: "Apply", Fields: []FieldError{Wrong("email", "Enter an e-mail address."), Wrong("use", "Say what the app is for.")}})
		},
		"GET /console": func(v *Visit) error {
			return v.Show(http.StatusOK, "landing", &Page{Title: "Console", Scripts: []string{"console.js"}, Connect: []string{"https://sandbox.example"}})
		},
		"GET /once":  func(v *Visit) error { return v.Show(http.StatusOK, "landing", &Page{Title: "Once", Once: true}) },
		"GET /fault": func(*Visit) error { return errors.New("the database is away") },
		"GET /never": func(v *Visit) error { return v.Show(http.StatusOK, "none", &Page{}) },
		"GET /stale": func(*Visit) error { return fmt.Errorf("application: %w", ErrStale) },
		"GET /in":    func(v *Visit) error { v.SetSession(NewID()); return v.See("/desk", "a", "b & c", "none", "") },
		"GET /out":   func(v *Visit) error { v.SetSession(""); return v.See("/") },
		"/":          func(*Visit) error { return ErrMissing },
	} {
		m.Handle(pattern, w.frame.Handle(page))
	}
	m.Handle("POST /apply", w.frame.HandleUpload(4<<20, w.apply))
	m.Handle("GET /static/{name}", w.frame.Static())
	w.server = m
	return w
}

func (w *world) config() *Config {
	assets, err := NewAssets(nil, os.DirFS("testdata/static"))
	if err != nil {
		w.t.Fatal(err)
	}
	return &Config{
		Issuer: issuer, Name: "Example State Medicaid", Contact: "help@medicaid.example", Policy: "https://medicaid.example/privacy", Notices: "https://medicaid.example/rights",
		Key: bytes.Repeat([]byte{7}, 32), Session: "developer", Texts: []Texts{testTexts}, Templates: os.DirFS("testdata/pages"), Wide: true, Assets: assets,
		Menu: func(v *Visit) []Link {
			return []Link{{Text: v.Text("test.home"), URL: "/"}, {Text: v.Text("test.docs"), URL: "/docs"}, {Text: v.Text("test.desk"), URL: "/desk", Button: true}}
		},
		Before: func(v *Visit) error { v.Session = v.SessionID(); return nil },
		Fault: func(path string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.faults = append(w.faults, path+": "+err.Error())
		},
	}
}

func showArticle(v *Visit) error {
	return v.Show(http.StatusOK, "article", &Page{
		Title: "Getting started", Public: true, Index: true, Content: struct{ Day string }{v.Date(time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC))},
		Trail: []Link{{Text: "Home", URL: "/"}, {Text: "Documentation", URL: "/docs"}},
		Side: []Group{{"Start", []Link{{Text: "Getting started", URL: "/docs", Current: true}, {Text: "SMART and OAuth", URL: "/docs/smart"}}},
			{"Reference", []Link{{Text: "API", URL: "/docs/api"}, {Text: "Errors", URL: "/docs/errors", Note: "32"}}}},
		Contents: []Link{{Text: "Get a token", URL: "#token"}, {Text: "Types", URL: "#types"}},
	})
}

func showDesk(v *Visit) error {
	type content struct {
		State  State
		Tabs   []Link
		States []State
		Steps  []Step
	}
	return v.Show(http.StatusOK, "desk", &Page{
		Title: "Application of Health Budget", Full: true, Notice: "Your note is saved.", Warning: "The review is due tomorrow.",
		Trail: []Link{{Text: "Queue", URL: "/desk"}},
		Content: content{
			State{"wait", "waiting for the applicant"}, []Link{{Text: "Answers", URL: "/desk", Current: true}, {Text: "Documents", URL: "/desk?tab=documents", Note: "3"}},
			[]State{{"good", "approved"}, {"bad", "refused"}, {"warn", "due tomorrow"}, {"wait", "waiting"}, {"run", "in review"}, {"idle", "draft"}},
			[]Step{{Text: "Submitted", Done: true, URL: "/desk"}, {Text: "Security", Current: true, Note: "by two people"}, {Text: "Decision"}},
		},
	})
}

func (w *world) apply(v *Visit) error {
	if err := v.CheckForm(); err != nil {
		return err
	}
	file, err := v.File("doc")
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.uploaded = file
	if file != nil {
		if w.content, err = file.Data(); err != nil {
			return err
		}
	}
	if w.during != nil {
		w.during()
	}
	return v.See("/", "ok", v.R.PostForm.Get("email"))
}

// do sends a request with cookies of before.
func (w *world) do(r *http.Request, cookies ...*http.Cookie) *httptest.ResponseRecorder {
	w.t.Helper()
	for _, c := range cookies {
		r.AddCookie(c)
	}
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	return rec
}

func (w *world) get(path string, header ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return w.do(r)
}

func (w *world) want(rec *httptest.ResponseRecorder, status int, texts ...string) {
	w.t.Helper()
	if rec.Code != status {
		w.t.Fatalf("status %d, want %d:\n%s", rec.Code, status, rec.Body)
	}
	for _, x := range texts {
		if !strings.Contains(rec.Body.String(), x) {
			w.t.Errorf("the page lacks %q:\n%s", x, rec.Body)
		}
	}
}

var tokenField = regexp.MustCompile(`name="token" value="([^"]+)"`)

func (w *world) token(rec *httptest.ResponseRecorder) string {
	w.t.Helper()
	m := tokenField.FindStringSubmatch(rec.Body.String())
	if m == nil {
		w.t.Fatalf("no token:\n%s", rec.Body)
	}
	return html.UnescapeString(m[1])
}

func TestWidePages(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/", "/docs", "/desk", "/apply", "/wrong", "/nowhere"} {
		rec := w.get(path)
		page := rec.Body.String()
		for what, n := range map[string]int{"<h1": 1, "<main ": 1, `class="skip"`: 1, "<title>": 1, "<header ": 1, "<footer ": 1, `hreflang="es"`: 1} {
			if got := strings.Count(page, what); got != n {
				t.Errorf("%s: %s stands there %d times, want %d:\n%s", path, what, got, n, page)
			}
		}
		seen := map[string]bool{}
		for _, id := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			if seen[id[1]] {
				t.Errorf("%s: the id %s is there twice", path, id[1])
			}
			seen[id[1]] = true
		}
		for _, of := range regexp.MustCompile(` (?:aria-describedby|aria-labelledby|for)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			for id := range strings.FieldsSeq(of[1]) {
				if !seen[id] {
					t.Errorf("%s: nothing has the id %s", path, id)
				}
			}
		}
		if strings.Contains(page, "style=") || strings.Contains(page, "<style") || strings.Contains(page, "<script") {
			t.Errorf("%s has styles or scripts of its own", path)
		}
		if strings.Contains(page, `src=""`) || strings.Contains(page, `href=""`) {
			t.Errorf("%s has an empty link", path)
		}
	}
	w.want(w.get("/docs"), http.StatusOK, `<a href="/docs" aria-current="page">Documentation</a>`, `<li aria-current="page">Getting started</li>`, `<html lang="en">`, "| Example State Medicaid</title>")
	if strings.Contains(w.get("/docs").Body.String(), "noindex") || !strings.Contains(w.get("/desk").Body.String(), "noindex") {
		t.Error("search engines see what they should not, or not what they should")
	}
	w.want(w.get("/wrong"), http.StatusUnprocessableEntity, "<title>Error: Apply |", "<h1>Apply</h1>", `<a href="#email">Enter an e-mail address.</a>`, "autofocus",
		`aria-describedby="email-hint email-error" aria-invalid="true"`, `aria-describedby="use-error" aria-invalid="true"`)
	w.want(w.get("/nowhere?lang=es"), http.StatusNotFound, `<html lang="es">`, "Vuelva al inicio.")
	w.want(w.get("/nowhere", "Accept-Language", "es-MX"), http.StatusNotFound, "Esta página no existe", `href="/nowhere?lang=en" lang="en" hreflang="en">English</a>`)
	w.want(w.get("/desk?tab=a%26b&lang=en"), http.StatusOK, `href="/desk?tab=a%26b&amp;lang=es"`, "waiting for the applicant", `<li class="done">`, `aria-current="step"`)
	if strings.Contains(w.get("/once").Body.String(), "hreflang") {
		t.Error("a page that can be seen once only has a link to itself")
	}
}

func TestProblems(t *testing.T) {
	w := newWorld(t)
	rec := w.get("/fault")
	w.want(rec, http.StatusServiceUnavailable, "This does not work right now")
	if strings.Contains(rec.Body.String(), "database") || rec.Header().Get("Retry-After") == "" {
		t.Errorf("the page of a fault: %v\n%s", rec.Header(), rec.Body)
	}
	w.want(w.get("/stale"), http.StatusConflict, "Somebody has changed this meanwhile", `href="/stale"`)
	w.want(w.get("/never"), http.StatusServiceUnavailable)
	w.want(w.get("/static/none.css"), http.StatusNotFound, "There is no such page")
	if got, want := strings.Join(w.faults, "; "), "/fault: the database is away; /never: page none has no template"; got != want {
		t.Errorf("faults %q, want %q", got, want)
	}
}

func TestHeaders(t *testing.T) {
	w := newWorld(t)
	h := w.get("/desk").Header()
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		"X-Frame-Options":         "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Content-Language": "en",
		"Cross-Origin-Opener-Policy": "same-origin", "Vary": "Cookie, Accept-Language",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
	rec := w.get("/console")
	w.want(rec, http.StatusOK, `<script src="/static/console.js?v=`)
	if got := rec.Header().Get("Content-Security-Policy"); !strings.Contains(got, "script-src 'self'; require-trusted-types-for 'script'; connect-src 'self' https://sandbox.example;") {
		t.Errorf("a page with a script: %q", got)
	}
	// What is the same for everybody is asked for again only if it has changed.
	rec = w.get("/docs")
	tag := rec.Header().Get("ETag")
	if rec = w.get("/docs", "If-None-Match", tag); tag == "" || rec.Code != http.StatusNotModified || rec.Body.Len() > 0 {
		t.Errorf("%q again: %d", tag, rec.Code)
	}
	if rec = w.get("/docs?lang=es", "If-None-Match", tag); rec.Code != http.StatusOK || rec.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("in another language: %d %v", rec.Code, rec.Header())
	}
	in := w.get("/in")
	w.want(in, http.StatusSeeOther)
	if got := in.Header().Get("Location"); got != "/desk?a=b+%26+c" {
		t.Errorf("it goes to %q", got)
	}
	rec = w.do(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/docs", nil), in.Result().Cookies()...)
	w.want(rec, http.StatusOK, "Sign out")
	if rec.Header().Get("Cache-Control") != "no-store" || rec.Header().Get("ETag") != "" {
		t.Errorf("a page of somebody may be kept: %v", rec.Header())
	}
	for _, c := range in.Result().Cookies() {
		if c.Name != "__Host-developer" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("the cookie %+v", c)
		}
	}
	for _, c := range w.get("/out").Result().Cookies() {
		if c.MaxAge != -1 {
			t.Errorf("the cookie stays: %+v", c)
		}
	}
}

func TestForms(t *testing.T) {
	w := newWorld(t)
	page := w.get("/apply")
	good, cookies := w.token(page), page.Result().Cookies()
	post := func(token string, cookies []*http.Cookie, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/apply", strings.NewReader(url.Values{"token": {token}, "email": {"x"}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return w.do(r, cookies...)
	}
	w.want(post(good, cookies), http.StatusSeeOther)
	w.want(post(good, cookies, "Origin", issuer, "Sec-Fetch-Site", "same-origin"), http.StatusSeeOther)
	w.want(post(good, cookies, "Origin", "null"), http.StatusSeeOther)
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Content-Type", "text/plain"}} {
		w.want(post(good, cookies, header...), http.StatusForbidden, "This page was out of date")
	}
	w.want(post(good, nil), http.StatusForbidden)
	for _, token := range []string{"", "x", good[:16], good[:16] + "!" + good[17:], "B" + good[1:] + "A", w.token(w.get("/apply"))} {
		w.want(post(token, cookies), http.StatusForbidden)
	}
	// A form of before the sign-in is worth nothing afterwards, also with its cookie.
	in := w.do(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/in", nil), cookies...)
	w.want(post(good, append(in.Result().Cookies(), cookies...)), http.StatusForbidden)
}

func TestUploads(t *testing.T) {
	w := newWorld(t)
	page := w.get("/apply")
	good, cookies := w.token(page), page.Result().Cookies()
	send := func(name string, data []byte) *httptest.ResponseRecorder {
		var b bytes.Buffer
		m := multipart.NewWriter(&b)
		_ = m.WriteField("token", good)
		_ = m.WriteField("email", "a@b.example")
		part, err := m.CreateFormFile("doc", name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(data)
		_ = m.Close()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/apply", &b)
		r.Header.Set("Content-Type", m.FormDataContentType())
		return w.do(r, cookies...)
	}
	w.want(send(`C:\docs\..\policy.pdf`, []byte("%PDF-1.7 x")), http.StatusSeeOther)
	if f := w.uploaded; f == nil || f.Name != "policy.pdf" || f.Type != "application/pdf" || string(w.content) != "%PDF-1.7 x" {
		t.Errorf("the document is %+v", f)
	}
	w.want(send("policy.pdf", []byte("<html><script>")), http.StatusSeeOther)
	if f := w.uploaded; f == nil || !strings.HasPrefix(f.Type, "text/html") {
		t.Errorf("a page that calls itself PDF is %+v", f)
	}
	w.want(send("", nil), http.StatusSeeOther)
	if w.uploaded != nil {
		t.Errorf("no document is %+v", w.uploaded)
	}
	w.want(send("big.pdf", make([]byte, 5<<20)), http.StatusRequestEntityTooLarge, "That is too much at once")
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	for want, edit := range map[string]func(*Config){
		"is not the origin":       func(c *Config) { c.Issuer += "/x" },
		"must be https":           func(c *Config) { c.Issuer = "http://portal.example" },
		"fewer than 32 bytes":     func(c *Config) { c.Key = c.Key[:31] },
		"cannot name the cookie":  func(c *Config) { c.Session = "a;b" },
		"no templates":            func(c *Config) { c.Templates = nil },
		"is given twice":          func(c *Config) { c.Texts = append(c.Texts, Texts{"en": {"test.home": "x"}}) },
		"is missing in \"es\"":    func(c *Config) { c.Texts = append(c.Texts, Texts{"en": {"more": "x"}}) },
		"is missing in \"en\"":    func(c *Config) { c.Texts = append(c.Texts, Texts{"es": {"more": "x"}}) },
		"has other values":        func(c *Config) { c.Texts = append(c.Texts, Texts{"en": {"more": "%s"}, "es": {"more": "x"}}) },
		"no language of the page": func(c *Config) { c.Texts = append(c.Texts, Texts{"fr": {"more": "x"}}) },
		"does not define":         func(c *Config) { c.Templates = os.DirFS("testdata/bare") },
	} {
		c := w.config()
		edit(c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one that has %q", err, want)
		}
	}
	c := w.config()
	c.Issuer, c.Key = "http://127.0.0.1:8080", bytes.Repeat([]byte{1}, 32)
	if f, err := New(c); err != nil || f.CookieName("x") != "cpcds2fhir_x" {
		t.Errorf("a loopback address: %v", err)
	}
}

func TestMark(t *testing.T) {
	menu := func() []Link { return []Link{{URL: "/"}, {URL: "/docs"}, {URL: "/docs/api"}, {URL: "/desk/"}} }
	for path, want := range map[string]int{"/": 0, "/docs": 1, "/docs/smart": 1, "/docs/api/x": 2, "/docsx": -1, "/desk/1": 3, "/other": -1} {
		got := -1
		for i, l := range mark(menu(), path) {
			if l.Current {
				got = i
			}
		}
		if got != want {
			t.Errorf("%s: %d is marked, want %d", path, got, want)
		}
	}
}
