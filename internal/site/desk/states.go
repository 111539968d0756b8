package desk

import (
	"embed"
	"slices"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/frame"
)

//go:embed templates/*.html
var templateFiles embed.FS

// kinds say how a state looks: see frame.State.
var kinds = map[lifecycle.State]string{
	lifecycle.Draft: "idle", lifecycle.Submitted: "run", lifecycle.InReview: "run", lifecycle.InfoRequested: "wait", lifecycle.Approved: "good",
	lifecycle.Declined: "bad", lifecycle.Withdrawn: "idle", lifecycle.Lapsed: "idle", lifecycle.Suspended: "bad", lifecycle.Revoked: "bad",
	lifecycle.Unconfirmed: "wait", lifecycle.Triage: "run", lifecycle.Review: "run", lifecycle.ChangesRequested: "wait", lifecycle.Demo: "wait",
	lifecycle.Proposed: "run", lifecycle.Denied: "bad", lifecycle.Appeal: "run", lifecycle.Credentials: "good", lifecycle.Live: "good",
	lifecycle.ChangePending: "run", lifecycle.RenewalDue: "warn", lifecycle.Retired: "idle",
}

// State is an application's state as a tag.
func (v *Visit) State(s string) frame.State {
	kind, ok := kinds[lifecycle.State(s)]
	if !ok {
		kind = "idle"
	}
	return frame.State{Kind: kind, Text: v.Text("state." + s)}
}

// Kind is what an application is for, in words.
func (v *Visit) Kind(k lifecycle.Kind) string { return v.Text("kind." + string(k)) }

// Action is a move as its button names it.
func (v *Visit) Action(a lifecycle.Action) string { return v.Text("action." + string(a)) }

// Happened is what somebody did, in words. Steps that have no words of their own are named by their code.
func (v *Visit) Happened(action string) string {
	if key := "event." + action; v.Desk.HasText(key) {
		return v.Text(key)
	}
	return v.Text("event.other", action)
}

// stages are the steps of an application as its applicant sees them, each with the states in which it is the current
// one.
var stages = map[lifecycle.Kind][]struct {
	key    string
	states []lifecycle.State
}{
	lifecycle.Sandbox: {
		{"answer", []lifecycle.State{lifecycle.Draft, lifecycle.InfoRequested, lifecycle.Withdrawn, lifecycle.Lapsed}},
		{"review", []lifecycle.State{lifecycle.Submitted, lifecycle.InReview}},
		{"decision", []lifecycle.State{lifecycle.Declined, lifecycle.Suspended, lifecycle.Revoked}},
		{"sandbox", []lifecycle.State{lifecycle.Approved}},
	},
	lifecycle.Production: {
		{"answer", []lifecycle.State{lifecycle.Draft, lifecycle.Unconfirmed, lifecycle.Withdrawn, lifecycle.Lapsed}},
		{"triage", []lifecycle.State{lifecycle.Submitted, lifecycle.Triage}},
		{"review", []lifecycle.State{lifecycle.Review, lifecycle.ChangesRequested, lifecycle.Demo}},
		{"decision", []lifecycle.State{lifecycle.Proposed, lifecycle.Denied, lifecycle.Appeal}},
		{"credentials", []lifecycle.State{lifecycle.Approved, lifecycle.Credentials}},
		{"live", []lifecycle.State{lifecycle.Live, lifecycle.ChangePending, lifecycle.RenewalDue, lifecycle.Suspended, lifecycle.Revoked, lifecycle.Retired}},
	},
}

// Steps is where an application stands, as a list of steps.
func (v *Visit) Steps(kind lifecycle.Kind, state lifecycle.State) (list []frame.Step) {
	at := slices.IndexFunc(stages[kind], func(s struct {
		key    string
		states []lifecycle.State
	}) bool {
		return slices.Contains(s.states, state)
	})
	last := len(stages[kind]) - 1
	for i, s := range stages[kind] {
		step := frame.Step{Text: v.Text("stage." + string(kind) + "." + s.key), Done: i < at || i == at && i == last && settled(state), Current: i == at}
		if i == at {
			step.Note = v.Text("state." + string(state))
		}
		list = append(list, step)
	}
	return list
}

// settled reports whether there is nothing more to come in the last step.
func settled(s lifecycle.State) bool { return s == lifecycle.Approved || s == lifecycle.Live }

// StepList is a list of steps with the words that the frame's template "steps" needs.
func (v *Visit) StepList(steps []frame.Step) frame.Steps {
	return frame.Steps{List: steps, Did: v.Text("page.done"), Now: v.Text("page.now")}
}

// Criterion is an objective criterion of the agency by its code, in words; the code itself if there is none.
func (v *Visit) Criterion(code string) string {
	if code == "" {
		return ""
	}
	if c := v.Portal().Forms.Criterion(code); c != nil {
		return c.Text.In(v.Lang)
	}
	return code
}

// Moment is a step of a timeline. The template "timeline" writes it.
type Moment struct {
	At, What, Who string
	State         *frame.State
	Reason        string
	Criterion     string
	Note          string // of staff, for staff
}

// Timeline is events in words, in their order.
func (v *Visit) Timeline(events []*portal.Event) (list []Moment) {
	for _, e := range events {
		l := Moment{At: v.DateTime(e.At), What: v.Happened(e.Action), Who: frame.Plain(e.ActorName, 80), Reason: e.Reason, Criterion: v.Criterion(e.Criterion), Note: e.Note}
		if l.Who == "" {
			l.Who = v.By(e.Actor)
			if l.Who == v.Text("by.other") && byAgency(e.Action) {
				l.Who = v.Text("by.agency")
			}
		}
		if e.To != "" && e.To != e.From {
			s := v.State(string(e.To))
			l.State = &s
		}
		list = append(list, l)
	}
	return list
}

// byAgency reports whether only the agency's staff make a move, so that it is no secret who somebody else was.
func byAgency(action string) bool {
	found := false
	for i := range lifecycle.Moves {
		if m := &lifecycle.Moves[i]; string(m.Action) == action {
			found = true
			if slices.Contains(m.By, lifecycle.Owner) || slices.Contains(m.By, lifecycle.Developer) {
				return false
			}
		}
	}
	return found
}

// By is who did something whose name is not shown.
func (v *Visit) By(actor string) string {
	switch {
	case v.Actor != nil && v.Actor.Person != nil && actor == v.Actor.Person.ID:
		return v.Text("by.you")
	case actor == "system" || actor == "operator" || actor == "visitor":
		return v.Text("by." + actor)
	case actor == "":
		return ""
	}
	return v.Text("by.other")
}
