package staff

import (
	"errors"
	"maps"
	"net/http"
	"slices"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// checklistContent is the content of the reviewer's checklist, beside what was answered.
type checklistContent struct {
	State   frame.State
	Tabs    []frame.Link
	Intro   string
	Law     string
	Count   string
	Form    *desk.Form      // nil for those who may only read it
	Groups  []checkGroup    // its items
	Checks  []desk.Answered // then these
	Answers []desk.Answered
	Theirs  []difference // what somebody else has written meanwhile
	Changed []desk.Moment
}

// checkGroup is a section of the checklist.
type checkGroup struct {
	Title, Intro string
	Items        []*checkItem
}

// checkItem is an item with its result, and the parts that explain it.
type checkItem struct {
	Result *desk.Field
	Parts  []*desk.Field
	More   string
	Open   bool // the parts have something in them
}

// unfolded are answers by which all parts of all items are asked: a reviewer writes note and evidence together with the
// result, not on a second page.
func unfolded(review *forms.Form, answers forms.Answers) forms.Answers {
	out := maps.Clone(answers)
	if out == nil {
		out = forms.Answers{}
	}
	fits := map[string][]string{}
	for _, q := range review.Questions() {
		if q.Item == "" || q.ID == q.Item {
			continue
		}
		values := slices.Clone([]string(q.When[q.Item]))
		if seen, ok := fits[q.Item]; ok {
			values = slices.DeleteFunc(values, func(v string) bool { return !slices.Contains(seen, v) })
		}
		fits[q.Item] = values
	}
	for item, values := range fits {
		if len(values) > 0 {
			out[item] = values[:1]
		}
	}
	return out
}

// checklistForm is the form review, each item with whether it may be a ground to refuse.
func (s *Site) checklistForm(v *desk.Visit, x *view, answers forms.Answers, problems []forms.Problem) (*desk.Form, []checkGroup) {
	review := s.Portal.Forms.Form(forms.Review)
	f := v.NewForm(at(x.ID, "checklist")).Keep(x.keep()...).Ask(&desk.FormView{Form: review, Answers: unfolded(review, answers), Problems: problems})
	var list []checkGroup
	for _, g := range f.Groups {
		group := checkGroup{Title: g.Title, Intro: g.Intro}
		for _, field := range g.Fields {
			q := review.Question(field.Name)
			if q == nil {
				continue
			}
			field.Values, field.Bare = answers[q.ID], true // an item may be left for later
			if q.Item != "" && q.ID != q.Item && len(group.Items) > 0 {
				field.Rows = 2
				last := group.Items[len(group.Items)-1]
				last.Parts, last.Open = append(last.Parts, field), last.Open || len(field.Values) > 0 || field.Error != ""
				continue
			}
			if q.Criterion != "" {
				field.Hint = joined(v.Text("group."+string(q.Group)), q.Criterion+" "+v.Criterion(q.Criterion), field.Hint)
			}
			group.Items = append(group.Items, &checkItem{Result: field, More: field.Label})
		}
		list = append(list, group)
	}
	return f.Button(v.Text("checklist.save")), list
}

// checks are the items of a checklist in words.
func (s *Site) checks(v *desk.Visit, answers forms.Answers) []desk.Answered {
	review := s.Portal.Forms.Form(forms.Review)
	list := v.Answers(&desk.FormView{Form: review, Answers: unfolded(review, answers)}, nil)
	for i := range list {
		list[i].ID = "check-" + list[i].ID // the answers beside it have sections of the same names
		list[i].Questions = slices.DeleteFunc(list[i].Questions, func(a desk.AnsweredQuestion) bool {
			q := review.Question(a.ID)
			return q != nil && q.Item != "" && q.ID != q.Item && len(answers[a.ID]) == 0
		})
		for k := range list[i].Questions {
			a := &list[i].Questions[k]
			a.Answers = review.Show(a.ID, answers[a.ID], v.Lang)
		}
	}
	return list
}

// theirs are the entries of a checklist that differ from what somebody has typed.
func theirs(review *forms.Form, kept, typed forms.Answers, lang string) (list []difference) {
	for _, q := range review.Questions() {
		if slices.Equal(kept[q.ID], typed[q.ID]) {
			continue
		}
		label := q.Label.In(lang)
		if q.Item != "" && q.Item != q.ID {
			label = joined(review.Question(q.Item).Label.In(lang), label)
		}
		list = append(list, difference{label, review.Show(q.ID, kept[q.ID], lang), review.Show(q.ID, typed[q.ID], lang)})
	}
	return list
}

func joined(parts ...string) (out string) {
	for _, p := range parts {
		if p == "" {
			continue
		}
		if out != "" {
			out += " · "
		}
		out += p
	}
	return out
}

func (s *Site) checklist(v *desk.Visit) error {
	x, ok, err := s.open(v)
	if err != nil || !ok {
		return err
	}
	return s.checklistPage(v, x, x.Checks, nil, false)
}

// checklistPage shows the checklist with answers; stale says that somebody has changed the application since the page
// before was made.
func (s *Site) checklistPage(v *desk.Visit, x *view, answers forms.Answers, problems []forms.Problem, stale bool) error {
	review := s.Portal.Forms.Form(forms.Review)
	c := checklistContent{State: v.State(string(x.State)), Tabs: s.tabs(v, x), Intro: review.Intro.In(v.Lang), Law: v.Text("gate.law")}
	var side applicationContent
	if err := s.answers(v, x, &side); err != nil {
		return err
	}
	c.Answers = side.Answers
	total, done := 0, 0
	for _, q := range review.Visible(answers) {
		if q.Item == "" || q.ID == q.Item {
			total++
			if len(answers[q.ID]) > 0 {
				done++
			}
		}
	}
	c.Count = v.Text("checklist.count", done, total)
	if is(v, portal.Reviewer) && x.State != lifecycle.Draft {
		c.Form, c.Groups = s.checklistForm(v, x, answers, problems)
	} else {
		c.Checks = s.checks(v, answers)
	}
	p := s.page(v, v.Text("checklist.title", x.ID), nil, append(s.trail(v), frame.Link{Text: titled(v, x.Application), URL: at(x.ID)})...)
	p.Notice = notice(v, "checked")
	if c.Form != nil {
		p.Fields = c.Form.Errors()
	}
	status := http.StatusOK
	if stale {
		status, p.Warning = http.StatusConflict, v.Text("changed.checks")
		c.Changed = v.Timeline(s.after(v, x))
		c.Theirs = theirs(review, x.Checks, answers, v.Lang)
	}
	p.Content, p.Self = c, at(x.ID, "checklist")
	return s.render(v, status, "checklist", p)
}

func (s *Site) saveChecklist(v *desk.Visit) error {
	x, ok, err := s.open(v)
	if err != nil || !ok {
		return err
	}
	review := s.Portal.Forms.Form(forms.Review)
	answers := review.Parse(v.R.PostForm)
	if version(v) != x.Version {
		return s.checklistPage(v, x, answers, nil, true)
	}
	_, err = v.Actor.SaveChecks(v.Context(), x.ID, x.Version, answers)
	if errors.Is(err, portal.ErrStale) {
		if x, ok, err = s.open(v); err != nil || !ok {
			return err
		}
		return s.checklistPage(v, x, answers, nil, true)
	}
	if need, is := errors.AsType[*portal.NeedError](err); is && len(need.Problems) > 0 {
		return s.checklistPage(v, x, answers, need.Problems, false)
	}
	if err != nil {
		return err
	}
	return v.See(at(x.ID, "checklist"), "done", "checked")
}

// talk is one message.
type talk struct {
	Who, At, Text string
	Private       bool
	Kind          frame.State
}

// messagesContent is the content of the page on which staff and applicant talk.
type messagesContent struct {
	State frame.State
	Tabs  []frame.Link
	List  []talk
	Form  *desk.Form
}

// sayForm asks for a message. Support writes notes for colleagues; reviewers also write to the applicant.
func (s *Site) sayForm(v *desk.Visit, x *view) *desk.Form {
	f := v.NewForm(at(x.ID, "messages")).Add(&desk.Field{ID: "text", Kind: desk.Lines, Rows: 6, Label: v.Text("message.text"), Hint: v.Text("message.hint"), Required: true, Most: 10000})
	who := &desk.Field{ID: "to", Kind: desk.One, Label: v.Text("message.to"), Required: true, Options: []desk.Option{{Value: "staff", Text: v.Text("message.staff")}}}
	if is(v, portal.Reviewer) {
		who.Options = slices.Insert(who.Options, 0, desk.Option{Value: "applicant", Text: v.Text("message.applicant")})
	} else {
		who.Values = []string{"staff"}
	}
	return f.Add(who).Button(v.Text("message.send"))
}

func (s *Site) messages(v *desk.Visit) error {
	x, ok, err := s.open(v)
	if err != nil || !ok {
		return err
	}
	return s.messagesPage(v, x, s.sayForm(v, x))
}

func (s *Site) messagesPage(v *desk.Visit, x *view, f *desk.Form) error {
	list, err := v.Actor.Messages(v.Context(), x.ID)
	if err != nil {
		return err
	}
	c := messagesContent{State: v.State(string(x.State)), Tabs: s.tabs(v, x), Form: f}
	for _, m := range list {
		t := talk{Who: frame.Plain(m.Name, 80), At: v.DateTime(m.At), Text: m.Text, Private: m.Private}
		switch {
		case m.Private:
			t.Kind = frame.State{Kind: "idle", Text: v.Text("message.note")}
		case m.Staff:
			t.Kind = frame.State{Kind: "run", Text: v.Text("message.ours")}
		default:
			t.Kind = frame.State{Kind: "wait", Text: v.Text("message.theirs")}
		}
		c.List = append(c.List, t)
	}
	p := s.page(v, v.Text("messages.title", x.ID), c, append(s.trail(v), frame.Link{Text: titled(v, x.Application), URL: at(x.ID)})...)
	p.Notice, p.Fields = notice(v, "said"), f.Errors()
	return s.render(v, http.StatusOK, "messages", p)
}

func (s *Site) say(v *desk.Visit) error {
	x, ok, err := s.open(v)
	if err != nil || !ok {
		return err
	}
	f := s.sayForm(v, x).Fill()
	to := f.Value("to")
	if !slices.ContainsFunc(f.Field("to").Options, func(o desk.Option) bool { return o.Value == to }) {
		f.Field("to").Values = nil
	}
	if f.Missing() {
		return s.messagesPage(v, x, f)
	}
	if _, err := v.Actor.Say(v.Context(), x.ID, f.Value("text"), to == "staff"); err != nil {
		if input, is := errors.AsType[*portal.InputError](err); is {
			f.FailInput(input)
			return s.messagesPage(v, x, f)
		}
		return err
	}
	return v.See(at(x.ID, "messages"), "done", "said")
}
