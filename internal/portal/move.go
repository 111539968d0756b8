package portal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// textMost is the most bytes that a person writes into one field: a reason, a message.
const textMost = 20_000

// rolesFor are what the actor is to an application.
func (a *Actor) rolesFor(r *record) (roles []lifecycle.Role) {
	switch a.roleIn(r.Org) {
	case Owner:
		roles = append(roles, lifecycle.Owner)
	case Developer:
		roles = append(roles, lifecycle.Developer)
	}
	if a.isStaff(Reviewer) {
		roles = append(roles, lifecycle.Reviewer)
	}
	if a.isStaff(Administrator) {
		roles = append(roles, lifecycle.Administrator)
	}
	return roles
}

// move is a move that is being made: in a transaction, once it is known that nothing forbids it.
type move struct {
	*Portal
	*lifecycle.Move
	actor *Actor // nil for the portal itself
	roles []lifecycle.Role
	in    *Input
	r     *record
	app   *App // of an application for production, nil if there is none
	was   lifecycle.State
	at    time.Time
	seen  *outside
	dirty bool // app has changed

	shown          *Application
	claims, client string // the organisation that claims the application, and the client that has registered itself

	form    *forms.Form
	answers forms.Answers // with the attestations of this move
}

// outside is what a move needs of elsewhere. It is found before the transaction begins, which waits for nobody.
type outside struct {
	texts   map[string]*text
	shown   []Shown
	missing []string
}

// by is who makes the move, as events have it.
func (m *move) by() string {
	if m.actor == nil {
		return actorSystem
	}
	return m.actor.id()
}

// Move makes a move of the table: with its needs, effects, event and mails, in one transaction. It fails with
// ErrStale, *lifecycle.IllegalError, *lifecycle.RoleError, *NeedError or *InputError, and has then changed nothing.
func (a *Actor) Move(ctx context.Context, id string, action lifecycle.Action, in *Input) (*Application, error) {
	if in == nil {
		in = &Input{}
	}
	r, err := a.see(ctx, a.db, id)
	if err != nil {
		return nil, err
	}
	// What cannot succeed must not make anybody fetch anything.
	if in.Version != r.Version {
		return nil, ErrStale
	}
	if _, err := lifecycle.Find(r.Kind, r.State, action, a.rolesFor(r)); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	m, err := a.make(ctx, a, r, action, in)
	if err != nil {
		return nil, err
	}
	after := m.r
	if after.Kind == lifecycle.Sandbox && after.State == lifecycle.Submitted {
		// It is a move of its own, which the portal makes again later if it cannot now.
		itself, err := a.decidesItself(ctx, a.db, after)
		if err != nil {
			a.fault("approve by itself", err)
		}
		if !itself {
			return m.shown, nil
		}
		if next, err := a.move(ctx, nil, after, lifecycle.Approve, &Input{Version: after.Version}); err == nil {
			return a.view(ctx, a.db, next)
		} else if !quiet(err) {
			a.fault("approve by itself", err)
		}
	}
	return m.shown, nil
}

// check refuses what no move is given.
func (in *Input) check() error {
	for field, text := range map[string]string{"reason": in.Reason, "note": in.Note, "conditions": in.Conditions, "name": in.Name, "title": in.Title} {
		if len(text) > textMost || !printable(text) {
			return &InputError{field, "text"}
		}
	}
	return nil
}

// quiet reports whether somebody else was first: what the portal wanted to do is done, or not wanted any more.
func quiet(err error) bool {
	var illegal *lifecycle.IllegalError
	return errors.Is(err, ErrStale) || errors.As(err, &illegal) || errors.Is(err, accounts.ErrNotFound)
}

// move makes a move of the portal itself, or of somebody, and gives the application after it.
func (p *Portal) move(ctx context.Context, a *Actor, seen *record, action lifecycle.Action, in *Input) (*record, error) {
	m, err := p.make(ctx, a, seen, action, in)
	if err != nil {
		return nil, err
	}
	return m.r, nil
}

// make makes a move of an application that was seen; a is nil for the portal itself.
func (p *Portal) make(ctx context.Context, a *Actor, seen *record, action lifecycle.Action, in *Input) (*move, error) {
	out, err := p.lookOutside(ctx, seen, action, in)
	if err != nil {
		return nil, err
	}
	given := *in
	given.Reason = strings.TrimSpace(in.Reason)
	var m *move
	err = p.tx(ctx, func(ctx context.Context, tx *step) error {
		m = &move{Portal: p, actor: a, in: &given, seen: out, at: p.Now().UTC(), roles: []lifecycle.Role{lifecycle.System}}
		if err := m.decide(ctx, tx, seen.ID, action); err != nil || a == nil {
			return err
		}
		m.shown, err = a.view(ctx, tx, m.r) // here, since what is committed must not fail
		return err
	})
	if err != nil {
		return nil, err
	}
	p.settle(ctx)
	return m, nil
}

// decide decides about a move, and makes it.
func (m *move) decide(ctx context.Context, tx *step, id string, action lifecycle.Action) (err error) {
	// Whoever comes second waits here, and sees then that it is another version.
	if err := database.ChangeOne(ctx, tx.Tx, `UPDATE portal_applications SET version = version WHERE id = $1`, id); err != nil {
		return err
	}
	if m.r, err = m.application(ctx, tx, id); err != nil {
		return err
	}
	switch {
	case m.claims != "":
		m.roles = []lifecycle.Role{lifecycle.Owner} // of the organisation that claims it
	case m.actor != nil:
		m.roles = m.actor.rolesFor(m.r)
	}
	if m.in.Version != m.r.Version {
		return ErrStale
	}
	if m.Move, err = lifecycle.Find(m.r.Kind, m.r.State, action, m.roles); err != nil {
		return err
	}
	m.form = m.Portal.form(&m.r.Application)
	if m.r.App != "" {
		if m.app, err = m.Portal.app(ctx, tx, m.r.App); err != nil {
			return err
		}
		m.r.AppName = m.app.Settings.Name
	}
	if err := m.prepare(ctx, tx); err != nil {
		return err
	}
	for _, n := range m.Needs {
		if err := m.need(ctx, tx, n); err != nil {
			return err
		}
	}
	m.was = m.r.State
	m.Portal.clock(m.r, m.To, m.at)
	m.r.State, m.r.Since = m.To, m.at
	m.note()
	for _, e := range m.Effects {
		if err := m.effect(ctx, tx, e); err != nil {
			return err
		}
	}
	if err := m.finish(ctx, tx); err != nil {
		return err
	}
	e := &Event{
		At: m.at, Actor: m.by(), Action: string(m.Action), Application: m.r.ID, Org: m.r.Org, App: m.r.App,
		From: m.was, To: m.To, Reason: m.in.Reason, Criterion: m.criterion(), Note: m.in.Note,
	}
	if m.actor != nil {
		return m.actor.keep(ctx, tx, e)
	}
	return m.keep(ctx, tx, e)
}

// criterion is the ground of the move, if it has one.
func (m *move) criterion() string {
	if slices.Contains(m.Needs, lifecycle.Criterion) {
		return m.in.Criterion
	}
	return ""
}

// prepare makes ready what needs and effects look at.
func (m *move) prepare(ctx context.Context, tx *step) error {
	m.answers = m.r.Answers
	if slices.Contains(m.Needs, lifecycle.Attested) {
		m.answers = m.attesting()
	}
	switch {
	case m.Action == lifecycle.Change:
		return m.asks(ctx, tx)
	case m.Action == lifecycle.Claim:
		if m.claims == "" || m.r.Org != "" {
			return &InputError{"org", codeMissing} // by ClaimForm alone
		}
		return m.claim(ctx, tx)
	case m.Action == lifecycle.Propose && m.r.Org == "", m.Action == lifecycle.Approve && m.r.Org == "":
		return &InputError{"org", "unclaimed"} // credentials are for an account
	}
	return nil
}

// note writes into the application what the move says besides the state.
func (m *move) note() {
	r := m.r
	switch m.Action {
	case lifecycle.Submit:
		r.Submitted, r.Proposal, r.Decision = m.at, nil, nil
	case lifecycle.Confirm:
		r.Submitted = m.at
	case lifecycle.Change:
		r.Submitted, r.Proposal = m.at, nil // what was proposed was about something else
	case lifecycle.Reopen:
		r.Reviews, r.Checks, r.Proposal, r.Decision, r.Assignee, r.Demo = nil, nil, nil, nil, "", time.Time{}
	case lifecycle.Take:
		r.Assignee = m.by()
	case lifecycle.SignSecurity, lifecycle.SignPrivacy:
		part := "security"
		if m.Action == lifecycle.SignPrivacy {
			part = "privacy"
		}
		reviews := map[string]Signature{part: {By: m.by(), At: m.at, Note: m.in.Note}}
		for k, v := range r.Reviews {
			if k != part {
				reviews[k] = v
			}
		}
		r.Reviews = reviews
	case lifecycle.DemoHeld:
		r.Demo = m.at
	case lifecycle.Propose, lifecycle.ProposeDeny, lifecycle.ProposeChange:
		r.Proposal = &Proposal{
			Approve: m.Action != lifecycle.ProposeDeny, By: m.by(), At: m.at, Reason: m.in.Reason, Criterion: m.criterion(), Note: m.in.Note,
		}
	case lifecycle.Overturn:
		r.Decision = nil // the denial holds no more, and nothing is approved yet
	case lifecycle.Approve, lifecycle.Decline, lifecycle.Deny, lifecycle.Uphold:
		r.Decision = &Decision{
			Approve: m.Action == lifecycle.Approve, By: m.by(), At: m.at,
			Reason: m.in.Reason, Criterion: m.criterion(), Conditions: m.in.Conditions,
		}
	}
	switch m.Action {
	case lifecycle.Return, lifecycle.Ask, lifecycle.Claim, lifecycle.Overturn:
		r.Proposal = nil
	}
	if m.To == lifecycle.Declined || m.To == lifecycle.Suspended || m.To == lifecycle.Revoked {
		r.More = true
	}
	if slices.Contains(m.Needs, lifecycle.Attested) {
		r.Answers = m.answers
		r.Attested, r.Expires = m.at, m.at.AddDate(0, 0, orElse(m.Rules.AttestDays, attestDays))
	}
}

// Option is a move that somebody could make.
type Option struct {
	*lifecycle.Move
	Lacks []lifecycle.Need // empty: it can be made now; needs that are given with the move itself are left out
}

// givenWith are needs that come with a move.
var givenWith = []lifecycle.Need{lifecycle.Reason, lifecycle.Criterion, lifecycle.Attested}

// Moves lists what the actor can do with an application, and what each still needs. It looks at the application as it is
// now, whatever the version of app.
func (a *Actor) Moves(ctx context.Context, app *Application) ([]Option, error) {
	r, err := a.see(ctx, a.db, app.ID)
	if err != nil {
		return nil, err
	}
	var list []Option
	out := &outside{}
	possible := lifecycle.Possible(r.Kind, r.State, a.rolesFor(r))
	if r.App != "" && slices.ContainsFunc(possible, func(x *lifecycle.Move) bool { return slices.Contains(x.Needs, lifecycle.Evidence) }) {
		if _, out.missing, err = a.Evidence(ctx, r.App); err != nil {
			return nil, err
		}
	}
	for _, x := range possible {
		m := &move{Portal: a.Portal, Move: x, actor: a, roles: a.rolesFor(r), in: &Input{}, r: r, at: a.Now().UTC(), seen: out, form: a.form(&r.Application)}
		m.answers = r.Answers
		if slices.Contains(x.Needs, lifecycle.Attested) {
			m.in.Attest = m.attestations() // they are asked for with the move
			m.answers = m.attesting()
		}
		if r.App != "" {
			if m.app, err = a.app(ctx, a.db, r.App); err != nil {
				return nil, err
			}
		}
		o := Option{Move: x}
		for _, n := range x.Needs {
			if slices.Contains(givenWith, n) {
				continue
			}
			var lacks *NeedError
			if err := m.need(ctx, a.db, n); errors.As(err, &lacks) {
				o.Lacks = append(o.Lacks, n)
			} else if err != nil {
				var input *InputError
				if !errors.As(err, &input) {
					return nil, err
				}
				o.Lacks = append(o.Lacks, n)
			}
		}
		list = append(list, o)
	}
	return list, nil
}
