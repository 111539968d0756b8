package portal

import (
	"context"
	"slices"

	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Who acts where nobody does who has signed in.
const (
	actorSystem   = "system"
	actorOperator = "operator"
	actorVisitor  = "visitor"
	actorOther    = "other" // whose id the reader must not see; it is not kept
)

// Actions of the portal that events have, besides those of lifecycle.
const (
	didSignUp          = "sign_up"
	didEnrolFactor     = "factor_enrolled"
	didUseRecovery     = "recovery_code_used"
	didResetPassword   = "password_reset"
	didChangePassword  = "password_changed"
	didAskProof        = "proof_requested"
	didProof           = "proof_passed"
	didRefuseProof     = "proof_failed"
	didAcceptTerms     = "terms_accepted"
	didDeleteAccount   = "account_deleted"
	didSetStaff        = "staff_role"
	didSuspend         = "person_suspended"
	didReadmit         = "person_readmitted"
	didEndSessions     = "sessions_ended"
	didAddPerson       = "person_added"
	didAddOrganisation = "organisation_added"
	didUpdateOrg       = "organisation_changed"
	didCloseOrg        = "organisation_closed"
	didProofDomain     = "domain_proofed"
	didInvite          = "invite"
	didCancelInvite    = "invite_cancelled"
	didJoin            = "join"
	didSetOrgRole      = "member_role"
	didRemoveMember    = "member_removed"
	didFile            = "ticket_filed"
	didReply           = "ticket_answered"
)

// keep keeps a step for ever, in the transaction of what it is about. It gives the event an id and the time, unless it
// has them; tx reports it once it is durable. Reason and Note are what people wrote; nothing else of an event has a name
// or an address.
func (p *Portal) keep(ctx context.Context, tx *step, e *Event) error {
	if e.ID == "" {
		e.ID = p.inOrder()
	}
	if e.At.IsZero() {
		e.At = p.Now().UTC()
	}
	if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_events
		(id, at, actor, action, application, org, app, subject, state_from, state_to, reason, criterion, note)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		e.ID, database.Millis(e.At), e.Actor, e.Action, e.Application, e.Org, e.App, e.Subject, string(e.From), string(e.To),
		e.Reason, e.Criterion, e.Note); err != nil {
		return err
	}
	tx.kept = append(tx.kept, e)
	return nil
}

// keep is Portal.keep, and notes which operator it was.
func (a *Actor) keep(ctx context.Context, tx *step, e *Event) error {
	if a.Person == nil && a.operator != "" {
		who := actorOperator + " " + written(a.operator, false)
		if e.Note != "" {
			who = e.Note + " (" + who + ")"
		}
		e.Note = who
	}
	return a.Portal.keep(ctx, tx, e)
}

// eventQuery is the beginning of a query that readEvent reads.
const eventQuery = `SELECT id, at, actor, action, application, org, app, subject, state_from, state_to, reason, criterion, note FROM portal_events`

func readEvent(row database.Row) (*Event, error) {
	e := &Event{}
	var at int64
	var from, to string
	if err := row.Scan(&e.ID, &at, &e.Actor, &e.Action, &e.Application, &e.Org, &e.App, &e.Subject, &from, &to,
		&e.Reason, &e.Criterion, &e.Note); err != nil {
		return nil, err
	}
	e.At, e.From, e.To = database.Instant(at), lifecycle.State(from), lifecycle.State(to)
	return e, nil
}

// show makes events those that the actor may see. Staff see who did it, and notes. Applicants, and staff who belong to the
// applicant, see what forApplicant leaves, and of people their own colleagues alone: not even the ids of others. org is
// whose application the events are about, "" if they are not about one.
func (a *Actor) show(ctx context.Context, org string, events []*Event) error {
	names := map[string]string{}
	colleagues := map[string]bool{"": true, a.id(): true, actorSystem: true, actorOperator: true, actorVisitor: true}
	ids, err := database.Column(ctx, a.db, `SELECT DISTINCT m.person FROM portal_members m
		JOIN portal_members mine ON mine.org = m.org WHERE mine.person = $1`, a.id())
	if err != nil {
		return err
	}
	for _, id := range ids {
		colleagues[id] = true
	}
	for _, e := range events {
		if !a.isStaff(Support) || a.roleIn(org) != "" || a.roleIn(e.Org) != "" {
			e.forApplicant()
			if !colleagues[e.Actor] {
				e.Actor = actorOther
			}
			if !colleagues[e.Subject] {
				e.Subject = ""
			}
		}
		name, known := names[e.Actor]
		if !known {
			list, err := database.Column(ctx, a.db, `SELECT name FROM portal_people WHERE id = $1`, e.Actor)
			if err != nil {
				return err
			}
			if len(list) > 0 {
				name = list[0]
			}
			names[e.Actor] = name
		}
		e.ActorName = name
	}
	return nil
}

// inside are the moves of staff that the applicant is not told of: what they say is for staff.
var inside = func() map[string]bool {
	all := map[string]bool{}
	for i := range lifecycle.Moves {
		m := &lifecycle.Moves[i]
		staff := slices.Contains(m.By, lifecycle.Reviewer) || slices.Contains(m.By, lifecycle.Administrator)
		if staff && !slices.Contains(m.Effects, lifecycle.NotifyApplicant) {
			all[string(m.Action)] = true
		}
	}
	return all
}()

// forApplicant takes out of an event what staff have not decided yet, and what they have noted.
func (e *Event) forApplicant() {
	e.Note = ""
	if inside[e.Action] {
		e.Reason, e.Criterion = "", ""
	}
	if e.Action == string(lifecycle.ProposeDeny) {
		e.Action = string(lifecycle.Propose)
	}
}
