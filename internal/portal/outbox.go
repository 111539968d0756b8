package portal

import (
	"context"
	"errors"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
)

// Kinds of mails that the code decides by; all names of letters are kinds.
const (
	mailNone    = "none" // nothing is sent: it stands where a mail would tell that there is an account
	mailConfirm = "confirm"
	mailReset   = "reset"
	mailInvite  = "invite"
)

// Times of mails.
const (
	mailWait    = time.Minute // for the server
	mailLease   = 5 * time.Minute
	mailPause   = time.Minute // after the first failure; it doubles
	mailPauses  = 6 * time.Hour
	mailGiveUp  = 5 * 24 * time.Hour
	mailKeep    = 30 * 24 * time.Hour // one that has failed, or that was not sent because mail is off
	mailsAtOnce = 100
)

// lines are the values of letters that may have several lines.
var lines = map[string]bool{"Text": true, "Reason": true, "Note": true, "Questions": true, "Conditions": true}

// mail writes a letter to somebody, in the transaction of what it is about: it is sent if that is committed, and only
// then. kind is the name of a letter. It has the values Agency and URL besides data.
func (p *Portal) mail(ctx context.Context, tx *step, kind, to, language string, data map[string]string) error {
	m := Mail{To: to, Language: language}
	if kind != mailNone {
		values := map[string]string{"Agency": p.Agency, "URL": p.URL}
		for k, v := range data {
			values[k] = written(v, lines[k])
		}
		var err error
		m.Subject, m.Text, err = p.letters.write(kind, language, values)
		if m.Text == "" {
			return err
		}
		p.fault("letter "+kind, err)
	}
	id := p.inOrder()
	sealed, err := p.seal("mail "+id, &m)
	if err != nil {
		return err
	}
	now := p.Now()
	until := now.Add(mailGiveUp)
	switch kind { // what they carry is good for no longer
	case mailConfirm:
		until = now.Add(confirmFor)
	case mailReset:
		until = now.Add(resetFor)
	case mailInvite:
		until = now.Add(inviteFor)
	}
	if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_outbox (id, kind, sealed, tries, next, leased, lease, failed, created, until)
		VALUES ($1, $2, $3, 0, $4, 0, '', 0, $4, $5)`, id, kind, sealed, database.Millis(now), database.Millis(until)); err != nil {
		return err
	}
	tx.mails++
	return nil
}

// waiting is a mail that this process has leased: no other sends it meanwhile.
type waiting struct {
	Outgoing
	sealed, lease string
	until         time.Time
}

// sendMails sends what is due, one after the other. A mail whose process died while it was sent may come twice; none
// is lost.
func (p *Portal) sendMails(ctx context.Context) (int, error) {
	if p.Mail == nil {
		return 0, nil
	}
	for n := range mailsAtOnce {
		w, err := p.leaseMail(ctx)
		if err != nil {
			if errors.Is(err, accounts.ErrNotFound) {
				err = nil
			}
			return n, err
		}
		if err := p.sendMail(ctx, w); err != nil {
			return n, err
		}
	}
	return mailsAtOnce, nil
}

// leaseMail takes the mail that is due for the longest time. It fails with ErrNotFound if there is none.
func (p *Portal) leaseMail(ctx context.Context) (*waiting, error) {
	now := p.Now()
	lease := database.Random()
	n, err := p.db.Change(ctx, `UPDATE portal_outbox SET leased = $1, lease = $2 WHERE failed = 0 AND leased <= $3 AND id =
		(SELECT id FROM portal_outbox WHERE failed = 0 AND next <= $3 AND leased <= $3 ORDER BY next, id LIMIT 1)`,
		database.Millis(now.Add(mailLease)), lease, database.Millis(now))
	if err != nil {
		return nil, err
	}
	if n == 0 {
		// Another process may have taken that very one; what else is due is found the next time.
		return nil, accounts.ErrNotFound
	}
	w := &waiting{lease: lease}
	var until int64
	if err := p.db.QueryRowContext(ctx, `SELECT id, kind, sealed, tries, until FROM portal_outbox WHERE lease = $1`, lease).
		Scan(&w.ID, &w.Kind, &w.sealed, &w.Tries, &until); err != nil {
		return nil, database.Fault(err)
	}
	w.until = database.Instant(until)
	return w, nil
}

// sendMail sends one, and notes what came of it. An error is a fault of the database.
func (p *Portal) sendMail(ctx context.Context, w *waiting) error {
	m := &Mail{}
	err := p.unseal("mail "+w.ID, w.sealed, m)
	m.ID = w.ID
	permanent := err != nil
	if err == nil && w.Kind != mailNone {
		sending, cancel := context.WithTimeout(ctx, mailWait)
		err = p.Mail.Send(sending, m)
		cancel()
		var p interface{ Permanent() bool }
		permanent = errors.As(err, &p) && p.Permanent()
	}
	stopped := ctx.Err() != nil
	ctx = context.WithoutCancel(ctx)
	now := p.Now()
	pause := min(mailPause<<min(w.Tries, 20), mailPauses)
	var noted error
	switch {
	case err == nil:
		_, noted = p.db.Change(ctx, `DELETE FROM portal_outbox WHERE id = $1 AND lease = $2`, w.ID, w.lease)
	case stopped: // this process ends: it was no try
		_, noted = p.db.Change(ctx, `UPDATE portal_outbox SET leased = 0 WHERE id = $1 AND lease = $2`, w.ID, w.lease)
		return noted
	case permanent || !now.Add(pause).Before(w.until):
		_, noted = p.db.Change(ctx, `UPDATE portal_outbox SET failed = $1, tries = tries + 1, leased = 0 WHERE id = $2 AND lease = $3`,
			database.Millis(now), w.ID, w.lease)
	default:
		_, noted = p.db.Change(ctx, `UPDATE portal_outbox SET next = $1, tries = tries + 1, leased = 0 WHERE id = $2 AND lease = $3`,
			database.Millis(now.Add(pause)), w.ID, w.lease)
	}
	if p.Events.Mailed != nil && w.Kind != mailNone {
		p.Events.Mailed(w.ID, err)
	}
	return noted
}

// Outbox lists mails that wait or have failed, for administrators: to whom, when, how often; not what they say, unless mail is off.
func (a *Actor) Outbox(ctx context.Context, limit int) ([]*Outgoing, error) {
	if err := a.needStaff(Administrator); err != nil {
		return nil, err
	}
	return database.List(ctx, a.db, func(row database.Row) (*Outgoing, error) {
		o := &Outgoing{}
		var sealed string
		var next, failed, created int64
		if err := row.Scan(&o.ID, &o.Kind, &sealed, &o.Tries, &next, &failed, &created); err != nil {
			return nil, err
		}
		o.Next, o.Failed, o.Created = database.Instant(next), failed != 0, database.Instant(created)
		m := Mail{}
		if err := a.unseal("mail "+o.ID, sealed, &m); err != nil {
			return nil, err
		}
		o.To = m.To
		if a.Mail == nil {
			o.Text = m.Subject + "\n\n" + m.Text
		}
		return o, nil
	}, `SELECT id, kind, sealed, tries, next, failed, created FROM portal_outbox WHERE kind <> 'none' ORDER BY id DESC LIMIT $1`, most(limit))
}

// Outgoing is a mail that waits.
type Outgoing struct {
	ID, Kind, To, Text string
	Tries              int
	Next               time.Time
	Failed             bool
	Created            time.Time
}

// listMost is the most records of a list.
const listMost = 10_000

// most is how many records a list has at most; 0 is 200, and more than listMost is listMost.
func most(limit int) int {
	if limit <= 0 {
		return 200
	}
	return min(limit, listMost)
}
