package portal

import (
	"context"
	"errors"
	"time"

	"cpcds2fhir/internal/database"
)

// jobsEvery is how often Run looks for what is due.
const jobsEvery = 20 * time.Second

// job is something that becomes due by itself. It says how many things it did.
type job struct {
	name string // for reports of faults
	run  func(ctx context.Context) (int, error)
}

// jobs are all of them, in the order of a turn. Mails are last: they tell of what the others did.
func (p *Portal) jobs() []job {
	return []job{
		{"expire", p.expire},
		{"clients of the sandbox", p.carryOutDue},
		{"registrations", p.findRegistrations},
		{"approve by itself", p.decideByItself},
		{"lapse", p.lapse},
		{"go live", p.goLive},
		{"expire attestations", p.expireAttestations},
		{"remind", p.remind},
		{"check texts", p.checkTexts},
		{"check domains", p.checkDomains},
		{"keep evidence", p.keepEvidence},
		{"forget", p.forget},
		{"send mails", p.sendMails},
	}
}

// Run does what is due until ctx ends: mails, reminders, lapses, renewals, policies that have changed, retention, log
// of sandbox requests. Several processes may run it.
func (p *Portal) Run(ctx context.Context) {
	for {
		if _, err := p.Tick(ctx); err != nil && ctx.Err() == nil {
			p.fault("jobs", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(jobsEvery):
		case <-p.wake:
		}
	}
}

// Tick does once what is due now. It returns how many things it did. A job that fails does not keep the others from
// their turn.
func (p *Portal) Tick(ctx context.Context) (int, error) {
	done := 0
	var errs []error
	for _, j := range p.jobs() {
		n, err := j.run(ctx)
		done += n
		if err != nil {
			errs = append(errs, err)
		}
	}
	return done, errors.Join(errs...)
}

// expire removes what is over: sessions, tokens, invitations that nobody has accepted, mails that could not be sent,
// closed requests for support.
func (p *Portal) expire(ctx context.Context) (int, error) {
	now := p.Now()
	keep := p.Rules.KeepDays
	if keep <= 0 {
		keep = 730
	}
	done := 0
	for _, e := range []struct {
		query  string
		before time.Time
	}{
		{`DELETE FROM portal_sessions WHERE expires <= $1`, now},
		{`DELETE FROM portal_tokens WHERE expires <= $1 AND created <= $1`, now.Add(-tokenWindow)}, // they are counted until then
		{`DELETE FROM portal_devices WHERE expires <= $1`, now},
		{`DELETE FROM portal_typed WHERE expires <= $1`, now},
		{`UPDATE portal_invitations SET state = 'expired', email = '', family = '' WHERE state = 'pending' AND expires <= $1`, now},
		{`DELETE FROM portal_outbox WHERE kind = 'none' AND created <= $1`, now.Add(-time.Minute)},
		{`DELETE FROM portal_outbox WHERE created <= $1`, now.Add(-mailKeep)},
		{`DELETE FROM portal_tickets WHERE state = 'closed' AND changed <= $1`, now.AddDate(0, 0, -keep)},
	} {
		n, err := p.db.Change(ctx, e.query, database.Millis(e.before))
		if err != nil {
			return done, err
		}
		done += int(n)
	}
	return done, nil
}
