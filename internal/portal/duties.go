package portal

import (
	"context"
	"errors"
	"strconv"
	"time"

	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/lifecycle"
)

// reminders are the days before attestations expire on which their owners are told. On the first one the application
// becomes due for renewal.
var reminders = []int{30, 7, 1}

// once reports whether it is the first time that something is done, in this process or another one.
func (p *Portal) once(ctx context.Context, what string) (first bool, err error) {
	n, err := p.db.Change(ctx, `INSERT INTO portal_done (what, at) VALUES ($1, $2) ON CONFLICT (what) DO NOTHING`, what, database.Millis(p.Now()))
	return n == 1, err
}

// each does something with each application of a query, and goes on if one fails.
func (p *Portal) each(ctx context.Context, do func(r *record) (bool, error), where string, values ...any) (n int, err error) {
	list, err := database.List(ctx, p.db, readApplication, applicationQuery+where, values...)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, r := range list {
		did, err := do(r)
		if err != nil && !quiet(err) {
			errs = append(errs, err)
		}
		if did && err == nil {
			n++
		}
	}
	return n, errors.Join(errs...)
}

// decideByItself approves access to the sandbox that the rules let the portal approve, where it could not at once.
func (p *Portal) decideByItself(ctx context.Context) (int, error) {
	if p.Rules.SandboxReview != "automatic" {
		return 0, nil
	}
	return p.each(ctx, func(r *record) (bool, error) {
		if itself, err := p.decidesItself(ctx, p.db, r); err != nil || !itself {
			return false, err
		}
		_, err := p.move(ctx, nil, r, lifecycle.Approve, &Input{Version: r.Version})
		return true, err
	}, `WHERE a.kind = 'sandbox' AND a.state = 'submitted' ORDER BY a.id LIMIT 200`)
}

// lapse ends drafts and questions that nobody has touched for long, and forms whose address nobody has confirmed.
func (p *Portal) lapse(ctx context.Context) (int, error) {
	now := p.Now()
	days := now.AddDate(0, 0, -orElse(p.Rules.LapseDays, lapseDays))
	return p.each(ctx, func(r *record) (bool, error) {
		_, err := p.move(ctx, nil, r, lifecycle.Lapse, &Input{Version: r.Version})
		return true, err
	}, `WHERE (a.state IN ('draft', 'info_requested', 'changes_requested') AND a.changed < $1 AND a.since < $1) OR (a.state = 'unconfirmed' AND a.since < $2)
		ORDER BY a.id LIMIT 200`, database.Millis(days), database.Millis(now.Add(-formLapse)))
}

// remind tells owners that attestations expire, and makes applications due for renewal.
func (p *Portal) remind(ctx context.Context) (int, error) {
	now := p.Now()
	return p.each(ctx, func(r *record) (bool, error) {
		left := r.Expires.Sub(now)
		day := 0
		for _, d := range reminders { // the last one that has come; those that were missed are not made up for
			if left <= time.Duration(d)*24*time.Hour {
				day = d
			}
		}
		if r.State != lifecycle.RenewalDue && r.State != lifecycle.ChangePending {
			_, err := p.move(ctx, nil, r, lifecycle.Remind, &Input{Version: r.Version})
			if err == nil {
				_, err = p.once(ctx, reminder(r, day))
			}
			return true, err
		}
		return p.remindOnce(ctx, r, day)
	}, `WHERE a.kind = 'production' AND a.app <> '' AND (a.state IN ('credentials', 'live', 'renewal_due', 'change_pending') AND a.expires > $1 AND a.expires <= $2
		OR a.state IN ('credentials', 'live') AND a.expires = 0) ORDER BY a.expires LIMIT 500`, database.Millis(now), database.Millis(now.AddDate(0, 0, reminders[0])))
}

// reminder names a reminder, so that it is sent once.
func reminder(r *record, day int) string {
	return "remind " + r.ID + " " + strconv.FormatInt(database.Millis(r.Expires), 10) + " " + strconv.Itoa(day)
}

// remindOnce sends a reminder, unless it was sent.
func (p *Portal) remindOnce(ctx context.Context, r *record, day int) (bool, error) {
	sent := false
	err := p.tx(ctx, func(ctx context.Context, tx *step) error {
		n, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_done (what, at) VALUES ($1, $2) ON CONFLICT (what) DO NOTHING`,
			reminder(r, day), database.Millis(p.Now()))
		sent = n == 1
		if err != nil || !sent {
			return err
		}
		return p.tellApplicant(ctx, tx, r, "attestation_expires", map[string]string{
			"Number": r.ID, "App": titleOf(r), "Days": strconv.Itoa(day), "Date": r.Expires.In(p.Zone).Format(time.DateOnly),
			"Link": p.link(pageApplications + r.ID),
		})
	})
	return sent, err
}

// expireAttestations takes what has expired out of what members read. The app works on: privacy is no ground to cut it off.
func (p *Portal) expireAttestations(ctx context.Context) (int, error) {
	return p.each(ctx, func(seen *record) (bool, error) {
		err := p.tx(ctx, func(ctx context.Context, tx *step) error {
			r, err := p.application(ctx, tx, seen.ID)
			if err != nil {
				return err
			}
			if r.Version != seen.Version {
				return ErrStale
			}
			r.Attested, r.Expires = time.Time{}, time.Time{}
			if err := p.saveApplication(ctx, tx, r); err != nil {
				return err
			}
			app, err := p.app(ctx, tx, r.App)
			if err != nil {
				return err
			}
			if err := p.refreshProduction(ctx, tx, app); err != nil {
				return err
			}
			if err := p.keep(ctx, tx, &Event{Actor: actorSystem, Action: "attestation_expired", Application: r.ID, Org: r.Org, App: r.App}); err != nil {
				return err
			}
			return p.tellApplicant(ctx, tx, r, "attestation_expired", map[string]string{
				"Number": r.ID, "App": titleOf(r), "Link": p.link(pageApplications + r.ID),
			})
		})
		return err == nil, err
	}, `WHERE a.kind = 'production' AND a.app <> '' AND a.state IN ('credentials', 'live', 'renewal_due', 'change_pending', 'suspended')
		AND a.expires <> 0 AND a.expires <= $1 ORDER BY a.expires LIMIT 200`, database.Millis(p.Now()))
}

// goLive notes that an app is in use, once it is.
func (p *Portal) goLive(ctx context.Context) (int, error) {
	return p.each(ctx, func(r *record) (bool, error) {
		app, err := p.app(ctx, p.db, r.App)
		if err != nil {
			return false, err
		}
		used, err := p.used(ctx, app.Production)
		if err != nil || !used {
			return false, err
		}
		_, err = p.move(ctx, nil, r, lifecycle.GoLive, &Input{Version: r.Version})
		return true, err
	}, `WHERE a.kind = 'production' AND a.state = 'credentials' AND a.app <> '' ORDER BY a.id LIMIT 200`)
}

// used reports whether a client has been used: its secret, or the API.
func (p *Portal) used(ctx context.Context, client string) (bool, error) {
	secrets, err := p.production().Secrets(ctx, client)
	if err != nil {
		return false, err
	}
	for _, s := range secrets {
		if !s.LastUsed.IsZero() {
			return true, nil
		}
	}
	list, err := p.production().Requests(ctx, client, time.Time{}, 100)
	for i := range list {
		if list[i].Status >= 200 && list[i].Status < 300 {
			return true, nil
		}
	}
	return false, err
}

// forget removes applications that have come to nothing long ago, with what belongs to them; files without a row; logos that
// nothing names; and notes of what was done.
func (p *Portal) forget(ctx context.Context) (int, error) {
	first, err := p.once(ctx, "forget "+p.Now().UTC().Format("2006-01-02T15"))
	if err != nil || !first {
		return 0, err
	}
	now := p.Now()
	n, err := p.db.Change(ctx, `DELETE FROM portal_applications WHERE state IN ('withdrawn', 'lapsed') AND since < $1`,
		database.Millis(now.AddDate(0, 0, -orElse(p.Rules.KeepDays, keepDays))))
	if err != nil {
		return 0, err
	}
	if _, err := p.db.Change(ctx, `DELETE FROM portal_done WHERE at < $1`, database.Millis(now.AddDate(-2, 0, 0))); err != nil {
		return int(n), err
	}
	logos := 0
	if err := p.tx(ctx, func(ctx context.Context, tx *step) (err error) {
		logos, err = p.removeLogos(ctx, tx, "")
		return err
	}); err != nil {
		return int(n), err
	}
	files, err := p.removeOrphans(ctx)
	return int(n) + logos + files, err
}

// carryOutDue makes the clients of the sandbox what they should be, where that could not be done at once.
func (p *Portal) carryOutDue(ctx context.Context) (int, error) {
	if !p.apart() {
		return 0, nil
	}
	return p.carryOut(ctx, "")
}
