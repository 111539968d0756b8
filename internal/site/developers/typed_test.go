package developers

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
)

// lapse ends the sessions of before by the time that passes.
func (w *world) lapse() { w.pass(portal.IdleFor + time.Minute) }

// signInOn signs somebody in on the page that asks for it, and comes to where they wanted to go.
func (b *browser) signInOn(d *doc, email string) *doc {
	b.w.t.Helper()
	b.w.pass(31 * time.Second)
	d = b.send(d.form("/developers/sign-in").set("email", email).set("password", goodPassword))
	return b.send(d.form("/developers/factor").set("factor", b.w.code(staffKey)))
}

// cookie is what the browser has kept under a name.
func (b *browser) cookie(name string) string {
	u, err := url.Parse(b.w.server.URL)
	b.w.must(err)
	for _, c := range b.http.Jar.Cookies(u) {
		if strings.HasSuffix(c.Name, name) {
			return c.Value
		}
	}
	return ""
}

// TestTypedIsKept proves that a form which comes after its session is shown again to its sender, who signs in: with
// the section, the questions that its answers have opened, and the version of then; without documents; and only until it is
// sent.
func TestTypedIsKept(t *testing.T) {
	w := newWorld(t, nil)
	w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
	ids := foreign(w, w.staff("owner@canary7.example"))
	b := w.browser("en")
	b.signIn("owner@canary7.example")
	edit := "/developers/applications/" + ids["id"] + "/edit"
	d := b.get(edit+"?section=topics").want(200, "You are signed out after 30 minutes without activity", "saved as a draft when you continue")
	f := d.form(edit).set("topic_sharing", "yes").set("_do", "next")
	f.values.Set("topic_sharing_where", "Section 4 of canary")
	version := f.values.Get("_version")
	w.lapse()
	d = b.send(f)
	if d.path != "/developers/sign-in" || !strings.Contains(d.body, "What you typed is kept") || strings.Contains(d.body, "canary") {
		t.Fatalf("%s: %s", d.path, d.words())
	}
	if c := b.cookie("typed"); len(c) != 43 {
		t.Errorf("the cookie is %q", c)
	}
	d = b.signInOn(d, "owner@canary7.example").want(200, "You had typed this before you were signed out.")
	g := d.form(edit)
	if d.path != edit || g.values.Get("section") != "topics" || g.values.Get("topic_sharing") != "yes" || g.values.Get("topic_sharing_where") != "Section 4 of canary" || g.values.Get("_version") != version {
		t.Fatalf("%s shows %v", d.path, g.values)
	}
	if g.values.Get("token") == f.values.Get("token") {
		t.Error("the token is that of the session before")
	}
	// Nothing is saved yet, another section is as it was, and the page can be loaded again.
	if d = b.get(edit + "?section=proof"); strings.Contains(d.words(), "You had typed this") {
		t.Error("another section says that it was typed")
	}
	d = b.get(edit).want(200, "You had typed this")
	b.send(d.form(edit).set("_do", "later")).want(200, "Your draft is saved.")
	if b.cookie("typed") != "" {
		t.Error("the form is kept after it was sent")
	}
	d = b.get(edit + "?section=topics")
	if strings.Contains(d.words(), "You had typed this") || d.form(edit).values.Get("topic_sharing_where") != "Section 4 of canary" {
		t.Errorf("it is not saved, or shown as typed again: %v", d.form(edit).values)
	}

	// With documents: the text of the form is kept, and they must be chosen again.
	d = b.get(edit + "?section=proof")
	f = d.form(edit).file("security_documents", append([]byte("%PDF-1.7\n"), make([]byte, 3<<20)...)).set("_do", "later")
	demo := answer(w.portal.Forms.Form(forms.Production).Question("demo"))
	f.set("demo", demo...)
	if !f.multipart || f.kinds["demo"] != "radio" {
		t.Fatalf("the section has no documents, or nothing to choose: %v", f.kinds)
	}
	w.lapse()
	d = b.signInOn(b.send(f), "owner@canary7.example").want(200, "choose your files again")
	if got := d.form(edit).values.Get("demo"); got != demo[0] {
		t.Errorf("what was chosen is %q", got)
	}
	if err := w.portal.DropTyped(t.Context(), b.cookie("typed")); err != nil {
		t.Fatal(err)
	}
	if d = b.get(edit + "?section=proof"); strings.Contains(d.words(), "You had typed this") || b.cookie("typed") != "" {
		t.Error("what is gone is shown")
	}
}

// TestTypedOfForms does the same for forms that are not drafts: those with a choice before them, those on the page above
// their address, and those whose session was replaced in another tab.
func TestTypedOfForms(t *testing.T) {
	w := newWorld(t, nil)
	w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
	ids := foreign(w, w.staff("owner@canary7.example"))
	b := w.browser("es")
	b.signIn("owner@canary7.example")
	create := "/developers/organisations/new"
	f := b.get(create+"?solo=no").want(200, "30 minutos sin actividad").form(create).set("legal", "Second Canary Inc.").set("name", "Second").set("type", "nonprofit").
		set("website", "https://second.example").set("us", "yes").set("hipaa", "none").set("address", "1 Canary Way\nSpringfield")
	w.lapse()
	d := b.signInOn(b.send(f), "owner@canary7.example").want(200, "Usted escribió esto")
	g := d.form(create)
	for name, list := range f.values {
		if name != "token" && name != "_for" && g.values.Get(name) != list[0] {
			t.Errorf("%s is %q, not %q", name, g.values.Get(name), list[0])
		}
	}
	if d = b.send(g); !strings.HasPrefix(d.path, "/developers/organisations/") || !strings.Contains(d.words(), "Second Canary Inc.") {
		t.Fatalf("%s: %s", d.path, d.words())
	}

	application := "/developers/applications/" + ids["id"]
	f = b.get(application).form(application + "/messages")
	for name, kind := range f.kinds {
		if kind == "textarea" {
			f.set(name, "A canary question")
		}
	}
	w.lapse()
	d = b.signInOn(b.send(f), "owner@canary7.example").want(200, "Usted escribió esto")
	if d.path != application || !strings.Contains(d.body, "A canary question</textarea>") || strings.Count(d.body, "Usted escribió esto") != 1 {
		t.Errorf("%s: %s", d.path, d.words())
	}
	b.send(d.form(application+"/messages")).want(200, "A canary question")

	// Another tab has signed in meanwhile.
	edit := "/developers/organisations/" + ids["org"] + "/edit"
	f = b.get(edit).form(edit).set("address", "2 Canary Way")
	w.lapse()
	b.signIn("owner@canary7.example")
	d = b.send(f).want(200, "Usted escribió esto")
	if got := d.form(edit).values.Get("address"); d.path != edit || got != "2 Canary Way" {
		t.Errorf("%s: %q", d.path, got)
	}
	b.send(d.form(edit)).want(200, "2 Canary Way")
}

// TestTypedIsOfOne proves that nobody else sees what was typed, that another site can keep nothing, and what is never
// kept.
func TestTypedIsOfOne(t *testing.T) {
	w := newWorld(t, nil)
	w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
	w.person("mallory@budget.example", "Mallory Budget", portal.NoStaff)
	ids := foreign(w, w.staff("owner@canary7.example"))
	create := "/developers/organisations/new"
	edit := "/developers/organisations/" + ids["org"] + "/edit"
	b := w.browser("en")
	b.signIn("owner@canary7.example")
	ask := func(value string) *form {
		return b.get(create+"?solo=yes").form(create).set("name", value).set("us", "yes").set("hipaa", "none")
	}

	// Mallory signs in next, at the same browser.
	f := ask("Canary of the owner")
	w.lapse()
	d := b.signInOn(b.send(f), "mallory@budget.example")
	for _, d := range []*doc{d, b.get(create + "?solo=yes")} {
		if strings.Contains(d.body, "Canary of the owner") || strings.Contains(d.words(), "You had typed this") {
			t.Errorf("%s shows what somebody else has typed", d.path)
		}
	}
	if b.cookie("typed") != "" {
		t.Error("the cookie stays")
	}

	// The cookie alone does not help at another browser.
	b.get("/developers/sign-out")
	b = w.browser("en")
	b.signIn("owner@canary7.example")
	f = ask("Canary of the owner")
	w.lapse()
	b.send(f)
	mallory := w.browser("en")
	mallory.signIn("mallory@budget.example")
	u, err := url.Parse(w.server.URL)
	w.must(err)
	for _, c := range b.http.Jar.Cookies(u) {
		if strings.HasSuffix(c.Name, "typed") {
			mallory.http.Jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Value: c.Value, Path: "/", Secure: true}})
		}
	}
	if d = mallory.get(create + "?solo=yes"); strings.Contains(d.body, "Canary of the owner") {
		t.Error("a cookie that was taken shows what was typed")
	}

	// What is not kept.
	for what, spoil := range map[string]func(f *form){
		"a token of another site":     func(f *form) { f.values.Set("token", strings.Repeat("A", 59)) },
		"no token":                    func(f *form) { f.values.Del("token") },
		"a form made for nobody":      func(f *form) { f.values.Del("_for") },
		"a form with a password":      func(f *form) { f.values.Set("password", "x") },
		"more than a form could have": func(f *form) { f.values.Set("address", strings.Repeat("x", 65<<10)) },
	} {
		b = w.browser("en")
		b.signIn("owner@canary7.example")
		f = ask("Canary")
		spoil(f)
		w.lapse()
		if d = b.send(f); d.path != "/developers/sign-in" || b.cookie("typed") != "" {
			t.Errorf("%s is kept", what)
		}
	}
	// From another site, with the token that it could have seen.
	b.signIn("owner@canary7.example")
	f = ask("Canary")
	w.lapse()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+create, strings.NewReader(f.values.Encode()))
	w.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if b.do(r); b.cookie("typed") != "" {
		t.Error("a form that another site has sent is kept")
	}
	// What was made for somebody is not shown to whoever has signed in by now in another tab, and not done.
	b = w.browser("en")
	b.signIn("owner@canary7.example")
	f = b.get(edit).form(edit).set("address", "3 Canary Way")
	w.lapse()
	b.signIn("mallory@budget.example")
	b.send(f).want(http.StatusForbidden, "This page was out of date")
	f = ask("Canary")
	w.lapse()
	b.signIn("owner@canary7.example")
	b.send(f).want(http.StatusForbidden, "This page was out of date")
}

// TestKnownBrowser proves that somebody who hammers at an address keeps nobody out who has signed in before.
func TestKnownBrowser(t *testing.T) {
	w := newWorld(t, func(_ *portal.Config, c *Config) { c.Limits = nil; c.Forwarded = true })
	w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
	b := w.browser("en")
	b.signIn("owner@canary7.example")
	first := b.cookie("device")
	if len(first) < 40 {
		t.Fatalf("the cookie is %q", first)
	}
	b.send(b.get("/developers").form("/developers/sign-out"))
	attack := func(path, field string) (last *doc) {
		for i := range 60 {
			m := w.browser("en")
			f := m.get(path).form(path).set("email", "owner@canary7.example")
			if field != "" {
				f.set(field, "a wrong password for it")
			}
			if _, ok := f.kinds["name"]; ok {
				f.set("name", "x")
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+path, strings.NewReader(f.values.Encode()))
			w.must(err)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("X-Forwarded-For", "192.0.2."+string(rune('0'+i%10))+string(rune('0'+i/10)))
			if last = m.do(r); last.status == http.StatusTooManyRequests {
				return last
			}
		}
		return last
	}
	attack("/developers/sign-in", "password").want(http.StatusTooManyRequests)
	d := w.browser("en").get("/developers/sign-in")
	d = d.b.send(d.form("/developers/sign-in").set("email", "owner@canary7.example").set("password", goodPassword))
	if d.status != http.StatusTooManyRequests {
		t.Errorf("the limit does not hold for a browser that nobody knows: %d %s", d.status, d.words())
	}
	b.signIn("owner@canary7.example")
	if got := b.cookie("device"); got != first {
		t.Error("the browser is another one after the second sign-in")
	}

	attack("/developers/sign-up", "password").want(http.StatusTooManyRequests)
	d = w.browser("en").get("/developers/forgot")
	d.b.send(d.form("/developers/forgot").set("email", "owner@canary7.example")).want(200)
	if to := w.mailed("owner@canary7.example"); !strings.HasPrefix(to, "/developers/reset?") {
		t.Errorf("the mail leads to %s", to)
	}
}
