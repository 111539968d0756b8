package site

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
)

// attested is an app of which everything is known.
func (w *world) attested() *accounts.Client {
	w.t.Helper()
	c := &accounts.Client{
		ID: "steps", Name: "Step Counter", Status: accounts.Active, Auth: "none", Grants: []string{"authorization_code", "refresh_token"}, RedirectURIs: []string{"https://steps.example/cb"},
		Homepage: "https://steps.example/", Policy: "https://steps.example/privacy", Terms: "https://steps.example/terms", Support: "help@steps.example",
		Publisher: "Steps & Sons", Domain: "steps.example", About: map[string]string{"en": "Counts <b>steps</b>\u202e.", "es": "Cuenta pasos."},
		Attested: time.Date(2026, 10, 3, 12, 0, 0, 0, time.UTC), Privacy: map[string]string{"P-14": "attested", "P-16": "not_attested", "X-99": "attested", "P-01": "unheard"},
		Listed: true, Owner: "p", Created: w.at, Changed: w.at,
	}
	w.must(w.accounts.AddClient(w.t.Context(), c))
	return c
}

// TestConsentTellsAboutTheApp looks for what members must know of an app, and for what they must not be told.
func TestConsentTellsAboutTheApp(t *testing.T) {
	set := loadForms(t)
	w := newWorld(t, func(c *Config) {
		c.Forms, c.Phone, c.TTY = set, "+1 (800) 555-0100", "711"
		c.Complain = func(context.Context, string, string, map[string][]string, string, bool) (string, error) {
			return "C-1", nil
		}
	})
	w.attested()
	b := w.browser()
	request := w.ask("steps", "https://steps.example/cb")
	b.signIn("bob", bobPassword, request)
	page := b.get("/consent?request="+request).want(t, http.StatusOK,
		"Offered by Steps & Sons", "We have checked that the website steps.example is theirs.", `<blockquote lang="en"><p>Counts <b>steps</b>.</p>`,
		"Attested: on October 3, 2026", "Example State Medicaid has not checked them", "They say that the app:", "Does not sell your data", "They do not say that the app:", "Does not use your data for ads without asking you",
		`href="mailto:help@steps.example"`, `href="https://steps.example/privacy"`, `href="https://steps.example/terms"`, "we do not recommend it or advise against it", `href="/choose-an-app" target="_blank"`,
		"can also read what is new", "often does not apply", "Federal Trade Commission (FTC) has rules for apps", "https://reportfraud.ftc.gov/", "https://www.hhs.gov/ocr/complaints/", "Copies that the app already has stay",
		`href="tel:+18005550100"`, `href="tel:711"`, `href="/apps/complain?app=steps"`)
	for _, never := range []string{"Not attested", "<b>", "\u202e", "X-99", set.Criterion("P-01").Member.EN, "still being made"} {
		if strings.Contains(page.body, never) {
			t.Errorf("the page says %q", never)
		}
	}
	// Both answers have the same look.
	looks := regexp.MustCompile(`<button class="([^"]*)" name="decision" value="(?:allow|deny)"`).FindAllStringSubmatch(page.body[strings.Index(page.body, `class="decision"`):], -1)
	if len(looks) != 2 || looks[0][1] != looks[1][1] {
		t.Errorf("the answers look like %q", looks)
	}
	// In Spanish its words are Spanish; where an app says nothing in Spanish, its English is marked as such.
	b.get("/consent?lang=es&request="+request).want(t, http.StatusOK, `<html lang="es">`, `<blockquote lang="es"><p>Cuenta pasos.</p>`, "Declarado: el 3 de octubre de 2026", "No vende sus datos", `name="request" value="`+request+`"`)

	c := w.attested2()
	other := b.get("/consent?request="+w.ask(c.ID, "https://steps.example/cb")).want(t, http.StatusOK, "No declarado:", "Esta aplicación todavía se está creando.", `<blockquote lang="en"><p>Only English.</p>`)
	for _, never := range []string{"Declarado: el", "Dicen que la", "La ofrece", "es suyo", "mailto:bad"} {
		if strings.Contains(other.body, never) {
			t.Errorf("the page says %q", never)
		}
	}
}

// attested2 is an app under development that says little.
func (w *world) attested2() *accounts.Client {
	w.t.Helper()
	c := &accounts.Client{ID: "draft", Name: "Draft", Status: accounts.Active, Auth: "none", RedirectURIs: []string{"https://steps.example/cb"}, Environment: "sandbox", About: map[string]string{"en": "Only English."},
		Privacy: map[string]string{"P-14": "attested"}, Support: "bad@x.example?subject=a", Created: w.at, Changed: w.at}
	w.must(w.accounts.AddClient(w.t.Context(), c))
	return c
}

var tag = regexp.MustCompile(`<[^>]*>`)

// shownText is the text of a page as people read it.
func (a *answer) shownText() string {
	return strings.Join(strings.Fields(html.UnescapeString(tag.ReplaceAllString(a.body, " "))), " ")
}

// TestReceipt keeps what was read and what was allowed, and shows it to those who may see it, and to nobody else.
func TestReceipt(t *testing.T) {
	set := loadForms(t)
	w := newWorld(t, func(c *Config) { c.Forms = set })
	w.attested()
	b := w.browser()
	request := w.ask("steps", "https://steps.example/cb", "openid", "fhirUser", "launch/patient", "patient/*.read", "offline_access")
	b.signIn("ana", anaPassword, request)
	b.get("/login?lang=es") // the language of the session
	choose := b.get("/consent?request=" + request)
	leo := regexp.MustCompile(`value="([^"]+)"[^>]*>\s*<label[^>]*><span class="name">Leo`).FindStringSubmatch(choose.body)
	if leo == nil {
		t.Fatalf("no choice of a member:\n%s", choose.body)
	}
	page := b.get("/consent?request=" + request + "&member=" + leo[1])
	text := page.shownText()
	f := page.form(t, "/consent")
	f.Set("decision", "allow")
	f["kind"] = []string{"personal", "claims"}
	f.Set("until", "90")
	b.post("/consent", f).goes(t, "https://steps.example/cb")
	g := w.grants("ana")[0]
	r, err := w.accounts.Receipt(t.Context(), g.ID)
	w.must(err)
	sum := sha256.Sum256([]byte(r.Words))
	if r.Version != consentVersion || r.Language != "es" || r.Digest != hex.EncodeToString(sum[:]) || r.User != w.user("ana") || r.Role != "representative" || r.Patient != "pat-leo" || r.Client != "steps" ||
		!slices.Equal(r.Requested, []string{"openid", "fhirUser", "launch/patient", "patient/*.read", "offline_access"}) || !slices.Equal(r.Granted, g.Scopes) || !r.Created.Equal(w.now()) || !r.Expires.Equal(w.now().Add(90*day)) {
		t.Errorf("the receipt is %+v", r)
	}
	lines := strings.Split(r.Words, "\n")
	if len(lines) < 40 {
		t.Errorf("the receipt has %d lines", len(lines))
	}
	for i, line := range lines[1:] { // the title names the member, which the receipt does not
		if shown := strings.Join(strings.Fields(line), " "); !strings.Contains(text, shown) && !strings.Contains(page.body, html.EscapeString(line)) {
			t.Errorf("line %d of the receipt was not on the page: %s", i+1, line)
		}
	}
	if strings.Contains(r.Words, "Leo") || strings.Contains(r.Words, "Canari") {
		t.Error("the words have a name of a member")
	}

	// What members read of it, whoever they are.
	b.get("/apps").want(t, http.StatusOK, "Steps & Sons", "/apps/agreed?grant="+g.ID, "Lo que usted aceptó", "Quién lo permitió")
	agreed := b.get("/apps/agreed?grant="+g.ID).want(t, http.StatusOK, "Leo Canario López", "Datos personales", "Lo que la aplicación pidió y no recibió", "Cobertura", "español", r.Digest, consentVersion, `<div class="words" lang="es">`, "Cuenta pasos.")
	if strings.Count(agreed.body, "<h1") != 1 {
		t.Error("the page has not one heading")
	}
	b.get("/apps/agreed?lang=en&grant="+g.ID).want(t, http.StatusOK, "What you agreed to", "Spanish", `<div class="words" lang="es">`)
	bob := w.browser()
	bob.get("/apps/agreed?grant="+g.ID).goes(t, "/login")
	bob.signIn("bob", bobPassword, "")
	bob.get("/apps/agreed?grant="+g.ID).want(t, http.StatusNotFound)
	bob.get("/apps/agreed?grant=nothing").want(t, http.StatusNotFound)
	// The member himself, when he has a login of his own.
	w.must(w.accounts.AddLink(t.Context(), &accounts.Link{User: w.user("bob"), Patient: "pat-leo", Role: "self", Source: "operator"}))
	bob.get("/apps").want(t, http.StatusOK, "Somebody who acts for you", "What was agreed to for you")
	bob.get("/apps/agreed?grant="+g.ID).want(t, http.StatusOK, "What was agreed to for you", "Somebody who acts for you allowed Step Counter")
}

// TestReceiptSaysAll holds the receipt to the page: each text of the page that is not a label of a control is in it.
func TestReceiptSaysAll(t *testing.T) {
	page, err := os.ReadFile("templates/consent.html")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("receipt.go")
	if err != nil {
		t.Fatal(err)
	}
	controls := []string{"consent.step", "consent.change", "consent.signedin", "consent.signedin.as", "consent.notyou", "consent.whose", "choose.born", "consent.attested.see", "consent.choose", "consent.report",
		"consent.call", "consent.back.site", "consent.back.app", "consent.title.other", "page.newtab", "page.timeout", "page.tty"}
	n := 0
	for _, m := range regexp.MustCompile(`T "([a-z.]+)"`).FindAllStringSubmatch(string(page), -1) {
		n++
		if !slices.Contains(controls, m[1]) && !strings.Contains(string(code), `"`+m[1]+`"`) {
			t.Errorf("the receipt does not say %s", m[1])
		}
	}
	if n < 30 {
		t.Errorf("the page has %d texts", n)
	}
}

// TestConsentVersion fails if the texts of the consent page change, and their version does not. If you have changed them
// on purpose, in both languages, give consentVersion the month, and pinned the new sum.
func TestConsentVersion(t *testing.T) {
	const version, pinned = "2026-12", "eff4d9f93c3ce5d1"
	sum := sha256.New()
	for _, lang := range []string{"en", "es"} {
		for _, key := range slices.Sorted(maps.Keys(texts[lang])) {
			if strings.HasPrefix(key, "consent.") || strings.HasPrefix(key, "kind.") {
				fmt.Fprintf(sum, "%s %s %q\n", lang, key, texts[lang][key])
			}
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)[:8]); got != pinned || consentVersion != version {
		t.Errorf("the sum of the texts is %s, and their version %s; pinned are %s and %s", got, consentVersion, pinned, version)
	}
}
