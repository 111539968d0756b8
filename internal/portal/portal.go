// Package portal is the developers' portal of an agency, without its pages: people and organisations, applications and
// their review, apps with credentials, mail, requests for support. It keeps all of it in the database of the accounts,
// and makes clients there; it knows nothing of claims and of HTTP.
//
// Whoever acts is an Actor, and every method of an Actor shows and changes only what that person may: what belongs to
// another organisation is ErrNotFound, as if it did not exist. So pages, commands and tests cannot forget a check.
package portal

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Environment is a server whose clients the portal makes.
type Environment struct {
	Accounts *accounts.Accounts // its database
	FHIRBase string
	Issuer   string
}

// Rules are those of the agency. Zero values mean what the fields say.
type Rules struct {
	SandboxReview string   // automatic: complete questionnaires are approved at once; "" and manual: by a reviewer
	FourEyes      bool     // who approves, denies or accepts a change is not who proposed it
	Demo          bool     // a demonstration must be held before an approval is proposed
	Proof         string   // identity proofing: "" none, claim (of the identity service), review (by staff) or either
	Levels        []string // of the claim that count as proofed, such as those of IAL2
	Evidence      []string // interactions that an app must have shown in the sandbox: see Interactions
	Criteria      []string // codes of grounds for refusing or suspending (42 CFR 431.60(e)); nil is DefaultCriteria
	SandboxDays   int      // business days in which a questionnaire is decided; 0 is 2
	ReviewDays    int      // and an application for production; 0 is 14
	Holidays      []string // of the state, YYYY-MM-DD: the clock stands still
	LapseDays     int      // days after which a draft or an unanswered question lapses; 0 is 90
	AttestDays    int      // days that attestations hold; 0 is 365
	Directory     bool     // the public list of approved apps is shown
	KeepDays      int      // days that closed requests for support and withdrawn or lapsed applications are kept; 0 is 730
	TermsVersion  string   // of the portal's terms; a new one must be accepted again
}

// Config says what a portal works with. Zero values mean defaults where a field says so.
type Config struct {
	Accounts   *accounts.Accounts // also the database of the portal itself
	Production Environment
	Sandbox    Environment // its Accounts may be those of Production only in a sandbox
	Forms      *forms.Set
	Uploads    string // folder for documents, outside of everything that is served; made with mode 0700
	Rules      Rules
	Agency     string // name, as mails write it
	URL        string // origin of the portal, for links in mails
	Zone       *time.Location

	Mail    Mailer       // nil: mail is off, and what is due is shown to administrators instead
	Letters string       // folder of the agency's letters, LANGUAGE/NAME.txt, in place of those of the program; "" is none
	Fetch   *http.Client // fetches policies and terms of apps, and proofs of domains; nil is one that reaches public https addresses only

	// TXT looks up the TXT records of a name in DNS; nil asks the resolver of the machine.
	TXT func(ctx context.Context, name string) ([]string, error)

	Now func() time.Time

	// TestMembers are the logins of the sandbox that developers are shown.
	TestMembers []TestMember

	Events Events
}

// TestMember is a made-up member of the sandbox.
type TestMember struct{ Login, Password, Name, Patient, Note string }

// Mailer sends a mail. An error with a method Permanent() bool that is true is not tried again. It is safe for
// concurrent use.
type Mailer interface {
	Send(ctx context.Context, m *Mail) error
}

// Mail is a message to one person.
type Mail struct{ ID, To, Subject, Text, Language string }

// Events report what happens. Every field may be nil. They have ids, and no address, name or answer.
type Events struct {
	Happened func(e *Event)               // every step that is kept, after it is durable
	SignedIn func(person string)          //
	Refused  func(what, reason string)    // a login, a form: password, locked, factor, token, csrf
	Mailed   func(mail string, err error) // sent, or not
	Fault    func(what string, err error)
}

// Errors that callers decide by. ErrNotFound, ErrExists, ErrUsed and ErrLocked of accounts are used too.
var (
	ErrStale   = errors.New("somebody has changed it meanwhile") // the version is not the one that was seen
	ErrSession = errors.New("nobody has signed in, or the session has ended")
	ErrFresh   = errors.New("the person must sign in again for this") // secrets are shown only after that
)

// DeniedError says that a person may not do something that they may see.
type DeniedError struct{ Why string }

func (e *DeniedError) Error() string { return e.Why }

// NeedError says what a move lacks. Nothing has changed.
type NeedError struct {
	Need     lifecycle.Need
	Problems []forms.Problem // for lifecycle.Complete
	Missing  []string        // interactions, for lifecycle.Evidence; attestations, for lifecycle.Attested
}

func (e *NeedError) Error() string { return "it needs " + string(e.Need) }

// InputError says that a value is not acceptable. Field names it; Code is a key of the texts of the pages.
type InputError struct{ Field, Code string }

func (e *InputError) Error() string { return e.Field + ": " + e.Code }

// Event is a step that is kept: who did what, when, and why. It is never changed.
type Event struct {
	ID          string
	At          time.Time
	Actor       string // id of a person; "system", "operator" or "visitor"
	ActorName   string // for those who may see it; not kept
	Action      string // an action of lifecycle, or one of the portal, such as sign_up, invite, secret_made
	Application string // id, or ""
	Org         string // id, or ""
	App         string // id, or ""
	Subject     string // id of the person that it is about, or ""
	From, To    lifecycle.State
	Reason      string // that the applicant reads
	Criterion   string
	Note        string // that only staff read
}

// Portal is an open portal. It is safe for concurrent use, and several processes may share its database.
type Portal struct {
	Config
	db      *database.DB
	letters *letters
	numbers atomic.Int64  // the last number that an event or mail of this process got
	wake    chan struct{} // mails wait
}

// SessionKind says how far somebody has signed in.
type SessionKind string

// Kinds of sessions.
const (
	Half  SessionKind = "half"  // the password was right; the second factor is missing
	Enrol SessionKind = "enrol" // the second factor must be set up first
	Full  SessionKind = "full"  //
)

// Session is a person who has signed in with a browser.
type Session struct {
	ID      string
	Person  string
	Kind    SessionKind
	Fresh   time.Time // when the person last proved who they are
	Created time.Time
	Expires time.Time
}
