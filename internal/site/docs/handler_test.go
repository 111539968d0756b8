package docs

import (
	"context"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"cpcds2fhir/internal/site/frame"
)

func frameConfig(issuer string) *frame.Config {
	return &frame.Config{Issuer: issuer, Name: "Example State Medicaid", Contact: "help@state.example", Policy: "https://state.example/privacy",
		Notices: "https://state.example/rights", Key: []byte(strings.Repeat("k", 32)), Session: "developer",
		Menu: func(v *frame.Visit) []frame.Link {
			return []frame.Link{{Text: v.Text("docs.home"), URL: "/"}, {Text: v.Text("docs.title"), URL: "/docs"}}
		}}
}

// answer is what a handler has answered.
type answer struct {
	status  int
	header  http.Header
	cookies int
}

// get asks a handler for a page.
func get(t *testing.T, h http.Handler, path string, header ...string) (*answer, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return &answer{w.Code, w.Header(), len(w.Header().Values("Set-Cookie"))}, w.Body.String()
}

func handler(t *testing.T, l *Library) http.Handler {
	t.Helper()
	c := frameConfig("https://developers.state.example")
	c.Fault = func(path string, err error) { t.Errorf("%s: %v", path, err) }
	h, err := l.Handler(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestHandler proves that every page is there in both languages, without a session, with one heading of the first level, and
// that all its links to this site lead somewhere.
func TestHandler(t *testing.T) {
	l := newLibrary(t)
	h := handler(t, l)
	paths := map[string]bool{"/": true, "/docs": true}
	for _, p := range l.Pages("en") {
		paths[p.Path()] = true
	}
	seen := 0
	for path := range paths {
		for _, lang := range Languages {
			r, body := get(t, h, path, "Accept-Language", lang)
			if r.status != http.StatusOK || !strings.Contains(body, `<html lang="`+lang+`">`) || strings.Count(body, "<h1") != 1 || r.cookies > 0 {
				t.Errorf("%s (%s): %d, %d headings, %d cookies", path, lang, r.status, strings.Count(body, "<h1"), r.cookies)
			}
			if p := r.header.Get("Content-Security-Policy"); strings.Contains(p, "script-src") || strings.Contains(p, "unsafe") || strings.Contains(body, "style=") || strings.Contains(body, "<script") {
				t.Errorf("%s: the policy is %q, or there is a style or a script in the page", path, p)
			}
			ids := map[string]bool{}
			for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(body, -1) {
				if ids[m[1]] {
					t.Errorf("%s (%s): the id %s is there twice", path, lang, m[1])
				}
				ids[m[1]] = true
			}
			for _, m := range regexp.MustCompile(`<a [^>]*href="(#[^"]*|/[^"#?]*)`).FindAllStringSubmatch(body, -1) {
				to := m[1]
				switch {
				case strings.HasPrefix(to, "#"):
					if !ids[to[1:]] && to != "#main" {
						t.Errorf("%s (%s) leads to %s, which is not there", path, lang, to)
					}
				case !paths[to] && !strings.Contains(" /sign-up /sign-in /register-app /apps-directory /status /complaint ", " "+to+" "):
					t.Errorf("%s (%s) leads to %s", path, lang, to)
				}
				seen++
			}
			tag := r.header.Get("ETag")
			if again, _ := get(t, h, path, "Accept-Language", lang, "If-None-Match", tag); tag == "" || again.status != http.StatusNotModified {
				t.Errorf("%s with the tag %q: %d", path, tag, again.status)
			}
		}
	}
	if seen < 1000 {
		t.Errorf("only %d links", seen)
	}
	for path, want := range map[string]int{"/docs/": 301, "/docs/nothing": 404, "/docs/home": 404, "/nothing": 404, "/docs/api/more": 404} {
		if r, _ := get(t, h, path); r.status != want {
			t.Errorf("%s: %d, want %d", path, r.status, want)
		}
	}
	_, body := get(t, h, "/docs/smart")
	for _, part := range []string{`<a href="/docs/smart" aria-current="page">`, `<a href="#scopes">Scopes</a>`, `rel="prev"`, `rel="next"`, `<h2 id="scopes">`} {
		if !strings.Contains(body, part) {
			t.Errorf("/docs/smart has no %s", part)
		}
	}
}

// TestUntranslated proves that a page of one language says so to readers of the other.
func TestUntranslated(t *testing.T) {
	l := newLibrary(t, func(c *Config) {
		c.Override = fstest.MapFS{"en/rates.md": {Data: []byte("---\ntitle: Rates\ngroup: Ours\n---\nText.\n")}}
	})
	h := handler(t, l)
	if _, body := get(t, h, "/docs/rates?lang=es"); !strings.Contains(body, "Esta página todavía no está traducida.") || !strings.Contains(body, `<div lang="en">`) {
		t.Error("nothing says that the page is English")
	}
	if _, body := get(t, h, "/docs/rates?lang=en"); strings.Contains(body, "translated") {
		t.Error("the page is English, and says that it is not translated")
	}
}

// TestRunLinks proves that below each request of the reference is a link that runs it, with the request as it is in
// the program that a test runs; and that there are none without a page that does it.
func TestRunLinks(t *testing.T) {
	const base = "https://sandbox.state.example/fhir"
	links := func(lang, name, try string) (list []string) {
		l := newLibrary(t, func(c *Config) { c.Settings.TryPage, c.Settings.Sandbox.FHIRBase = try, base })
		_, body := get(t, handler(t, l), "/docs/"+name, "Accept-Language", lang)
		for _, m := range regexp.MustCompile(`<a class="button second" href="([^"]*)">`).FindAllStringSubmatch(body, -1) {
			u, err := url.Parse(html.UnescapeString(m[1]))
			if err != nil || u.Path != "/docs/try" {
				t.Errorf("a link leads to %s", m[1])
				continue
			}
			list = append(list, u.Query().Get("request"))
		}
		return list
	}
	for _, lang := range Languages {
		var want []string
		for _, s := range newLibrary(t, func(c *Config) { c.Settings.Sandbox.FHIRBase = base }).samples {
			if s.lang == lang && s.page == "api" {
				for line := range strings.Lines(s.code) {
					_, url, _ := strings.Cut(strings.TrimSpace(line), base+"/")
					want = append(want, strings.ReplaceAll(strings.TrimSuffix(url, `"`), `\$`, "$"))
				}
			}
		}
		got := links(lang, "api", "/docs/try")
		if !slices.Equal(got, want) || len(got) < 14 || !slices.Contains(got, "ExplanationOfBenefit?patient=$PATIENT&_count=10") || !slices.Contains(got, "Patient/$ID/$everything?_count=100") {
			t.Errorf("%s: the links run %q, the programs %q", lang, got, want)
		}
		if list := links(lang, "api", ""); len(list) > 0 {
			t.Errorf("%s: without a page that runs them there are %d links", lang, len(list))
		}
	}
	for text, want := range map[string][]string{
		`curl "` + base + `/Patient/$ID"`:                                        {"Patient/$ID"},
		`curl -H "Authorization: Bearer $ACCESS" "` + base + `/Coverage?x=\$y"`:  {"Coverage?x=$y"},
		`curl -H "Authorization: Bearer $ACCESS" "` + base + `/Coverage/$OTHER"`: nil, // nobody knows it
		`curl "` + base + `/Coverage/$(id)"`:                                     nil,
		`curl -X POST "` + base + `/Coverage/_search"`:                           nil,
		`curl "https://elsewhere.example/Coverage"`:                              nil,
		`curl "` + base + `/Coverage" | jq .`:                                    nil,
	} {
		if got := requests(&sample{kind: "sh", run: "x", code: text + "\n"}, base); !slices.Equal(got, want) {
			t.Errorf("%s runs %q", text, got)
		}
	}
	c := testConfig(t)
	c.Settings.TryPage = "/docs/try"
	c.Override = fstest.MapFS{"en/try.md": {Data: []byte("---\ntitle: Try\ngroup: Ours\n---\nText.\n")}}
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "try.md") || !strings.Contains(err.Error(), "choose another name") {
		t.Errorf("a page with the address of the one that runs examples: %v", err)
	}
}

// TestServeForBrowser serves the pages to Chromium, if SITE_BROWSER is a copy of .ci/site after npm install. Pictures of
// some are left in the folder SITE_PICTURES, if it is set.
func TestServeForBrowser(t *testing.T) {
	folder := os.Getenv("SITE_BROWSER")
	if folder == "" {
		t.Skip("SITE_BROWSER is not set")
	}
	l := newLibrary(t)
	server := httptest.NewUnstartedServer(nil)
	issuer := "http://" + server.Listener.Addr().String()
	c := frameConfig(issuer)
	h, err := l.Handler(c)
	if err != nil {
		t.Fatal(err)
	}
	f, err := frame.New(&frame.Config{Issuer: issuer, Name: c.Name, Key: c.Key, Session: c.Session, Templates: fstest.MapFS{}})
	if err != nil {
		t.Fatal(err)
	}
	m := http.NewServeMux()
	m.Handle("/", h)
	m.Handle("/static/", f.Static())
	server.Config.Handler = m
	server.Start()
	defer server.Close()
	paths := []string{"/", "/docs", "/docs/nothing"}
	for _, p := range l.Pages("en") {
		paths = append(paths, p.Path())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "node", append([]string{"docs.mjs", issuer, os.Getenv("SITE_PICTURES")}, paths...)...)
	command.Dir = folder
	out, err := command.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
