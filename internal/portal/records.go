package portal

import (
	"context"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/lifecycle"
)

// record is an application as it is kept.
type record struct {
	Application
	Left time.Duration // business time that staff had left when they began to wait for the applicant
	More bool          // it was declined or revoked once: a person decides about it, whatever the rules
}

// applicationQuery is the beginning of a query that readApplication reads. Names are those of now.
const applicationQuery = `SELECT a.id, a.kind, a.org, a.app, a.state, a.version, a.assignee, a.due, a.since, a.changed, a.expires, a.created, a.about,
	COALESCE(o.name, '') FROM portal_applications a LEFT JOIN portal_organisations o ON o.id = a.org `

func readApplication(row database.Row) (*record, error) {
	r := &record{}
	var id, kind, org, app, state, assignee, about, name string
	var version, due, since, changed, expires, created int64
	if err := row.Scan(&id, &kind, &org, &app, &state, &version, &assignee, &due, &since, &changed, &expires, &created, &about, &name); err != nil {
		return nil, err
	}
	if err := database.Decode(about, r); err != nil {
		return nil, err
	}
	r.ID, r.Kind, r.Org, r.App, r.State, r.Version, r.Assignee = id, lifecycle.Kind(kind), org, app, lifecycle.State(state), int(version), assignee
	r.Due, r.Since, r.Changed, r.Expires, r.Created = database.Instant(due), database.Instant(since), database.Instant(changed), database.Instant(expires), database.Instant(created)
	if name != "" {
		r.OrgName = name
	}
	return r, nil
}

// application finds one. It fails with ErrNotFound.
func (p *Portal) application(ctx context.Context, q database.Queryer, id string) (*record, error) {
	return first(database.List(ctx, q, readApplication, applicationQuery+`WHERE a.id = $1`, id))
}

// first is the only record of a list, or ErrNotFound.
func first[T any](list []T, err error) (T, error) {
	if err == nil && len(list) == 0 {
		err = accounts.ErrNotFound
	}
	if err != nil {
		var none T
		return none, err
	}
	return list[0], nil
}

// slot is what an application takes as long as it is open.
func (r *record) slot() string {
	switch r.State {
	case lifecycle.Declined, lifecycle.Withdrawn, lifecycle.Lapsed, lifecycle.Denied, lifecycle.Revoked, lifecycle.Retired:
		return r.ID
	}
	switch {
	case r.Kind == lifecycle.Sandbox:
		return "sandbox " + r.Org
	case r.App != "":
		return "production " + r.App
	}
	return r.ID // it came without an account, and has no app yet
}

// words are what staff search by.
func (r *record) words() string {
	return strings.ToLower(strings.Join([]string{r.ID, r.OrgName, r.AppName}, " "))
}

// addApplication keeps a new application. It fails with ErrExists if there is an open one of the kind.
func (p *Portal) addApplication(ctx context.Context, tx *step, r *record) error {
	now := p.Now().UTC()
	r.Version, r.Created, r.Changed, r.Since = 1, now, now, now
	about, err := database.Encode(r)
	if err != nil {
		return err
	}
	for range 20 { // numbers that people read are short, so one may be there
		if r.ID == "" {
			r.ID = number("P")
		}
		n, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_applications
			(id, slot, kind, org, app, state, version, assignee, due, since, changed, expires, words, about, created)
			VALUES ($1, $2, $3, $4, $5, $6, 1, '', $7, $8, $8, $9, $10, $11, $8) ON CONFLICT DO NOTHING`,
			r.ID, r.slot(), string(r.Kind), r.Org, r.App, string(r.State), database.Millis(r.Due), database.Millis(now), database.Millis(r.Expires), r.words(), about)
		if err != nil || n == 1 {
			return err
		}
		taken, err := database.Column(ctx, tx, `SELECT id FROM portal_applications WHERE slot = $1`, r.slot())
		if err != nil {
			return err
		}
		if len(taken) > 0 && taken[0] != r.ID {
			return accounts.ErrExists
		}
		r.ID = ""
	}
	return accounts.ErrExists
}

// saveApplication keeps what has changed of an application whose version was seen: it fails with ErrStale if it is
// another meanwhile, and with ErrExists if another one has taken its place.
func (p *Portal) saveApplication(ctx context.Context, tx *step, r *record) error {
	seen := r.Version
	r.Version, r.Changed = seen+1, p.Now().UTC()
	about, err := database.Encode(r)
	if err != nil {
		return err
	}
	taken, err := database.Column(ctx, tx, `SELECT id FROM portal_applications WHERE slot = $1 AND id <> $2`, r.slot(), r.ID)
	if err != nil {
		return err
	}
	if len(taken) > 0 {
		return accounts.ErrExists
	}
	n, err := database.Change(ctx, tx.Tx, `UPDATE portal_applications SET slot = $1, org = $2, app = $3, state = $4, version = $5, assignee = $6, due = $7,
		since = $8, changed = $9, expires = $10, words = $11, about = $12 WHERE id = $13 AND version = $14`,
		r.slot(), r.Org, r.App, string(r.State), r.Version, r.Assignee, database.Millis(r.Due), database.Millis(r.Since), database.Millis(r.Changed),
		database.Millis(r.Expires), r.words(), about, r.ID, seen)
	if err == nil && n == 0 {
		return ErrStale
	}
	return err
}

// appQuery is the beginning of a query that readApp reads.
const appQuery = `SELECT id, org, version, sandbox, production, logo, about, created, retired FROM portal_apps `

func readApp(row database.Row) (*App, error) {
	a := &App{}
	var id, org, sandbox, production, logo, about string
	var version, created, retired int64
	if err := row.Scan(&id, &org, &version, &sandbox, &production, &logo, &about, &created, &retired); err != nil {
		return nil, err
	}
	if err := database.Decode(about, a); err != nil {
		return nil, err
	}
	a.ID, a.Org, a.Version, a.Sandbox, a.Production, a.Logo = id, org, int(version), sandbox, production, logo
	a.Created, a.Retired = database.Instant(created), database.Instant(retired)
	return a, nil
}

// app finds one. It fails with ErrNotFound.
func (p *Portal) app(ctx context.Context, q database.Queryer, id string) (*App, error) {
	return first(database.List(ctx, q, readApp, appQuery+`WHERE id = $1`, id))
}

// appsOf lists those of an organisation, the oldest first.
func (p *Portal) appsOf(ctx context.Context, q database.Queryer, org string) ([]*App, error) {
	return database.List(ctx, q, readApp, appQuery+`WHERE org = $1 ORDER BY created, id`, org)
}

// saveApp keeps what has changed of an app whose version was seen. It fails with ErrStale.
func (p *Portal) saveApp(ctx context.Context, tx *step, a *App) error {
	seen := a.Version
	a.Version++
	about, err := database.Encode(a)
	if err != nil {
		return err
	}
	n, err := database.Change(ctx, tx.Tx, `UPDATE portal_apps SET version = $1, sandbox = $2, production = $3, logo = $4, about = $5, retired = $6
		WHERE id = $7 AND version = $8`, a.Version, a.Sandbox, a.Production, a.Logo, about, database.Millis(a.Retired), a.ID, seen)
	if err == nil && n == 0 {
		return ErrStale
	}
	return err
}

// opened reports whether the access of an organisation to the sandbox is approved.
func (p *Portal) opened(ctx context.Context, q database.Queryer, org string) (bool, error) {
	list, err := database.Column(ctx, q, `SELECT a.id FROM portal_applications a JOIN portal_organisations o ON o.id = a.org
		WHERE a.org = $1 AND a.kind = $2 AND a.state = $3 AND o.closed = 0`,
		org, string(lifecycle.Sandbox), string(lifecycle.Approved))
	return len(list) > 0, err
}

// clone is a copy that shares no memory, as far as the portal changes it.
func (s *Settings) clone() *Settings {
	if s == nil {
		return nil
	}
	c := *s
	c.RedirectURIs, c.Scopes, c.Platforms = slices.Clone(s.RedirectURIs), slices.Clone(s.Scopes), slices.Clone(s.Platforms)
	c.About = make(map[string]string, len(s.About))
	for k, v := range s.About {
		c.About[k] = v
	}
	return &c
}
