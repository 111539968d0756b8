package portal

import (
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Times and limits of what comes without an account.
const (
	formConfirmFor = 48 * time.Hour
	formLapse      = 7 * 24 * time.Hour // one whose address nobody confirms
	formsMost      = 5                  // of one address that are not confirmed
)

// Events of what comes without an account.
const (
	didSubmitForm = "form_submitted"
	didRegister   = "client_registered"
)

// visitor is who sent an application without an account.
type visitor struct {
	Email, Language string
	key, token      string // sums
	client          string
	expires         time.Time
}

// visitor finds who sent an application. It fails with ErrNotFound for one that came otherwise.
func (p *Portal) visitor(ctx context.Context, q database.Queryer, application string) (*visitor, error) {
	return first(database.List(ctx, q, func(row database.Row) (*visitor, error) {
		v := &visitor{}
		var sealed string
		var expires int64
		if err := row.Scan(&v.key, &v.token, &expires, &v.client, &sealed); err != nil {
			return nil, err
		}
		v.expires = database.Instant(expires)
		return v, p.unseal("visitor "+application, sealed, v)
	}, `SELECT key_sum, token_sum, expires, client, sealed FROM portal_visitors WHERE application = $1`, application))
}

// SubmitForm keeps the public form for a PHR app as an application whose address is not confirmed, and sends a mail with
// a link. It returns its number and the key by which its page is found. It fails with *NeedError (Complete).
func (p *Portal) SubmitForm(ctx context.Context, answers forms.Answers, language string) (number, key string, err error) {
	form := p.Forms.Form(forms.PHR)
	answers = form.Asked(answers)
	for _, q := range form.Questions() {
		if q.Kind == forms.Document { // nobody has uploaded anything
			delete(answers, q.ID)
		}
	}
	if problems := append(form.Check(answers, true), form.NotYet(answers, p.Now().In(p.Zone).Format(time.DateOnly))...); len(problems) > 0 {
		return "", "", &NeedError{Need: lifecycle.Complete, Problems: problems}
	}
	email, err := addressOf("contact_email", one(answers, "contact_email"))
	if err != nil {
		return "", "", err
	}
	r := &record{Application: Application{Source: sourceForm, Answers: answers}}
	if key, err = p.addVisit(ctx, r, email, language, "", actorVisitor, didSubmitForm); err != nil {
		return "", "", err
	}
	return r.ID, key, nil
}

// one is the only value of an answer, or "".
func one(a forms.Answers, id string) string {
	if v := a[id]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// addVisit keeps an application that comes without an account, and asks by mail whether the address is right.
func (p *Portal) addVisit(ctx context.Context, r *record, email, language, client, actor, did string) (key string, err error) {
	language = languageOf(language)
	r.Kind, r.Form, r.State = lifecycle.Production, forms.PHR, lifecycle.Unconfirmed
	r.AppName, r.OrgName = one(r.Answers, "name"), one(r.Answers, "publisher")
	key, token := database.NewSecret(), database.NewSecret()
	var first *record
	err = p.tx(ctx, func(ctx context.Context, tx *step) error {
		c := *r
		first = &c
		mac := p.mac("visitor", email)
		if email != "" {
			waiting, err := database.Column(ctx, tx, `SELECT v.application FROM portal_visitors v JOIN portal_applications a ON a.id = v.application
				WHERE v.address_mac = $1 AND a.state = $2`, mac, string(lifecycle.Unconfirmed))
			if err != nil {
				return err
			}
			if len(waiting) >= formsMost {
				return accounts.ErrLocked
			}
		}
		if err := p.addApplication(ctx, tx, first); err != nil {
			return err
		}
		sealed, err := p.seal("visitor "+first.ID, &visitor{Email: email, Language: language})
		if err != nil {
			return err
		}
		now := p.Now()
		if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_visitors (application, key_sum, token_sum, expires, client, address_mac, sealed, created)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, first.ID, database.Sum(key), database.Sum(token), database.Millis(now.Add(formConfirmFor)), client, mac,
			sealed, database.Millis(now)); err != nil {
			return err
		}
		if email != "" {
			if err := p.mail(ctx, tx, "form_confirm", email, language, map[string]string{
				"Number": first.ID, "App": first.AppName, "Link": p.link(pageForm, "token", token),
			}); err != nil {
				return err
			}
		}
		return p.keep(ctx, tx, &Event{Actor: actor, Action: did, Application: first.ID, To: first.State})
	})
	if err != nil {
		return "", err
	}
	*r = *first
	return key, nil
}

// ConfirmForm takes the token of that mail. It is good once, for 48 hours. It fails with ErrNotFound.
func (p *Portal) ConfirmForm(ctx context.Context, token string) (*Application, error) {
	id, err := first(database.Column(ctx, p.db, `SELECT application FROM portal_visitors WHERE token_sum = $1 AND expires > $2`,
		database.Sum(token), database.Millis(p.Now())))
	if err != nil {
		return nil, err
	}
	r, err := p.application(ctx, p.db, id)
	if err != nil {
		return nil, err
	}
	r, err = p.move(ctx, nil, r, lifecycle.Confirm, &Input{Version: r.Version})
	if err != nil {
		if quiet(err) {
			err = accounts.ErrNotFound
		}
		return nil, err
	}
	return r.forVisitor(), nil
}

// forVisitor is an application as somebody sees it who has its number and key: without answers, and without what staff have
// written among themselves.
func (r *record) forVisitor() *Application {
	v := r.Application
	v.Answers = nil
	v.hideStaff()
	return &v
}

// Track finds an application by number and key: state, dates and what was said to the applicant. It fails with ErrNotFound
// whatever of both is wrong.
func (p *Portal) Track(ctx context.Context, number, key string) (*Application, []*Event, error) {
	r, err := p.tracked(ctx, number, key)
	if err != nil {
		return nil, nil, err
	}
	list, err := database.List(ctx, p.db, readEvent, eventQuery+` WHERE application = $1 ORDER BY id`, r.ID)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range list {
		e.forApplicant()
		e.Actor, e.Subject = "", ""
	}
	return r.forVisitor(), list, nil
}

// tracked finds an application by number and key.
func (p *Portal) tracked(ctx context.Context, number, key string) (*record, error) {
	number = strings.ToUpper(strings.TrimSpace(number))
	v, err := p.visitor(ctx, p.db, number)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(v.key), []byte(database.Sum(strings.TrimSpace(key)))) != 1 {
		return nil, accounts.ErrNotFound
	}
	return p.application(ctx, p.db, number)
}

// Registered makes an application of a client that has registered itself (RFC 7591): its answers are what the client has
// said. If it has said an address, that gets a mail with a link that confirms it, and a number and key.
func (p *Portal) Registered(ctx context.Context, id string) error {
	c, err := p.production().Client(ctx, id)
	if err != nil {
		return err
	}
	kinds := map[string]string{"none": "public", "client_secret": "secret", "private_key_jwt": "private_key"}
	r := &record{Application: Application{Source: sourceRegistration, Answers: forms.Answers{}}}
	for q, v := range map[string]string{
		"name": c.Name, "website": c.Homepage, "policy_url": c.Policy, "terms_url": c.Terms, "client_kind": kinds[c.Auth], "redirect_uri": strings.Join(c.RedirectURIs[:min(1, len(c.RedirectURIs))], ""),
	} {
		if v != "" && p.Forms.Form(forms.PHR).Question(q) != nil {
			r.Answers[q] = []string{v}
		}
	}
	email := ""
	for _, contact := range c.Contacts {
		if at, err := addressOf("contacts", contact); err == nil {
			email = at
			r.Answers["contact_email"] = []string{at}
			break
		}
	}
	if taken, err := database.Column(ctx, p.db, `SELECT application FROM portal_visitors WHERE client = $1`, id); err != nil || len(taken) > 0 {
		return err // it was told before
	}
	if _, err := p.addVisit(ctx, r, email, "en", id, actorVisitor, didRegister); err != nil || email != "" {
		return err
	}
	// Nobody can confirm what has no address: staff look at it as it is.
	_, err = p.move(ctx, nil, r, lifecycle.Confirm, &Input{Version: r.Version})
	return err
}

// ClaimForm brings an application that came without an account into an organisation of the actor, whose address must
// be the one that was confirmed. Answers are taken over into an application for production of a new app, so nothing is typed
// twice. An application of a client that has registered itself needs no key: its address is enough.
func (a *Actor) ClaimForm(ctx context.Context, number, key, org string) (*Application, error) {
	if err := a.mayAct(org, Owner); err != nil {
		return nil, err
	}
	number = strings.ToUpper(strings.TrimSpace(number))
	v, err := a.visitor(ctx, a.db, number)
	if err != nil {
		return nil, err
	}
	if v.client == "" {
		if _, err := a.tracked(ctx, number, key); err != nil {
			return nil, err
		}
	}
	if a.Person == nil || a.Person.Verified.IsZero() || v.Email == "" || a.Person.Email != v.Email {
		return nil, accounts.ErrNotFound // as if there were none: somebody else may have found the key
	}
	seen, err := a.application(ctx, a.db, number)
	if err != nil {
		return nil, err
	}
	if seen.Org != "" {
		return nil, accounts.ErrNotFound
	}
	var m *move
	err = a.tx(ctx, func(ctx context.Context, tx *step) error {
		m = &move{Portal: a.Portal, actor: a, in: &Input{Version: seen.Version}, seen: &outside{}, at: a.Now().UTC(), claims: org, client: v.client}
		return m.decide(ctx, tx, number, lifecycle.Claim)
	})
	if err != nil {
		return nil, err
	}
	a.settle(ctx)
	return a.view(ctx, a.db, m.r)
}

// claim makes an application that came without an account one of an organisation, with an app of its own. What was submitted
// stays as the first revision.
func (m *move) claim(ctx context.Context, tx *step) error {
	s := m.settingsOfForm()
	if err := m.checkSettings(s, InSandbox); err != nil {
		return err
	}
	app, err := m.actor.addApp(ctx, tx, m.claims, s)
	if err != nil {
		return err
	}
	if m.client != "" { // what has registered itself becomes the app's client, once it has its credentials
		c, err := m.production().ClientIn(ctx, tx.Tx, m.client)
		if err != nil && !errors.Is(err, accounts.ErrNotFound) {
			return err
		}
		if err == nil && c.Status == accounts.Held {
			app.Production = m.client
			if err := m.saveApp(ctx, tx, app); err != nil {
				return err
			}
		}
	}
	m.app, m.r.App, m.r.Org, m.r.AppName = app, app.ID, m.claims, s.Name
	m.r.Form = forms.Production
	m.form = m.Forms.Form(forms.Production)
	answers := m.prefilled(app)
	for id, v := range m.r.Answers {
		if q := m.form.Question(id); q != nil && q.Kind != forms.Document && q.Kind != forms.Attest {
			answers[id] = slices.Clone(v)
		}
	}
	for id := range answers { // what the one form takes and the other does not
		if len(m.form.Check(forms.Answers{id: answers[id]}, false)) > 0 {
			delete(answers, id)
		}
	}
	m.r.Answers, m.answers = answers, answers
	return nil
}

// settingsOfForm are the settings that the public form has asked for.
func (m *move) settingsOfForm() *Settings {
	a := m.r.Answers
	s := &Settings{
		Name: one(a, "name"), Kind: "web", Auth: "client_secret", Homepage: one(a, "website"), Policy: one(a, "policy_url"), Terms: one(a, "terms_url"),
		Support: one(a, "support_url"), Platforms: slices.Clone(a["platforms"]), About: map[string]string{},
		Scopes: []Scope{{Scope: "launch/patient"}, {Scope: "openid"}, {Scope: "fhirUser"}, {Scope: "patient/*.read"}},
	}
	if s.Support == "" {
		s.Support = one(a, "support_email")
	}
	for _, lang := range forms.Languages {
		if text := one(a, "about_"+lang); text != "" {
			s.About[lang] = text
		}
	}
	if uri := one(a, "redirect_uri"); uri != "" {
		s.RedirectURIs = []string{uri}
	}
	switch one(a, "client_kind") {
	case "public":
		s.Auth = "none"
	case "private_key":
		s.Auth = "private_key_jwt"
	}
	return s
}
