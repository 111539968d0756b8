// Package lifecycle says what may happen to an application of a developer, by whom, and what it needs: one table of
// moves, from which the portal decides, the pages show their buttons, and docs/portal.md is drawn. It is pure: it
// knows no database and no clock.
package lifecycle

import (
	"fmt"
	"slices"
)

// Kind is what an application is for.
type Kind string

// Kinds of applications.
const (
	Sandbox    Kind = "sandbox"    // access to the sandbox, of a developer or an organisation
	Production Kind = "production" // access of one app to members' data
)

// State is where an application stands.
type State string

// States of applications. Those of the sandbox are the first ten.
const (
	Draft         State = "draft"
	Submitted     State = "submitted" // nobody has looked at it
	InReview      State = "in_review"
	InfoRequested State = "info_requested" // the applicant is asked something
	Approved      State = "approved"
	Declined      State = "declined"
	Withdrawn     State = "withdrawn"
	Lapsed        State = "lapsed" // the applicant has not answered
	Suspended     State = "suspended"
	Revoked       State = "revoked"

	Unconfirmed      State = "unconfirmed" // came without an account; its e-mail address is not confirmed
	Triage           State = "triage"
	Review           State = "review" // of security and of privacy, each signed by itself
	ChangesRequested State = "changes_requested"
	Demo             State = "demo"
	Proposed         State = "proposed" // a reviewer has proposed a decision
	Denied           State = "denied"
	Appeal           State = "appeal"
	Credentials      State = "credentials" // the app has production credentials, and has not been used
	Live             State = "live"
	ChangePending    State = "change_pending" // a change is under review; what was approved stays live
	RenewalDue       State = "renewal_due"    // attestations expire soon, or a policy has changed
	Retired          State = "retired"
)

// Action is what somebody does to an application.
type Action string

// Actions. Those of applicants come first, then those of staff, then those of the portal itself.
const (
	Submit         Action = "submit"
	Resubmit       Action = "resubmit"
	Withdraw       Action = "withdraw"
	Reopen         Action = "reopen" // a new draft, with the answers of before
	Issue          Action = "issue"  // production credentials
	GoLive         Action = "go_live"
	Change         Action = "change" // ask for other settings of an app that is live
	WithdrawChange Action = "withdraw_change"
	Renew          Action = "renew"
	Retire         Action = "retire"
	AppealDenial   Action = "appeal"

	Take          Action = "take"
	Ask           Action = "ask"
	Approve       Action = "approve"
	Decline       Action = "decline"
	StartReview   Action = "start_review"
	SignSecurity  Action = "sign_security"
	SignPrivacy   Action = "sign_privacy"
	AskDemo       Action = "ask_demo"
	DemoHeld      Action = "demo_held"
	Propose       Action = "propose" // to approve
	ProposeDeny   Action = "propose_deny"
	Return        Action = "return" // a proposal, to the review
	Deny          Action = "deny"
	ProposeChange Action = "propose_change" // to accept a change
	AcceptChange  Action = "accept_change"
	RefuseChange  Action = "refuse_change"
	Suspend       Action = "suspend"
	Reinstate     Action = "reinstate"
	Revoke        Action = "revoke"
	Uphold        Action = "uphold"   // a denial, on appeal
	Overturn      Action = "overturn" // a denial, on appeal

	Confirm Action = "confirm" // the e-mail address of who came without an account
	Claim   Action = "claim"   // such an application, by an account with the same address
	Lapse   Action = "lapse"
	Remind  Action = "remind" // that attestations expire
)

// Role is what somebody is to an application.
type Role string

// Roles. Support staff read applications and move none.
const (
	Owner         Role = "owner"     // of the organisation: may bind it
	Developer     Role = "developer" // of the organisation
	Reviewer      Role = "reviewer"
	Administrator Role = "administrator"
	System        Role = "system" // the portal itself
)

// Need is what a move needs besides the state and the role.
type Need string

// Needs.
const (
	Complete      Need = "complete"       // all questions that are asked have answers, and the settings are fit for production
	Terms         Need = "terms"          // the portal's terms are accepted in their current version
	Evidence      Need = "evidence"       // the app has shown in the sandbox what the agency's rules name
	Attested      Need = "attested"       // each attestation is made anew, by an owner
	SandboxAccess Need = "sandbox_access" // the organisation's access to the sandbox is approved
	Identity      Need = "identity"       // the person's identity is proofed, if the agency's rules ask for it
	Reason        Need = "reason"         // a text that the applicant reads
	Criterion     Need = "criterion"      // an objective criterion of security (42 CFR 431.60(e)), by its code
	Unrelated     Need = "unrelated"      // the actor does not belong to the applicant's organisation, and never did
	OtherPerson   Need = "other_person"   // with four eyes, the actor is not the one who proposed
	Signed        Need = "signed"         // the reviews are signed, and the demo was held if one is asked for
	ForApproval   Need = "for_approval"   // what was proposed is an approval
	ForDenial     Need = "for_denial"     // what was proposed is a denial
	Automatic     Need = "automatic"      // the agency's rules let the portal decide by itself
	Undecided     Need = "undecided"      // the actor neither proposed nor decided what is appealed
)

// Effect is what a move does besides changing the state. All of it happens in the transaction of the move.
type Effect string

// Effects.
const (
	Freeze               Effect = "freeze"                // the answers and the app's settings become a revision that nobody changes
	Unsign               Effect = "unsign"                // the signatures of the reviews are void
	OpenSandbox          Effect = "open_sandbox"          // the organisation may register apps in the sandbox
	CloseSandbox         Effect = "close_sandbox"         // its sandbox clients are disabled
	MakeClient           Effect = "make_client"           // a production client of what was approved
	ApplyChange          Effect = "apply_change"          // the production client becomes what was approved
	DropChange           Effect = "drop_change"           // the settings that were asked for are set aside
	DisableClient        Effect = "disable_client"        // its tokens open nothing, at once
	EnableClient         Effect = "enable_client"         //
	ConfirmPolicies      Effect = "confirm_policies"      // the texts of policy and terms are confirmed as they are now
	NotifyApplicant      Effect = "notify_applicant"      // by e-mail
	NotifyReviewers      Effect = "notify_reviewers"      // by e-mail
	NotifyAdministrators Effect = "notify_administrators" // by e-mail, administrators
)

// Move is one row of the table.
type Move struct {
	Kind    Kind
	From    []State
	Action  Action
	To      State
	By      []Role
	Needs   []Need
	Effects []Effect
}

// Moves is the table. Whoever must not decide about themselves is kept out by Unrelated.
var Moves = slices.Concat(sandboxMoves, productionMoves)

var (
	applicant = []Role{Owner, Developer}
	owner     = []Role{Owner}
	reviewers = []Role{Reviewer, Administrator}
	admins    = []Role{Administrator}
	system    = []Role{System}
)

var sandboxMoves = []Move{
	{Sandbox, []State{Draft}, Submit, Submitted, applicant, []Need{Complete, Terms, Identity}, []Effect{Freeze, NotifyApplicant, NotifyReviewers}},
	{Sandbox, []State{Draft, Submitted, InReview, InfoRequested}, Withdraw, Withdrawn, applicant, nil, nil},
	{Sandbox, []State{Submitted}, Approve, Approved, system, []Need{Automatic}, []Effect{OpenSandbox, NotifyApplicant}},
	{Sandbox, []State{Submitted}, Take, InReview, reviewers, []Need{Unrelated}, nil},
	{Sandbox, []State{InReview}, Ask, InfoRequested, reviewers, []Need{Reason, Unrelated}, []Effect{NotifyApplicant}},
	{Sandbox, []State{InfoRequested}, Resubmit, InReview, applicant, []Need{Complete}, []Effect{Freeze, NotifyReviewers}},
	{Sandbox, []State{InReview}, Approve, Approved, reviewers, []Need{Unrelated}, []Effect{OpenSandbox, NotifyApplicant}},
	{Sandbox, []State{InReview}, Decline, Declined, reviewers, []Need{Reason, Criterion, Unrelated}, []Effect{NotifyApplicant}},
	{Sandbox, []State{Draft, InfoRequested}, Lapse, Lapsed, system, nil, []Effect{NotifyApplicant}},
	{Sandbox, []State{Declined, Withdrawn, Lapsed}, Reopen, Draft, applicant, nil, nil},
	{Sandbox, []State{Approved}, Suspend, Suspended, reviewers, []Need{Reason, Criterion, Unrelated}, []Effect{CloseSandbox, NotifyApplicant}},
	{Sandbox, []State{Suspended}, Reinstate, Approved, admins, []Need{Reason, Unrelated}, []Effect{OpenSandbox, NotifyApplicant}},
	{Sandbox, []State{Approved, Suspended}, Revoke, Revoked, admins, []Need{Reason, Criterion, Unrelated}, []Effect{CloseSandbox, NotifyApplicant}},
}

var productionMoves = []Move{
	{Production, []State{Unconfirmed}, Confirm, Submitted, system, nil, []Effect{Freeze, NotifyApplicant, NotifyReviewers}},
	{Production, []State{Submitted, Triage, Review, ChangesRequested, Demo}, Claim, ChangesRequested, owner, []Need{SandboxAccess}, []Effect{Unsign}},
	{Production, []State{Draft}, Submit, Submitted, owner, []Need{SandboxAccess, Complete, Terms, Identity, Evidence, Attested}, []Effect{Freeze, NotifyApplicant, NotifyReviewers}},
	{Production, []State{Draft, Submitted, Triage, Review, ChangesRequested, Demo, Proposed}, Withdraw, Withdrawn, applicant, nil, nil},
	{Production, []State{Submitted}, Take, Triage, reviewers, []Need{Unrelated}, nil},
	{Production, []State{Triage}, StartReview, Review, reviewers, []Need{Unrelated}, nil},
	{Production, []State{Triage, Review, Demo}, Ask, ChangesRequested, reviewers, []Need{Reason, Unrelated}, []Effect{NotifyApplicant}},
	{Production, []State{ChangesRequested}, Resubmit, Triage, owner, []Need{Complete, Evidence, Attested}, []Effect{Freeze, Unsign, NotifyReviewers}},
	{Production, []State{Review}, SignSecurity, Review, reviewers, []Need{Unrelated}, nil},
	{Production, []State{Review}, SignPrivacy, Review, reviewers, []Need{Unrelated}, nil},
	{Production, []State{Review}, AskDemo, Demo, reviewers, []Need{Reason, Unrelated}, []Effect{NotifyApplicant}},
	{Production, []State{Demo}, DemoHeld, Review, reviewers, []Need{Reason, Unrelated}, nil},
	{Production, []State{Review}, Propose, Proposed, reviewers, []Need{Signed, Unrelated}, []Effect{NotifyReviewers}},
	{Production, []State{Review}, ProposeDeny, Proposed, reviewers, []Need{Reason, Criterion, Unrelated}, []Effect{NotifyReviewers}},
	{Production, []State{Proposed}, Return, Review, reviewers, []Need{Reason, Unrelated}, []Effect{Unsign}},
	{Production, []State{Proposed}, Approve, Approved, reviewers, []Need{ForApproval, OtherPerson, Unrelated}, []Effect{NotifyApplicant}},
	{Production, []State{Proposed}, Deny, Denied, reviewers, []Need{ForDenial, Reason, Criterion, OtherPerson, Unrelated}, []Effect{NotifyApplicant}},
	{Production, []State{Denied}, AppealDenial, Appeal, owner, []Need{Reason}, []Effect{NotifyAdministrators}},
	{Production, []State{Appeal}, Uphold, Denied, admins, []Need{Reason, Undecided, Unrelated}, []Effect{NotifyApplicant}},
	{Production, []State{Appeal}, Overturn, Triage, admins, []Need{Reason, Undecided, Unrelated}, []Effect{Unsign, NotifyApplicant}},
	{Production, []State{Approved}, Issue, Credentials, owner, nil, []Effect{MakeClient}},
	{Production, []State{Credentials}, GoLive, Live, []Role{Owner, System}, nil, nil},
	{Production, []State{Credentials, Live, RenewalDue}, Change, ChangePending, owner, []Need{Complete, Attested}, []Effect{Freeze, Unsign, NotifyReviewers}},
	{Production, []State{ChangePending}, WithdrawChange, Live, owner, nil, []Effect{DropChange}},
	{Production, []State{ChangePending}, ProposeChange, ChangePending, reviewers, []Need{Unrelated}, []Effect{NotifyReviewers}},
	{Production, []State{ChangePending}, AcceptChange, Live, reviewers, []Need{ForApproval, OtherPerson, Unrelated}, []Effect{ApplyChange, ConfirmPolicies, NotifyApplicant}},
	{Production, []State{ChangePending}, RefuseChange, Live, reviewers, []Need{Reason, Criterion, Unrelated}, []Effect{DropChange, NotifyApplicant}},
	{Production, []State{Credentials, Live}, Remind, RenewalDue, system, nil, []Effect{NotifyApplicant}},
	{Production, []State{RenewalDue}, Renew, Live, owner, []Need{Attested}, []Effect{ConfirmPolicies}},
	{Production, []State{Credentials, Live, ChangePending, RenewalDue}, Suspend, Suspended, reviewers, []Need{Reason, Criterion, Unrelated}, []Effect{DropChange, DisableClient, NotifyApplicant}},
	{Production, []State{Suspended}, Reinstate, Live, admins, []Need{Reason, Unrelated}, []Effect{EnableClient, NotifyApplicant}},
	{Production, []State{Approved, Credentials, Live, ChangePending, RenewalDue, Suspended}, Revoke, Revoked, admins, []Need{Reason, Criterion, Unrelated}, []Effect{DropChange, DisableClient, NotifyApplicant}},
	{Production, []State{Approved, Credentials, Live, ChangePending, RenewalDue, Suspended}, Retire, Retired, owner, nil, []Effect{DropChange, DisableClient}},
	{Production, []State{Draft, ChangesRequested, Unconfirmed}, Lapse, Lapsed, system, nil, []Effect{NotifyApplicant}},
	{Production, []State{Withdrawn, Lapsed, Denied}, Reopen, Draft, owner, nil, nil},
}

// IllegalError says that a move is not in the table for this state. Nothing has changed.
type IllegalError struct {
	Kind   Kind
	From   State
	Action Action
}

func (e *IllegalError) Error() string {
	return fmt.Sprintf("%s: a %s application in the state %s does not allow it", e.Action, e.Kind, e.From)
}

// RoleError says that nobody in these roles may make the move.
type RoleError struct {
	Action Action
	By     []Role // who may
}

func (e *RoleError) Error() string { return fmt.Sprintf("%s: only %v may do it", e.Action, e.By) }

// Find finds the move of an action by somebody in roles. It fails with *IllegalError or *RoleError.
func Find(kind Kind, from State, action Action, roles []Role) (*Move, error) {
	var allowed []Role
	for i := range Moves {
		m := &Moves[i]
		if m.Kind != kind || m.Action != action || !slices.Contains(m.From, from) {
			continue
		}
		if slices.ContainsFunc(roles, func(r Role) bool { return slices.Contains(m.By, r) }) {
			return m, nil
		}
		allowed = append(allowed, m.By...)
	}
	if allowed == nil {
		return nil, &IllegalError{kind, from, action}
	}
	return nil, &RoleError{action, allowed}
}

// Possible lists the moves that somebody in roles can make from a state, in the order of the table.
func Possible(kind Kind, from State, roles []Role) (list []*Move) {
	for i := range Moves {
		m := &Moves[i]
		if m.Kind == kind && slices.Contains(m.From, from) && slices.ContainsFunc(roles, func(r Role) bool { return slices.Contains(m.By, r) }) {
			list = append(list, m)
		}
	}
	return list
}

// Waits reports whether the agency waits for the applicant in a state: its clock stands still.
func Waits(s State) bool {
	return s == InfoRequested || s == ChangesRequested || s == Demo || s == Unconfirmed
}

// Open reports whether staff have something to do in a state.
func Open(s State) bool {
	switch s {
	case Submitted, InReview, Triage, Review, Demo, Proposed, Appeal, ChangePending:
		return true
	}
	return false
}

// Editable reports whether the applicant may change the answers in a state.
func Editable(s State) bool { return s == Draft || s == InfoRequested || s == ChangesRequested }

// Usable reports whether the production client of an application works in a state.
func Usable(s State) bool {
	return s == Credentials || s == Live || s == ChangePending || s == RenewalDue
}

// States lists the states of a kind in the order of their first appearance in the table.
func States(kind Kind) (list []State) {
	add := func(s State) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	for _, m := range Moves {
		if m.Kind == kind {
			for _, s := range m.From {
				add(s)
			}
			add(m.To)
		}
	}
	return list
}
