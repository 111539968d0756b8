package developers

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/lifecycle"
)

// canary is in every value of the organisation that others must not see.
const canary = "Canary7"

// foreign makes an organisation with everything that a page could show: people, an app with a secret, applications with
// answers, a document and messages. It returns values for the names in paths.
func foreign(w *world, owner *portal.Actor) map[string]string {
	w.t.Helper()
	ctx := w.t.Context()
	o, err := owner.AddOrganisation(ctx, &portal.Organisation{Legal: canary + " Inc.", Name: canary + " Health", Type: "company", Website: "https://canary7.example", US: true,
		Contacts: []portal.Contact{{Kind: "primary", Name: canary + " Contact", Email: "canary7@canary7.example"}}})
	w.must(err)
	owner.Members, err = owner.MembersOf(ctx, o.ID)
	if err != nil { // whoever acts has no membership yet that they know of
		owner = w.staff(owner.Person.Email)
	}
	owner = w.staff(owner.Person.Email)
	w.must(owner.AcceptTerms(ctx, w.portal.Rules.TermsVersion))
	owner = w.staff(owner.Person.Email)
	q, err := owner.Start(ctx, lifecycle.Sandbox, o.ID, "")
	w.must(err)
	answers := map[string][]string{}
	for _, x := range w.portal.Forms.Form("questionnaire").Questions() {
		if v := answer(x); v != nil {
			answers[x.ID] = v
		}
	}
	answers["app_name"] = []string{canary + " Budget"}
	q, err = owner.SaveDraft(ctx, q.ID, q.Version, answers)
	w.must(err)
	_, err = owner.Move(ctx, q.ID, lifecycle.Submit, &portal.Input{Version: q.Version})
	w.must(err)
	a, err := owner.AddApp(ctx, o.ID, &portal.Settings{Name: canary + " Budget", Kind: "web", Auth: "client_secret", RedirectURIs: []string{"https://canary7.example/cb"},
		Scopes: []portal.Scope{{Scope: "launch/patient", Reason: canary}, {Scope: "patient/Patient.rs", Reason: canary}}})
	w.must(err)
	c, err := owner.Issue(ctx, a.ID, portal.InSandbox)
	w.must(err)
	p, err := owner.Start(ctx, lifecycle.Production, o.ID, a.ID)
	w.must(err)
	_, err = owner.Say(ctx, p.ID, canary+" says hello", false)
	w.must(err)
	d, err := owner.Upload(ctx, p.ID, "security_documents", "canary7.pdf", strings.NewReader("%PDF-1.7\n"+canary+"\n%%EOF"))
	w.must(err)
	i, err := owner.Invite(ctx, &portal.Invitation{Org: o.ID, Email: "other@canary7.example", Family: "Canary7", Role: portal.Developer})
	w.must(err)
	return map[string]string{"org": o.ID, "app": a.ID, "id": p.ID, "document": d.ID, "where": "sandbox", "action": "withdraw", "number": "1",
		"logo": "none", "person": owner.Person.ID, "invitation": i.ID, "secret": c.Secrets[0].ID, "questionnaire": q.ID}
}

// TestIsolation opens and sends every page of the table of routes as everybody who does not belong to an organisation:
// nothing of it is shown, and nothing changes.
func TestIsolation(t *testing.T) {
	w := newWorld(t, nil)
	w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
	ids := foreign(w, w.staff("owner@canary7.example"))
	mallory := w.person("mallory@budget.example", "Mallory Budget", portal.NoStaff)
	_, err := w.staff("mallory@budget.example").AddOrganisation(t.Context(), &portal.Organisation{Solo: true, Name: "Mallory"})
	w.must(err)
	_ = mallory
	w.person("sue@agency.example", "Sue Port", portal.Support)
	w.person("rita@agency.example", "Rita Viewer", portal.Reviewer)
	w.person("adam@agency.example", "Adam Minister", portal.Administrator)

	before := snapshot(w, ids)
	fill := func(pattern string) (path string, own bool) {
		parts := strings.Split(pattern, "/")
		for i, p := range parts {
			if strings.HasPrefix(p, "{") {
				own = true
				parts[i] = ids[strings.Trim(p, "{}")]
				if parts[i] == "" {
					t.Fatalf("there is no value for %s", p)
				}
			}
		}
		return strings.Join(parts, "/"), own
	}
	tried := 0
	for _, who := range []string{"", "mallory@budget.example", "sue@agency.example", "rita@agency.example", "adam@agency.example"} {
		b := w.browser("en")
		if who != "" {
			b.signIn(who)
		}
		for _, p := range w.site.pages() {
			path, own := fill(p.path)
			if !own || strings.Contains(p.path, "{logo}") {
				continue
			}
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				if method == http.MethodPost && p.take == nil {
					continue
				}
				var d *doc
				if method == http.MethodGet {
					d = b.get(path + "?person=" + ids["person"] + "&secret=" + ids["secret"])
				} else {
					token := ""
					for _, f := range b.get("/support/contact").forms() {
						if f.action == "/support/contact" || f.action == "/developers/sign-out" {
							token = f.values.Get("token")
						}
					}
					f := &form{action: path, values: url.Values{"token": {token}, "person": {ids["person"]}, "secret": {ids["secret"]}, "invitation": {ids["invitation"]}, "leaked": {"yes"}, "overlap": {"0"}, "role": {"observer"},
						"name": {"Taken over"}, "legal": {"Taken over"}, "website": {"https://taken.example"}, "text": {"Hello"}, "_version": {"1"}, "email": {"mallory@budget.example"}, "family": {"Budget"}}}
					d = b.send(f)
				}
				tried++
				if strings.Contains(strings.ToLower(d.body), strings.ToLower(canary)) {
					t.Errorf("%s %s shows %q something: %s", method, p.path, who, d.words())
				}
				if d.status == http.StatusOK && (strings.HasPrefix(d.path, "/developers/organisations/"+ids["org"]) || strings.Contains(d.path, ids["app"]) || strings.Contains(d.path, ids["id"])) {
					t.Errorf("%s %s answers %q with %d: %s", method, p.path, who, d.status, d.words())
				}
			}
		}
	}
	if tried < 200 {
		t.Errorf("only %d requests were tried", tried)
	}
	if after := snapshot(w, ids); after != before {
		t.Errorf("something has changed:\n%s\n%s", before, after)
	}
}

// snapshot is what an organisation has, by what an operator sees.
func snapshot(w *world, ids map[string]string) string {
	w.t.Helper()
	var b strings.Builder
	op, ctx := w.portal.Operator("test"), w.t.Context()
	o, err := op.Organisation(ctx, ids["org"])
	w.must(err)
	b.WriteString(o.Name + o.Website)
	people, err := op.MembersOf(ctx, ids["org"])
	w.must(err)
	for _, m := range people {
		b.WriteString(" " + m.Person + string(m.Role))
	}
	invited, err := op.Invitations(ctx, ids["org"])
	w.must(err)
	for _, i := range invited {
		b.WriteString(" " + i.ID + i.State)
	}
	a, err := op.App(ctx, ids["app"])
	w.must(err)
	b.WriteString(" " + a.Settings.Name + strings.Join(a.Settings.RedirectURIs, " "))
	c, err := op.CredentialsOf(ctx, ids["app"], portal.InSandbox)
	w.must(err)
	for _, s := range c.Secrets {
		b.WriteString(" " + s.ID + s.Expires.String())
	}
	for _, id := range []string{ids["id"], ids["questionnaire"]} {
		x, err := op.Application(ctx, id)
		w.must(err)
		m, err := op.Messages(ctx, id)
		w.must(err)
		d, err := op.Documents(ctx, id)
		w.must(err)
		b.WriteString(" " + string(x.State) + string(rune('0'+x.Version)) + string(rune('0'+len(m))) + string(rune('0'+len(d))))
	}
	return b.String()
}

// TestObserver lets an observer of the organisation read, and change nothing.
func TestObserver(t *testing.T) {
	w := newWorld(t, nil)
	w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
	ids := foreign(w, w.staff("owner@canary7.example"))
	owner := w.staff("owner@canary7.example")
	w.person("olga@canary7.example", "Olga Seer", portal.NoStaff)
	_, err := owner.Invite(t.Context(), &portal.Invitation{Org: ids["org"], Email: "olga@canary7.example", Family: "Seer", Role: portal.Observer})
	w.must(err)
	b := w.browser("es")
	b.signIn("olga@canary7.example")
	d := b.get(w.mailed("olga@canary7.example")).want(200)
	d = b.send(d.form("/developers/invitation")).want(200, canary)
	before := snapshot(w, ids)
	for _, p := range w.site.pages() {
		path := p.path
		for name, value := range ids {
			path = strings.ReplaceAll(path, "{"+name+"}", value)
		}
		if path == p.path || strings.Contains(p.path, "{logo}") {
			continue
		}
		b.get(path)
		if p.take == nil {
			continue
		}
		token := d.form("/developers/sign-out").values.Get("token")
		got := b.send(&form{action: path, values: url.Values{"token": {token}, "person": {ids["person"]}, "secret": {ids["secret"]}, "invitation": {ids["invitation"]}, "leaked": {"yes"}, "overlap": {"0"}, "role": {"observer"},
			"name": {"Taken over"}, "legal": {"Taken over"}, "type": {"company"}, "us": {"yes"}, "hipaa": {"none"}, "website": {"https://taken.example"}, "text": {"Hello"}, "_version": {"1"}, "email": {"x@y.example"}, "family": {"Y"},
			"kind": {"web"}, "auth": {"none"}, "redirect_uris": {"https://taken.example/cb"}, "scope-1": {"yes"}, "jwks": {"{}"}, "proof": {"x"}, "_do": {"next"}}})
		if got.status == http.StatusServiceUnavailable {
			t.Errorf("%s fails: %s", p.path, got.words())
		}
	}
	if after := snapshot(w, ids); after != before {
		t.Errorf("an observer has changed something:\n%s\n%s", before, after)
	}
}
