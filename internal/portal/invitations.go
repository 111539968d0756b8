package portal

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
)

// Invitation lets somebody join. Its token is in a mail only; it is good once, for 48 hours, for the person with this
// address and family name.
type Invitation struct {
	ID, Org string
	Email   string
	Family  string
	Role    OrgRole
	By      string
	Created time.Time
	Expires time.Time
	State   string // pending, accepted, expired or cancelled
}

// States of an invitation.
const (
	invitePending   = "pending"
	inviteAccepted  = "accepted"
	inviteExpired   = "expired"
	inviteCancelled = "cancelled"
)

// inviteQuery is the beginning of a query that readInvitation reads.
const inviteQuery = `SELECT id, org, email, family, role, invited, created, expires, state FROM portal_invitations`

func (p *Portal) readInvitation(row database.Row) (*Invitation, error) {
	i := &Invitation{}
	var role string
	var created, expires int64
	if err := row.Scan(&i.ID, &i.Org, &i.Email, &i.Family, &role, &i.By, &created, &expires, &i.State); err != nil {
		return nil, err
	}
	i.Role, i.Created, i.Expires = OrgRole(role), database.Instant(created), database.Instant(expires)
	if i.State == invitePending && !i.Expires.After(p.Now()) {
		i.State = inviteExpired
	}
	return i, nil
}

// endInvitations gives pending invitations another state, and forgets whom they were for.
const endInvitations = `UPDATE portal_invitations SET state = $1, email = '', family = '' WHERE state = 'pending' AND `

// Invite invites somebody; owners do. A second pending one for the same address is accounts.ErrExists, as is one for
// somebody who belongs to the organisation. Nobody joins an organisation that is solo. An organisation invites at most 30
// people a day, and so does a person for all of theirs: *InputError email: many.
func (a *Actor) Invite(ctx context.Context, i *Invitation) (*Invitation, error) {
	if err := a.mayAct(i.Org, Owner); err != nil {
		return nil, err
	}
	if !slices.Contains(orgRoles, i.Role) {
		return nil, &InputError{"role", codeWrong}
	}
	email, err := addressOf("email", i.Email)
	if err != nil {
		return nil, err
	}
	family, err := nameOf("family", i.Family)
	if err != nil {
		return nil, err
	}
	now := a.Now().UTC()
	token := database.NewSecret()
	made := &Invitation{
		ID: a.inOrder(), Org: i.Org, Email: email, Family: family, Role: i.Role, By: a.id(),
		Created: now, Expires: now.Add(inviteFor), State: invitePending,
	}
	err = a.tx(ctx, func(ctx context.Context, tx *step) error {
		if err := lockOrganisation(ctx, tx, i.Org); err != nil {
			return err
		}
		org, err := organisation(ctx, tx, i.Org)
		if err != nil {
			return err
		}
		if org.Solo {
			return &DeniedError{"a developer without an organisation works alone"}
		}
		members, err := database.List(ctx, tx, readMembership, membershipQuery+` WHERE m.org = $1 AND p.email = $2`, i.Org, email)
		if err != nil {
			return err
		}
		if len(members) > 0 {
			return accounts.ErrExists
		}
		if _, err := database.Change(ctx, tx.Tx, endInvitations+`org = $2 AND expires <= $3`, inviteExpired, i.Org, database.Millis(now)); err != nil {
			return err
		}
		if err := a.mayInvite(ctx, tx, i.Org, now.AddDate(0, 0, -1)); err != nil {
			return err
		}
		n, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_invitations (id, token_sum, org, email, family, role, invited, created, expires, state)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending') ON CONFLICT DO NOTHING`,
			made.ID, database.Sum(token), made.Org, email, family, string(made.Role), made.By, database.Millis(now), database.Millis(made.Expires))
		if err != nil {
			return err
		}
		if n == 0 {
			return accounts.ErrExists
		}
		if err := a.keep(ctx, tx, &Event{Actor: a.id(), Action: didInvite, Org: i.Org}); err != nil {
			return err
		}
		return a.mail(ctx, tx, mailInvite, email, a.language(), map[string]string{"Org": org.Name, "Link": a.link(pageInvitation, "token", token)})
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// mayInvite fails with *InputError if an organisation, or the actor for all of theirs, has invited too many people since an
// instant: mails go to people who have not asked for them.
func (a *Actor) mayInvite(ctx context.Context, tx *step, org string, since time.Time) error {
	if err := a.lockSelf(ctx, tx); err != nil {
		return err
	}
	var ours, mine int
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(SUM(CASE WHEN org = $1 THEN 1 ELSE 0 END), 0), COALESCE(SUM(CASE WHEN invited = $2 THEN 1 ELSE 0 END), 0)
		FROM portal_invitations WHERE (org = $1 OR invited = $2) AND created > $3`, org, a.id(), database.Millis(since)).Scan(&ours, &mine); err != nil {
		return database.Fault(err)
	}
	if ours >= inviteMost || mine >= inviteMost {
		return &InputError{"email", "many"}
	}
	return nil
}

// lockSelf keeps the actor from doing something at the same time elsewhere that is counted, until the transaction ends.
func (a *Actor) lockSelf(ctx context.Context, tx *step) error {
	if a.Person == nil {
		return nil
	}
	return database.ChangeOne(ctx, tx.Tx, `UPDATE portal_people SET seen = seen WHERE id = $1`, a.Person.ID)
}

// language is that of the actor.
func (a *Actor) language() string {
	if a.Person == nil {
		return letterLanguages[0]
	}
	return a.Person.Language
}

// Invitations lists those of an organisation, newest first. Whom those were for that are over is not kept.
func (a *Actor) Invitations(ctx context.Context, org string) ([]*Invitation, error) {
	if err := a.maySee(org); err != nil {
		return nil, err
	}
	return database.List(ctx, a.db, a.readInvitation, inviteQuery+` WHERE org = $1 ORDER BY id DESC`, org)
}

// CancelInvitation ends a pending one; owners do.
func (a *Actor) CancelInvitation(ctx context.Context, org, id string) error {
	if err := a.mayAct(org, Owner); err != nil {
		return err
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		if err := database.ChangeOne(ctx, tx.Tx, endInvitations+`org = $2 AND id = $3`, inviteCancelled, org, id); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didCancelInvite, Org: org})
	})
}

// Invited shows what an invitation is for, without accepting it. It fails with accounts.ErrNotFound, and with
// *DeniedError if it is for somebody else.
func (a *Actor) Invited(ctx context.Context, token string) (*Invitation, *Organisation, error) {
	return a.invited(ctx, a.db, token)
}

func (a *Actor) invited(ctx context.Context, q database.Queryer, token string) (*Invitation, *Organisation, error) {
	list, err := database.List(ctx, q, a.readInvitation, inviteQuery+` WHERE token_sum = $1`, database.Sum(token))
	if err != nil {
		return nil, nil, err
	}
	if len(list) == 0 || list[0].State != invitePending {
		return nil, nil, accounts.ErrNotFound
	}
	i := list[0]
	if a.Person == nil || a.Person.Email != i.Email {
		return nil, nil, &DeniedError{"the invitation is for another address"}
	}
	org, err := organisation(ctx, q, i.Org)
	if err != nil {
		return nil, nil, err
	}
	return i, &Organisation{ID: org.ID, Name: org.Name, Legal: org.Legal, Type: org.Type, Website: org.Website, Domain: Domain{Name: org.Domain.Name, Proofed: org.Domain.Proofed}}, nil
}

// AcceptInvitation joins. The actor's address and family name must be those of the invitation: *DeniedError. Who
// belongs to the organisation already is accounts.ErrExists.
func (a *Actor) AcceptInvitation(ctx context.Context, token string) (*Organisation, error) {
	var org *Organisation
	err := a.tx(ctx, func(ctx context.Context, tx *step) error {
		i, _, err := a.invited(ctx, tx, token)
		if err != nil {
			return err
		}
		if !hasFamilyName(a.Person.Name, i.Family) {
			return &DeniedError{"the invitation is for another family name"}
		}
		if err := lockOrganisation(ctx, tx, i.Org); err != nil {
			return err
		}
		if org, err = organisation(ctx, tx, i.Org); err != nil {
			return err
		}
		if err := database.ChangeOne(ctx, tx.Tx, endInvitations+`id = $2`, inviteAccepted, i.ID); err != nil { // another was first
			return err
		}
		if err := a.addMember(ctx, tx, i.Org, a.Person.ID, i.Role); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didJoin, Org: i.Org, Subject: a.Person.ID, Note: string(i.Role)})
	})
	if err != nil {
		return nil, err
	}
	return org, nil
}

// hasFamilyName reports whether a name begins or ends with a family name, whatever case and accents it is written with.
func hasFamilyName(name, family string) bool {
	n, f := plainWords(name), plainWords(family)
	return len(f) > 0 && len(f) <= len(n) && (slices.Equal(n[len(n)-len(f):], f) || slices.Equal(n[:len(f)], f))
}

func plainWords(text string) []string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Mn, r) || r == '\'' || r == '’':
			return -1
		case !unicode.IsLetter(r):
			return ' '
		}
		return unicode.ToLower(r)
	}, norm.NFKD.String(text))
	return strings.Fields(text)
}

// addMember makes a person one of an organisation. It fails with ErrExists.
func (p *Portal) addMember(ctx context.Context, tx *step, org, person string, role OrgRole) error {
	n, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_members (org, person, role, since) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		org, person, string(role), database.Millis(p.Now()))
	if err == nil && n == 0 {
		err = accounts.ErrExists
	}
	return err
}
