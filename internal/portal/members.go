package portal

import (
	"context"
	"slices"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
)

// MembersOf lists the people of an organisation.
func (a *Actor) MembersOf(ctx context.Context, org string) ([]Membership, error) {
	if err := a.maySee(org); err != nil {
		return nil, err
	}
	return database.List(ctx, a.db, readMembership, membershipQuery+` WHERE m.org = $1 AND o.closed = 0 ORDER BY m.since, p.name, p.id`, org)
}

// SetOrgRole changes what somebody may do; the last owner stays one: *DeniedError. Owners do it.
func (a *Actor) SetOrgRole(ctx context.Context, org, person string, role OrgRole) error {
	if err := a.mayAct(org, Owner); err != nil {
		return err
	}
	if !slices.Contains(orgRoles, role) {
		return &InputError{"role", codeWrong}
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		before, err := othersOwn(ctx, tx, org, person)
		if err != nil {
			return err
		}
		if before == role {
			return nil
		}
		if err := database.ChangeOne(ctx, tx.Tx, `UPDATE portal_members SET role = $1 WHERE org = $2 AND person = $3`, string(role), org, person); err != nil {
			return err
		}
		if err := a.keep(ctx, tx, &Event{Actor: a.id(), Action: didSetOrgRole, Org: org, Subject: person, Note: string(role)}); err != nil {
			return err
		}
		return a.tellMember(ctx, tx, org, person, "member_role", map[string]string{"Role": string(role)})
	})
}

// RemoveMember ends a membership; the last owner stays: *DeniedError. Owners do it, and everybody for themselves.
func (a *Actor) RemoveMember(ctx context.Context, org, person string) error {
	roles := []OrgRole{Owner}
	if person == a.id() {
		roles = orgRoles
	}
	if err := a.mayAct(org, roles...); err != nil {
		return err
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		if _, err := othersOwn(ctx, tx, org, person); err != nil {
			return err
		}
		if err := a.tellMember(ctx, tx, org, person, "member_removed", nil); err != nil {
			return err
		}
		if err := database.ChangeOne(ctx, tx.Tx, `DELETE FROM portal_members WHERE org = $1 AND person = $2`, org, person); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didRemoveMember, Org: org, Subject: person})
	})
}

// tellMember writes a letter to somebody of an organisation, unless they do it themselves.
func (a *Actor) tellMember(ctx context.Context, tx *step, org, id, letter string, data map[string]string) error {
	if id == a.id() {
		return nil
	}
	o, err := organisation(ctx, tx, org)
	if err != nil {
		return err
	}
	who, err := person(ctx, tx, byID, id)
	if err != nil {
		return err
	}
	values := map[string]string{"Org": o.Name, "Link": a.link(pageAccount)}
	for k, v := range data {
		values[k] = v
	}
	return a.mail(ctx, tx, letter, who.Email, who.Language, values)
}

// othersOwn fails with *DeniedError if somebody is the last owner of an organisation, and with ErrNotFound if they do not
// belong to it. It returns their role. Nobody else changes the people of the organisation meanwhile.
func othersOwn(ctx context.Context, tx *step, org, person string) (OrgRole, error) {
	if err := lockOrganisation(ctx, tx, org); err != nil {
		return "", err
	}
	members, err := database.List(ctx, tx, readMembership, membershipQuery+` WHERE m.org = $1`, org)
	if err != nil {
		return "", err
	}
	var role OrgRole
	others := false
	for _, m := range members {
		if m.Person == person {
			role = m.Role
		} else if m.Role == Owner {
			others = true
		}
	}
	switch {
	case role == "":
		return "", accounts.ErrNotFound
	case role == Owner && !others:
		return role, &DeniedError{"the last owner stays one: make another an owner first"}
	}
	return role, nil
}
