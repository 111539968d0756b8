package portal

import (
	"context"
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
)

// StaffRole is what somebody of the agency may do.
type StaffRole string

// Roles of staff. Each may do what those before may.
const (
	NoStaff       StaffRole = ""
	Support       StaffRole = "support"       // reads applications, answers requests for support
	Reviewer      StaffRole = "reviewer"      // decides applications
	Administrator StaffRole = "administrator" // also people, roles, letters, exports
)

// Person is a developer or somebody of the agency.
type Person struct {
	ID       string
	Email    string // lower case
	Verified time.Time
	Name     string // proofed names are read-only
	Phone    string
	Country  string
	Language string // en, es
	Staff    StaffRole
	Status   string // unverified, registered or suspended
	Proof    Proof
	Factor   bool   // a second factor is set up
	Issuer   string // of the identity service; "" for an embedded account
	Subject  string
	Terms    string // version of the portal's terms that was accepted
	TermsAt  time.Time
	Created  time.Time
	Seen     time.Time
}

// Proof is how a person's identity was proofed. No number and no image is kept.
type Proof struct {
	State     string // "", or one of those below
	Method    string // claim or review
	Level     string // such as IAL2, as the identity service names it
	Issuer    string // who has the evidence
	Reference string // of the evidence at the issuer, "" if it gives none
	At        time.Time
	By        string // id of the reviewer, for method review
	Note      string // that the person reads
}

// States of a proof; "" is none.
const (
	ProofRequested = "requested"
	ProofPassed    = "passed"
	ProofFailed    = "failed"
)

// Identified is what an identity service has said of a person.
type Identified struct {
	Issuer, Subject string
	Email           string
	EmailVerified   bool
	Name            string
	Level           string
	Reference       string    // of the evidence of a level at the service, "" if it gives none
	AuthTime        time.Time // when they proved who they are; zero: the service does not say
}

// SignUp is an embedded account that somebody asks for.
type SignUp struct{ Email, Name, Password, Language string }

// States of a person.
const (
	unverified = "unverified"
	registered = "registered"
	suspended  = "suspended"
)

// aboutPerson is what nobody searches by.
type aboutPerson struct {
	Phone, Country, Language string
	Proof                    Proof
	Terms                    string
	TermsAt                  time.Time
}

// personQuery is the beginning of a query that readPerson reads.
const personQuery = `SELECT p.id, p.email, p.verified, p.name, p.staff, p.status, p.issuer, p.subject, p.about, p.created, p.seen,
	CASE WHEN EXISTS (SELECT 1 FROM portal_factors f WHERE f.person = p.id AND f.sealed <> '') THEN 1 ELSE 0 END FROM portal_people p`

func readPerson(row database.Row) (*Person, error) {
	p := &Person{}
	var verified, created, seen, factor int64
	var staff, text string
	if err := row.Scan(&p.ID, &p.Email, &verified, &p.Name, &staff, &p.Status, &p.Issuer, &p.Subject, &text, &created, &seen, &factor); err != nil {
		return nil, err
	}
	about := aboutPerson{}
	if err := database.Decode(text, &about); err != nil {
		return nil, err
	}
	p.Staff, p.Factor = StaffRole(staff), factor != 0
	p.Verified, p.Created, p.Seen = database.Instant(verified), database.Instant(created), database.Instant(seen)
	p.Phone, p.Country, p.Language, p.Proof = about.Phone, about.Country, about.Language, about.Proof
	p.Terms, p.TermsAt = about.Terms, about.TermsAt
	return p, nil
}

// person finds one by a condition on personQuery. It fails with ErrNotFound.
func person(ctx context.Context, q database.Queryer, where string, values ...any) (*Person, error) {
	list, err := database.List(ctx, q, readPerson, personQuery+` WHERE `+where, values...)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, accounts.ErrNotFound
	}
	return list[0], nil
}

// Conditions of person.
const (
	byID      = `p.id = $1`
	byEmail   = `p.email = $1 AND p.verified <> 0`
	bySubject = `p.issuer = $1 AND p.subject = $2`
)

// writePerson adds a person, and reports whether there was none with this address or subject.
func (p *Portal) writePerson(ctx context.Context, tx *step, who *Person) (bool, error) {
	about, err := database.Encode(&aboutPerson{who.Phone, who.Country, who.Language, who.Proof, who.Terms, who.TermsAt})
	if err != nil {
		return false, err
	}
	n, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_people (id, email, verified, name, staff, status, issuer, subject, about, created, seen)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING`,
		who.ID, who.Email, database.Millis(who.Verified), who.Name, string(who.Staff), who.Status, who.Issuer, who.Subject, about,
		database.Millis(who.Created), database.Millis(who.Seen))
	return n > 0, err
}

// changePerson changes a person, of whom nobody else changes anything meanwhile. It fails with ErrNotFound.
func (p *Portal) changePerson(ctx context.Context, tx *step, id string, change func(who *Person) error) (*Person, error) {
	if err := database.ChangeOne(ctx, tx.Tx, `UPDATE portal_people SET seen = seen WHERE id = $1`, id); err != nil { // it locks the row
		return nil, err
	}
	who, err := person(ctx, tx, byID, id)
	if err != nil {
		return nil, err
	}
	if err := change(who); err != nil {
		return nil, err
	}
	about, err := database.Encode(&aboutPerson{who.Phone, who.Country, who.Language, who.Proof, who.Terms, who.TermsAt})
	if err != nil {
		return nil, err
	}
	return who, database.ChangeOne(ctx, tx.Tx, `UPDATE portal_people SET email = $1, verified = $2, name = $3, staff = $4, status = $5, about = $6, seen = $7
		WHERE id = $8`, who.Email, database.Millis(who.Verified), who.Name, string(who.Staff), who.Status, about, database.Millis(who.Seen), id)
}

// Actor is a person who acts, or an operator.
type Actor struct {
	*Portal
	Person  *Person
	Session *Session // nil for an operator
	Members []Membership

	operator string // the operator's account on the machine
}

// Membership is a person's part in an organisation.
type Membership struct {
	Org, OrgName string
	Person       string
	Name, Email  string // of the person, for those who may see them
	Role         OrgRole
	Since        time.Time
}

// OrgRole is what somebody may do for an organisation.
type OrgRole string

// Roles in an organisation.
const (
	Owner     OrgRole = "owner"     // binds it: attests, submits, invites
	Developer OrgRole = "developer" // apps, drafts, credentials of the sandbox
	Observer  OrgRole = "observer"  // reads
)

// changeSelf changes the actor's own record, and keeps the event.
func (a *Actor) changeSelf(ctx context.Context, did string, change func(who *Person) error) error {
	if a.Person == nil {
		return &DeniedError{"an operator has no account here"}
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		who, err := a.changePerson(ctx, tx, a.Person.ID, change)
		if err != nil {
			return err
		}
		if did != "" {
			if err := a.keep(ctx, tx, &Event{Actor: a.id(), Action: did, Subject: who.ID}); err != nil {
				return err
			}
		}
		if did == didAskProof {
			return a.mailStaff(ctx, tx, Reviewer, "proof_requested", map[string]string{"Link": a.link(pageStaff)})
		}
		return nil
	})
}

// UpdateProfile changes name (unless it is proofed), phone, country and language.
func (a *Actor) UpdateProfile(ctx context.Context, name, phone, country, language string) error {
	name, err := nameOf("name", name)
	if err != nil {
		return err
	}
	phone = strings.TrimSpace(phone)
	if len(phone) > 40 || strings.Trim(phone, "0123456789+-().,/ x") != "" {
		return &InputError{"phone", codeWrong}
	}
	country = strings.ToUpper(strings.TrimSpace(country))
	if country != "" && (len(country) != 2 || strings.Trim(country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "") {
		return &InputError{"country", codeWrong}
	}
	if !slices.Contains(letterLanguages, language) {
		return &InputError{"language", codeWrong}
	}
	return a.changeSelf(ctx, "", func(who *Person) error {
		if who.Proof.State == ProofPassed && who.Name != name {
			return &InputError{"name", "proofed"}
		}
		who.Name, who.Phone, who.Country, who.Language = name, phone, country, language
		return nil
	})
}

// RequestProof asks staff to proof the identity (Rules.Proof review or either). It fails with ErrExists if it is asked
// for already, or passed.
func (a *Actor) RequestProof(ctx context.Context) error {
	if a.Rules.Proof != "review" && a.Rules.Proof != "either" {
		return &DeniedError{"the agency does not proof identities by itself"}
	}
	return a.changeSelf(ctx, didAskProof, func(who *Person) error {
		if who.Proof.State == ProofRequested || who.Proof.State == ProofPassed {
			return accounts.ErrExists
		}
		who.Proof = Proof{State: ProofRequested, Method: "review", At: a.Now().UTC()}
		return nil
	})
}

// AcceptTerms accepts the portal's terms in a version.
func (a *Actor) AcceptTerms(ctx context.Context, version string) error {
	if version == "" || version != a.Rules.TermsVersion {
		return &InputError{"version", "stale"}
	}
	return a.changeSelf(ctx, didAcceptTerms, func(who *Person) error {
		who.Terms, who.TermsAt = version, a.Now().UTC()
		return nil
	})
}

// DeleteAccount removes the person's data; it fails with *DeniedError for the last owner of an organisation that has
// other people, or an app in production. Other organisations of the last owner are closed. What they did stays in
// events, under their id.
func (a *Actor) DeleteAccount(ctx context.Context) error {
	if a.Person == nil {
		return &DeniedError{"an operator has no account here"}
	}
	err := a.tx(ctx, func(ctx context.Context, tx *step) error {
		if _, err := a.changePerson(ctx, tx, a.Person.ID, func(*Person) error { return nil }); err != nil {
			return err
		}
		orgs, err := database.Column(ctx, tx, `SELECT org FROM portal_members WHERE person = $1 ORDER BY org`, a.Person.ID)
		if err != nil {
			return err
		}
		for _, org := range orgs {
			if err := a.leaveForGood(ctx, tx, org); err != nil {
				return err
			}
		}
		for _, statement := range []string{
			`DELETE FROM portal_tokens WHERE person = $1`,
			`DELETE FROM portal_people WHERE id = $1`, // what belongs to it goes too
		} {
			if _, err := database.Change(ctx, tx.Tx, statement, a.Person.ID); err != nil {
				return err
			}
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didDeleteAccount, Subject: a.Person.ID})
	})
	if err == nil {
		a.settle(ctx)
	}
	return err
}

// Codes of InputError that several values have. A value may have others of its own.
const (
	codeMissing = "missing"
	codeLong    = "long"
	codeWrong   = "wrong"
)

// addressOf is an e-mail address as it is kept. Letters of other alphabets are refused: they look like those of other
// addresses.
func addressOf(field, text string) (string, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	if text == "" {
		return "", &InputError{field, codeMissing}
	}
	parsed, err := mail.ParseAddress(text)
	_, domain, _ := strings.Cut(text, "@")
	if err != nil || parsed.Address != text || parsed.Name != "" || len(text) > 254 || !strings.Contains(domain, ".") ||
		strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf || r <= ' ' || strings.ContainsRune(`"(),:;<>[\]`, r) }) {
		return "", &InputError{field, codeWrong}
	}
	return text, nil
}

// nameOf is a name as it is kept, of a person or an organisation. It goes into mails to others, so it must not carry
// a link there.
func nameOf(field, text string) (string, error) {
	text = strings.Join(strings.Fields(text), " ")
	switch {
	case text == "":
		return "", &InputError{field, codeMissing}
	case utf8.RuneCountInString(text) > 100:
		return "", &InputError{field, codeLong}
	case !utf8.ValidString(text) || strings.ContainsAny(text, "<>") || strings.Contains(text, "://") || strings.Contains(strings.ToLower(text), "www.") ||
		strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }):
		return "", &InputError{field, codeWrong}
	}
	return text, nil
}

// reasonOf is a text that somebody must give, as it is kept.
func reasonOf(field, text string, most int) (string, error) {
	text = written(text, true)
	switch {
	case text == "":
		return "", &InputError{field, codeMissing}
	case !utf8.ValidString(text):
		return "", &InputError{field, codeWrong}
	case utf8.RuneCountInString(text) > most:
		return "", &InputError{field, codeLong}
	}
	return text, nil
}

func languageOf(language string) string {
	if slices.Contains(letterLanguages, language) {
		return language
	}
	return letterLanguages[0]
}
