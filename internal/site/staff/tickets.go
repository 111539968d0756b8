package staff

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

var (
	ticketKinds  = []string{"support", "contact", "complaint"}
	ticketStates = []string{"open", "answered", "closed"}
)

// ticketRow is one of the list of requests for support.
type ticketRow struct {
	Number, URL, Kind, Age, Since string
	State                         frame.State
	Warned                        bool
}

func ticketState(v *desk.Visit, state string) frame.State {
	return frame.State{Kind: map[string]string{"open": "run", "answered": "wait", "closed": "idle"}[state], Text: v.Text("ticket." + state)}
}

func (s *Site) tickets(v *desk.Visit) error {
	pick := func(name string, list []string) string {
		if x := v.R.URL.Query().Get(name); slices.Contains(list, x) {
			return x
		}
		return ""
	}
	kind, state := pick("kind", ticketKinds), pick("state", ticketStates)
	list, err := v.Actor.Tickets(v.Context(), kind, state, listMost)
	if err != nil {
		return err
	}
	f := v.NewForm(ticketPath)
	for _, p := range []struct {
		name, now string
		list      []string
	}{{"kind", kind, ticketKinds}, {"state", state, ticketStates}} {
		field := &desk.Field{ID: p.name, Kind: desk.Pick, Label: v.Text("tickets." + p.name), Bare: true, Values: []string{p.now}}
		for _, o := range p.list {
			field.Options = append(field.Options, desk.Option{Value: o, Text: v.Text("ticket." + o)})
		}
		f.Add(field)
	}
	c := struct {
		Filter *desk.Form
		Count  string
		List   []ticketRow
	}{Filter: f.Button(v.Text("queue.filter")), Count: v.Count("tickets.count", len(list))}
	if len(list) >= listMost {
		c.Count = v.Text("list.most", listMost)
	}
	for _, t := range list {
		c.List = append(c.List, ticketRow{Number: t.ID, URL: ticketPath + "/" + t.ID, Kind: v.Text("ticket." + t.Kind), State: ticketState(v, t.State),
			Age: s.ago(v, t.Created), Since: v.DateTime(t.Created), Warned: len(t.Warned) > 0})
	}
	p := s.page(v, v.Text("tickets.title"), c)
	p.Notice = notice(v, "closed", "answered")
	return s.render(v, http.StatusOK, "tickets", p)
}

// ticketContent is the content of the page of a request.
type ticketContent struct {
	State   frame.State
	Facts   []fact
	Warned  string
	Answers []desk.Answered
	Replies []talk
	Form    *desk.Form // nil if it is closed
}

func (s *Site) replyForm(v *desk.Visit, t *portal.Ticket) *desk.Form {
	hint := v.Text("ticket.reply.hint")
	if t.Email == "" && t.Person == "" {
		hint = v.Text("ticket.nomail")
	}
	f := v.NewForm(ticketPath+"/"+t.ID).Keep("version", strconv.Itoa(t.Version)).Add(&desk.Field{ID: "text", Kind: desk.Lines, Rows: 8, Label: v.Text("ticket.reply"), Hint: hint, Most: 10000, Bare: true})
	return f.Also("do", "answer", v.Text("ticket.answer"), "").Also("do", "close", v.Text("ticket.close"), "button second")
}

func (s *Site) ticket(v *desk.Visit) error {
	t, err := v.Actor.Ticket(v.Context(), v.R.PathValue("ticket"))
	if err != nil {
		return err
	}
	return s.ticketPage(v, t, s.replyForm(v, t), false)
}

func (s *Site) ticketPage(v *desk.Visit, t *portal.Ticket, f *desk.Form, stale bool) error {
	c := ticketContent{State: ticketState(v, t.State), Form: f}
	who := value{Text: t.Email}
	if who.Text == "" {
		who.Text = v.Text("ticket.anonymous")
	}
	if t.Person != "" {
		name, err := s.names(v)(t.Person)
		if err != nil {
			return err
		}
		who = value{Text: name, Note: t.Email}
		if is(v, portal.Reviewer) {
			who.URL = peoplePath + "/" + t.Person
		}
	}
	c.Facts = []fact{said(v, v.Text("tickets.kind"), v.Text("ticket."+t.Kind)), one(v.Text("ticket.from"), who), said(v, v.Text("ticket.since"), v.DateTime(t.Created))}
	if t.App != "" {
		app := value{Text: t.App}
		if a, err := v.Actor.App(v.Context(), t.App); err == nil {
			app = value{Text: frame.Plain(a.Settings.Name, 80), URL: appsPath + "/" + a.ID}
		} else if gone(err) != nil {
			return err
		}
		c.Facts = append(c.Facts, one(v.Text("ticket.app"), app))
	} else if t.Client != "" {
		c.Facts = append(c.Facts, one(v.Text("ticket.app"), value{Text: t.Client, Code: true}))
	}
	if len(t.Warned) > 0 {
		c.Warned = v.Text("ticket.warned")
	}
	if form := s.Portal.Forms.Form(t.Kind); form != nil {
		c.Answers = v.Answers(&desk.FormView{Form: form, Answers: t.Answers}, nil)
	}
	for _, m := range t.Replies {
		c.Replies = append(c.Replies, talk{Who: frame.Plain(m.Name, 80), At: v.DateTime(m.At), Text: m.Text})
	}
	if t.State == "closed" {
		c.Form = nil
	}
	p := s.page(v, v.Text("ticket.title", t.ID), c, frame.Link{Text: v.Text("tickets.title"), URL: ticketPath})
	p.Notice, p.Self = notice(v, "answered", "closed"), ticketPath+"/"+t.ID
	status := http.StatusOK
	if c.Form != nil {
		p.Fields = f.Errors()
	}
	if stale {
		p.Warning, status = v.Text("changed.ticket"), http.StatusConflict
	}
	return s.render(v, status, "ticket", p)
}

func (s *Site) reply(v *desk.Visit) error {
	id := v.R.PathValue("ticket")
	t, err := v.Actor.Ticket(v.Context(), id)
	if err != nil {
		return err
	}
	v.About.Back = ticketPath + "/" + id
	f := s.replyForm(v, t).Fill()
	closes := v.R.PostFormValue("do") == "close"
	err = v.Actor.Reply(v.Context(), id, version(v), f.Value("text"), closes)
	if input, is := errors.AsType[*portal.InputError](err); is {
		f.FailInput(input)
		return s.ticketPage(v, t, f, false)
	}
	if errors.Is(err, portal.ErrStale) || errors.Is(err, accounts.ErrUsed) { // what was typed stays
		if t, err = v.Actor.Ticket(v.Context(), id); err != nil {
			return err
		}
		return s.ticketPage(v, t, s.replyForm(v, t).Fill(), true)
	}
	if err != nil {
		return err
	}
	done := "answered"
	if closes {
		done = "closed"
	}
	return v.See(ticketPath+"/"+id, "done", done)
}
