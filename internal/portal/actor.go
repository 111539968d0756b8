package portal

import (
	"slices"
	"time"

	"cpcds2fhir/internal/accounts"
)

// freshFor is how long a proof of who somebody is lets them see secrets.
const freshFor = 10 * time.Minute

// id is who acts, as events have it.
func (a *Actor) id() string {
	if a.Person == nil {
		return actorOperator
	}
	return a.Person.ID
}

// staffRoles are those of staff, the least first.
var staffRoles = []StaffRole{NoStaff, Support, Reviewer, Administrator}

// isStaff reports whether the actor is staff with a role, or a higher one. An operator is.
func (a *Actor) isStaff(least StaffRole) bool {
	return a.Person == nil || slices.Index(staffRoles, a.Person.Staff) >= slices.Index(staffRoles, least)
}

// needStaff fails with *DeniedError unless the actor is staff with a role, or a higher one. It is asked before anything
// is looked up, so that others cannot tell what there is.
func (a *Actor) needStaff(least StaffRole) error {
	if a.isStaff(least) {
		return nil
	}
	return &DeniedError{"only staff of the agency may do it, with the role " + string(least)}
}

// roleIn is what the actor may do for an organisation, "" if they do not belong to it.
func (a *Actor) roleIn(org string) OrgRole {
	for _, m := range a.Members {
		if m.Org == org {
			return m.Role
		}
	}
	return ""
}

// maySee fails with ErrNotFound unless the actor belongs to an organisation, or is staff.
func (a *Actor) maySee(org string) error {
	if org != "" && a.roleIn(org) != "" || a.isStaff(Support) {
		return nil
	}
	return accounts.ErrNotFound
}

// mayAct fails with *DeniedError if the actor may see an organisation, but has none of the roles in it, and with ErrNotFound
// if they may not even see it.
func (a *Actor) mayAct(org string, roles ...OrgRole) error {
	if err := a.maySee(org); err != nil {
		return err
	}
	if slices.Contains(roles, a.roleIn(org)) {
		return nil
	}
	return &DeniedError{"the role in the organisation does not allow it"}
}

// needFresh fails with ErrFresh unless the person has proved who they are in the last minutes. An operator has.
func (a *Actor) needFresh() error {
	if a.Session == nil && a.Person == nil || a.Session != nil && a.fresh(a.Session) {
		return nil
	}
	return ErrFresh
}

func (p *Portal) fresh(s *Session) bool {
	return !s.Fresh.IsZero() && p.Now().Sub(s.Fresh) < freshFor
}
