package portal

import (
	"context"
	"encoding/json"
	"slices"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

const revisionQuery = `SELECT number, at, person, form, about FROM portal_revisions `

func readRevision(row database.Row) (*Revision, error) {
	v := &Revision{}
	var at int64
	var person, form, about string
	if err := row.Scan(&v.Number, &at, &person, &form, &about); err != nil {
		return nil, err
	}
	number := v.Number
	if err := database.Decode(about, v); err != nil {
		return nil, err
	}
	v.Number, v.At, v.By, v.Form = number, database.Instant(at), person, form
	return v, nil
}

// revision finds one. It fails with ErrNotFound.
func (p *Portal) revision(ctx context.Context, q database.Queryer, application string, number int) (*Revision, error) {
	return first(database.List(ctx, q, readRevision, revisionQuery+`WHERE application = $1 AND number = $2`, application, number))
}

// freeze makes of answers, settings, evidence and texts a revision that nobody changes.
func (m *move) freeze(ctx context.Context, tx *step) error {
	r := m.r
	r.Revision++
	v := &Revision{
		Number: r.Revision, At: m.at, By: m.by(), Form: m.form.Digest(), Answers: m.form.Asked(m.answers), Settings: m.settings(),
		Evidence: m.seen.shown, Texts: map[string]string{},
	}
	for kind, url := range policies(v.Settings) {
		if t := m.seen.texts[kind]; t != nil && t.url == url && t.sum != "" {
			v.Texts[kind] = t.sum
		}
		if pasted := v.Answers[kind+"_text"]; len(pasted) > 0 {
			v.Texts[kind+"_pasted"] = sumOfWords([]byte(pasted[0]))
		}
		if file := v.Answers[kind+"_document"]; len(file) > 0 {
			sums, err := database.Column(ctx, tx, `SELECT sha256 FROM portal_documents WHERE id = $1 AND application = $2`, file[0], r.ID)
			if err != nil {
				return err
			}
			if len(sums) > 0 {
				v.Texts[kind+"_document"] = sums[0]
			}
		}
	}
	questions, err := json.Marshal(m.form)
	if err != nil {
		return err
	}
	if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_questions (form, text) VALUES ($1, $2) ON CONFLICT (form) DO NOTHING`,
		v.Form, string(questions)); err != nil {
		return err
	}
	about, err := database.Encode(v)
	if err != nil {
		return err
	}
	_, err = database.Change(ctx, tx.Tx, `INSERT INTO portal_revisions (application, number, at, person, form, about) VALUES ($1, $2, $3, $4, $5, $6)`,
		r.ID, v.Number, database.Millis(v.At), v.By, v.Form, about)
	return err
}

// Revisions lists what was submitted, oldest first.
func (a *Actor) Revisions(ctx context.Context, id string) ([]*Revision, error) {
	if _, err := a.see(ctx, a.db, id); err != nil {
		return nil, err
	}
	return database.List(ctx, a.db, readRevision, revisionQuery+`WHERE application = $1 ORDER BY number`, id)
}

// Asked is the form as it was when a revision was submitted.
func (a *Actor) Asked(ctx context.Context, v *Revision) (*forms.Form, error) {
	text, err := first(database.Column(ctx, a.db, `SELECT text FROM portal_questions WHERE form = $1`, v.Form))
	if err != nil {
		return nil, err
	}
	return a.Forms.Restore([]byte(text))
}

// Differences says what has changed from one revision of an application to the next, in answers and in settings; the
// fields of settings have the prefix app.
func (a *Actor) Differences(ctx context.Context, id string, from, to int) ([]forms.Change, error) {
	if _, err := a.see(ctx, a.db, id); err != nil {
		return nil, err
	}
	was, err := a.revision(ctx, a.db, id, from)
	if err != nil {
		return nil, err
	}
	is, err := a.revision(ctx, a.db, id, to)
	if err != nil {
		return nil, err
	}
	form, err := a.Asked(ctx, is)
	if err != nil {
		return nil, err
	}
	list := forms.Diff(form, was.Answers, is.Answers)
	x, y := was.Settings.fields(), is.Settings.fields()
	for _, f := range settingsFields {
		if !slices.Equal(x[f], y[f]) {
			list = append(list, forms.Change{Question: "app." + f, Was: x[f], Is: y[f]})
		}
	}
	return list, nil
}

// settingsFields are the names of the fields of Settings, in their order.
var settingsFields = []string{
	"name", "kind", "auth", "redirect_uris", "scopes", "jwks", "jwks_uri", "offline", "category", "homepage", "policy", "terms", "support",
	"about_en", "about_es", "platforms", "audience", "utah", "logo",
}

// fields are settings as texts, by field; one that is empty is left out.
func (s *Settings) fields() map[string][]string {
	if s == nil {
		return nil
	}
	out := map[string][]string{}
	put := func(name string, values ...string) {
		if len(values) > 1 || len(values) == 1 && values[0] != "" {
			out[name] = values
		}
	}
	flag := map[bool]string{true: "yes", false: "no"}
	put("name", s.Name)
	put("kind", s.Kind)
	put("auth", s.Auth)
	put("redirect_uris", s.RedirectURIs...)
	var scopes []string
	for _, x := range s.Scopes {
		scopes = append(scopes, x.Scope+": "+x.Reason)
	}
	put("scopes", scopes...)
	put("jwks", s.JWKS)
	put("jwks_uri", s.JWKSURI)
	put("offline", flag[s.Offline])
	put("category", s.Category)
	put("homepage", s.Homepage)
	put("policy", s.Policy)
	put("terms", s.Terms)
	put("support", s.Support)
	put("about_en", s.About["en"])
	put("about_es", s.About["es"])
	put("platforms", s.Platforms...)
	put("audience", s.Audience)
	put("utah", flag[s.Utah])
	put("logo", s.Logo)
	return out
}

// policies are the addresses of an app's policy and terms, by kind.
func policies(s *Settings) map[string]string {
	if s == nil {
		return nil
	}
	return map[string]string{"policy": s.Policy, "terms": s.Terms}
}

// lookOutside finds what a move needs of elsewhere: texts that are frozen or confirmed, and what the app has shown in
// the sandbox.
func (p *Portal) lookOutside(ctx context.Context, r *record, action lifecycle.Action, in *Input) (*outside, error) {
	out := &outside{}
	if r.Kind != lifecycle.Production || r.App == "" {
		return out, nil
	}
	var fetches, shows bool
	for i := range lifecycle.Moves {
		x := &lifecycle.Moves[i]
		if x.Kind == r.Kind && x.Action == action && slices.Contains(x.From, r.State) {
			freezes := slices.Contains(x.Effects, lifecycle.Freeze)
			fetches = fetches || freezes || slices.Contains(x.Effects, lifecycle.ConfirmPolicies) && action == lifecycle.Renew
			shows = shows || freezes || slices.Contains(x.Needs, lifecycle.Evidence)
		}
	}
	if !fetches && !shows {
		return out, nil
	}
	app, err := p.app(ctx, p.db, r.App)
	if err != nil {
		return nil, err
	}
	if shows {
		if out.shown, out.missing, err = p.evidence(ctx, app); err != nil {
			return nil, err
		}
	}
	if fetches {
		s := &app.Settings
		switch {
		case action == lifecycle.Change && in.Settings != nil:
			s = in.Settings
		case action == lifecycle.Renew && app.Approved != nil:
			s = app.Approved
		}
		out.texts = p.fetchTexts(ctx, policies(s))
	}
	return out, nil
}

// production is where the clients of apps in production are: the database of the portal.
func (p *Portal) production() *accounts.Accounts {
	if p.Production.Accounts != nil {
		return p.Production.Accounts
	}
	return p.Accounts
}
