package portal

import (
	"context"
	"crypto/subtle"
	"time"

	"cpcds2fhir/internal/database"
)

// Whoever knows an address can fail to sign in with it so often that it is locked. So that nobody keeps a person out by
// that, a browser in which the person has signed in fully is known for a long time, and its failures are counted apart
// from those of all others. What it proves is no more than that: password and second factor are asked all the same.
const (
	DeviceFor  = 180 * 24 * time.Hour // after the last full sign-in
	deviceMost = 20                   // of a person; the oldest are forgotten
)

type deviceKey struct{}

// FromDevice notes in a context which browser a request comes from: the id that RememberDevice has returned, as the
// browser has sent it. "" is none.
func FromDevice(ctx context.Context, device string) context.Context {
	if device == "" {
		return ctx
	}
	return context.WithValue(ctx, deviceKey{}, device)
}

// deviceSum is the sum of the browser's id, "" if it has none.
func deviceSum(ctx context.Context) string {
	if device, _ := ctx.Value(deviceKey{}).(string); device != "" {
		return database.Sum(device)
	}
	return ""
}

// KnowsDevice reports whether the browser of a context has signed in fully as a person, by an address or an id, with
// the password that they have now. The answer is for limits, and for no page.
func (p *Portal) KnowsDevice(ctx context.Context, who string) (bool, error) {
	sum := deviceSum(ctx)
	if sum == "" {
		return false, nil
	}
	type row struct{ mac, password string }
	list, err := database.List(ctx, p.db, func(r database.Row) (row, error) {
		var v row
		return v, r.Scan(&v.mac, &v.password)
	}, `SELECT d.password_mac, w.password FROM portal_devices d JOIN portal_passwords w ON w.person = d.person JOIN portal_people p ON p.id = d.person
		WHERE d.id_sum = $1 AND d.expires > $2 AND p.verified <> 0 AND (p.email = $3 OR p.id = $3)`, sum, database.Millis(p.Now()), who)
	if err != nil || len(list) == 0 {
		return false, err
	}
	return subtle.ConstantTimeCompare([]byte(list[0].mac), []byte(p.mac("device", list[0].password))) == 1, nil
}

// RememberDevice notes that a person has signed in fully with the browser of a context, and returns the id that the
// browser keeps for DeviceFor: the one that it has if the portal made it, or else a new one. It is "" for a person who has no
// password here.
func (p *Portal) RememberDevice(ctx context.Context, person string) (device string, err error) {
	now := p.Now()
	err = p.tx(ctx, func(ctx context.Context, tx *step) error {
		device = ""
		kept, err := database.Column(ctx, tx, `SELECT password FROM portal_passwords WHERE person = $1`, person)
		if err != nil || len(kept) == 0 {
			return err
		}
		made, err := database.Column(ctx, tx, `SELECT person FROM portal_devices WHERE id_sum = $1 AND expires > $2 LIMIT 1`, deviceSum(ctx), database.Millis(now))
		if err != nil {
			return err
		}
		if device, _ = ctx.Value(deviceKey{}).(string); len(made) == 0 {
			device = database.NewSecret()
		}
		if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_devices (id_sum, person, password_mac, expires) VALUES ($1, $2, $3, $4)
			ON CONFLICT (id_sum, person) DO UPDATE SET password_mac = excluded.password_mac, expires = excluded.expires`,
			database.Sum(device), person, p.mac("device", kept[0]), database.Millis(now.Add(DeviceFor))); err != nil {
			return err
		}
		_, err = database.Change(ctx, tx.Tx, `DELETE FROM portal_devices WHERE person = $1 AND id_sum IN
			(SELECT id_sum FROM portal_devices WHERE person = $1 ORDER BY expires DESC, id_sum LIMIT 1000 OFFSET $2)`, person, deviceMost)
		return err
	})
	return device, err
}

// triesOf is the name by which tries are counted: a known browser has one of its own.
func (p *Portal) triesOf(ctx context.Context, who string) (string, error) {
	known, err := p.KnowsDevice(ctx, who)
	if err != nil || !known {
		return who, err
	}
	return who + " with " + deviceSum(ctx), nil
}
