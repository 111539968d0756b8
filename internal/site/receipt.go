package site

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"cpcds2fhir/internal/accounts"
)

// consentVersion is that of the texts of the consent page, in all languages. A test fails if the texts change and the
// version does not.
const consentVersion = "2026-12"

// told is what the consent page says to a member before they decide: all that it says of the app, and of what sharing
// means, and nothing of the member. What can be chosen is told as it is offered; what was chosen is in the receipt.
func (v *visit) told(app app, a *asked) *accounts.Statement {
	agency := v.frame.Agency(v.Lang)
	var lines []string
	add := func(text string) {
		if text != "" {
			lines = append(lines, text)
		}
	}
	say := func(key string, args ...any) { add(v.Text(key, args...)) }
	say("consent.title", app.Name)
	say("consent.lead")

	say("consent.who")
	add(app.Name)
	add(v.textOf("consent.publisher", app.Publisher))
	add(v.textOf("consent.domain", app.Domain))
	add(app.Host)
	if app.Testing {
		say("consent.testing")
		say("consent.testing.text")
	}
	if app.About != "" {
		say("consent.about")
		add(app.About)
	}
	if app.Attested != "" {
		say("consent.attested", app.Attested)
		if len(app.Promises) > 0 {
			say("consent.promised")
			lines = append(lines, app.Promises...)
		}
		if len(app.NotPromised) > 0 {
			say("consent.notpromised")
			lines = append(lines, app.NotPromised...)
		}
		say("consent.unchecked", agency)
	} else {
		say("consent.notattested")
		say("consent.notattested.text")
	}
	if app.Policy != "" {
		say("consent.policy")
		add(app.Policy)
	} else {
		say("consent.nopolicy")
		say("consent.nopolicy.text")
	}
	if app.Terms != "" {
		say("consent.terms")
		add(app.Terms)
	}
	add(v.textOf("consent.support", app.SupportText))
	say("consent.notours", agency)

	say("consent.what")
	if len(a.kinds) > 0 {
		say("consent.what.text")
	}
	for _, k := range a.kinds {
		say(k.title)
		say(k.text)
		if k == personal {
			say("consent.needed")
		}
		if part := a.part(k); part != "" {
			say("consent.part", part)
		}
	}
	if a.identity && len(a.kinds) > 0 {
		say("consent.identity")
	}
	if len(a.kinds) == 0 {
		say("consent.onlyidentity")
	}
	say("consent.until")
	say("consent.until.text")
	if a.offline {
		say("consent.offline")
		say("consent.offline.text", v.about(v.Access))
	}
	say("consent.means")
	for _, m := range v.means() {
		add(m)
	}
	for _, key := range []string{"consent.complain", "consent.complain.text", "consent.complain.ftc", "consent.complain.ocr"} {
		say(key)
	}
	say("consent.allow")
	say("consent.deny")
	return &accounts.Statement{Version: consentVersion, Language: v.Lang, Words: strings.Join(lines, "\n")}
}

// textOf is a text about a value, "" if there is no value.
func (v *visit) textOf(key, value string) string {
	if value == "" {
		return ""
	}
	return v.Text(key, value)
}

// means is what sharing means.
func (v *visit) means() []string {
	agency := v.frame.Agency(v.Lang)
	return []string{
		v.Text("consent.means.control", agency), v.Text("consent.means.hipaa"), v.Text("consent.means.ftc"), v.Text("consent.means.family"), v.Text("consent.means.stop"),
		v.Text("consent.means.free", agency),
	}
}

// agreement is a receipt as a member reads it.
type agreement struct {
	App             string
	Of              string // whose data
	Mine            bool   // the user decided, not somebody who acts for them
	At, Until       string
	Shared, Kept    []string // what was allowed, and what the app asked for but was not given
	Offline         bool
	Version, Digest string
	Words           []string
	Lang, LangName  string // in which it was read
}

// showAgreed shows the receipt of a grant that the user may see.
func (v *visit) showAgreed() error {
	if v.session == nil {
		return v.see("/login")
	}
	g, err := v.mine(v.R.URL.Query().Get("grant"))
	switch {
	case err != nil:
		return err
	case g == nil:
		return errMissing
	}
	r, err := v.Accounts.Receipt(v.R.Context(), g.ID)
	switch {
	case errors.Is(err, accounts.ErrNotFound): // it is older than receipts
		return errMissing
	case err != nil:
		return fmt.Errorf("receipt: %w", err)
	}
	c, err := v.connection(g, map[string]string{})
	if err != nil {
		return err
	}
	granted, requested := read(r.Granted), read(r.Requested)
	x := &agreement{
		App: c.App.Name, Of: c.Of, Mine: !c.Others, At: v.DateTime(r.Created), Until: v.Date(r.Expires), Shared: c.Shared, Offline: granted.offline,
		Version: r.Version, Digest: r.Digest, Words: strings.Split(r.Words, "\n"), Lang: r.Language, LangName: v.Text("language.en"),
	}
	if r.Language == "es" {
		x.LangName = v.Text("language.es")
	}
	for _, k := range requested.kinds {
		if !slices.Contains(granted.kinds, k) {
			x.Kept = append(x.Kept, v.Text(k.title))
		}
	}
	title := v.Text("agreed.title")
	if !x.Mine {
		title = v.Text("agreed.title.other")
	}
	return v.show(http.StatusOK, "agreed", &page{Title: title, Content: x}, "grant")
}
