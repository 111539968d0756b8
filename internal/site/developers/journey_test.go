package developers

import (
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestJourney goes from the sign-up to production credentials by forms alone, in both languages.
func TestJourney(t *testing.T) {
	for _, lang := range []string{"en", "es"} {
		t.Run(lang, func(t *testing.T) { journey(t, lang) })
	}
}

var codeText = regexp.MustCompile(`<code>([A-Z2-7 ]{20,})</code>`)

// signUp makes an account by forms, with its second factor.
func signUp(b *browser, email, name string) {
	w := b.w
	w.t.Helper()
	d := b.get("/developers/sign-up")
	b.send(d.form("/developers/sign-up").set("name", name).set("email", email).set("password", goodPassword)).want(200)
	d = b.get(w.mailed(email)).want(200)
	d = b.send(d.form("/developers/confirm")).want(200)
	d = b.send(d.form("/developers/sign-in").set("email", email).set("password", goodPassword)).want(200)
	m := codeText.FindStringSubmatch(d.body)
	if m == nil || !strings.Contains(d.body, `src="data:image/png;base64,`) {
		w.t.Fatalf("the page shows no key: %s", d.words())
	}
	key := m[1]
	d = b.send(d.form("/developers/enrol").set("factor", "000000")).want(422)
	d = b.send(d.form("/developers/enrol").set("factor", w.code(key))).want(200)
	if n := strings.Count(d.body, "<li><code>"); n != 10 {
		w.t.Errorf("%d recovery codes are shown", n)
	}
	if h := d.header.Get("Cache-Control"); h != "no-store" {
		w.t.Errorf("recovery codes may be kept: %s", h)
	}
	b.get("/developers").want(200)
}

func journey(t *testing.T, lang string) {
	w := newWorld(t, nil)
	b := w.browser(lang)
	signUp(b, "ada@budget.example", "Ada Winter")

	// Who publishes, and the terms.
	b.get("/developers/organisations/new").want(200)
	d := b.get("/developers/organisations/new?solo=no").want(200)
	b.send(d.form("/developers/organisations/new")).want(422)
	f := d.form("/developers/organisations/new").set("legal", "Budget Inc.").set("name", "Budget").set("type", "company").set("website", "https://budget.example").set("us", "yes").set("hipaa", "none")
	d = b.send(f).want(200)
	org := strings.TrimPrefix(d.path, "/developers/organisations/")
	d = b.get("/developers/terms?next=/developers").want(200)
	b.send(d.form("/developers/terms")).want(422)
	b.send(d.form("/developers/terms").set("accept", "yes")).want(200)
	d = b.get("/developers/organisations/" + org + "/contacts")
	cf := d.form("/developers/organisations/" + org + "/contacts")
	for _, kind := range []string{"primary", "security"} {
		cf.set(kind+".name", "Ada Winter").set(kind+".email", "ada@budget.example")
	}
	b.send(cf).want(200, "ada@budget.example")
	for _, page := range []string{"", "/edit", "/domain", "/people", "/history", "/claim"} {
		b.get("/developers/organisations/" + org + page).want(200)
	}
	d = b.get("/developers/organisations/" + org + "/domain")
	b.send(d.form("/developers/organisations/" + org + "/domain")).want(200)

	// The questionnaire, which the rules approve by themselves.
	d = b.get("/developers")
	d = b.send(d.form("/developers/organisations/" + org + "/sandbox")).want(200)
	id := strings.Split(d.path, "/")[3]
	b.get("/developers/applications/" + id + "/submit").want(200)
	d = b.fillAll(id, w.portal.Forms.Form(forms.Questionnaire)).want(200)
	d = b.send(d.form("/developers/applications/" + id + "/submit")).want(200)
	a, err := w.portal.Operator("t").Application(t.Context(), id)
	w.must(err)
	if a.State != lifecycle.Approved {
		t.Fatalf("the application is %s: %s", a.State, d.words())
	}
	b.get("/developers/applications/" + id + "/revisions/1").want(200)

	// An app, and its secret, once.
	path := "/developers/organisations/" + org + "/apps/new"
	d = b.get(path).want(200)
	b.send(d.form(path)).want(422)
	af := d.form(path).set("name", "Health Budget").set("kind", "web").set("auth", "client_secret").set("redirect_uris", "https://budget.example/callback").
		set("homepage", "https://budget.example").set("policy", "https://budget.example/privacy").set("terms", "https://budget.example/terms").set("support", "help@budget.example").
		set("about_en", "It adds up what care has cost.").set("about_es", "Suma lo que costó la atención.").set("platforms", "web", "ios").set("audience", "adults").set("category", "months_13")
	for i := range DefaultScopes {
		n := string(rune('1' + i))
		af.set("scope-"+n, "yes").set("reason-"+n, "It shows what care has cost.")
	}
	d = b.send(af).want(200)
	app := strings.TrimPrefix(d.path, "/developers/apps/")
	for _, page := range []string{"", "/edit", "/logo", "/members", "/requests", "/console", "/sandbox/credentials", "/production/credentials"} {
		b.get("/developers/apps/" + app + page).want(200)
	}
	d = b.get("/developers/apps/" + app + "/sandbox/credentials")
	d = b.send(d.form("/developers/apps/" + app + "/sandbox/issue")).want(200)
	secret := shownSecret(d)
	if !strings.HasPrefix(secret, "cfh_test_") {
		t.Fatalf("the secret is not shown: %s", d.words())
	}
	if h := d.header.Get("Cache-Control"); h != "no-store" {
		t.Errorf("a page with a secret may be kept: %s", h)
	}
	if strings.Contains(b.get("/developers/apps/"+app+"/sandbox/credentials").body, secret) {
		t.Error("the secret is shown twice")
	}

	// The console is the only page with a script.
	d = b.get("/developers/apps/" + app + "/console").want(200)
	b.get(ConsolePath).want(200)
	if csp := d.header.Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self'") || !strings.Contains(csp, "connect-src 'self' "+w.server.URL) {
		t.Errorf("policy of the console: %s", csp)
	}

	// Production: the checklist, the sections, the statements, and the decision of two people of the staff.
	d = b.get("/developers/apps/" + app)
	d = b.send(d.form("/developers/apps/" + app + "/production")).want(200)
	id = strings.TrimPrefix(d.path, "/developers/applications/")
	d = b.fillAll(id, w.portal.Forms.Form(forms.Production)).want(200)
	sf := d.form("/developers/applications/" + id + "/submit")
	d = b.send(sf).want(422)
	sf = d.form("/developers/applications/" + id + "/submit")
	for name, kind := range sf.kinds {
		if kind == "checkbox" {
			if len(sf.values[name]) > 0 {
				t.Errorf("the statement %s is made beforehand", name)
			}
			sf.set(name, "yes")
		}
	}
	d = b.send(sf.set("signer_title", "Owner")).want(200)
	d.want(200, id)
	w.person("rita@agency.example", "Rita Viewer", portal.Reviewer)
	w.person("adam@agency.example", "Adam Minister", portal.Administrator)
	rita, adam := w.staff("rita@agency.example"), w.staff("adam@agency.example")
	w.act(rita, id, lifecycle.Take, nil)
	w.act(rita, id, lifecycle.Ask, &portal.Input{Reason: "Please say more about backups."})
	b.get("/developers").want(200)
	d = b.get("/developers/applications/"+id).want(200, "Please say more about backups.")
	b.send(d.form("/developers/applications/"+id+"/messages").set("text", "We have added it.")).want(200, "We have added it.")
	d = b.get("/developers/applications/" + id + "/submit")
	sf = d.form("/developers/applications/" + id + "/submit")
	for name, kind := range sf.kinds {
		if kind == "checkbox" {
			sf.set(name, "yes")
		}
	}
	b.send(sf.set("signer_title", "Owner")).want(200)
	for _, m := range []lifecycle.Action{lifecycle.StartReview, lifecycle.SignSecurity, lifecycle.SignPrivacy, lifecycle.Propose} {
		w.act(rita, id, m, nil)
	}
	w.act(adam, id, lifecycle.Approve, &portal.Input{Conditions: "Keep the contacts up to date."})
	b.get("/developers/applications/"+id).want(200, "Keep the contacts up to date.")
	d = b.get("/developers/applications/" + id + "/move/issue").want(200)
	d = b.send(d.form("/developers/applications/" + id + "/move/issue")).want(200)
	d = b.send(d.form("/developers/apps/" + app + "/production/issue")).want(200)
	live := shownSecret(d)
	if !strings.HasPrefix(live, "cfh_live_") {
		t.Fatalf("the secret of production is not shown: %s", d.words())
	}
	d = b.get("/developers/applications/" + id + "/move/go_live")
	b.send(d.form("/developers/applications/" + id + "/move/go_live")).want(200)
	b.get("/apps-directory").want(200, "Health Budget", "Budget")

	// Rotation, the end of a secret, and a change that is reviewed.
	d = b.get("/developers/apps/" + app + "/production/rotate").want(200)
	d = b.send(d.form("/developers/apps/"+app+"/production/rotate").set("overlap", "24")).want(200)
	if again := shownSecret(d); again == live || !strings.HasPrefix(again, "cfh_live_") {
		t.Error("no new secret is shown")
	}
	d = b.get("/developers/apps/" + app + "/production/rotate")
	b.send(d.form("/developers/apps/" + app + "/production/rotate")).want(422)
	d = b.get("/developers/apps/" + app + "/production/credentials")
	end := ""
	for n := range d.root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "a" && strings.Contains(attr(n, "href"), "/end?secret=") {
			end = attr(n, "href")
		}
	}
	d = b.get(end).want(200)
	b.send(d.form("/developers/apps/" + app + "/production/end")).want(200)
	d = b.get("/developers/apps/" + app + "/edit?change=1").want(200)
	ef := d.form("/developers/apps/"+app+"/edit").set("name", "Health Budget Plus").set("signer_title", "Owner")
	for name, kind := range ef.kinds {
		if kind == "checkbox" && !strings.HasPrefix(name, "scope-") && name != "offline" && name != "utah" && name != "platforms" {
			ef.set(name, "yes")
		}
	}
	d = b.send(ef).want(200)
	a, err = rita.Application(t.Context(), id)
	w.must(err)
	if a.State != lifecycle.ChangePending {
		t.Errorf("the application is %s after a change was asked for: %s", a.State, d.words())
	}
	b.get("/developers/apps/" + app).want(200)
	b.get("/developers/apps/" + app + "/requests?where=production&status=4").want(200)
	d = b.get("/developers/applications/" + id + "/move/withdraw_change")
	b.send(d.form("/developers/applications/" + id + "/move/withdraw_change")).want(200)
	b.get("/developers/profile").want(200)
	d = b.send(b.get("/developers").form("/developers/sign-out"))
	if d.path != "/developers/sign-in" {
		t.Errorf("signing out leads to %s", d.path)
	}
}

// shownSecret is the secret that a page shows.
func shownSecret(d *doc) string {
	for n := range d.root.Descendants() {
		if n.Data == "output" && attr(n, "id") == "secret" {
			return strings.TrimSpace(text(n))
		}
	}
	return ""
}
