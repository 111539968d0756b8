package portal

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
)

// Organisation is whoever publishes apps: a company, an agency, or a developer alone.
type Organisation struct {
	ID       string
	Version  int
	Solo     bool   // a developer without an organisation
	Legal    string // legal name
	Name     string // trading name, as members read it
	Type     string // company, nonprofit, provider, payer, government, university, individual
	Website  string
	Domain   Domain
	Address  string
	TaxID    string // optional
	US       bool   // based in the United States
	HIPAA    string // covered_entity, business_associate, none or unknown
	Parent   string
	Contacts []Contact
	Created  time.Time
}

// Domain is a proof that the organisation owns the domain of its website.
type Domain struct {
	Name    string
	Token   string // value of a TXT record _cpcds2fhir.NAME, or content of https://NAME/.well-known/cpcds2fhir.txt
	Proofed time.Time
	By      string    // dns, web or the id of a reviewer
	Checked time.Time `json:",omitzero"` // when it was looked for again, zero: not since it was proofed
	Misses  int       `json:",omitzero"` // days in a row on which it was not there
}

// Contact is whom the agency reaches for what.
type Contact struct {
	Kind  string // primary, secondary, security, privacy, incident, status
	Name  string
	Email string
	Phone string
}

// Kinds of organisations, what HIPAA makes of them, and kinds of contacts.
var (
	orgTypes     = []string{"company", "nonprofit", "provider", "payer", "government", "university", "individual"}
	hipaaKinds   = []string{"covered_entity", "business_associate", "none", "unknown"}
	contactKinds = []string{"primary", "secondary", "security", "privacy", "incident", "status"}
	orgRoles     = []OrgRole{Owner, Developer, Observer}
)

// orgQuery is the beginning of a query that readOrganisation reads.
const orgQuery = `SELECT o.id, o.version, o.about, o.created FROM portal_organisations o`

func readOrganisation(row database.Row) (*Organisation, error) {
	o := &Organisation{}
	var id, about string
	var version int
	var created int64
	if err := row.Scan(&id, &version, &about, &created); err != nil {
		return nil, err
	}
	if err := database.Decode(about, o); err != nil {
		return nil, err
	}
	o.ID, o.Version, o.Created = id, version, database.Instant(created)
	return o, nil
}

// organisation finds one that is not closed. It fails with ErrNotFound.
func organisation(ctx context.Context, q database.Queryer, id string) (*Organisation, error) {
	list, err := database.List(ctx, q, readOrganisation, orgQuery+` WHERE o.id = $1 AND o.closed = 0`, id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, accounts.ErrNotFound
	}
	return list[0], nil
}

// membershipQuery is the beginning of a query that readMembership reads.
const membershipQuery = `SELECT m.org, o.name, m.person, p.name, p.email, m.role, m.since FROM portal_members m
	JOIN portal_organisations o ON o.id = m.org JOIN portal_people p ON p.id = m.person`

func readMembership(row database.Row) (Membership, error) {
	var m Membership
	var role string
	var since int64
	err := row.Scan(&m.Org, &m.OrgName, &m.Person, &m.Name, &m.Email, &role, &since)
	m.Role, m.Since = OrgRole(role), database.Instant(since)
	return m, err
}

// checked is what somebody has said of an organisation, as it is kept. It fails with *InputError.
func checked(o *Organisation) (*Organisation, error) {
	c := *o
	var err error
	if c.Name, err = nameOf("name", c.Name); err != nil {
		return nil, err
	}
	if c.Legal == "" && c.Solo {
		c.Legal = c.Name
	}
	if c.Legal, err = nameOf("legal", c.Legal); err != nil {
		return nil, err
	}
	if c.Solo {
		c.Type = "individual"
	}
	switch {
	case !slices.Contains(orgTypes, c.Type):
		return nil, &InputError{"type", codeWrong}
	case c.HIPAA == "":
		c.HIPAA = "unknown"
	case !slices.Contains(hipaaKinds, c.HIPAA):
		return nil, &InputError{"hipaa", codeWrong}
	}
	host, err := hostOf(c.Website)
	if err != nil && (c.Website != "" || !c.Solo) {
		return nil, err
	}
	c.Domain = Domain{Name: strings.TrimPrefix(host, "www.")}
	for _, t := range []struct {
		field string
		text  *string
	}{{"address", &c.Address}, {"tax_id", &c.TaxID}, {"parent", &c.Parent}} {
		*t.text = written(*t.text, t.field == "address")
		if utf8.RuneCountInString(*t.text) > 500 || !utf8.ValidString(*t.text) {
			return nil, &InputError{t.field, codeLong}
		}
	}
	if c.Contacts, err = contactsOf(c.Contacts); err != nil {
		return nil, err
	}
	return &c, nil
}

// contactsOf are contacts as they are kept: one of a kind at most.
func contactsOf(list []Contact) ([]Contact, error) {
	var kept []Contact
	for _, c := range list {
		field := "contact_" + c.Kind
		if !slices.Contains(contactKinds, c.Kind) || slices.ContainsFunc(kept, func(k Contact) bool { return k.Kind == c.Kind }) {
			return nil, &InputError{"contacts", codeWrong}
		}
		if c.Name == "" && c.Email == "" && c.Phone == "" {
			continue
		}
		var err error
		if c.Name, err = nameOf(field, c.Name); err != nil {
			return nil, err
		}
		if c.Email, err = addressOf(field, c.Email); err != nil {
			return nil, err
		}
		if c.Phone = written(c.Phone, false); len(c.Phone) > 40 {
			return nil, &InputError{field, codeLong}
		}
		kept = append(kept, c)
	}
	return kept, nil
}

// hostOf is the host of a website, in ASCII: a public name, not an address. It fails with *InputError.
func hostOf(website string) (string, error) {
	if website == "" {
		return "", &InputError{"website", codeMissing}
	}
	u, err := url.Parse(website)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Port() != "" || len(website) > 500 {
		return "", &InputError{"website", codeWrong}
	}
	host, err := idna.Lookup.ToASCII(strings.ToLower(u.Hostname()))
	_, isAddress := netip.ParseAddr(host)
	last := host[strings.LastIndexByte(host, '.')+1:]
	if err != nil || isAddress == nil || !strings.Contains(host, ".") || slices.Contains(strings.Split(host, "."), "") || strings.Trim(last, "0123456789") == "" ||
		slices.Contains([]string{"local", "localhost", "internal", "test", "invalid", "onion", "arpa"}, last) {
		return "", &InputError{"website", codeWrong}
	}
	return host, nil
}

// AddOrganisation makes an organisation; the actor is its owner. A developer has at most one that is solo: ErrExists. Nobody
// owns more than ten: *InputError name: organisations. Nor has one a name that looks like another's (taken_publisher) or like the
// agency's (official).
func (a *Actor) AddOrganisation(ctx context.Context, o *Organisation) (*Organisation, error) {
	if a.Person == nil {
		return nil, &DeniedError{"an organisation belongs to a person, and an operator has no account here"}
	}
	c, err := checked(o)
	if err != nil {
		return nil, err
	}
	c.ID, c.Version, c.Created = database.Random(), 1, a.Now().UTC()
	if c.Domain.Name != "" {
		c.Domain.Token = database.NewSecret()
	}
	about, err := database.Encode(c)
	if err != nil {
		return nil, err
	}
	solo := ""
	if c.Solo {
		solo = a.Person.ID
	}
	return c, a.tx(ctx, func(ctx context.Context, tx *step) error {
		if err := a.lockSelf(ctx, tx); err != nil {
			return err
		}
		owned, err := database.Column(ctx, tx, `SELECT org FROM portal_members WHERE person = $1 AND role = 'owner'`, a.Person.ID)
		if err != nil {
			return err
		}
		if len(owned) >= orgsMost {
			return &InputError{"name", "organisations"}
		}
		n, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_organisations (id, version, name, solo, about, created, closed)
			VALUES ($1, 1, $2, $3, $4, $5, 0) ON CONFLICT DO NOTHING`, c.ID, c.Name, solo, about, database.Millis(c.Created))
		if err != nil {
			return err
		}
		if n == 0 {
			return accounts.ErrExists
		}
		if err := a.takePublisher(ctx, tx, c); err != nil {
			return err
		}
		if err := a.addMember(ctx, tx, c.ID, a.Person.ID, Owner); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didAddOrganisation, Org: c.ID})
	})
}

// changeOrganisation changes an organisation, which nobody else changes meanwhile. With a version it fails with ErrStale
// if that is not the last one. It fails with ErrNotFound.
func (p *Portal) changeOrganisation(ctx context.Context, tx *step, id string, version int, change func(o *Organisation) error) (*Organisation, error) {
	if err := lockOrganisation(ctx, tx, id); err != nil {
		return nil, err
	}
	o, err := organisation(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if version != 0 && version != o.Version {
		return nil, ErrStale
	}
	if err := change(o); err != nil {
		return nil, err
	}
	o.Version++
	about, err := database.Encode(o)
	if err != nil {
		return nil, err
	}
	return o, database.ChangeOne(ctx, tx.Tx, `UPDATE portal_organisations SET version = $1, name = $2, about = $3 WHERE id = $4`, o.Version, o.Name, about, id)
}

// lockOrganisation keeps others from changing an organisation or its people until the transaction ends. It fails with
// ErrNotFound.
func lockOrganisation(ctx context.Context, tx *step, id string) error {
	return database.ChangeOne(ctx, tx.Tx, `UPDATE portal_organisations SET version = version WHERE id = $1 AND closed = 0`, id)
}

// UpdateOrganisation changes it; ErrStale if o.Version is not the last one. A new website needs a new proof of the domain.
// A changed name reopens the review of apps that are live: it fails with *DeniedError and says so. Owners change it.
func (a *Actor) UpdateOrganisation(ctx context.Context, o *Organisation) error {
	if err := a.mayAct(o.ID, Owner); err != nil {
		return err
	}
	c, err := checked(o)
	if err != nil {
		return err
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		if _, err := a.changeOrganisation(ctx, tx, o.ID, max(o.Version, 1), func(is *Organisation) error {
			if is.Name != c.Name || is.Legal != c.Legal {
				live, err := a.inProduction(ctx, tx, o.ID)
				if err != nil {
					return err
				}
				if live {
					return &DeniedError{"apps of the organisation are in production: its name changes with a review of theirs"}
				}
			}
			was := *is
			domain := was.Domain
			*is = *c
			is.ID, is.Solo, is.Created, is.Version = was.ID, was.Solo, was.Created, was.Version
			if was.Name != c.Name {
				if err := a.takePublisher(ctx, tx, is); err != nil {
					return err
				}
			}
			if domain.Name == c.Domain.Name {
				is.Domain = domain
			} else if c.Domain.Name != "" {
				is.Domain.Token = database.NewSecret()
			}
			return nil
		}); err != nil {
			return err
		}
		if err := a.refreshPublisher(ctx, tx, o.ID); err != nil { // members read it
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didUpdateOrg, Org: o.ID})
	})
}

// Organisations lists those of the actor, or all for staff.
func (a *Actor) Organisations(ctx context.Context) ([]*Organisation, error) {
	if a.isStaff(Support) {
		return database.List(ctx, a.db, readOrganisation, orgQuery+` WHERE o.closed = 0 ORDER BY o.name, o.id`)
	}
	return database.List(ctx, a.db, readOrganisation, orgQuery+` JOIN portal_members m ON m.org = o.id
		WHERE o.closed = 0 AND m.person = $1 ORDER BY o.name, o.id`, a.id())
}

// Organisation finds one.
func (a *Actor) Organisation(ctx context.Context, id string) (*Organisation, error) {
	if err := a.maySee(id); err != nil {
		return nil, err
	}
	return organisation(ctx, a.db, id)
}

// History lists the events of an organisation that happened before an instant (zero: all), newest first. Staff see
// notes too; members see nothing that is not decided, and nobody of the staff.
func (a *Actor) History(ctx context.Context, org string, before time.Time, limit int) ([]*Event, error) {
	if err := a.maySee(org); err != nil || org == "" {
		return nil, accounts.ErrNotFound
	}
	if before.IsZero() {
		before = a.Now().AddDate(1, 0, 0)
	}
	events, err := database.List(ctx, a.db, readEvent, eventQuery+` WHERE org = $1 AND at < $2 ORDER BY id DESC LIMIT $3`,
		org, database.Millis(before), most(limit))
	if err != nil {
		return nil, err
	}
	return events, a.show(ctx, org, events)
}
