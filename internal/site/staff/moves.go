package staff

import (
	"errors"
	"net/http"
	"slices"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// offer is a move that somebody could make.
type offer struct {
	Text, URL string
	Danger    bool
	Lacks     []string // what it still needs, in words; empty: it can be made
	Form      *desk.Form
}

// ours reports whether a move is one of staff.
func ours(m *lifecycle.Move) bool {
	return slices.Contains(m.By, lifecycle.Reviewer) || slices.Contains(m.By, lifecycle.Administrator)
}

// administrative reports whether only administrators make a move: they must have proved not long ago who they are.
func administrative(m *lifecycle.Move) bool {
	return ours(m) && !slices.Contains(m.By, lifecycle.Reviewer)
}

// against are moves that end or refuse something: their buttons look different.
var against = []lifecycle.Action{lifecycle.Decline, lifecycle.ProposeDeny, lifecycle.Deny, lifecycle.RefuseChange, lifecycle.Suspend, lifecycle.Revoke, lifecycle.Uphold}

// written are moves whose text is a letter, which begins as the agency's template.
var written = []lifecycle.Action{
	lifecycle.Approve, lifecycle.Decline, lifecycle.Deny, lifecycle.AcceptChange, lifecycle.RefuseChange, lifecycle.Suspend, lifecycle.Reinstate, lifecycle.Revoke,
	lifecycle.Uphold, lifecycle.Overturn,
}

// plain reports whether a move needs nothing to be typed or thought over: one button makes it.
func plain(m *lifecycle.Move) bool {
	return m.Action == lifecycle.Take || m.Action == lifecycle.StartReview
}

// offers are the moves that who has signed in can make, and those that lack something, with what.
func (s *Site) offers(v *desk.Visit, x *view, c *applicationContent) error {
	if !is(v, portal.Reviewer) {
		return nil
	}
	list, err := v.Actor.Moves(v.Context(), x.Application)
	if err != nil {
		return err
	}
	for _, m := range list {
		if !ours(m.Move) {
			continue
		}
		o := offer{Text: v.Action(m.Action), URL: at(x.ID, "move", string(m.Action)), Danger: slices.Contains(against, m.Action)}
		for _, n := range m.Lacks {
			o.Lacks = append(o.Lacks, v.Need(n))
		}
		if plain(m.Move) && len(o.Lacks) == 0 {
			o.Form = v.NewForm(o.URL).Keep(x.keep()...).Button(o.Text)
			o.Form.Class = "quietly"
		}
		c.Moves = append(c.Moves, o)
	}
	return nil
}

// moveContent is the content of the page that confirms a move.
type moveContent struct {
	State, To frame.State
	Effects   []string
	Lacks     []string
	Gate      string
	Findings  []finding
	Form      *desk.Form // nil if it cannot be made
	Changed   []desk.Moment
	Back      string
}

// option finds the move of the path among those that can be made, nil if it is not one of them.
func (s *Site) option(v *desk.Visit, x *view) (*portal.Option, error) {
	list, err := v.Actor.Moves(v.Context(), x.Application)
	if err != nil {
		return nil, err
	}
	action := lifecycle.Action(v.R.PathValue("action"))
	for i := range list {
		if list[i].Action == action && ours(list[i].Move) {
			return &list[i], nil
		}
	}
	return nil, nil
}

func (s *Site) askMove(v *desk.Visit) error {
	x, ok, err := s.open(v)
	if err != nil || !ok {
		return err
	}
	m, err := s.option(v, x)
	if err != nil {
		return err
	}
	if m == nil {
		return s.impossible(v, x)
	}
	if administrative(m.Move) && !s.proved(v) {
		return portal.ErrFresh
	}
	f, err := s.moveForm(v, x, m.Move)
	if err != nil {
		return err
	}
	return s.movePage(v, x, m, f, nil)
}

// proved reports whether who has signed in has proved not long ago who they are.
func (s *Site) proved(v *desk.Visit) bool { return s.Now().Sub(v.Login.Fresh) <= desk.FreshFor }

// impossible says why a move of the path cannot be made.
func (s *Site) impossible(v *desk.Visit, x *view) error {
	action := lifecycle.Action(v.R.PathValue("action"))
	for i := range lifecycle.Moves {
		if m := &lifecycle.Moves[i]; m.Action == action && ours(m) {
			roles := []lifecycle.Role{lifecycle.Reviewer}
			if is(v, portal.Administrator) {
				roles = append(roles, lifecycle.Administrator)
			}
			if _, err := lifecycle.Find(x.Kind, x.State, action, roles); err != nil {
				return err
			}
			break
		}
	}
	return frame.ErrMissing // there is no such move
}

// moveForm asks for what a move needs.
func (s *Site) moveForm(v *desk.Visit, x *view, m *lifecycle.Move) (*desk.Form, error) {
	needs := func(n lifecycle.Need) bool { return slices.Contains(m.Needs, n) }
	tells := slices.Contains(m.Effects, lifecycle.NotifyApplicant)
	f := v.NewForm(at(x.ID, "move", string(m.Action))).Keep(x.keep()...)
	if needs(lifecycle.Criterion) {
		pick := &desk.Field{ID: "criterion", Kind: desk.Pick, Label: v.Text("move.criterion"), Hint: v.Text("gate.only"), Required: true}
		for _, code := range s.Portal.Criteria() {
			pick.Options = append(pick.Options, desk.Option{Value: code, Text: code + " " + v.Criterion(code)})
		}
		if x.Proposal != nil && m.Action == lifecycle.Deny {
			pick.Values = []string{x.Proposal.Criterion}
		}
		f.Add(pick)
	}
	if needs(lifecycle.Reason) || tells {
		hint := v.Text("move.reason.inside")
		if tells {
			hint = v.Text("move.reason.sent")
		}
		text := &desk.Field{ID: "reason", Kind: desk.Lines, Rows: 10, Label: v.Text("move.reason"), Hint: hint, Required: needs(lifecycle.Reason), Most: 10000}
		if slices.Contains(written, m.Action) {
			letter, err := s.letter(v, x, m.Action)
			if err != nil {
				return nil, err
			}
			if x.Proposal != nil && x.Proposal.Reason != "" && (m.Action == lifecycle.Deny || m.Action == lifecycle.Approve) {
				letter = x.Proposal.Reason
			}
			if letter != "" {
				text.Values = []string{letter}
			}
		}
		f.Add(text)
	}
	if m.Action == lifecycle.Approve {
		f.Add(&desk.Field{ID: "conditions", Kind: desk.Lines, Rows: 4, Label: v.Text("move.conditions"), Hint: v.Text("move.conditions.hint"), Most: 4000})
	}
	f.Add(&desk.Field{ID: "note", Kind: desk.Lines, Rows: 3, Label: v.Text("move.note"), Hint: v.Text("move.note.hint"), Most: 4000})
	class := "button"
	if slices.Contains(against, m.Action) {
		class = "button danger"
	}
	f.Buttons = []desk.Button{{Text: v.Action(m.Action), Class: class}}
	return f, nil
}

// letter is the agency's text for a decision, "" if there is none.
func (s *Site) letter(v *desk.Visit, x *view, action lifecycle.Action) (string, error) {
	text, err := v.Actor.Letter(v.Context(), x.ID, action)
	if _, none := errors.AsType[*portal.InputError](err); none || errors.Is(err, accounts.ErrNotFound) {
		return "", nil
	}
	return text, err
}

// movePage confirms a move: what it does, what it needs, and what has changed since the page before was made.
func (s *Site) movePage(v *desk.Visit, x *view, m *portal.Option, f *desk.Form, changed []*portal.Event) error {
	c := moveContent{State: v.State(string(x.State)), To: v.State(string(m.To)), Form: f, Changed: v.Timeline(changed), Back: at(x.ID)}
	for _, e := range m.Effects {
		c.Effects = append(c.Effects, v.Text("effect."+string(e)))
	}
	for _, n := range m.Lacks {
		c.Lacks = append(c.Lacks, v.Need(n))
	}
	if len(c.Lacks) > 0 {
		c.Form = nil
	}
	if slices.Contains(m.Needs, lifecycle.Criterion) {
		c.Gate = v.Text("gate.law")
		c.Findings = s.unmet(v, "found.checks", s.Portal.Forms.Form(forms.Review), x.Checks)
	}
	p := s.page(v, v.Text("move.title", v.Action(m.Action), x.ID), c, append(s.trail(v), frame.Link{Text: titled(v, x.Application), URL: at(x.ID)})...)
	status := http.StatusOK
	if c.Form != nil {
		p.Fields = c.Form.Errors()
	}
	if changed != nil {
		p.Warning, status = v.Text("changed.warning"), http.StatusConflict
	}
	p.Self = at(x.ID, "move", string(m.Action))
	return s.render(v, status, "move", p)
}

func (s *Site) move(v *desk.Visit) error {
	x, ok, err := s.open(v)
	if err != nil || !ok {
		return err
	}
	action := lifecycle.Action(v.R.PathValue("action"))
	if version(v) != x.Version {
		return s.stale(v, x)
	}
	m, err := s.option(v, x)
	if err != nil {
		return err
	}
	if m == nil {
		return s.impossible(v, x)
	}
	if administrative(m.Move) && !s.proved(v) {
		v.About.Back = at(x.ID, "move", string(action))
		return portal.ErrFresh
	}
	f, err := s.moveForm(v, x, m.Move)
	if err != nil {
		return err
	}
	f.Fill()
	if !plain(m.Move) && f.Missing() {
		return s.movePage(v, x, m, f, nil)
	}
	_, err = v.Actor.Move(v.Context(), x.ID, action, &portal.Input{
		Version: version(v), Reason: f.Value("reason"), Criterion: f.Value("criterion"), Note: f.Value("note"), Conditions: f.Value("conditions"),
	})
	if errors.Is(err, portal.ErrStale) {
		return s.stale(v, nil)
	}
	if input, is := errors.AsType[*portal.InputError](err); is && f.Field(input.Field) != nil {
		f.FailInput(input)
		return s.movePage(v, x, m, f, nil)
	}
	if err != nil {
		return err
	}
	if v.R.PostFormValue("from") == "queue" {
		return v.See(root, "done", "take")
	}
	return v.See(at(x.ID), "done", "moved")
}

// stale says what somebody else has done meanwhile. If the move can still be made, its form is there with what was typed.
func (s *Site) stale(v *desk.Visit, x *view) error {
	if x == nil {
		var ok bool
		var err error
		if x, ok, err = s.open(v); err != nil || !ok {
			return err
		}
	}
	m, err := s.option(v, x)
	if err != nil {
		return err
	}
	if m == nil || plain(m.Move) {
		return s.changedPage(v, x)
	}
	f, err := s.moveForm(v, x, m.Move)
	if err != nil {
		return err
	}
	return s.movePage(v, x, m, f.Fill(), s.after(v, x))
}

// after are the events since the page was made that a form came from; never nil.
func (s *Site) after(v *desk.Visit, x *view) []*portal.Event {
	seen := v.R.PostFormValue("seen")
	list := []*portal.Event{}
	for _, e := range x.events {
		if e.ID > seen {
			list = append(list, e)
		}
	}
	if seen == "" && len(list) > 3 {
		list = list[len(list)-3:]
	}
	return list
}

// changed makes of ErrStale the page that says what has changed; other errors stay what they are.
func (s *Site) changed(v *desk.Visit, id string, err error) error {
	if !errors.Is(err, portal.ErrStale) {
		return err
	}
	x, ok, err := s.open(v)
	if err != nil || !ok {
		return err
	}
	v.About.Back = at(id)
	return s.changedPage(v, x)
}

// changedPage says that somebody has changed an application, and what.
func (s *Site) changedPage(v *desk.Visit, x *view) error {
	c := struct {
		State   frame.State
		Changed []desk.Moment
		Back    string
	}{v.State(string(x.State)), v.Timeline(s.after(v, x)), at(x.ID)}
	p := s.page(v, v.Text("stale.title"), c, append(s.trail(v), frame.Link{Text: titled(v, x.Application), URL: at(x.ID)})...)
	p.Self = at(x.ID)
	return s.render(v, http.StatusConflict, "changed", p)
}
