package portal

import (
	"context"
	"errors"
	"slices"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/lifecycle"
)

// effect does what the move does besides changing the state.
func (m *move) effect(ctx context.Context, tx *step, e lifecycle.Effect) error {
	switch e {
	case lifecycle.Freeze:
		return m.freeze(ctx, tx)
	case lifecycle.Unsign:
		m.r.Reviews = nil
	case lifecycle.OpenSandbox, lifecycle.CloseSandbox:
		return m.sandbox(ctx, tx)
	case lifecycle.MakeClient:
		return m.makeClient(ctx, tx)
	case lifecycle.ApplyChange:
		m.app.Approved, m.app.Asked, m.dirty = m.app.Asked, nil, true
		m.r.Approved = m.r.Revision
	case lifecycle.DropChange:
		m.app.Asked, m.dirty = nil, true
	case lifecycle.DisableClient, lifecycle.EnableClient:
		return m.switchClient(ctx, tx, e == lifecycle.EnableClient)
	case lifecycle.ConfirmPolicies:
		return m.confirmTexts(ctx, tx, m.r.App)
	case lifecycle.NotifyApplicant:
		return m.notifyApplicant(ctx, tx)
	case lifecycle.NotifyReviewers:
		return m.notifyStaff(ctx, tx, Reviewer)
	case lifecycle.NotifyAdministrators:
		return m.notifyStaff(ctx, tx, Administrator)
	}
	return nil
}

// finish keeps the application, and the app and its clients as they are after the move.
func (m *move) finish(ctx context.Context, tx *step) error {
	approves := m.Action == lifecycle.Approve && m.r.Kind == lifecycle.Production
	if approves {
		m.r.Approved = m.r.Revision
	}
	if err := m.saveApplication(ctx, tx, m.r); err != nil {
		return err
	}
	if m.app == nil {
		return nil
	}
	switch {
	case approves:
		last, err := m.revision(ctx, tx, m.r.ID, m.r.Revision)
		if err != nil {
			return err
		}
		m.app.Approved, m.dirty = last.Settings.clone(), true
		if err := m.confirmRevision(ctx, tx, m.app, last); err != nil {
			return err
		}
	case m.Action == lifecycle.Retire:
		m.app.Retired, m.dirty = m.at, true
	}
	if m.dirty {
		if err := m.saveApp(ctx, tx, m.app); err != nil {
			return err
		}
	}
	if m.app.Production == "" || !lifecycle.Usable(m.To) || m.To == lifecycle.ChangePending {
		return nil // while a change is pending, what was approved stays as it is
	}
	// What was approved and attested is what members read.
	status := accounts.Status("")
	if slices.Contains(m.Effects, lifecycle.MakeClient) || slices.Contains(m.Effects, lifecycle.EnableClient) {
		status = accounts.Active
	}
	return m.putProduction(ctx, tx, m.app, &m.r.Application, status)
}

// makeClient gives an app a production client of what was approved. One of before that has ended stays what it is: what
// members allowed it is on record.
func (m *move) makeClient(ctx context.Context, tx *step) error {
	if m.app == nil || m.app.Approved == nil {
		return &InputError{"app", "approved"}
	}
	m.app.Retired, m.dirty = time.Time{}, true
	if m.app.Production != "" { // one that has registered itself, and waits
		c, err := m.production().ClientIn(ctx, tx.Tx, m.app.Production)
		if err == nil && c.Status == accounts.Held {
			// Whoever has registered it needs not be who has claimed it: what opens it is for the owner alone.
			return m.production().EndSecretsIn(ctx, tx.Tx, m.app.Production)
		}
		if err != nil && !errors.Is(err, accounts.ErrNotFound) {
			return err
		}
	}
	m.app.Production = newClientID(InProduction)
	return nil
}

// switchClient lets the production client work, or not, from now on.
func (m *move) switchClient(ctx context.Context, tx *step, on bool) error {
	if m.app == nil || m.app.Production == "" {
		return nil // approved, and it never had credentials
	}
	status := accounts.Disabled
	if on {
		status = accounts.Active
	}
	return m.production().SetStatusIn(ctx, tx.Tx, m.app.Production, status)
}

// sandbox makes the sandbox clients of the organisation what they should be now.
func (m *move) sandbox(ctx context.Context, tx *step) error {
	apps, err := m.appsOf(ctx, tx, m.r.Org)
	if err != nil {
		return err
	}
	open := m.To == lifecycle.Approved
	for _, app := range apps {
		if app.Sandbox == "" {
			continue
		}
		if err := m.putSandbox(ctx, tx, app, open); err != nil {
			return err
		}
	}
	return nil
}

// letter is what a mail about an application says.
func (m *move) letter() map[string]string {
	data := map[string]string{
		"Number": m.r.ID, "App": m.r.AppName, "Organisation": m.r.OrgName, "Reason": m.in.Reason, "Conditions": m.in.Conditions,
		"Link": m.link(pageApplications + m.r.ID),
	}
	if data["App"] == "" {
		data["App"] = m.r.OrgName
	}
	return data
}

// notifyApplicant writes to owners and developers of the organisation, or to who sent the form.
func (m *move) notifyApplicant(ctx context.Context, tx *step) error {
	if m.was == lifecycle.Unconfirmed && m.Action == lifecycle.Lapse {
		return nil // whoever has the address may know nothing of it
	}
	return m.tellApplicant(ctx, tx, m.r, "application_"+string(m.Action), m.letter())
}

// notifyStaff writes to staff with a role, or to whom the application is given.
func (m *move) notifyStaff(ctx context.Context, tx *step, role StaffRole) error {
	kind := "review_due"
	if role == Administrator {
		kind = "review_appeal"
	}
	data := m.letter()
	data["Link"] = m.link(pageReview + m.r.ID)
	return m.tellStaff(ctx, tx, m.r, role, kind, data)
}

// readers are people whom mails go to: those whose address is confirmed, and who may sign in.
func (p *Portal) readers(ctx context.Context, q database.Queryer, where string, values ...any) ([]*Person, error) {
	return database.List(ctx, q, readPerson, personQuery+` `+where+` AND p.verified <> 0 AND p.status = 'registered' ORDER BY p.id`, values...)
}

// tellApplicant writes to owners and developers of the organisation, or to who sent the form.
func (p *Portal) tellApplicant(ctx context.Context, tx *step, r *record, kind string, data map[string]string) error {
	list, err := p.readers(ctx, tx, `JOIN portal_members m ON m.person = p.id WHERE m.org = $1 AND m.role IN ('owner', 'developer')`, r.Org)
	if err != nil {
		return err
	}
	if r.Org == "" {
		v, err := p.visitor(ctx, tx, r.ID)
		if err != nil {
			return err
		}
		list = append(list, &Person{Email: v.Email, Language: v.Language})
		data["Link"] = p.link(pageTrack)
	}
	for _, to := range list {
		if to.Email == "" { // a client that has registered itself, and says nothing of who to write to
			continue
		}
		if err := p.mail(ctx, tx, kind, to.Email, to.Language, data); err != nil {
			return err
		}
	}
	return nil
}

// tellStaff writes to whom the application is given, or to all with a role who do not belong to the applicant.
func (p *Portal) tellStaff(ctx context.Context, tx *step, r *record, role StaffRole, kind string, data map[string]string) error {
	list, err := p.readers(ctx, tx, `WHERE p.staff <> '' AND p.id NOT IN (SELECT person FROM portal_members WHERE org = $1)
		AND (p.staff = 'administrator' OR p.staff = $2)`, r.Org, string(role))
	if err != nil {
		return err
	}
	if mine := slices.IndexFunc(list, func(to *Person) bool { return to.ID == r.Assignee }); mine >= 0 {
		list = list[mine : mine+1]
	}
	for _, to := range list {
		if err := p.mail(ctx, tx, kind, to.Email, to.Language, data); err != nil {
			return err
		}
	}
	return nil
}
