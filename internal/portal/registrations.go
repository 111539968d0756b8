package portal

import (
	"context"
	"errors"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Times in which a client that has registered itself is looked for: not at once, since it is told of right after it is
// made, and not for ever, since its application may have come to nothing and be forgotten.
const (
	registeredAfter = time.Minute
	registeredFor   = 60 * 24 * time.Hour
)

// ownerRegistration is the owner of clients that have registered themselves.
const ownerRegistration = "registration"

// findRegistrations brings clients into the queue that have registered themselves and that the portal was not told of, or that
// stopped on the way: the process may have died, or too many forms of the address waited.
func (p *Portal) findRegistrations(ctx context.Context) (int, error) {
	now := p.Now()
	held, err := p.production().HeldClients(ctx, now.Add(-registeredFor), now.Add(-registeredAfter))
	if err != nil || len(held) == 0 {
		return 0, err
	}
	ids, err := database.Column(ctx, p.db, `SELECT client FROM portal_visitors WHERE client <> ''`)
	if err != nil {
		return 0, err
	}
	known := make(map[string]bool, len(ids))
	for _, id := range ids {
		known[id] = true
	}
	n := 0
	var errs []error
	for _, c := range held {
		if known[c.ID] || c.Owner != ownerRegistration {
			continue
		}
		switch err := p.Registered(ctx, c.ID); {
		case err == nil:
			n++
		case errors.Is(err, accounts.ErrLocked) || quiet(err): // there will be room for it later
		default:
			errs = append(errs, err)
		}
	}
	// Nobody confirms what has no address: it waits for staff, and not for its applicant.
	more, err := p.each(ctx, func(r *record) (bool, error) {
		_, err := p.move(ctx, nil, r, lifecycle.Confirm, &Input{Version: r.Version})
		return true, err
	}, `WHERE a.state = 'unconfirmed' AND a.id IN (SELECT application FROM portal_visitors WHERE client <> '' AND address_mac = $1) ORDER BY a.id LIMIT 200`, p.mac("visitor", ""))
	return n + more, errors.Join(append(errs, err)...)
}
