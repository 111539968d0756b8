package developers

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site"
	"cpcds2fhir/internal/smart/authserver"
)

// TestServeForBrowser serves the pages to Chromium, if SITE_BROWSER is a copy of .ci/site after npm install, with a
// sandbox that has a member, so that the console is tried too. Pictures of all pages are left in the
// folder SITE_PICTURES, if it is set.
func TestServeForBrowser(t *testing.T) {
	folder := os.Getenv("SITE_BROWSER")
	if folder == "" {
		t.Skip("SITE_BROWSER is not set")
	}
	w := newWorld(t, func(pc *portal.Config, c *Config) {
		origin := strings.Replace(c.Frame.Issuer, "https", "http", 1)
		c.Frame.Issuer, pc.URL = origin, origin
		pc.Sandbox.FHIRBase, pc.Sandbox.Issuer = origin+"/fhir", origin
		pc.Rules.Proof, pc.Rules.Evidence = "either", []string{"authorize", "refresh"}
		pc.TestMembers = []portal.TestMember{{Login: "ana", Password: "made-up-1", Name: "Ana Canaria", Note: "A record"}}
		c.Demo = []Demo{{Email: "owner@canary7.example", Password: goodPassword, Note: "A developer"}}
	})
	ctx := t.Context()
	owner := w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
	w.must(w.portal.Operator("test").DecideProof(ctx, owner.ID, true, "IAL2", "Example notary", w.now(), ""))
	w.site.Demo[0].Code = func() string { return w.code(staffKey) }
	_, err := w.portal.Accounts.SetPassword(ctx, "ana", "made-up-1")
	w.must(err)
	user, err := w.portal.Accounts.EnsureUser(ctx, "", "ana")
	w.must(err)
	w.must(w.portal.Accounts.AddLink(ctx, &accounts.Link{User: user.ID, Patient: "pat-ana", Role: "self", Source: "sandbox", Created: w.now()}))
	origin := w.site.Frame.Issuer
	w.must(w.portal.Accounts.AddClient(ctx, &accounts.Client{ID: "console", Name: "Console of the portal", Status: accounts.Active, Auth: "none", Grants: []string{"authorization_code"},
		RedirectURIs: []string{origin + ConsolePath}, Owner: "sandbox", IDTokenAlg: "RS256", Created: w.now(), Changed: w.now()}))
	w.must(w.portal.Accounts.EnsureKeys(ctx))
	as, err := authserver.New(&authserver.Config{Accounts: w.portal.Accounts, Issuer: origin, FHIRBase: origin + "/fhir", Now: w.now})
	w.must(err)
	members, err := site.New(&site.Config{Accounts: w.portal.Accounts, Pages: as, Issuer: origin, Name: "Example State Medicaid", Passwords: true, Assets: w.site.Frame.Assets, Now: w.now,
		Member: func(context.Context, string) (string, string, error) { return "Ana Canaria", "1984-05-17", nil }})
	w.must(err)
	m := http.NewServeMux()
	m.Handle("/", w.server.Config.Handler)
	for _, p := range []string{"/login", "/login/", "/consent", "/apps", "/apps/", "/logout"} {
		m.Handle(p, members.Handler())
	}
	m.Handle("/oauth2/", as)
	m.HandleFunc("/fhir/", func(rw http.ResponseWriter, r *http.Request) { w.fhir(rw, r, origin) })
	ids := foreign(w, w.staff("owner@canary7.example"))
	m.HandleFunc("/test/world", func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("do") {
		case "pass":
			w.pass(31 * time.Second)
		case "ask":
			w.person("rita@agency.example", "Rita Viewer", portal.Reviewer)
		}
		_ = json.NewEncoder(rw).Encode(map[string]any{"ids": ids, "code": w.code(staffKey), "password": goodPassword})
	})
	w.server.Config.Handler = m
	if x, err := w.portal.Operator("t").Application(ctx, ids["questionnaire"]); err != nil || x.State == lifecycle.Draft {
		t.Log("the questionnaire is a draft")
	}

	ctx, cancel := context.WithTimeout(ctx, 9*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "node", "developers.mjs", w.server.URL, os.Getenv("SITE_PICTURES"))
	c.Dir = folder
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// fhir is a sandbox with one member.
func (w *world) fhir(rw http.ResponseWriter, r *http.Request, origin string) {
	answer := func(status int, v any) {
		rw.Header().Set("Content-Type", "application/fhir+json")
		rw.WriteHeader(status)
		_ = json.NewEncoder(rw).Encode(v)
	}
	switch r.URL.Path {
	case "/fhir/.well-known/smart-configuration":
		answer(http.StatusOK, map[string]any{"issuer": origin, "authorization_endpoint": origin + authserver.AuthorizePath, "token_endpoint": origin + authserver.TokenPath})
		return
	case "/fhir/metadata":
		answer(http.StatusOK, map[string]any{"resourceType": "CapabilityStatement", "rest": []any{map[string]any{"resource": []any{
			map[string]any{"type": "Patient", "searchParam": []any{map[string]any{"name": "_id", "type": "token"}}}, map[string]any{"type": "Coverage"}}}}})
		return
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, err := w.portal.Accounts.Access(r.Context(), token)
	if err != nil || r.URL.Path != "/fhir/Patient/"+a.Patient {
		answer(http.StatusUnauthorized, map[string]any{"resourceType": "OperationOutcome"})
		return
	}
	answer(http.StatusOK, map[string]any{"resourceType": "Patient", "id": a.Patient, "name": []any{map[string]any{"family": "Canaria"}}})
}
