package portal

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"time"

	"cpcds2fhir/internal/database"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaTable is where it is noted which migrations have run.
const schemaTable = "portal_schema"

// Open makes a portal that works with c, and brings its tables up to date, in the database of c.Accounts. The caller
// closes that database after the last use of the portal.
func Open(ctx context.Context, c *Config) (*Portal, error) {
	if c.Accounts == nil || c.Forms == nil {
		return nil, errors.New("portal: it needs accounts and forms")
	}
	if c.Production.Accounts != nil && c.Production.Accounts.Database() != c.Accounts.Database() {
		return nil, errors.New("portal: the accounts of production are not in its database")
	}
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("portal: URL is not an origin such as https://portal.example")
	}
	p := &Portal{Config: *c, db: c.Accounts.Database(), wake: make(chan struct{}, 1)}
	p.URL = strings.TrimSuffix(c.URL, "/")
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.Zone == nil {
		p.Zone = time.UTC
	}
	if p.TXT == nil {
		p.TXT = net.DefaultResolver.LookupTXT
	}
	var err error
	if p.letters, err = readLetters(c.Letters); err != nil {
		return nil, err
	}
	folder, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("portal: read migrations: %w", err)
	}
	if err := p.db.Migrate(ctx, folder, schemaTable); err != nil {
		return nil, fmt.Errorf("portal: %w", err)
	}
	return p, nil
}

// step is a transaction of the portal, with the events that it keeps.
type step struct {
	*sql.Tx
	kept  []*Event
	mails int
}

// tx runs f in a transaction, as database.Tx does: f may run several times, and changes nothing but the database. Once
// it is committed, what was kept is reported, and mails that it wrote are sent.
func (p *Portal) tx(ctx context.Context, f func(ctx context.Context, tx *step) error) error {
	var last *step
	var told error
	err := p.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		last = &step{Tx: tx}
		told = f(ctx, last)
		return told
	})
	var outcome database.OutcomeError
	if err != nil && (!errors.As(told, &outcome) || outcome.Err != err) {
		return err
	}
	if p.Events.Happened != nil {
		for _, e := range last.kept {
			p.Events.Happened(e)
		}
	}
	if last.mails > 0 {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	return err
}

// seal writes a value as JSON, sealed for one place.
func (p *Portal) seal(place string, v any) (string, error) {
	text, err := database.Encode(v)
	if err != nil {
		return "", err
	}
	return p.db.Seal("portal "+place, []byte(text))
}

// unseal reads what seal wrote.
func (p *Portal) unseal(place, sealed string, v any) error {
	text, err := p.db.Open("portal "+place, sealed)
	if err != nil {
		return err
	}
	return database.Decode(string(text), v)
}

// mac is how what people type is kept where it must be found again: without the seal nobody can try what it may be.
func (p *Portal) mac(purpose, value string) string {
	k := p.db.MAC("portal "+purpose, value)
	return hex.EncodeToString(k[:])
}

// inOrder makes an id that sorts after those that this process made before, and near those of others of the same time.
func (p *Portal) inOrder() string {
	now := p.Now().UnixMilli() << 16
	for {
		last := p.numbers.Load()
		next := max(last+1, now)
		if p.numbers.CompareAndSwap(last, next) {
			return fmt.Sprintf("%016x", next) + database.Random()[:16]
		}
	}
}

// letterAlphabet has no letter that looks like another, or like a digit, and no vowel that makes words.
const letterAlphabet = "23456789BCDFGHJKLMNPQRSTVWXZ"

// number makes a number that people read and type, such as S-4H2K-9PWX. It may be there already, if seldom.
func number(prefix string) string {
	var b [8]byte
	for i := 0; i < len(b); {
		var r [1]byte
		_, _ = rand.Read(r[:]) // it never fails
		if n := int(r[0]); n < 256/len(letterAlphabet)*len(letterAlphabet) {
			b[i] = letterAlphabet[n%len(letterAlphabet)]
			i++
		}
	}
	return prefix + "-" + string(b[:4]) + "-" + string(b[4:])
}

// fault reports what nobody else is told.
func (p *Portal) fault(what string, err error) {
	if err != nil && p.Events.Fault != nil {
		p.Events.Fault(what, err)
	}
}

// refused reports that somebody was refused, without saying who.
func (p *Portal) refused(what, reason string) {
	if p.Events.Refused != nil {
		p.Events.Refused(what, reason)
	}
}
