package developers

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/rates"
	"cpcds2fhir/internal/site/desk"
)

// TestPHR sends the public form: all questions, the review, a change, and the mail that confirms the address.
func TestPHR(t *testing.T) {
	for _, lang := range []string{"en", "es"} {
		t.Run(lang, func(t *testing.T) {
			w := newWorld(t, nil)
			b := w.browser(lang)
			form := w.portal.Forms.Form(forms.PHR)
			d := b.get("/phr").want(200)
			d = b.send(d.form("/phr").set("_do", "review")).want(422)
			f := w.fillSection(d.form("/phr"), form)
			for range 4 { // answers open questions
				d = b.send(f.set("_do", "review"))
				if d.status == 200 {
					break
				}
				f = w.fillSection(d.form("/phr"), form)
			}
			d.want(200, "Canary answer to publisher")
			d = b.send(d.form("/phr").set("_do", "change")).want(200)
			if got := d.form("/phr").values.Get("publisher"); got != "Canary answer to publisher" {
				t.Errorf("the answer is lost: %q", got)
			}
			d = b.send(w.fillSection(d.form("/phr"), form).set("_do", "review")).want(200)
			d = b.send(d.form("/phr").set("_do", "send")).want(200)
			number, key := output(d, "number"), output(d, "key")
			if number == "" || key == "" {
				t.Fatalf("no number is shown: %s", d.words())
			}
			link := w.mailed("help@budget.example")
			b.get(link).want(200)
			track := func(number, key string) *doc {
				d := b.get("/phr/status").want(200)
				return b.send(d.form("/phr/status").set("number", number).set("key", key))
			}
			unconfirmed := track(number, key).want(200).words()
			track(number, "wrong").want(422)
			track("P-0000-0000", key).want(422)
			d = b.get(link)
			b.send(d.form("/phr/confirm")).want(200)
			b.send(d.form("/phr/confirm")).want(200)
			if after := track(number, key).want(200).words(); after == unconfirmed {
				t.Error("nothing has changed by the confirmation")
			}
			b.get("/phr/confirm").want(200)
		})
	}
}

func output(d *doc, id string) string {
	for n := range d.root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "output" && attr(n, "id") == id {
			return strings.TrimSpace(text(n))
		}
	}
	return ""
}

// TestSupport files requests, and warns of secrets.
func TestSupport(t *testing.T) {
	w := newWorld(t, nil)
	for _, lang := range []string{"en", "es"} {
		b := w.browser(lang)
		b.get("/support").want(200, "1-800-555-0100", "1 Example Street")
		for path, kind := range map[string]string{"/support/request": forms.Support, "/support/contact": forms.Contact} {
			form := w.portal.Forms.Form(kind)
			d := b.get(path).want(200)
			d = b.send(d.form(path)).want(422)
			f := w.fillSection(d.form(path), form)
			for range 4 {
				d = b.send(f)
				if d.status == 200 {
					break
				}
				f = w.fillSection(d.form(path), form)
			}
			if !strings.Contains(d.words(), "S-") {
				t.Errorf("%s shows no number: %s", path, d.words())
			}
			d = b.get(path)
			f = w.fillSection(d.form(path), form)
			f.values.Set("message", "My secret is cfh_live_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJK")
			for range 4 {
				d = b.send(f)
				if d.status == 200 || strings.Contains(d.body, "_confirmed") {
					break
				}
				f = w.fillSection(d.form(path), form)
				f.values.Set("message", "My secret is cfh_live_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJK")
			}
			d.want(422)
			b.send(d.form(path).set("_confirmed", "yes")).want(200)
		}
		b.get("/status").want(200)
		b.get("/apps-directory").want(200)
		b.get("/developers/nothing").want(404)
	}
}

// TestStatus asks once in a while only.
func TestStatus(t *testing.T) {
	asked := 0
	w := newWorld(t, func(_ *portal.Config, c *Config) {
		ask := c.Status
		c.Status = func(ctx context.Context) []Service { asked++; return ask(ctx) }
	})
	b := w.browser("en")
	for range 5 {
		b.get("/status").want(200, "Something does not work", "It starts again at noon.")
	}
	if asked != 1 {
		t.Errorf("it was asked %d times", asked)
	}
	w.pass(StatusFor)
	b.get("/status")
	if asked != 2 {
		t.Errorf("it was asked %d times later", asked)
	}
}

// TestEnumeration cannot tell an address with an account from one without.
func TestEnumeration(t *testing.T) {
	w := newWorld(t, nil)
	w.person("ada@budget.example", "Ada Winter", portal.NoStaff)
	b := w.browser("en")
	bodies := map[string][]string{}
	for _, email := range []string{"ada@budget.example", "nobody@budget.example"} {
		d := b.get("/developers/sign-up")
		d = b.send(d.form("/developers/sign-up").set("name", "Ada Winter").set("email", email).set("password", goodPassword))
		bodies["sign-up"] = append(bodies["sign-up"], strconv.Itoa(d.status)+d.words())
		d = b.get("/developers/forgot")
		d = b.send(d.form("/developers/forgot").set("email", email))
		bodies["forgot"] = append(bodies["forgot"], strconv.Itoa(d.status)+d.words())
		d = b.get("/developers/sign-in")
		d = b.send(d.form("/developers/sign-in").set("email", email).set("password", "not the password at all"))
		bodies["sign-in"] = append(bodies["sign-in"], strconv.Itoa(d.status)+d.words())
	}
	for page, list := range bodies {
		if list[0] != list[1] {
			t.Errorf("%s tells whether there is an account:\n%s\n%s", page, list[0], list[1])
		}
	}
}

// TestCSRF refuses every form without a token, with that of another browser, and from another site.
func TestCSRF(t *testing.T) {
	w := newWorld(t, nil)
	w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
	ids := foreign(w, w.staff("owner@canary7.example"))
	b := w.browser("en")
	home := b.signIn("owner@canary7.example")
	token := home.form("/developers/sign-out").values.Get("token")
	other := w.browser("en").get("/developers/sign-in").form("/developers/sign-in").values.Get("token")
	before := snapshot(w, ids)
	tried := 0
	for _, p := range w.site.pages() {
		if p.take == nil {
			continue
		}
		path := p.path
		for name, value := range ids {
			path = strings.ReplaceAll(path, "{"+name+"}", value)
		}
		for name, c := range map[string]struct{ token, site, origin string }{"none": {}, "of another": {token: other}, "cross-site": {token: token, site: "cross-site"}, "origin": {token: token, origin: "https://evil.example"}} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+path, strings.NewReader(url.Values{"token": {c.token}, "person": {ids["person"]}}.Encode()))
			w.must(err)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if c.site != "" {
				r.Header.Set("Sec-Fetch-Site", c.site)
			}
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			if d := b.do(r); d.status != http.StatusForbidden {
				t.Errorf("%s with a token %s: %d %s", p.path, name, d.status, d.words())
			}
			tried++
		}
	}
	if tried < 100 {
		t.Errorf("only %d forms were sent", tried)
	}
	if after := snapshot(w, ids); after != before {
		t.Errorf("something has changed:\n%s\n%s", before, after)
	}
}

// TestRates answers 429 to whoever guesses, from one network or about one account.
func TestRates(t *testing.T) {
	w := newWorld(t, func(_ *portal.Config, c *Config) {
		c.Limits = &desk.Limits{desk.SignIn: rates.New(0.001, 3), desk.SignUp: rates.New(0.001, 2)}
	})
	b := w.browser("en")
	status := []int{}
	for range 5 {
		d := b.get("/developers/sign-in")
		d = b.send(d.form("/developers/sign-in").set("email", "ada@budget.example").set("password", "not the password at all"))
		status = append(status, d.status)
		if d.status == http.StatusTooManyRequests && d.header.Get("Retry-After") == "" {
			t.Error("it is not said how long to wait")
		}
	}
	if status[2] != http.StatusUnprocessableEntity || status[3] != http.StatusTooManyRequests {
		t.Errorf("answers: %v", status)
	}
}

// TestSessions ends what lapses, and sends people to where they wanted to go.
func TestSessions(t *testing.T) {
	w := newWorld(t, nil)
	w.person("ada@budget.example", "Ada Winter", portal.NoStaff)
	b := w.browser("en")
	d := b.get("/developers/profile").want(200)
	if d.path != "/developers/sign-in" || d.form("/developers/sign-in").values.Get("next") != "/developers/profile" {
		t.Fatalf("it leads to %s", d.path)
	}
	b.send(d.form("/developers/sign-in").set("email", "ada@budget.example").set("password", goodPassword))
	if d = b.get("/developers"); d.path != "/developers/factor" {
		t.Errorf("half a session opens %s", d.path)
	}
	d = b.get("/developers/factor?next=/developers/profile")
	d = b.send(d.form("/developers/factor").set("factor", "000000")).want(422)
	d = b.send(d.form("/developers/factor").set("factor", w.code(staffKey)))
	if d.path != "/developers/profile" {
		t.Errorf("after the sign-in it is %s", d.path)
	}
	d = b.get("/developers/factor?next=https://evil.example/")
	if d.path != "/developers" {
		t.Errorf("it leads to %s", d.path)
	}
	// A page that needs a fresh proof asks for it, and comes back.
	w.pass(20 * time.Minute)
	d = b.get("/developers/profile/password")
	if d.path != "/developers/reauth" {
		t.Fatalf("no proof is asked for: %s", d.path)
	}
	b.send(d.form("/developers/reauth").set("password", "wrong").set("factor", "123456")).want(422)
	if d = b.prove(d); d.path != "/developers/profile/password" {
		t.Fatalf("after the proof it is %s", d.path)
	}
	b.send(d.form("/developers/profile/password").set("password", "short")).want(422)
	d = b.send(d.form("/developers/profile/password").set("password", "a loud purple tractor")).want(200)
	if d.path != "/developers/profile" {
		t.Errorf("after the change it is %s: %s", d.path, d.words())
	}
	b.send(d.form("/developers/profile").set("phone", "+1 801 555 0100").set("language", "es"))
	w.pass(31 * time.Minute)
	if d = b.get("/developers"); d.path != "/developers/sign-in" {
		t.Errorf("a session that has lapsed opens %s", d.path)
	}

	// A forgotten password.
	d = b.get("/developers/forgot")
	b.send(d.form("/developers/forgot").set("email", "ada@budget.example")).want(200)
	link := w.mailed("ada@budget.example")
	d = b.get(link).want(200)
	d = b.send(d.form("/developers/reset").set("password", "an old green tractor")).want(200)
	if d.path != "/developers/sign-in" {
		t.Errorf("after the reset it is %s", d.path)
	}
	d = b.get(link)
	b.send(d.form("/developers/reset").set("password", "another green tractor"))
	b.get("/developers/reset").want(200)
	b.get("/developers/confirm").want(200)
	b.get("/developers/confirm?token=x").want(200)
}

// TestOpenSessions shows somebody where they have signed in, and ends the others once they have proved who they are.
func TestOpenSessions(t *testing.T) {
	w := newWorld(t, nil)
	w.person("ada@budget.example", "Ada Winter", portal.NoStaff)
	phone, b := w.browser("en"), w.browser("en")
	phone.signIn("ada@budget.example")
	b.signIn("ada@budget.example")
	d := b.get("/developers/profile").want(200, "Signed in here on", "Signed in on another device or browser on")
	w.pass(11 * time.Minute)
	if d = b.send(d.form("/developers/profile/sessions")); d.path != "/developers/reauth" {
		t.Fatalf("no proof is asked for: %s", d.path)
	}
	if got := phone.get("/developers").path; got != "/developers" {
		t.Errorf("the other session was ended without a proof: %s", got)
	}
	if d = b.prove(d); d.path != "/developers/profile" {
		t.Fatalf("after the proof it is %s", d.path)
	}
	d = b.send(d.form("/developers/profile/sessions")).want(200, "Signed in here on")
	if strings.Contains(d.body, "another device or browser on") {
		t.Errorf("the other session goes on: %s", d.words())
	}
	if got := phone.get("/developers").path; got != "/developers/sign-in" {
		t.Errorf("the other session opens %s", got)
	}
	f := d.form("/developers/sign-out")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/developers/sign-out", strings.NewReader(f.values.Encode()))
	w.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := b.http.Do(r)
	w.must(err)
	w.must(resp.Body.Close())
	if got := resp.Header.Get("Clear-Site-Data"); resp.StatusCode != http.StatusSeeOther || got != `"storage"` {
		t.Errorf("after the sign-out %d, what the browser has kept: %q", resp.StatusCode, got)
	}
}

// TestUpstream signs people in by an identity service.
func TestUpstream(t *testing.T) {
	u := &upstream{}
	w := newWorld(t, func(pc *portal.Config, c *Config) {
		pc.Rules.Proof, pc.Rules.Levels = "either", []string{"IAL2"}
		c.Upstream = u
	})
	b := w.browser("en")
	d := b.get("/developers/sign-in")
	d.link("Sign in with your state account")
	u.who = &portal.Identified{Issuer: "https://id.example.gov", Subject: "ada", Email: "ada@budget.example", EmailVerified: true, Name: "Ada Winter", Level: "IAL1", AuthTime: w.now()}
	if d = b.get("/developers/login/callback?next=/developers/profile"); d.path != "/developers/profile" {
		t.Fatalf("it leads to %s: %s", d.path, d.words())
	}
	d.want(200, "Not verified")
	b.send(d.form("/developers/profile/proof")).want(200, "Being looked at")
	u.who.Level = "IAL2"
	b.get("/developers/login/callback?next=/developers/profile").want(200, "IAL2", "https://id.example.gov")
	w.pass(15 * time.Minute)
	if d = b.get("/developers/profile/delete"); d.path != "/developers/reauth" {
		t.Fatalf("no proof is asked for: %s", d.path)
	}
	if got := d.link("Sign in again"); got != "/developers/login/start?again=1&next=%2fdevelopers%2fprofile%2fdelete" && got != "/developers/login/start?again=1&next=%2Fdevelopers%2Fprofile%2Fdelete" {
		t.Errorf("the link is %s", got)
	}
	for _, reason := range []string{"cancelled", "expired", "level", "provider", "none"} {
		u.err = refused(reason)
		b.get("/developers/login/callback").want(200)
	}
	w.person("taken@budget.example", "Tom Taken", portal.NoStaff)
	u.err, u.who = nil, &portal.Identified{Issuer: "https://id.example.gov", Subject: "tom", Email: "taken@budget.example", EmailVerified: true, Name: "Tom Taken", Level: "IAL2", AuthTime: w.now()}
	w.browser("es").get("/developers/login/callback").want(200, "Hay otra cuenta")
}

// upstream is an identity service that says what it is told to.
type upstream struct {
	who *portal.Identified
	err error
}

type refused string

func (r refused) Error() string  { return "refused" }
func (r refused) Reason() string { return string(r) }

func (u *upstream) Begin(w http.ResponseWriter, r *http.Request, next string, _ bool) error {
	http.Redirect(w, r, "/developers/login/callback?next="+url.QueryEscape(next), http.StatusSeeOther)
	return nil
}

func (u *upstream) Finish(_ http.ResponseWriter, r *http.Request) (*portal.Identified, string, error) {
	return u.who, r.URL.Query().Get("next"), u.err
}
