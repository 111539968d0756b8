package portal

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"image/png"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
)

// Properties of the second factor (RFC 6238).
const (
	factorStep   = 30 // seconds
	factorSkew   = 1  // steps that clocks may differ
	factorDigits = 6
	factorQR     = 240 // pixels
	recoveries   = 10
	recoverySize = 15 // bytes: 24 letters that nobody guesses, whoever has the database
)

// factor is how a person's second factor is kept.
type factor struct {
	key  string // in base32; "" if there is none yet
	next string // that is not proved yet
	step int64  // of the last code that was taken
}

func (p *Portal) factor(ctx context.Context, q database.Queryer, person string) (*factor, error) {
	f := &factor{}
	type row struct{ sealed, next string }
	list, err := database.List(ctx, q, func(r database.Row) (row, error) {
		var v row
		return v, r.Scan(&v.sealed, &v.next, &f.step)
	}, `SELECT sealed, next, step FROM portal_factors WHERE person = $1`, person)
	if err != nil || len(list) == 0 {
		return f, err
	}
	for _, k := range []struct {
		sealed string
		into   *string
	}{{list[0].sealed, &f.key}, {list[0].next, &f.next}} {
		if k.sealed != "" {
			if err := p.unseal("factor "+person, k.sealed, k.into); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

// stepOf finds the step whose code it is, among those that are now.
func (p *Portal) stepOf(key, code string) (int64, bool) {
	now := p.Now().Unix() / factorStep
	found, at := 0, int64(0)
	for step := now - factorSkew; step <= now+factorSkew; step++ {
		want, err := hotp.GenerateCode(key, uint64(step)) //nolint:gosec // the time is after 1970
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			found, at = 1, step
		}
	}
	return at, found == 1
}

// FactorCode is the code of a TOTP key at a time, "" if the key is none. It is for the made-up people of a sandbox, who have
// no device.
func FactorCode(key string, at time.Time) string {
	code, err := hotp.GenerateCode(key, uint64(at.Unix()/factorStep)) //nolint:gosec // the time is after 1970
	if err != nil {
		return ""
	}
	return code
}

// Factor checks a code of the second factor, or a recovery code, which is good once, and returns a new session of the
// kind Full that replaces the half one. A code is good once. It fails with accounts.ErrNotFound or ErrLocked, or
// ErrSession if the session is over or is not Half.
func (p *Portal) Factor(ctx context.Context, session, code string) (*Session, error) {
	s, who, err := p.sessionOf(ctx, session, Half)
	if err != nil {
		return nil, err
	}
	full, err := p.passFactor(ctx, s, who, code)
	if err == nil && p.Events.SignedIn != nil {
		p.Events.SignedIn(who.ID)
	}
	return full, err
}

// sessionOf finds a session of one of some kinds, and its person.
func (p *Portal) sessionOf(ctx context.Context, session string, kinds ...SessionKind) (*Session, *Person, error) {
	s, err := p.Session(ctx, session)
	if err != nil {
		return nil, nil, err
	}
	for _, k := range kinds {
		if s.Kind == k {
			who, err := person(ctx, p.db, byID, s.Person)
			if errors.Is(err, accounts.ErrNotFound) || err == nil && who.Status != registered {
				err = ErrSession
			}
			return s, who, err
		}
	}
	return nil, nil, ErrSession
}

// passFactor takes a code, and replaces a session by a full and fresh one. One that was full ends when it would have.
func (p *Portal) passFactor(ctx context.Context, s *Session, who *Person, code string) (*Session, error) {
	if err := p.countFactor(ctx, who.ID); err != nil {
		return nil, err
	}
	var end time.Time
	if s.Kind == Full {
		end = s.Expires
	}
	var full *Session
	err := p.tx(ctx, func(ctx context.Context, tx *step) error {
		if err := p.takeSession(ctx, tx, s); err != nil {
			return err
		}
		if err := p.takeCode(ctx, tx, who, code); err != nil {
			return err
		}
		if err := database.ChangeOne(ctx, tx.Tx, `UPDATE portal_people SET seen = $1 WHERE id = $2 AND status = 'registered'`, database.Millis(p.Now()), who.ID); err != nil {
			return err
		}
		var err error
		full, err = p.addSession(ctx, tx, who.ID, Full, p.Now(), end)
		return err
	})
	if errors.Is(err, accounts.ErrNotFound) {
		p.refused("sign_in", "factor")
	}
	if err != nil {
		return nil, err
	}
	return full, p.forgetFactor(ctx, who.ID)
}

func (p *Portal) countFactor(ctx context.Context, person string) error {
	tries, err := p.triesOf(ctx, person)
	if err != nil {
		return err
	}
	err = p.Accounts.CountFailure(ctx, triesFactor, tries, true)
	if errors.Is(err, accounts.ErrLocked) {
		p.refused("sign_in", "locked")
	}
	return err
}

func (p *Portal) forgetFactor(ctx context.Context, person string) error {
	tries, err := p.triesOf(ctx, person)
	if err != nil {
		return err
	}
	return p.Accounts.ForgetFailures(ctx, triesFactor, tries)
}

// takeCode takes a code of the device, or a recovery code. It fails with ErrNotFound if it is wrong, or was taken before.
func (p *Portal) takeCode(ctx context.Context, tx *step, who *Person, code string) error {
	code = strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(code))
	if len(code) == factorDigits {
		f, err := p.factor(ctx, tx, who.ID)
		if err != nil {
			return err
		}
		at, right := p.stepOf(f.key, code)
		if f.key == "" || !right {
			return accounts.ErrNotFound
		}
		return database.ChangeOne(ctx, tx.Tx, `UPDATE portal_factors SET step = $1 WHERE person = $2 AND step < $1`, at, who.ID)
	}
	if err := database.ChangeOne(ctx, tx.Tx, `DELETE FROM portal_recovery WHERE person = $1 AND code_mac = $2`, who.ID, p.mac("recovery "+who.ID, code)); err != nil {
		return err
	}
	var left int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM portal_recovery WHERE person = $1`, who.ID).Scan(&left); err != nil {
		return err
	}
	if err := p.keep(ctx, tx, &Event{Actor: who.ID, Action: didUseRecovery, Subject: who.ID}); err != nil {
		return err
	}
	return p.mail(ctx, tx, "recovery_used", who.Email, who.Language, map[string]string{"Left": strconv.Itoa(left), "Link": p.link(pageAccount)})
}

// mayEnrol finds a session that may set up a second factor, and its person.
func (p *Portal) mayEnrol(ctx context.Context, session string) (*Session, *Person, error) {
	s, who, err := p.sessionOf(ctx, session, Enrol, Full)
	switch {
	case err != nil:
	case who.Issuer != "":
		err = &DeniedError{"the person signs in with the identity service"}
	case s.Kind == Full && !p.fresh(s):
		err = ErrFresh
	case s.Kind == Enrol && who.Factor: // it was set up meanwhile
		err = ErrSession
	}
	return s, who, err
}

// NewFactor makes a TOTP key for a session of kind Enrol (or a full and fresh one, which replaces the factor): its
// otpauth URL, its letters, and a QR code as PNG. It is not in use before EnrolFactor.
func (p *Portal) NewFactor(ctx context.Context, session string) (url, key string, qr []byte, err error) {
	_, who, err := p.mayEnrol(ctx, session)
	if err != nil {
		return "", "", nil, err
	}
	made, err := totp.Generate(totp.GenerateOpts{Issuer: strings.ReplaceAll(p.Agency, ":", " "), AccountName: who.Email, Period: factorStep})
	if err != nil {
		return "", "", nil, errors.New("portal: the key of a second factor cannot be made") // the cause may have the address
	}
	image, err := made.Image(factorQR, factorQR)
	if err != nil {
		return "", "", nil, errors.New("portal: the QR code of a second factor cannot be drawn")
	}
	var b bytes.Buffer
	if err := png.Encode(&b, image); err != nil {
		return "", "", nil, fmt.Errorf("portal: %w", err)
	}
	key = made.Secret()
	sealed, err := p.seal("factor "+who.ID, key)
	if err != nil {
		return "", "", nil, err
	}
	if _, err := p.db.Change(ctx, `INSERT INTO portal_factors (person, sealed, step, next) VALUES ($1, '', 0, $2)
		ON CONFLICT (person) DO UPDATE SET next = excluded.next`, who.ID, sealed); err != nil {
		return "", "", nil, err
	}
	return made.URL(), key, b.Bytes(), nil
}

// EnrolFactor proves that the device has the key, and returns a full session and ten recovery codes, which are shown
// once. Other sessions of the person end. It fails as Factor does.
func (p *Portal) EnrolFactor(ctx context.Context, session, code string) (*Session, []string, error) {
	s, who, err := p.mayEnrol(ctx, session)
	if err != nil {
		return nil, nil, err
	}
	if err := p.countFactor(ctx, who.ID); err != nil {
		return nil, nil, err
	}
	code = strings.ReplaceAll(code, " ", "")
	var full *Session
	var codes []string
	err = p.tx(ctx, func(ctx context.Context, tx *step) error {
		if err := p.takeSession(ctx, tx, s); err != nil {
			return err
		}
		f, err := p.factor(ctx, tx, who.ID)
		if err != nil {
			return err
		}
		at, right := p.stepOf(f.next, code)
		if f.next == "" || !right {
			return accounts.ErrNotFound
		}
		if err := p.setFactor(ctx, tx, who.ID, f.next, at); err != nil {
			return err
		}
		if codes, err = p.newRecovery(ctx, tx, who.ID); err != nil {
			return err
		}
		if err := endSessions(ctx, tx, who.ID, ""); err != nil {
			return err
		}
		var end time.Time
		if s.Kind == Full {
			end = s.Expires
		}
		if full, err = p.addSession(ctx, tx, who.ID, Full, p.Now(), end); err != nil {
			return err
		}
		if err := p.keep(ctx, tx, &Event{Actor: who.ID, Action: didEnrolFactor, Subject: who.ID}); err != nil {
			return err
		}
		return p.mail(ctx, tx, "factor_changed", who.Email, who.Language, map[string]string{"Link": p.link(pageForgot)})
	})
	if errors.Is(err, accounts.ErrNotFound) {
		p.refused("sign_in", "factor")
	}
	if err != nil {
		return nil, nil, err
	}
	if p.Events.SignedIn != nil && s.Kind != Full {
		p.Events.SignedIn(who.ID)
	}
	return full, codes, p.forgetFactor(ctx, who.ID)
}

// setFactor puts a key into use. step is that of the last code that was taken with it.
func (p *Portal) setFactor(ctx context.Context, tx *step, person, key string, step int64) error {
	sealed, err := p.seal("factor "+person, key)
	if err != nil {
		return err
	}
	_, err = database.Change(ctx, tx.Tx, `INSERT INTO portal_factors (person, sealed, step, next) VALUES ($1, $2, $3, '')
		ON CONFLICT (person) DO UPDATE SET sealed = excluded.sealed, step = excluded.step, next = ''`, person, sealed, step)
	return err
}

// newRecovery makes recovery codes; those of before are void.
func (p *Portal) newRecovery(ctx context.Context, tx *step, person string) ([]string, error) {
	if _, err := database.Change(ctx, tx.Tx, `DELETE FROM portal_recovery WHERE person = $1`, person); err != nil {
		return nil, err
	}
	codes := make([]string, recoveries)
	for i := range codes {
		var b [recoverySize]byte
		_, _ = rand.Read(b[:]) // it never fails
		code := base32.StdEncoding.EncodeToString(b[:])
		if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_recovery (person, code_mac) VALUES ($1, $2)`, person, p.mac("recovery "+person, code)); err != nil {
			return nil, err
		}
		var groups []string
		for rest := range slices.Chunk([]byte(code), 4) {
			groups = append(groups, string(rest))
		}
		codes[i] = strings.Join(groups, "-")
	}
	return codes, nil
}
