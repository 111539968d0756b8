package accounts

import (
	"context"
	"database/sql"
	"time"

	"cpcds2fhir/internal/database"
)

// Statement is what a page told somebody before they decided.
type Statement struct {
	Version  string // of the texts of the page, the same in all languages
	Language string // in which it was read, such as "es"
	Words    string // all of it, in lines. It has no value of a member
}

// Receipt says what somebody was told, and what they allowed then. It is never changed.
type Receipt struct {
	Statement
	Digest string // SHA-256 of Words in hexadecimal

	Grant   string
	Client  string
	User    string // who decided
	Role    string // what they are to the member: self, or representative
	Patient string // whose data it is

	Requested []string  // scopes that the app asked for
	Granted   []string  // scopes that were allowed
	Created   time.Time // when they decided
	Expires   time.Time // until when they allowed it
}

// receiptAbout is what is kept of a receipt as JSON. It repeats what its grant has, so that it can be read, and handed
// out, by itself.
type receiptAbout struct {
	Version   string   `json:"version"`
	Language  string   `json:"language"`
	Client    string   `json:"client"`
	User      string   `json:"user"`
	Role      string   `json:"role"`
	Patient   string   `json:"patient"`
	Requested []string `json:"requested"`
	Granted   []string `json:"granted"`
	Expires   int64    `json:"expires"`
}

// addReceipt keeps the receipt of a new grant. What the grant has too is taken from there.
func (a *Accounts) addReceipt(ctx context.Context, tx *sql.Tx, g *Grant) error {
	r := g.Receipt
	created := g.Created
	if created.IsZero() {
		created = a.now()
	}
	about, err := database.Encode(receiptAbout{
		Version: r.Version, Language: r.Language, Client: g.Client, User: g.User, Role: r.Role, Patient: g.Patient, Requested: r.Requested, Granted: g.Scopes,
		Expires: database.Millis(g.Expires),
	})
	if err != nil {
		return err
	}
	digest := database.Sum(r.Words)
	if _, err := database.Change(ctx, tx, `INSERT INTO statements (digest, words) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING`, digest, r.Words); err != nil {
		return err
	}
	_, err = database.Change(ctx, tx, `INSERT INTO receipts (grant_id, digest, about, created) VALUES ($1, $2, $3, $4)`, g.ID, digest, about, database.Millis(created))
	return err
}

// Receipt finds the receipt of a grant, ended ones among them. It fails with ErrNotFound: grants from before there were
// receipts, and those of clients that act for themselves, have none.
func (a *Accounts) Receipt(ctx context.Context, grant string) (*Receipt, error) {
	r := &Receipt{Grant: grant}
	var about string
	var created int64
	if err := a.db.QueryRowContext(ctx, `SELECT r.digest, s.words, r.about, r.created FROM receipts r JOIN statements s ON s.digest = r.digest WHERE r.grant_id = $1`, grant).
		Scan(&r.Digest, &r.Words, &about, &created); err != nil {
		return nil, database.Fault(err)
	}
	var k receiptAbout
	if err := database.Decode(about, &k); err != nil {
		return nil, err
	}
	r.Version, r.Language, r.Client, r.User, r.Role, r.Patient = k.Version, k.Language, k.Client, k.User, k.Role, k.Patient
	r.Requested, r.Granted, r.Created, r.Expires = k.Requested, k.Granted, database.Instant(created), database.Instant(k.Expires)
	return r, nil
}
