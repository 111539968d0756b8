package portal

import (
	"time"

	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Application is what a developer asks of the agency: access to the sandbox, or an app in production.
type Application struct {
	ID       string // number that people read, such as P-7K3M-Q2XD
	Kind     lifecycle.Kind
	Source   string // portal, form (without an account) or registration (RFC 7591)
	Org      string // "" as long as it came without an account
	OrgName  string
	App      string // id of the app, for production
	AppName  string
	State    lifecycle.State
	Version  int // of the record: every change needs the one that was seen
	Form     string
	Answers  forms.Answers // the draft; staff read those of the last revision
	Revision int           // number of the last frozen revision; 0 is none
	Approved int           // number of the revision that was approved last; 0 is none
	Assignee string
	Reviews  map[string]Signature // security and privacy
	Checks   forms.Answers        // the reviewer's checklist
	Proposal *Proposal
	Decision *Decision
	Demo     time.Time // when a demonstration was held
	Attested time.Time // when attestations were last made
	Expires  time.Time // when they expire; zero: never

	Created   time.Time
	Submitted time.Time
	Changed   time.Time
	Due       time.Time     // by when staff decide; zero while the applicant is waited for, and it is later afterwards
	Waited    time.Duration // for the applicant, so far
	Since     time.Time     // of the state
}

// Signature is a reviewer's word on one part of a review.
type Signature struct {
	By   string
	At   time.Time
	Note string
}

// Proposal is what a reviewer proposes to decide.
type Proposal struct {
	Approve   bool
	By        string
	At        time.Time
	Reason    string
	Criterion string
	Note      string
}

// Decision is what was decided.
type Decision struct {
	Approve    bool
	By         string
	At         time.Time
	Reason     string
	Criterion  string
	Conditions string
}

// Revision is what was submitted, as it was: nobody changes it.
type Revision struct {
	Number   int
	At       time.Time
	By       string
	Form     string // digest of the questions
	Answers  forms.Answers
	Settings *Settings // of the app, for production
	Evidence []Shown
	Texts    map[string]string // SHA-256 of policy and terms, as they were fetched or pasted, by kind
}

// Input is what a move is given.
type Input struct {
	Version    int
	Reason     string
	Criterion  string
	Note       string
	Conditions string
	Settings   *Settings // for lifecycle.Change
	Attest     []string  // ids of the attestations that are made, for those moves that need them
	Name       string    // of who attests, their title, and that they may bind the organisation
	Title      string
	Bind       bool
}
