package developers

import (
	"net/http"
	"slices"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// dashboardContent is the content of the first page after signing in.
type dashboardContent struct {
	Next    next
	Steps   frame.Steps
	Waiting []applicationRow // for the applicant
	Orgs    []orgRow
	Apps    []appRow
	All     []applicationRow
	Said    []saidRow // the newest messages of staff
	Client  string    // of an app in the sandbox, for links to the documentation
	Guides  []frame.Link
}

// next is what somebody should do next.
type next struct {
	Title, Text string
	Link        *frame.Link
	Form        *desk.Form
}

// saidRow is a message of staff about an application that is not over.
type saidRow struct{ ID, URL, At, Text string }

// saidMost is how many of them the page shows.
const saidMost = 5

type orgRow struct{ Name, URL, Role string }

// place is what there is of somebody's organisations, apps and applications.
type place struct {
	orgs []*portal.Organisation
	apps map[string][]*portal.App         // by organisation
	list map[string][]*portal.Application // by organisation
}

// placeOf reads it.
func (s *Site) placeOf(v *desk.Visit) (*place, error) {
	p := &place{apps: map[string][]*portal.App{}, list: map[string][]*portal.Application{}}
	for _, m := range v.Actor.Members {
		o, err := v.Actor.Organisation(v.Context(), m.Org)
		if err != nil {
			return nil, err
		}
		p.orgs = append(p.orgs, o)
		if p.apps[o.ID], err = v.Actor.Apps(v.Context(), o.ID); err != nil {
			return nil, err
		}
		if p.list[o.ID], err = v.Actor.Applications(v.Context(), o.ID); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (s *Site) dashboard(v *desk.Visit) error {
	p, err := s.placeOf(v)
	if err != nil {
		return err
	}
	c := dashboardContent{Next: s.next(v, p), Steps: v.StepList(s.threeSteps(v, p))}
	for _, o := range p.orgs {
		c.Orgs = append(c.Orgs, orgRow{orgName(v, o), orgPath(o.ID), v.Text("role." + string(roleIn(v, o.ID)))})
		for _, a := range p.apps[o.ID] {
			row := appRow{ID: a.ID, Name: frame.Plain(a.Settings.Name, 80), URL: appPath(a.ID), Org: orgName(v, o)}
			row.Sandbox, row.Production = s.appStates(v, a, p.list[o.ID])
			c.Apps = append(c.Apps, row)
			if c.Client == "" {
				c.Client = a.Sandbox
			}
		}
		for _, a := range p.list[o.ID] {
			row := s.applicationRow(v, a)
			c.All = append(c.All, row)
			if row.Waits {
				c.Waiting = append(c.Waiting, row)
			}
		}
	}
	if c.Said, err = s.staffSaid(v, p); err != nil {
		return err
	}
	c.Guides = s.guides(v, c.Client)
	return v.Render(http.StatusOK, "dashboard", &frame.Page{Title: v.Text("dashboard.title"), Content: c, Notice: notice(v, "terms", "deleted")})
}

// staffSaid are the newest messages of staff, the newest first.
func (s *Site) staffSaid(v *desk.Visit, p *place) ([]saidRow, error) {
	type message struct {
		*portal.Message
		of string
	}
	var all []message
	for _, o := range p.orgs {
		for _, a := range p.list[o.ID] {
			if ended(a.State) {
				continue
			}
			list, err := v.Actor.Messages(v.Context(), a.ID)
			if err != nil {
				return nil, err
			}
			for _, m := range list {
				if m.Staff {
					all = append(all, message{m, a.ID})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(x, y message) int { return y.At.Compare(x.At) })
	var rows []saidRow
	for _, m := range all[:min(len(all), saidMost)] {
		rows = append(rows, saidRow{m.of, applicationPath(m.of) + "#messages", v.DateTime(m.At), frame.Plain(m.Text, 200)})
	}
	return rows, nil
}

// guides are links to the documentation, with the app's own client filled in.
func (s *Site) guides(v *desk.Visit, client string) (list []frame.Link) {
	for _, subject := range []string{"start", "scopes", "redirects", "credentials", "errors", "production"} {
		if u := s.guide(subject, client); u != "" {
			list = append(list, frame.Link{Text: v.Text("guide." + subject), URL: u})
		}
	}
	return list
}

// proofed reports whether the person's identity is proofed as far as the agency asks.
func (s *Site) proofed(v *desk.Visit) bool {
	return s.Portal.Rules.Proof == "" || v.Actor.Person.Proof.State == "passed"
}

// threeSteps are registering, the sandbox and production.
func (s *Site) threeSteps(v *desk.Visit, p *place) []frame.Step {
	registered := len(p.orgs) > 0 && s.termsAccepted(v) && s.proofed(v)
	sandbox, live := false, false
	for _, o := range p.orgs {
		for _, a := range p.list[o.ID] {
			sandbox = sandbox || a.Kind == lifecycle.Sandbox && a.State == lifecycle.Approved
			live = live || a.Kind == lifecycle.Production && lifecycle.Usable(a.State)
		}
	}
	sandbox = sandbox || live
	return []frame.Step{
		{Text: v.Text("three.register"), Note: v.Text("three.register.note"), Done: registered, Current: !registered},
		{Text: v.Text("three.sandbox"), Note: v.Text("three.sandbox.note"), Done: sandbox, Current: registered && !sandbox},
		{Text: v.Text("three.production"), Note: v.Text("three.production.note"), Done: live, Current: registered && sandbox && !live},
	}
}

// next is the first thing that is missing on the way to production.
func (s *Site) next(v *desk.Visit, p *place) next {
	say := func(key, url string) next {
		n := next{Title: v.Text("do." + key + ".title"), Text: v.Text("do." + key + ".text")}
		if url != "" {
			n.Link = &frame.Link{Text: v.Text("do." + key + ".link"), URL: url}
		}
		return n
	}
	if len(p.orgs) == 0 {
		return say("organisation", "/developers/organisations/new")
	}
	if !s.termsAccepted(v) {
		return say("terms", "/developers/terms?next=/developers")
	}
	if !s.proofed(v) {
		if v.Actor.Person.Proof.State == "requested" {
			return say("proofwait", "/developers/profile")
		}
		return say("proof", "/developers/profile")
	}
	// What waits for the applicant comes before what could be begun.
	for _, o := range p.orgs {
		for _, a := range p.list[o.ID] {
			if lifecycle.Waits(a.State) || a.State == lifecycle.RenewalDue {
				return say("answer", applicationPath(a.ID))
			}
			if a.Kind == lifecycle.Production && a.State == lifecycle.Approved {
				return say("issue", applicationPath(a.ID))
			}
		}
	}
	for _, o := range p.orgs {
		if roleIn(v, o.ID) == portal.Observer {
			continue
		}
		a := sandboxOf(p.list[o.ID])
		switch {
		case a == nil:
			n := say("questionnaire", "")
			n.Form = s.startForm(v, orgPath(o.ID, "sandbox"), "sandbox.start")
			return n
		case a.State == lifecycle.Draft:
			return say("draft", applicationPath(a.ID, "edit"))
		case a.State == lifecycle.Approved && len(p.apps[o.ID]) == 0:
			return say("app", orgPath(o.ID, "apps", "new"))
		case a.State == lifecycle.Submitted || a.State == lifecycle.InReview:
			return say("wait", applicationPath(a.ID))
		case ended(a.State):
			return say("ended", applicationPath(a.ID))
		}
		for _, app := range p.apps[o.ID] {
			if app.Sandbox == "" {
				return say("credentials", credentialsPath(app.ID, portal.InSandbox))
			}
		}
		for _, app := range p.apps[o.ID] {
			switch x := productionOf(p.list[o.ID], app.ID); {
			case x == nil || ended(x.State):
				return say("try", appPath(app.ID))
			case x.State == lifecycle.Draft:
				return say("production", applicationPath(x.ID))
			case lifecycle.Open(x.State):
				return say("wait", applicationPath(x.ID))
			}
		}
	}
	return say("nothing", "")
}
