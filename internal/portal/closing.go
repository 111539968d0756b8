package portal

import (
	"context"
	"slices"

	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/lifecycle"
)

// leaveForGood ends the actor's membership because their account goes. An organisation without anybody else is closed.
func (a *Actor) leaveForGood(ctx context.Context, tx *step, org string) error {
	if err := lockOrganisation(ctx, tx, org); err != nil {
		return err
	}
	members, err := database.List(ctx, tx, readMembership, membershipQuery+` WHERE m.org = $1`, org)
	if err != nil {
		return err
	}
	owner := slices.ContainsFunc(members, func(m Membership) bool { return m.Person == a.id() && m.Role == Owner })
	others := slices.ContainsFunc(members, func(m Membership) bool { return m.Person != a.id() && m.Role == Owner })
	if owner && !others {
		live, err := a.inProduction(ctx, tx, org)
		if err != nil {
			return err
		}
		if live {
			return &DeniedError{"an app of the organisation is in production: retire it, or make another an owner"}
		}
		if len(members) > 1 {
			return &DeniedError{"others belong to the organisation: make another an owner"}
		}
	}
	if _, err := database.Change(ctx, tx.Tx, `DELETE FROM portal_members WHERE org = $1 AND person = $2`, org, a.id()); err != nil {
		return err
	}
	if len(members) > 1 {
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didRemoveMember, Org: org, Subject: a.id()})
	}
	return a.closeOrganisation(ctx, tx, org)
}

// closeOrganisation closes an organisation without people: its applications are withdrawn, its sandbox clients are
// disabled, and what it has said of its contacts is removed. Its name stays for those who read what it did.
func (a *Actor) closeOrganisation(ctx context.Context, tx *step, org string) error {
	open, err := database.List(ctx, tx, readApplication, applicationQuery+`WHERE a.org = $1 ORDER BY a.id`, org)
	if err != nil {
		return err
	}
	for _, r := range open {
		if _, err := lifecycle.Find(r.Kind, r.State, lifecycle.Withdraw, []lifecycle.Role{lifecycle.Owner}); err != nil {
			continue // it is over, or decided
		}
		m := &move{Portal: a.Portal, actor: a, in: &Input{Version: r.Version}, seen: &outside{}, at: a.Now().UTC()}
		if err := m.decide(ctx, tx, r.ID, lifecycle.Withdraw); err != nil {
			return err
		}
	}
	apps, err := a.appsOf(ctx, tx, org)
	if err != nil {
		return err
	}
	for _, app := range apps {
		if err := a.putSandbox(ctx, tx, app, false); err != nil {
			return err
		}
	}
	if _, err := a.changeOrganisation(ctx, tx, org, 0, func(o *Organisation) error {
		o.Contacts, o.Address, o.TaxID = nil, "", ""
		return nil
	}); err != nil {
		return err
	}
	if _, err := database.Change(ctx, tx.Tx, `UPDATE portal_organisations SET closed = $1, solo = '' WHERE id = $2`, database.Millis(a.Now()), org); err != nil {
		return err
	}
	if _, err := database.Change(ctx, tx.Tx, endInvitations+`org = $2`, inviteCancelled, org); err != nil {
		return err
	}
	if err := a.releasePublisher(ctx, tx, org, ""); err != nil {
		return err
	}
	return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didCloseOrg, Org: org})
}

// inProduction reports whether an organisation has an app whose production client works, or may work again: one that was
// revoked or retired does not.
func (p *Portal) inProduction(ctx context.Context, tx *step, org string) (bool, error) {
	states := []string{string(lifecycle.Suspended)}
	for _, s := range lifecycle.States(lifecycle.Production) {
		if lifecycle.Usable(s) {
			states = append(states, string(s))
		}
	}
	v := values{org, string(lifecycle.Production)}
	found, err := database.Column(ctx, tx, `SELECT id FROM portal_applications WHERE org = $1 AND kind = $2 AND state IN (`+v.list(states)+`) LIMIT 1`, v...)
	return len(found) > 0, err
}
