package site

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestServeForBrowser serves the pages to Chromium, if SITE_BROWSER is a copy of .ci/site after npm install. Pictures
// of all pages are left in its folder pictures.
func TestServeForBrowser(t *testing.T) {
	folder := os.Getenv("SITE_BROWSER")
	if folder == "" {
		t.Skip("SITE_BROWSER is not set")
	}
	// The app: another origin, which shows what it gets.
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		body := "<p>The app"
		if r.URL.Path == "/evil" {
			body = `<form method="post" action="` + r.URL.Query().Get("to") + `"><input name="request" value="` + r.URL.Query().Get("request") + `"><input name="decision" value="allow"><button>x</button></form>`
		}
		if r.URL.Path == "/frame" {
			body = `<iframe src="` + r.URL.Query().Get("of") + `"></iframe>`
		}
		if r.URL.Path == "/opener" {
			body = `<button onclick="window.open('` + r.URL.Query().Get("of") + `')">x</button><script>onmessage = () => { document.title = 'heard' }</script>`
		}
		if r.URL.Path == "/callback" {
			body += `<script>opener?.postMessage('back', '*')</script>`
		}
		_, _ = w.Write([]byte(`<!doctype html><html lang="en"><title>App</title><link rel="icon" href="data:,">` + body)) // a test's own pages
	}))
	defer app.Close()

	w := newWorld(t, func(c *Config) {
		c.Issuer = strings.Replace(c.Issuer, "https", "http", 1)
		c.Upstream = &provider{}
		c.Forms, c.Phone, c.TTY, c.Directory = loadForms(t), "1-800-555-0100", "711", "/apps-directory"
		c.Complain = func(context.Context, string, string, map[string][]string, string, bool) (string, error) {
			return "C-4H2K-9PWX", nil
		}
		c.Demo = []Login{{"ana", anaPassword, "A mother with two children"}, {"bob", bobPassword, "A man with a long history"}}
		c.Read = func(_ context.Context, _, client, _ string) (time.Time, map[string]int, error) {
			if client == "chart" {
				return time.Time{}, nil, nil
			}
			return c.Now(), map[string]int{"Patient": 1, "ExplanationOfBenefit": 48, "Coverage": 2, "Organization": 9, "Practitioner": 14}, nil
		}
	})
	chart, err := w.accounts.Client(t.Context(), "chart")
	w.must(err)
	chart.Publisher, chart.Domain, chart.Support, chart.Attested = "Pocket Health, Inc.", "chart.example", "https://chart.example/help", w.now()
	chart.Policy, chart.Terms, chart.Environment = "https://chart.example/privacy", "https://chart.example/terms", "sandbox"
	chart.Privacy, chart.About = map[string]string{"P-01": "attested", "P-03": "attested", "P-14": "attested", "P-16": "not_attested"}, map[string]string{"en": "Keeps all of your health records in one place, on your phone and nowhere else."}
	w.must(w.accounts.UpdateClient(t.Context(), chart))
	site := w.server.Config.Handler
	m := http.NewServeMux()
	m.Handle("/", site)
	m.HandleFunc("/test/passwords", func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode([]string{anaPassword, bobPassword, nobodysWord})
	})
	m.HandleFunc("/test/request", func(rw http.ResponseWriter, r *http.Request) {
		redirect := app.URL + "/callback"
		if r.FormValue("client") == "chart" {
			redirect = schemeRedirect
		}
		_, _ = rw.Write([]byte(w.ask(r.FormValue("client"), redirect, strings.Fields(r.FormValue("scope"))...)))
	})
	w.server.Config.Handler = m

	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "node", "pages.mjs", w.server.URL, app.URL, filepath.Join(folder, "pictures"))
	c.Dir = folder
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
