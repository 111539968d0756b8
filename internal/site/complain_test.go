package site

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/forms"
)

func loadForms(t testing.TB) *forms.Set {
	t.Helper()
	set, err := forms.Load("")
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// filed is a complaint as it was given to the portal.
type filed struct {
	client, user, language string
	answers                map[string][]string
	confirmed              bool
}

// complaining is a world in which complaints can be filed; fail makes filing fail.
func complaining(t *testing.T, list *[]filed, fail *error) *world {
	t.Helper()
	return newWorld(t, func(c *Config) {
		c.Forms = loadForms(t)
		c.Complain = func(_ context.Context, client, user string, answers map[string][]string, language string, confirmed bool) (string, error) {
			if *fail != nil {
				return "", *fail
			}
			*list = append(*list, filed{client, user, language, answers, confirmed})
			return "C-4H2K-9PWX", nil
		}
	})
}

const story = "It sold what canaries told it."

// fill answers the questions that everybody must.
func fill(f url.Values) url.Values {
	f["kind"] = []string{"shared", "fake"}
	f.Set("message", story)
	f.Set("reply", "none")
	return f
}

// TestComplain reports an app that is connected, and one that is not, without an account.
func TestComplain(t *testing.T) {
	var list []filed
	var fail error
	w := complaining(t, &list, &fail)
	w.attested()
	b := w.browser()
	request := w.ask("steps", "https://steps.example/cb")
	b.signIn("bob", bobPassword, request)
	b.share(b.get("/consent?request="+request), "allow").goes(t, "https://steps.example/")
	g := w.grants("bob")[0]
	b.get("/apps").want(t, http.StatusOK, `href="/apps/complain?grant=`+g.ID+`"`)
	page := b.get("/apps/complain?grant="+g.ID).want(t, http.StatusOK, "Report Step Counter", "What happened?", "you may leave this empty")
	if strings.Contains(page.body, "What is the name of the app?") || strings.Contains(page.body, `type="file"`) {
		t.Error("the page asks for what is known, or what it cannot take")
	}
	b.post("/apps/complain", fill(page.form(t, "/apps/complain"))).goes(t, "/apps/complain/sent?number=C-4H2K-9PWX")
	b.get("/apps/complain/sent?number=C-4H2K-9PWX").want(t, http.StatusOK, "We have your report", "C-4H2K-9PWX")
	b.get("/apps/complain/sent?number=%3Cb%3E").want(t, http.StatusNotFound)

	out := w.browser()
	out.lang = "es"
	page = out.get("/apps/complain?app=steps").want(t, http.StatusOK, "Informar sobre Step Counter", `lang=en" lang="en"`, "/apps/complain?app=steps&lang=en")
	out.post("/apps/complain", fill(page.form(t, "/apps/complain"))).goes(t, "/apps/complain/sent")
	page = out.get("/apps/complain").want(t, http.StatusOK, "¿Cómo se llama la aplicación?")
	f := fill(page.form(t, "/apps/complain"))
	f.Set("app", "Fake Care")
	out.post("/apps/complain", f).goes(t, "/apps/complain/sent")
	if len(list) != 3 {
		t.Fatalf("%d complaints", len(list))
	}
	for i, want := range []filed{{client: "steps", user: w.user("bob"), language: "en"}, {client: "steps", language: "es"}, {language: "es"}} {
		got := list[i]
		if got.client != want.client || got.user != want.user || got.language != want.language || got.confirmed || got.answers["message"][0] != story || !slices.Equal(got.answers["kind"], []string{"shared", "fake"}) {
			t.Errorf("complaint %d is %+v", i, got)
		}
	}
	if list[0].answers["app"][0] != "Step Counter" || list[2].answers["app"][0] != "Fake Care" {
		t.Errorf("the names of the apps are %q and %q", list[0].answers["app"], list[2].answers["app"])
	}

	// Apps that nobody may know of, and grants of others.
	w.must(w.accounts.AddClient(t.Context(), &accounts.Client{ID: "held", Name: "Held", Status: accounts.Held, Created: w.at, Changed: w.at}))
	for _, path := range []string{"/apps/complain?app=held", "/apps/complain?app=nothing", "/apps/complain?app=%00"} {
		out.get(path).want(t, http.StatusNotFound)
	}
	out.get("/apps/complain?grant="+g.ID).goes(t, "/login")
	ana := w.browser()
	ana.signIn("ana", anaPassword, "")
	ana.get("/apps/complain?grant="+g.ID).want(t, http.StatusNotFound)
}

// TestComplainMistakes never loses what somebody has written.
func TestComplainMistakes(t *testing.T) {
	var list []filed
	var fail error
	w := complaining(t, &list, &fail)
	w.attested()
	b := w.browser()
	page := b.get("/apps/complain?app=steps")
	f := fill(page.form(t, "/apps/complain"))

	f.Del("kind")
	a := b.post("/apps/complain", f).want(t, http.StatusUnprocessableEntity, "<title>Error: Report Step Counter", `href="#q-kind-shared"`, "Choose at least one answer.", story, `id="q-kind-shared-error"`)
	if strings.Count(a.body, "<h1") != 1 || !strings.Contains(a.body, `<h1>Report Step Counter</h1>`) {
		t.Error("the heading says Error")
	}

	// An answer leads to more questions: they are asked, and are not mistakes.
	f = fill(a.form(t, "/apps/complain"))
	f.Set("reply", "email")
	a = b.post("/apps/complain", f).want(t, http.StatusOK, "There are more questions now", "Your email", `autocomplete="email"`, story)
	f = a.form(t, "/apps/complain")
	f.Set("message", story)
	f.Set("email", "no address")
	a = b.post("/apps/complain", f).want(t, http.StatusUnprocessableEntity, "Enter an email address", `value="no address"`, `href="#q-email"`, `aria-describedby="q-email-error" aria-invalid="true"`)

	// What looks like a secret is sent only by those who say so.
	f = a.form(t, "/apps/complain")
	f.Set("email", "bob@example.org")
	f.Set("message", "My number is 123-45-6789.")
	b.post("/apps/complain", f).want(t, http.StatusUnprocessableEntity, "Send it as it is", `href="#q-message"`, "My number is 123-45-6789.")
	if len(list) != 0 {
		t.Fatal("it was sent all the same")
	}
	f.Set("confirmed", "yes")
	b.post("/apps/complain", f).goes(t, "/apps/complain/sent")
	if len(list) != 1 || !list[0].confirmed || list[0].answers["email"][0] != "bob@example.org" {
		t.Fatalf("complaints %+v", list)
	}

	// Filing fails.
	fail = errors.New("the disk is full")
	f.Del("confirmed")
	f.Set("message", story)
	b.post("/apps/complain", f).want(t, http.StatusServiceUnavailable, "This does not work right now. Nothing was sent", story)
	fail = nil
	if !slices.ContainsFunc(w.events, func(e string) bool { return strings.Contains(e, "the disk is full") }) || slices.ContainsFunc(w.events, func(e string) bool { return strings.Contains(e, "canaries") }) {
		t.Errorf("the events are %q", w.events)
	}

	// A page that is too old, as after a session has ended; and a page of somebody else.
	old := maps.Clone(f)
	old.Set("token", strings.Repeat("x", 60))
	b.post("/apps/complain", old).want(t, http.StatusForbidden, "This page was too old", story)
	if a := b.post("/apps/complain", f, "Sec-Fetch-Site", "cross-site").want(t, http.StatusForbidden); strings.Contains(a.body, story) {
		t.Error("another site can fill the form")
	}
	if len(list) != 1 {
		t.Errorf("%d complaints", len(list))
	}

	// Too many.
	status := 0
	for range complaintsAtOnce + 1 {
		a := b.post("/apps/complain", f)
		if status = a.status; status == http.StatusTooManyRequests {
			a.want(t, status, "There were many reports", story)
			if a.header.Get("Retry-After") == "" {
				t.Error("nobody says how long to wait")
			}
			break
		}
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("%d complaints were taken at once", len(list))
	}
	w.pass(complaintEvery)
	b.post("/apps/complain", f).goes(t, "/apps/complain/sent")
}

// TestComplainSessionEnds lets somebody whose session has ended send what they wrote, with one more click.
func TestComplainSessionEnds(t *testing.T) {
	var list []filed
	var fail error
	w := complaining(t, &list, &fail)
	w.attested()
	b := w.browser()
	b.signIn("bob", bobPassword, "")
	f := fill(b.get("/apps/complain?app=steps").form(t, "/apps/complain"))
	w.pass(w.site.Idle + time.Minute)
	a := b.post("/apps/complain", f).want(t, http.StatusForbidden, story)
	b.post("/apps/complain", func() url.Values { f := a.form(t, "/apps/complain"); f.Set("message", story); return f }()).goes(t, "/apps/complain/sent")
	if len(list) != 1 || list[0].user != "" {
		t.Errorf("complaints %+v", list)
	}
}

// TestNoComplaints shows no links and no form where nobody takes complaints.
func TestNoComplaints(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Forms = loadForms(t) })
	b := w.browser()
	for _, path := range []string{"/apps/complain", "/apps/complain?app=budget", "/apps/complain/sent?number=C-1"} {
		b.get(path).want(t, http.StatusNotFound)
	}
	request := w.ask("budget", webRedirect)
	b.signIn("bob", bobPassword, request)
	consent := b.get("/consent?request=" + request)
	b.share(consent, "allow")
	for _, a := range []*answer{consent, b.get("/apps"), b.get("/choose-an-app")} {
		if strings.Contains(a.want(t, http.StatusOK).body, "/apps/complain") {
			t.Error("a page leads to the form")
		}
	}
}

// TestGuide reads the page on choosing an app as anybody can.
func TestGuide(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Phone, c.TTY, c.Directory = "1-800-555-0100", "711", "/apps-directory" })
	b := w.browser()
	a := b.get("/choose-an-app").want(t, http.StatusOK, "How to choose a health app safely", "were members before", "secondary use", "HIPAA", "Office for Civil Rights", "Federal Trade Commission", "https://reportfraud.ftc.gov/",
		"https://www.hhs.gov/ocr/complaints/", "Disconnect", "Claims and costs", w.site.Issuer, `href="/apps-directory"`, `href="tel:18005550100"`, `href="tel:711"`)
	if strings.Count(a.body, "<h1") != 1 || strings.Contains(a.body, "noindex") || a.header.Get("ETag") == "" {
		t.Error("the page is not one that everybody may find")
	}
	b.get("/choose-an-app?lang=es").want(t, http.StatusOK, `<html lang="es">`, "uso secundario", "Oficina de Derechos Civiles")
	b.get("/login").want(t, http.StatusOK, `href="/choose-an-app"`)
	b.signIn("bob", bobPassword, "")
	b.get("/apps").want(t, http.StatusOK, `href="/choose-an-app"`)
	b.get("/choose-an-app").want(t, http.StatusOK, `action="/logout"`)
}
