package sandbox

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// TestApp asks for each file of the app, and for what is none.
func TestApp(t *testing.T) {
	config := AppConfig{FHIRBase: "http://127.0.0.1:8080/fhir", ClientID: ExampleClient, RedirectURI: "http://127.0.0.1:8080/app/"}
	app := App(config)
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		app.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
		return w
	}
	paths := map[string]string{"/app/": "text/html", "/app/?code=x&state=y": "text/html", "/app/config.json": "application/json"}
	err := fs.WalkDir(appFiles, "app", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths["/"+path] = ""
		}
		return err
	})
	if err != nil || len(paths) < 10 {
		t.Fatal(err, len(paths))
	}
	for path, kind := range paths {
		a := ask(http.MethodGet, path)
		h := a.Header()
		if a.Code != http.StatusOK || h.Get("Content-Type") == "" || !strings.HasPrefix(h.Get("Content-Type"), kind) {
			t.Errorf("%s: %d, %s", path, a.Code, h.Get("Content-Type"))
		}
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "script-src 'self'") || !strings.Contains(policy, "connect-src 'self'") || strings.Contains(policy, "unsafe") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s lacks headers: %v", path, h)
		}
	}
	for _, path := range []string{"/app/none.js", "/app/../sandbox.go", "/app/app", "/app", "/", "/app//index.html", "/app/%2e%2e/app.go"} {
		if a := ask(http.MethodGet, path); a.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.Code)
		}
	}
	if a := ask(http.MethodPost, "/app/"); a.Code != http.StatusMethodNotAllowed || a.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d", a.Code)
	}
	var got AppConfig
	if a := ask(http.MethodGet, "/app/config.json"); json.NewDecoder(a.Body).Decode(&got) != nil || got != config {
		t.Errorf("config.json is %+v", got)
	}
}

// TestAppIsAlone demands that the app names no other host, and has neither scripts nor styles inline: its policy
// would stop them.
func TestAppIsAlone(t *testing.T) {
	foreign := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9.-]+\.[a-z]{2,}|<script>|\sstyle=|\son[a-z]+="`)
	err := fs.WalkDir(appFiles, "app", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := appFiles.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range foreign.FindAllString(string(text), -1) {
			if found != "http://www.w3.org" { // names of SVG
				t.Errorf("%s has %q", path, found)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
