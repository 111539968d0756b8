package docs

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/sandbox"
	"cpcds2fhir/internal/smart/authserver"
	"cpcds2fhir/internal/store"
)

var timeless time.Time

// describe asks a server of the API for what it says about itself.
func describe(t testing.TB, c *api.Config) (statement, description []byte) {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c.Store, c.Authorizer, c.CursorKey, c.Base = s, api.Open{}, []byte(strings.Repeat("k", 32)), "https://api.state.example/fhir"
	h, err := api.New(c)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) []byte {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d", path, w.Code)
		}
		return w.Body.Bytes()
	}
	return get("/fhir/metadata"), get("/fhir/openapi.json")
}

// interpreters run the programs of the pages.
var interpreters = map[string]string{"sh": "sh", "js": "node", "python": "python3"}

// wanted are texts that the output of some programs must have.
var wanted = map[string]string{
	"start-curl": `"resourceType":"Bundle"`, "start-js": "Elena Test has 12 claims", "start-python": "Test has 12 claims", "start-browser": "12 claims",
	"tutorial-pages": "12 claims", "tutorial-cost": "2022 billed 300.30 owed 30.15", "tutorial-coverage": "2023-01-01 to today active Example Health Plan",
	"tutorial-changes": "new or changed: e-11 version 1", "tutorial-etag": "304", "services-token": `"access_token"`, "utah-json": `"access_token"`, "utah-form": `"access_token"`,
	"smart-token-public": `"refresh_token"`, "smart-token-confidential": `"refresh_token"`, "smart-refresh": `"refresh_token"`, "smart-introspect": `"active":true`,
	"smart-discover": `"token_endpoint"`, "smart-register": `"client_id"`, "tutorial-everything": `"resourceType":"Bundle"`,
}

// TestSamples runs every program of the English pages against a sandbox; those of the Spanish ones are the same, which
// TestTranslations proves.
func TestSamples(t *testing.T) {
	if testing.Short() {
		t.Skip("programs of their own are not what a short run is about")
	}
	w := newWorld(t)
	l := newLibrary(t, w.settings)
	seen := map[string]bool{}
	for i, s := range l.samples {
		if s.lang != "en" {
			continue
		}
		seen[s.run] = true
		t.Run(s.page+"/"+s.run, func(t *testing.T) {
			if _, err := exec.LookPath(interpreters[s.kind]); err != nil {
				t.Skipf("%s is not installed, so that this program of the documentation was not run", interpreters[s.kind])
			}
			if strings.HasPrefix(s.run, "start-") {
				w.start(t, &s)
				return
			}
			out := w.run(t, &l.samples[i])
			if s.run != "" {
				if strings.Contains(out, `"resourceType":"OperationOutcome"`) {
					t.Errorf("it is refused: %.300s", out)
				}
			}
			if !strings.Contains(out, wanted[s.run]) || out == "" && !strings.HasPrefix(s.run, "services-key") && s.run != "smart-revoke" {
				t.Errorf("the output has no %q: %.600s", wanted[s.run], out)
			}
		})
	}
	for name := range wanted {
		if !seen[name] {
			t.Errorf("no page has the program %s", name)
		}
	}
}

// environment is what a program finds in it.
func (w *world) environment(t *testing.T, s *sample) []string {
	t.Helper()
	w.t = t
	client := sandbox.PublicClient
	switch {
	case strings.Contains(s.code, sandbox.ConfidentialClient):
		client = sandbox.ConfidentialClient
	case strings.HasPrefix(s.run, "utah"):
		client = sandbox.UtahClient
	}
	env := append(os.Environ(), "PATIENT="+patient, "CLIENT_ID="+service, "KEY_ID=key-1", "VERIFIER="+verifier, "PYTHONDONTWRITEBYTECODE=1")
	typ := regexp.MustCompile(`/fhir/([A-Z][A-Za-z]+)[/?]`).FindStringSubmatch(s.code)
	if typ != nil {
		env = append(env, "ID="+someID[typ[1]])
	}
	switch {
	case strings.Contains(s.code, "$CODE"):
		env = append(env, "CODE="+w.code(client))
	case strings.Contains(s.code, "ACCESS") || strings.Contains(s.code, "$REFRESH"):
		access, refresh := w.tokens(client)
		env = append(env, "ACCESS="+access, "REFRESH="+refresh)
	}
	return env
}

// failing makes curl fail if the server refuses, as the pages leave out for the eye.
const failing = "set -e\ncurl() { command curl -sS --fail-with-body \"$@\"; }\n"

func (w *world) command(t *testing.T, s *sample, prelude string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	name := map[string]string{"sh": "program.sh", "js": "program.mjs", "python": "program.py"}[s.kind]
	if s.kind == "sh" {
		prelude = failing + prelude
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(prelude+s.code), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.run == "services-token" {
		if err := os.WriteFile(filepath.Join(dir, "key.pem"), w.pem(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, interpreters[s.kind], name)
	c.Dir, c.Env = dir, w.environment(t, s)
	return c
}

func (w *world) run(t *testing.T, s *sample) string {
	t.Helper()
	out, err := w.command(t, s, "").CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s\n%s", err, s.code, out)
	}
	return string(out)
}

// inBrowser stands for what a page in a browser has and Node has not. The state of a tab is in the environment.
const inBrowser = `
globalThis.location = {origin: 'http://127.0.0.1:9999', pathname: '/', search: process.env.SEARCH ?? '', assign: u => console.log(u + '\n' + JSON.stringify(kept))}
const kept = JSON.parse(process.env.KEPT ?? '{}')
globalThis.sessionStorage = {getItem: k => kept[k] ?? null, setItem: (k, v) => { kept[k] = v }, removeItem: k => { delete kept[k] }}
globalThis.document = {body: {set textContent(text) { console.log(text) }}}
`

// start runs a program that prints an address, and does what its reader does: opens it, signs in, allows, and goes
// back to the program.
func (w *world) start(t *testing.T, s *sample) {
	t.Helper()
	prelude := ""
	if s.run == "start-browser" {
		prelude = inBrowser
	}
	c := w.command(t, s, prelude)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaint strings.Builder
	c.Stderr = &complaint
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	address := ""
	for !strings.HasPrefix(address, w.server.URL+authserver.AuthorizePath) {
		if address, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("it prints no address: %v\n%s", err, complaint.String())
		}
	}
	to := w.person().allow(strings.TrimSpace(address))
	switch s.run {
	case "start-curl":
		_, err = io.WriteString(in, to+"\n")
	case "start-browser": // the page is loaded again, in the same tab
		kept, _ := lines.ReadString('\n')
		if err := c.Wait(); err != nil {
			t.Fatal(err, complaint.String())
		}
		_, search, _ := strings.Cut(to, "?")
		c = w.command(t, s, prelude)
		c.Env = append(c.Env, "SEARCH=?"+search, "KEPT="+strings.TrimSpace(kept))
		text, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(text), wanted[s.run]) {
			t.Errorf("%v: %s", err, text)
		}
		return
	default:
		var r *http.Response
		if r, err = http.Get(to); err == nil {
			r.Body.Close()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil || !strings.Contains(string(rest), wanted[s.run]) {
		t.Errorf("%v: the output has no %q: %.600s\n%s", err, wanted[s.run], rest, complaint.String())
	}
}
