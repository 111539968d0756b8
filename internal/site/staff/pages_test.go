package staff

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/forms/formstest"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
)

// busy is a portal in which much has happened, with all that nobody of the staff may ever read.
type busy struct {
	*world
	production, sandbox, phr *portal.Application
	app                      *portal.App
	ticket, complaint        string
	document                 string
	secrets                  []string
}

func newBusy(t *testing.T) *busy {
	t.Helper()
	w := newWorld(t, func(c *portal.Config) {
		c.TestMembers = []portal.TestMember{{Login: "member-login", Password: "member-password", Name: "Maria Made-Up", Patient: "patient-id-77", Note: "many claims"}}
	})
	k := &busy{world: w}
	k.secrets = []string{password, key, "member-login", "member-password", "Maria Made-Up", "patient-id-77", w.owner.Session.ID, w.rita.id, w.ada.id}
	k.sandbox = w.questionnaire()
	w.rita.does(k.sandbox.ID, lifecycle.Take)
	w.rita.does(k.sandbox.ID, lifecycle.Approve)
	app, secret := w.app("Claims Friend")
	k.secrets = append(k.secrets, secret)
	c, err := w.owner.Rotate(ctx, app.ID, portal.InSandbox, 0)
	ok(t, err)
	k.secrets = append(k.secrets, c.Secret)
	k.production = w.applies(app)
	w.reviewed(w.rita, k.production)
	list := at(k.production.ID, "checklist")
	w.rita.see(list).form(list).fill("domain", "not_met", "domain_note", "look again", "policy_sharing", "not_met").send()
	messages := at(k.production.ID, "messages")
	w.rita.see(messages).form(messages).fill("text", "A word to you.", "to", "applicant").send().follow("The message is sent.")
	w.support.see(messages).form(messages).fill("text", "A word among us.").send().follow("A word among us.")
	w.rita.does(k.production.ID, lifecycle.Propose)
	w.rob.does(k.production.ID, lifecycle.Approve, "conditions", "Tell us of each breach.")
	w.step(k.production.ID, lifecycle.Issue, nil)
	c, err = w.owner.Issue(ctx, app.ID, portal.InProduction)
	ok(t, err)
	k.secrets = append(k.secrets, c.Secret)
	in := w.signed(k.production)
	in.Settings = settings("Claims Companion")
	w.step(k.production.ID, lifecycle.GoLive, nil)
	w.step(k.production.ID, lifecycle.Change, in)
	docs, err := w.owner.Documents(ctx, k.production.ID)
	ok(t, err)
	k.document = docs[0].ID
	if k.app, err = w.owner.App(ctx, app.ID); err != nil {
		t.Fatal(err)
	}

	number, track, err := w.SubmitForm(ctx, formstest.Filled(w.Forms.Form(forms.PHR)), "es")
	ok(t, err)
	k.secrets = append(k.secrets, track)
	mail := w.mailed()
	token := regexp.MustCompile(`token=(\S+)`).FindStringSubmatch(mail[strings.Index(mail, number):])[1]
	k.phr, err = w.ConfirmForm(ctx, token)
	ok(t, err)

	for kind, into := range map[string]*string{"support": &k.ticket, "complaint": &k.complaint} {
		answers := formstest.Filled(w.Forms.Form(kind))
		delete(answers, "email")
		switch kind {
		case "support":
			answers["email"] = []string{"ann@apps.example"}
		case "complaint":
			answers["reply"] = []string{"none"}
		}
		x, err := w.File(ctx, kind, answers, "", k.app.Production, "en", true)
		ok(t, err)
		*into = x.ID
	}
	ok(t, w.ForgotPassword(ctx, "ada@people.example"))
	_, err = w.owner.Invite(ctx, &portal.Invitation{Org: w.org, Email: "new@people.example", Family: "Newman", Role: portal.Observer})
	ok(t, err)
	ok(t, w.actor("Pia Pending").RequestProof(ctx))
	// These mails wait: their links must not be seen.
	k.secrets = append(k.secrets, "token=")
	return k
}

// fillPath puts ids into a pattern of the table of routes.
func (k *busy) fillPath(pattern string) string {
	id := k.production.ID
	return strings.NewReplacer("{id}", id, "{document}", k.document, "{number}", "1", "{action}", "suspend", "{person}", k.people["Dan Developer"].ID, "{org}", k.org,
		"{app}", k.app.ID, "{logo}", "none", "{ticket}", k.ticket).Replace(pattern)
}

// TestRoutes tries every route with every role: everybody else finds nothing, and no form without its token is taken.
func TestRoutes(t *testing.T) {
	k := newBusy(t)
	order := []portal.StaffRole{portal.NoStaff, portal.Support, portal.Reviewer, portal.Administrator}
	browsers := map[portal.StaffRole]*browser{portal.NoStaff: k.dan, portal.Support: k.support, portal.Reviewer: k.rita, portal.Administrator: k.ada}
	nobody := &browser{w: k.world, name: "nobody"}
	stolen := k.rob.see(at(k.production.ID, "messages")).form(at(k.production.ID, "messages")).fields.Get("token")
	n := 0
	for _, p := range k.site.pages() {
		path := k.fillPath(p.path)
		for _, way := range []struct {
			method string
			least  portal.StaffRole
			served bool
		}{{http.MethodGet, p.role, p.show != nil}, {http.MethodPost, p.act, p.take != nil}} {
			if !way.served {
				continue
			}
			r := nobody.do(way.method, path, "").want(http.StatusSeeOther)
			if to := r.header.Get("Location"); !strings.HasPrefix(to, desk.SignInPath) {
				t.Errorf("nobody is led from %s to %s", path, to)
			}
			for i, role := range order {
				n++
				b := browsers[role]
				r := b.do(way.method, path, "")
				allowed := i >= slices.Index(order, way.least)
				switch {
				case !allowed:
					r.want(http.StatusNotFound, "There is no such page").lacks("Claims Friend", "Apps Inc.", k.production.ID)
				case way.method == http.MethodPost:
					r.want(http.StatusForbidden, "This page was out of date")
					b.do(http.MethodPost, path, url.Values{"token": {stolen}, "version": {"1"}, "reason": {"x"}}.Encode()).want(http.StatusForbidden, "This page was out of date")
				case strings.HasSuffix(p.path, "{logo}"):
					r.want(http.StatusNotFound) // it has none
				default:
					r.want(http.StatusOK)
				}
				if strings.HasSuffix(r.header.Get("Cache-Control"), "public") || r.header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s is kept by browsers: %q", path, r.header.Get("Cache-Control"))
				}
			}
		}
		if !strings.Contains(p.path, "{") || p.show == nil {
			continue
		}
		// What there is not is not found, whoever asks.
		for _, wrong := range []string{"P-0000-0000", "..%2F..%2Fetc", "'OR'1'='1"} {
			strange := regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(p.path, wrong)
			k.ada.get(strange).want(http.StatusNotFound)
		}
	}
	if n < 100 {
		t.Fatalf("only %d were tried", n)
	}
	if got := k.state(k.production.ID); got != lifecycle.ChangePending {
		t.Errorf("it is in the state %s", got)
	}
}

// crawl visits every page that somebody can reach by links.
func (k *busy) crawl(b *browser, visit func(r *reply)) int {
	k.t.Helper()
	seen := map[string]bool{}
	todo := []string{"/staff"}
	for _, id := range []string{k.production.ID, k.sandbox.ID, k.phr.ID} {
		todo = append(todo, at(id), at(id, "move", "suspend"), at(id, "move", "take"), at(id, "move", "propose_change"), at(id, "move", "accept_change"), at(id, "move", "refuse_change"), at(id, "move", "revoke"))
	}
	for len(todo) > 0 && len(seen) < 600 {
		path := todo[0]
		todo = todo[1:]
		if seen[path] || strings.Contains(path, "lang=") || strings.Contains(path, "sort=") && (strings.Contains(path, "order=") || strings.Contains(path, "view=")) {
			continue
		}
		seen[path] = true
		r := b.get(path)
		if r.status != http.StatusOK {
			if r.root != nil {
				visit(r)
			}
			continue
		}
		visit(r)
		if r.root != nil {
			todo = append(todo, r.links()...)
		}
	}
	return len(seen)
}

// TestNoSecrets walks all pages as every role, and looks for every secret and every value of a member.
func TestNoSecrets(t *testing.T) {
	k := newBusy(t)
	for _, b := range []*browser{k.support, k.rita, k.ada} {
		n := k.crawl(b, func(r *reply) {
			for i, s := range k.secrets {
				if strings.Contains(r.body, s) {
					t.Errorf("%s by %s has the secret %d", r.path, b.name, i)
				}
			}
			if strings.Contains(r.body, "cfh_test_") || strings.Contains(r.body, "cfh_live_") {
				t.Errorf("%s by %s has a secret", r.path, b.name)
			}
		})
		if n < 30 {
			t.Errorf("%s has found only %d pages", b.name, n)
		}
	}
	// The walk would have found it: what it looks for is there.
	k.support.see(ticketPath+"/"+k.ticket, "About ")
	if !strings.Contains(k.support.get(at(k.production.ID)).body, "Claims Companion") {
		t.Error("the walk has seen no application")
	}
}

// TestMarkup writes markup wherever developers and visitors can write: it is text on every page of staff, and changes none.
func TestMarkup(t *testing.T) {
	k := newBusy(t)
	const markup = `"><img src=x onerror=alert(1)><script>alert(1)</script>`
	s := settings(`Steps <img src=x onerror=alert(1)>`)
	s.About["en"], s.Scopes[0].Reason = markup, markup
	app, err := k.owner.AddApp(ctx, k.org, s)
	ok(t, err)
	_, err = k.owner.Say(ctx, k.production.ID, markup, false)
	ok(t, err)
	answers := formstest.Filled(k.Forms.Form("support"))
	for id := range answers {
		if q := k.Forms.Form("support").Question(id); q.Kind == forms.Plain || q.Kind == forms.Paragraph {
			answers[id] = []string{markup}
		}
	}
	_, err = k.File(ctx, "support", answers, "", "", "en", true)
	ok(t, err)
	k.step(k.production.ID, lifecycle.WithdrawChange, nil)
	again := k.signed(k.production)
	again.Settings = settings("Claims Companion")
	again.Settings.About["en"] = markup
	k.step(k.production.ID, lifecycle.Change, again)
	shown := 0
	k.crawl(k.ada, func(r *reply) {
		if strings.Contains(r.body, "<img src=x") || strings.Contains(r.body, "<script>") {
			t.Errorf("%s has markup of somebody else", r.path)
		}
		if strings.Contains(r.body, "&lt;img src=x onerror=alert(1)&gt;") {
			shown++
		}
	})
	if k.ada.see(appsPath + "/" + app.ID); shown < 5 {
		t.Errorf("only %d pages show it as text", shown)
	}
}

// TestAccessible looks at every page in both languages: one heading, labels, ids, captions, and no English in Spanish.
func TestAccessible(t *testing.T) {
	k := newBusy(t)
	foreign := englishOnly()
	for _, lang := range []string{"en", "es"} {
		for _, b := range []*browser{k.support, k.ada} {
			b.lang = lang
			k.crawl(b, func(r *reply) {
				if r.root == nil {
					return
				}
				for _, fault := range lint(r.root, lang) {
					t.Errorf("%s (%s): %s", r.path, lang, fault)
				}
				if lang != "es" {
					return
				}
				words := r.words()
				for _, text := range foreign {
					if strings.Contains(words, text) {
						t.Errorf("%s in Spanish says %q", r.path, text)
					}
				}
			})
			b.lang = ""
		}
	}
	// Pages with errors too.
	path := at(k.production.ID, "move", "suspend")
	f := k.rita.see(path).form(path)
	f.fields.Set("reason", "")
	bad := f.send().want(http.StatusUnprocessableEntity)
	for _, fault := range lint(bad.root, "en") {
		t.Errorf("with errors: %s", fault)
	}
	if !strings.Contains(bad.body, `aria-invalid="true"`) || !strings.Contains(bad.body, `<title>Error: `) || !strings.Contains(bad.body, `href="#reason"`) {
		t.Error("the errors are not told as they should be")
	}
}

// englishOnly are sentences in English that are others in Spanish.
func englishOnly() (list []string) {
	add := func(en, es string) {
		if en != es && len(strings.Fields(en)) >= 4 && !strings.Contains(en, "%") {
			list = append(list, en)
		}
	}
	for _, all := range append(slices.Clone(desk.Texts), texts) {
		for id, en := range all["en"] {
			add(en, all["es"][id])
		}
	}
	set, err := allForms()
	if err != nil {
		panic(err)
	}
	for _, name := range []string{forms.Questionnaire, forms.Production, forms.PHR, forms.Review, forms.Support, forms.Complaint} {
		for _, q := range set.Form(name).Questions() {
			add(q.Label.EN, q.Label.ES)
			add(q.Hint.EN, q.Hint.ES)
		}
	}
	for _, c := range set.Criteria() {
		add(c.Text.EN, c.Text.ES)
	}
	return list
}

// TestTranslated has each text in both languages, and no English one in Spanish.
func TestTranslated(t *testing.T) {
	for id, en := range texts["en"] {
		es := texts["es"][id]
		if es == "" {
			t.Errorf("%s is missing in Spanish", id)
		}
		if letters := strings.NewReplacer("%s", "", "%d", "", ":", "").Replace(en); en == es && len(strings.Fields(letters)) > 1 {
			t.Errorf("%s is English in Spanish: %q", id, es)
		}
		if strings.Contains(es, " tu ") || strings.Contains(es, " tus ") {
			t.Errorf("%s says tú: %q", id, es)
		}
	}
	if len(texts["es"]) != len(texts["en"]) {
		t.Errorf("there are %d texts in English, and %d in Spanish", len(texts["en"]), len(texts["es"]))
	}
	for _, m := range lifecycle.Moves {
		for _, e := range m.Effects {
			if texts["en"]["effect."+string(e)] == "" {
				t.Errorf("the effect %s has no words", e)
			}
		}
	}
}

// TestQueue filters, sorts and turns pages by links and by the form.
func TestQueue(t *testing.T) {
	k := newBusy(t)
	k.rita.see("/staff", k.production.ID, k.phr.ID, "from the public form").lacks(k.sandbox.ID)
	k.rita.see("/staff?view=all", k.sandbox.ID, k.phr.ID)
	k.rita.see("/staff?view=live", k.sandbox.ID).lacks(k.phr.ID)
	k.rita.see("/staff?view=all&kind=sandbox", k.sandbox.ID, "1 application", "Clear the filters").lacks(k.production.ID)
	k.rita.see("/staff?view=all&state=change_pending", k.production.ID).lacks(k.sandbox.ID)
	k.rita.see("/staff?view=all&q=companion", "No application fits").lacks(k.sandbox.ID)
	k.rita.see("/staff?view=mine", k.production.ID).lacks(k.phr.ID)
	k.rita.see("/staff?assignee=none", k.phr.ID).lacks(k.production.ID)
	k.rita.see("/staff?view=nonsense&kind=x&state=draft&sort=x&page=-1&assignee=")
	up, down := k.rita.see("/staff?view=all&sort=number").words(), k.rita.see("/staff?view=all&sort=number&order=down").words()
	first := func(words string) bool {
		return strings.Index(words, k.production.ID) < strings.Index(words, k.sandbox.ID)
	}
	if first(up) == first(down) {
		t.Error("the order is the same both ways")
	}
	for _, by := range sorts {
		k.rita.see("/staff?view=all&sort="+by, k.production.ID, k.sandbox.ID)
		k.rita.see("/staff?view=all&order=down&sort="+by, k.production.ID, k.sandbox.ID)
	}
	k.pass(40 * 24 * 3600e9)
	again := k.signIn("Tim Tomorrow", portal.Reviewer)
	again.see("/staff?view=all", "Overdue by", "40 days")
}

// TestPager turns the pages of long lists.
func TestPager(t *testing.T) {
	w := newWorld(t, nil)
	w.server = w.site.desk.Handle(desk.Anybody, func(v *desk.Visit) error {
		rows := make([]int, 120)
		for i := range rows {
			rows[i] = i
		}
		for page, want := range map[int][3]int{1: {0, 50, 0}, 2: {50, 50, 1}, 3: {100, 20, 2}, 9: {100, 20, 2}} {
			got, m := cut(v, rows, page, func(page string) string { return "/p?" + page })
			if got[0] != want[0] || len(got) != want[1] {
				t.Errorf("page %d begins with %d and has %d", page, got[0], len(got))
			}
			if (m.Before != "") != (want[2] > 0) || (m.Next != "") != (want[2] < 2) {
				t.Errorf("page %d leads to %+v", page, m)
			}
		}
		_, m := cut(v, rows[:0], 1, nil)
		if m != (pager{}) {
			t.Errorf("an empty list leads to %+v", m)
		}
		return v.See("/")
	})
	w.dan.get("/")
}

// TestExport gives a table in which no cell is a formula.
func TestExport(t *testing.T) {
	w := newWorld(t, nil)
	o, err := w.owner.Organisation(ctx, w.org)
	ok(t, err)
	o.Name, o.Legal = "=HYPERLINK(\"evil.example\")", "@SUM(1)"
	ok(t, w.owner.UpdateOrganisation(ctx, o))
	a := w.questionnaire()
	w.rita.see("/staff", "Download this list as a table")
	w.rita.get("/staff/export.csv?view=all").want(http.StatusOK)
	r := w.ada.get("/staff/export.csv?view=all").want(http.StatusOK)
	if got := r.header.Get("Content-Disposition"); !strings.HasPrefix(got, `attachment; filename="applications-2026-03-02.csv"`) || r.header.Get("Content-Type") != "text/csv; charset=utf-8" {
		t.Errorf("it comes as %q, %q", got, r.header.Get("Content-Type"))
	}
	rows, err := csv.NewReader(strings.NewReader(r.body)).ReadAll()
	ok(t, err)
	if len(rows) != 2 || rows[1][0] != a.ID {
		t.Fatalf("the rows are %q", rows)
	}
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t") {
				t.Errorf("a cell is a formula: %q", cell)
			}
		}
	}
	if strings.Contains(r.body, "About ") {
		t.Error("it has answers")
	}
	if rows, _ := csv.NewReader(strings.NewReader(w.ada.get("/staff/export.csv?kind=production").body)).ReadAll(); len(rows) != 1 {
		t.Errorf("filtered it has %d rows", len(rows))
	}
}

// TestDocument gives documents as attachments that no browser shows.
func TestDocument(t *testing.T) {
	k := newBusy(t)
	r := k.support.get(at(k.production.ID, "documents", k.document)).want(http.StatusOK)
	h := r.header
	if r.body != "%PDF-1.7 a report" || h.Get("Content-Type") != "application/pdf" || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment; filename=\"pen test_ _2026_ _.pdf\"") ||
		h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") || h.Get("Cache-Control") != "no-store" {
		t.Errorf("it comes as %v", h)
	}
	k.support.get(at(k.sandbox.ID, "documents", k.document)).want(http.StatusNotFound)
}
