package portal

import (
	"context"
	"errors"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Events of what is looked at again and again.
const (
	didLoseText   = "text_lost"
	didLoseDomain = "domain_lapsed"
)

// Times of what is looked at again.
const (
	textMisses   = 3 // days in a row on which a text cannot be fetched, until it counts as lost
	domainEvery  = 30 * 24 * time.Hour
	domainMisses = 3  // days in a row on which a domain proves nothing, until its proof is void: a name server may be away
	domainsOnce  = 10 // in an hour, since each may take its time
)

// checkTexts looks once a month whether policies and terms of apps in production are those that were confirmed. One that has
// changed must be confirmed again, and makes the application due for renewal; so does one that cannot be read on three days in a
// row.
func (p *Portal) checkTexts(ctx context.Context) (int, error) {
	now := p.Now()
	type kept struct{ app, kind, url, confirmed, seen string }
	list, err := database.List(ctx, p.db, func(row database.Row) (k kept, err error) {
		return k, row.Scan(&k.app, &k.kind, &k.url, &k.confirmed, &k.seen)
	}, `SELECT app, kind, url, confirmed, seen FROM portal_texts WHERE checked < $1 ORDER BY checked, app, kind LIMIT 20`, database.Millis(now.Add(-textEvery)))
	if err != nil {
		return 0, err
	}
	n := 0
	var errs []error
	for _, k := range list {
		// Others who look now leave it alone. If it cannot be fetched, it is looked at tomorrow.
		mine, err := p.db.Change(ctx, `UPDATE portal_texts SET checked = $1 WHERE app = $2 AND kind = $3 AND checked < $4`,
			database.Millis(now.Add(24*time.Hour-textEvery)), k.app, k.kind, database.Millis(now.Add(-textEvery)))
		if err != nil || mine == 0 {
			errs = append(errs, err)
			continue
		}
		sum := p.fetchText(ctx, k.url)
		if sum == "" {
			if err := p.missedText(ctx, k.app, k.kind, k.url); err != nil && !quiet(err) {
				errs = append(errs, err)
			}
			continue
		}
		n++
		if err := p.sawText(ctx, k.app, k.kind, k.url, sum); err != nil && !quiet(err) {
			errs = append(errs, err)
		}
	}
	return n, errors.Join(errs...)
}

// sawText notes what a text is now.
func (p *Portal) sawText(ctx context.Context, app, kind, url, sum string) error {
	now := database.Millis(p.Now())
	// A text that nobody could fetch when it was approved is confirmed as it is first seen.
	if _, err := p.db.Change(ctx, `UPDATE portal_texts SET checked = $1, misses = 0, seen = $2, confirmed = CASE WHEN confirmed = '' THEN $2 ELSE confirmed END
		WHERE app = $3 AND kind = $4 AND url = $5`, now, sum, app, kind, url); err != nil {
		return err
	}
	changed, err := database.Column(ctx, p.db, `SELECT kind FROM portal_texts WHERE app = $1 AND kind = $2 AND confirmed <> seen`, app, kind)
	if err != nil || len(changed) == 0 {
		return err
	}
	r, err := p.usable(ctx, app)
	if err != nil || r == nil {
		return err
	}
	if r.State == lifecycle.Live || r.State == lifecycle.Credentials {
		_, err := p.move(ctx, nil, r, lifecycle.Remind, &Input{Version: r.Version, Note: kind})
		return err
	}
	return p.tx(ctx, func(ctx context.Context, tx *step) error {
		n, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_done (what, at) VALUES ($1, $2) ON CONFLICT (what) DO NOTHING`, "text "+app+" "+kind+" "+sum, now)
		if err != nil || n == 0 {
			return err
		}
		return p.tellApplicant(ctx, tx, r, "text_changed", map[string]string{"Number": r.ID, "App": titleOf(r), "Link": p.link(pageApplications + r.ID)})
	})
}

// usable is the application by which an app is in production, nil if it is not.
func (p *Portal) usable(ctx context.Context, app string) (*record, error) {
	r, err := first(database.List(ctx, p.db, readApplication, applicationQuery+`WHERE a.app = $1 AND a.kind = 'production'
		AND a.state IN ('credentials', 'live', 'renewal_due', 'change_pending') ORDER BY a.created DESC, a.id`, app))
	if errors.Is(err, accounts.ErrNotFound) {
		return nil, nil
	}
	return r, err
}

// missedText notes that a text could not be fetched. After textMisses days in a row the applicant and reviewers are told, and
// the application is due for renewal: members cannot read what the app has promised.
func (p *Portal) missedText(ctx context.Context, app, kind, url string) error {
	r, err := p.usable(ctx, app)
	if err != nil || r == nil {
		return err
	}
	misses := 0
	if err := p.tx(ctx, func(ctx context.Context, tx *step) error {
		if err := database.ChangeOne(ctx, tx.Tx, `UPDATE portal_texts SET misses = misses + 1 WHERE app = $1 AND kind = $2 AND url = $3`, app, kind, url); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT misses FROM portal_texts WHERE app = $1 AND kind = $2`, app, kind).Scan(&misses); err != nil {
			return database.Fault(err)
		}
		if misses != textMisses {
			return nil
		}
		if err := p.keep(ctx, tx, &Event{Actor: actorSystem, Action: didLoseText, Application: r.ID, Org: r.Org, App: r.App, Note: kind}); err != nil {
			return err
		}
		data := map[string]string{"Number": r.ID, "App": titleOf(r), "Link": p.link(pageApplications + r.ID)}
		if err := p.tellApplicant(ctx, tx, r, "text_lost", data); err != nil {
			return err
		}
		data["Link"] = p.link(pageReview + r.ID)
		return p.tellStaff(ctx, tx, r, Reviewer, "text_lost_staff", data)
	}); err != nil {
		return err
	}
	if misses >= textMisses && (r.State == lifecycle.Live || r.State == lifecycle.Credentials) {
		_, err = p.move(ctx, nil, r, lifecycle.Remind, &Input{Version: r.Version, Note: kind})
	}
	return err
}

// TextChanged are the kinds of texts (policy, terms) of an app in production that are not those that were confirmed.
func (a *Actor) TextChanged(ctx context.Context, app string) ([]string, error) {
	if _, err := a.seeApp(ctx, a.db, app); err != nil {
		return nil, err
	}
	return database.Column(ctx, a.db, `SELECT kind FROM portal_texts WHERE app = $1 AND confirmed <> seen ORDER BY kind`, app)
}

// checkDomains looks once a month whether domains still prove whose they are. One that does not on three days in a row loses
// its proof: its owners and reviewers are told, since somebody else may own it now.
func (p *Portal) checkDomains(ctx context.Context) (int, error) {
	now := p.Now()
	first, err := p.once(ctx, "domains "+now.UTC().Format("2006-01-02T15"))
	if err != nil || !first {
		return 0, err
	}
	all, err := database.List(ctx, p.db, readOrganisation, orgQuery+` WHERE o.closed = 0 ORDER BY o.id`)
	if err != nil {
		return 0, err
	}
	n := 0
	var errs []error
	for _, o := range all {
		if !o.Domain.due(now) {
			continue
		}
		if n++; n > domainsOnce {
			return domainsOnce, errors.Join(errs...)
		}
		if err := p.checkDomain(ctx, o); err != nil && !quiet(err) {
			errs = append(errs, err)
		}
	}
	return n, errors.Join(errs...)
}

// due reports whether a domain is to be looked at again: a month after it was proofed or found, or the day after it was missed.
func (d *Domain) due(now time.Time) bool {
	if d.Proofed.IsZero() {
		return false
	}
	last, every := d.Proofed, domainEvery
	if d.Checked.After(last) {
		last = d.Checked
	}
	if d.Misses > 0 {
		every = 23 * time.Hour
	}
	return !now.Before(last.Add(every))
}

// checkDomain looks at one domain, and notes what it has found.
func (p *Portal) checkDomain(ctx context.Context, seen *Organisation) error {
	by := p.proofOf(ctx, seen)
	return p.tx(ctx, func(ctx context.Context, tx *step) error {
		lapsed := false
		o, err := p.changeOrganisation(ctx, tx, seen.ID, 0, func(o *Organisation) error {
			if o.Domain != seen.Domain { // it is another now, or proofed anew
				return ErrStale
			}
			o.Domain.Checked = p.Now().UTC()
			if by != "" {
				o.Domain.By, o.Domain.Misses = by, 0
				return nil
			}
			if o.Domain.Misses++; o.Domain.Misses >= domainMisses {
				lapsed = true
				o.Domain.Proofed, o.Domain.Checked, o.Domain.By, o.Domain.Misses = time.Time{}, time.Time{}, "", 0
			}
			return nil
		})
		if err != nil || !lapsed {
			return err
		}
		if err := p.refreshPublisher(ctx, tx, o.ID); err != nil { // members read it
			return err
		}
		if err := p.keep(ctx, tx, &Event{Actor: actorSystem, Action: didLoseDomain, Org: o.ID}); err != nil {
			return err
		}
		owners, err := p.readers(ctx, tx, `JOIN portal_members m ON m.person = p.id WHERE m.org = $1 AND m.role = 'owner'`, o.ID)
		if err != nil {
			return err
		}
		for _, who := range owners {
			if err := p.mail(ctx, tx, "domain_lapsed", who.Email, who.Language, map[string]string{"Org": o.Name, "Link": p.link(pageOrganisations + o.ID)}); err != nil {
				return err
			}
		}
		return p.mailStaff(ctx, tx, Reviewer, "domain_lapsed_staff", map[string]string{"Org": o.Name, "Link": p.link(pageStaffOrgs + o.ID)})
	})
}
