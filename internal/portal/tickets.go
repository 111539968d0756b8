package portal

import (
	"context"
	"errors"
	"slices"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Ticket is a request for support, a general question, or a complaint about an app.
type Ticket struct {
	ID      string // number that people read, such as S-4H2K-9PWX
	Kind    string // support, contact or complaint
	Email   string // of who asks; "" for a complaint without one
	Person  string // id, if they have signed in
	Client  string // that a complaint is about, or ""
	App     string
	State   string // open, answered or closed
	Version int
	Answers forms.Answers
	Warned  []string // kinds of secrets or health data that were found in it, and that the writer was warned of
	Replies []Message
	Created time.Time
	Changed time.Time
}

// States of a ticket.
const (
	ticketOpen     = "open"
	ticketAnswered = "answered"
	ticketClosed   = "closed"
)

// Kinds of tickets: each has a form of the same name.
var ticketKinds = []string{"support", "contact", "complaint"}

// replyMost is the most that staff write in an answer, in characters.
const replyMost = 10000

// sealedTicket is what is sealed of a ticket.
type sealedTicket struct {
	Email   string
	Answers forms.Answers
	Warned  []string
}

// File keeps a ticket. Without confirmed, a text that seems to have a secret or health data is *InputError with the code
// warn_secret or warn_health, and the question as its field: the page asks whether to send it all the same. Who files
// it gets a mail with its number, if they have given an address. It fails with *NeedError (Complete).
func (p *Portal) File(ctx context.Context, kind string, answers forms.Answers, person, client, language string, confirmed bool) (*Ticket, error) {
	form := p.Forms.Form(kind)
	if form == nil || !slices.Contains(ticketKinds, kind) {
		return nil, &InputError{"kind", codeWrong}
	}
	answers = form.Asked(answers)
	for _, q := range form.Questions() {
		if q.Kind == forms.Document { // nothing is uploaded with a ticket
			delete(answers, q.ID)
		}
	}
	if problems := form.Check(answers, true); len(problems) > 0 {
		return nil, &NeedError{Need: lifecycle.Complete, Problems: problems}
	}
	warned, field := warnings(form, answers)
	if len(warned) > 0 && !confirmed {
		return nil, &InputError{field, warned[0]}
	}
	now := p.Now().UTC()
	t := &Ticket{
		Kind: kind, Person: person, Client: client, State: ticketOpen, Version: 1, Answers: answers, Warned: warned, Created: now, Changed: now,
	}
	if len(answers["email"]) > 0 {
		var err error
		if t.Email, err = addressOf("email", answers["email"][0]); err != nil {
			return nil, err
		}
	}
	if client != "" {
		c, err := p.Accounts.Client(ctx, client)
		if errors.Is(err, accounts.ErrNotFound) {
			return nil, &InputError{"client", codeWrong}
		}
		if err != nil {
			return nil, err
		}
		t.App = c.App
	}
	return t, p.tx(ctx, func(ctx context.Context, tx *step) error { return p.addTicket(ctx, tx, t, languageOf(language)) })
}

// warnings are what a text seems to have that does not belong there, and the question of the first.
func warnings(form *forms.Form, answers forms.Answers) (kinds []string, field string) {
	for _, q := range form.Visible(answers) {
		if q.Kind != forms.Plain && q.Kind != forms.Paragraph && q.Kind != forms.URL {
			continue
		}
		for _, v := range answers[q.ID] {
			for _, found := range forms.Scan(v) {
				code := "warn_health"
				if found.Kind == forms.Secret || found.Kind == forms.PrivateKey {
					code = "warn_secret"
				}
				if field == "" {
					field = q.ID
				}
				if !slices.Contains(kinds, code) {
					kinds = append(kinds, code)
				}
			}
		}
	}
	return kinds, field
}

// addTicket gives a ticket its number, and keeps it.
func (p *Portal) addTicket(ctx context.Context, tx *step, t *Ticket, language string) error {
	t.ID = ""
	for t.ID == "" {
		id := number("S")
		sealed, err := p.seal("ticket "+id, &sealedTicket{t.Email, t.Answers, t.Warned})
		if err != nil {
			return err
		}
		n, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_tickets (id, kind, state, version, person, address_mac, client, app, language, sealed, created, changed)
			VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9, $10, $10) ON CONFLICT DO NOTHING`,
			id, t.Kind, t.State, t.Person, p.mac("address", t.Email), t.Client, t.App, language, sealed, database.Millis(t.Created))
		if err != nil {
			return err
		}
		if n > 0 {
			t.ID = id
		}
	}
	actor := t.Person
	if actor == "" {
		actor = actorVisitor
	}
	if err := p.keep(ctx, tx, &Event{Actor: actor, Action: didFile, App: t.App, Note: t.ID}); err != nil {
		return err
	}
	to, err := p.addressee(ctx, tx, t)
	if err != nil || to == "" {
		return err
	}
	// Anybody can name any address: somebody who is written to for nothing is not written to often.
	var many int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM portal_tickets WHERE address_mac = $1 AND created > $2`,
		p.mac("address", t.Email), database.Millis(t.Created.Add(-tokenWindow))).Scan(&many); err != nil {
		return err
	}
	if t.Email != "" && many > tokenMost {
		return nil
	}
	return p.mail(ctx, tx, "ticket_filed", to, language, map[string]string{"Number": t.ID})
}

// addressee is the address of who filed a ticket: the one that they have given, or that of their account, or "".
func (p *Portal) addressee(ctx context.Context, tx *step, t *Ticket) (string, error) {
	if t.Email != "" || t.Person == "" {
		return t.Email, nil
	}
	who, err := person(ctx, tx, byID, t.Person)
	if errors.Is(err, accounts.ErrNotFound) { // they have left
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return who.Email, nil
}

// ticketQuery is the beginning of a query that readTicket reads.
const ticketQuery = `SELECT id, kind, state, version, person, client, app, sealed, created, changed FROM portal_tickets`

func (p *Portal) readTicket(row database.Row) (*Ticket, error) {
	t := &Ticket{}
	var sealed string
	var created, changed int64
	if err := row.Scan(&t.ID, &t.Kind, &t.State, &t.Version, &t.Person, &t.Client, &t.App, &sealed, &created, &changed); err != nil {
		return nil, err
	}
	about := sealedTicket{}
	if err := p.unseal("ticket "+t.ID, sealed, &about); err != nil {
		return nil, err
	}
	t.Email, t.Answers, t.Warned = about.Email, about.Answers, about.Warned
	t.Created, t.Changed = database.Instant(created), database.Instant(changed)
	return t, nil
}

// Tickets lists them for staff, open ones first. kind and state may be "": all.
func (a *Actor) Tickets(ctx context.Context, kind, state string, limit int) ([]*Ticket, error) {
	if err := a.needStaff(Support); err != nil {
		return nil, err
	}
	return database.List(ctx, a.db, a.readTicket, ticketQuery+` WHERE ($1 = '' OR kind = $1) AND ($2 = '' OR state = $2)
		ORDER BY CASE WHEN state = 'open' THEN 0 WHEN state = 'answered' THEN 1 ELSE 2 END, created, id LIMIT $3`, kind, state, most(limit))
}

// Ticket finds one, for staff or whoever filed it.
func (a *Actor) Ticket(ctx context.Context, id string) (*Ticket, error) {
	list, err := database.List(ctx, a.db, a.readTicket, ticketQuery+` WHERE id = $1`, id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 || !a.isStaff(Support) && list[0].Person != a.id() {
		return nil, accounts.ErrNotFound
	}
	t := list[0]
	t.Replies, err = database.List(ctx, a.db, func(row database.Row) (Message, error) {
		var m Message
		var sealed string
		var at int64
		if err := row.Scan(&m.ID, &m.By, &sealed, &at, &m.Name); err != nil {
			return m, err
		}
		if !a.isStaff(Support) {
			m.Name = "" // the agency answers
		}
		m.At, m.Staff = database.Instant(at), true
		return m, a.unseal("reply "+m.ID, sealed, &m.Text)
	}, `SELECT r.id, r.person, r.sealed, r.at, COALESCE(p.name, '') FROM portal_replies r LEFT JOIN portal_people p ON p.id = r.person
		WHERE r.ticket = $1 ORDER BY r.id`, id)
	return t, err
}

// Reply answers by mail; closes says that nothing more comes. Without text it only closes, and nobody is written to. It
// fails with ErrStale, with ErrUsed if the ticket is closed, and with *InputError.
func (a *Actor) Reply(ctx context.Context, id string, version int, text string, closes bool) error {
	if err := a.needStaff(Support); err != nil {
		return err
	}
	var err error
	if text != "" || !closes {
		if text, err = reasonOf("text", text, replyMost); err != nil {
			return err
		}
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		if err := database.ChangeOne(ctx, tx.Tx, `UPDATE portal_tickets SET version = version WHERE id = $1`, id); err != nil { // it locks the row
			return err
		}
		list, err := database.List(ctx, tx, a.readTicket, ticketQuery+` WHERE id = $1`, id)
		if err != nil {
			return err
		}
		t := list[0]
		switch {
		case t.Version != version:
			return ErrStale
		case t.State == ticketClosed:
			return accounts.ErrUsed
		}
		state := ticketAnswered
		if closes {
			state = ticketClosed
		}
		now := a.Now()
		if err := database.ChangeOne(ctx, tx.Tx, `UPDATE portal_tickets SET state = $1, version = version + 1, changed = $2 WHERE id = $3`,
			state, database.Millis(now), id); err != nil {
			return err
		}
		if err := a.keep(ctx, tx, &Event{Actor: a.id(), Action: didReply, App: t.App, Subject: t.Person, Note: id}); err != nil || text == "" {
			return err
		}
		reply := a.inOrder()
		sealed, err := a.seal("reply "+reply, text)
		if err != nil {
			return err
		}
		if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_replies (id, ticket, person, sealed, at) VALUES ($1, $2, $3, $4, $5)`,
			reply, id, a.id(), sealed, database.Millis(now)); err != nil {
			return err
		}
		to, err := a.addressee(ctx, tx, t)
		if err != nil || to == "" {
			return err
		}
		language, err := database.Column(ctx, tx, `SELECT language FROM portal_tickets WHERE id = $1`, id)
		if err != nil {
			return err
		}
		return a.mail(ctx, tx, "ticket_answered", to, language[0], map[string]string{"Number": id, "Text": text})
	})
}
