package staff

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// orgRow is one of the list of organisations.
type orgRow struct {
	Name, URL, Legal, Type, Since string
	Domain                        frame.State
	DomainName                    string
}

func (s *Site) organisations(v *desk.Visit) error {
	query := frame.Plain(v.R.URL.Query().Get("q"), 100)
	all, err := v.Actor.Organisations(v.Context())
	if err != nil {
		return err
	}
	c := struct {
		Filter *desk.Form
		Count  string
		List   []orgRow
	}{Filter: search(v, orgsPath, query)}
	for _, o := range all {
		if !strings.Contains(strings.ToLower(strings.Join([]string{o.Name, o.Legal, o.Domain.Name}, " ")), strings.ToLower(query)) {
			continue
		}
		r := orgRow{Name: frame.Plain(o.Name, 80), URL: orgsPath + "/" + o.ID, Legal: frame.Plain(o.Legal, 80), Type: v.Text("org.type." + o.Type), Since: v.Date(o.Created),
			DomainName: frame.Plain(o.Domain.Name, 100), Domain: frame.State{Kind: "warn", Text: v.Text("domain.unproved")}}
		if !o.Domain.Proofed.IsZero() {
			r.Domain = frame.State{Kind: "good", Text: v.Text("domain.proved")}
		}
		c.List = append(c.List, r)
	}
	c.Count = v.Count("orgs.count", len(c.List))
	if len(c.List) > listMost {
		c.List, c.Count = c.List[:listMost], v.Text("list.most", listMost)
	}
	return s.render(v, http.StatusOK, "organisations", s.page(v, v.Text("orgs.title"), c))
}

// appRow is one of the list of apps.
type appRow struct {
	Name, URL, Org, OrgURL string
	Sandbox, Production    string // client ids
	State                  *frame.State
	ApplicationURL         string
}

func appRowOf(v *desk.Visit, a *portal.Standing) appRow {
	r := appRow{Name: frame.Plain(a.Settings.Name, 80), URL: appsPath + "/" + a.ID, Org: frame.Plain(a.OrgName, 80), OrgURL: orgsPath + "/" + a.Org, Sandbox: a.Sandbox, Production: a.Production}
	if a.Application != "" && a.State != lifecycle.Draft {
		state := v.State(string(a.State))
		r.State, r.ApplicationURL = &state, at(a.Application)
	}
	return r
}

func (s *Site) organisation(v *desk.Visit) error {
	o, err := v.Actor.Organisation(v.Context(), v.R.PathValue("org"))
	if err != nil {
		return err
	}
	c := struct {
		Facts        []fact
		People       []member
		Applications []queueRow
		Apps         []appRow
		Events       []desk.Moment
		Audit        string
	}{Facts: s.orgFacts(v, o)}
	if c.People, err = s.members(v, o.ID); err != nil {
		return err
	}
	list, err := v.Actor.Applications(v.Context(), o.ID)
	if err != nil {
		return err
	}
	names := s.names(v)
	for _, x := range list {
		if x.State == lifecycle.Draft {
			continue // it is the applicant's own
		}
		r, err := s.row(v, names, x)
		if err != nil {
			return err
		}
		c.Applications = append(c.Applications, r)
	}
	apps, err := v.Actor.AllApps(v.Context(), "", 1000)
	if err != nil {
		return err
	}
	for _, a := range apps {
		if a.Org == o.ID {
			c.Apps = append(c.Apps, appRowOf(v, a))
		}
	}
	events, err := v.Actor.History(v.Context(), o.ID, time.Time{}, 20)
	if err != nil {
		return err
	}
	c.Events = v.Timeline(events)
	if is(v, portal.Reviewer) {
		c.Audit = auditPath + "?org=" + o.ID
	}
	return s.render(v, http.StatusOK, "organisation", s.page(v, frame.Plain(o.Name, 80), c, frame.Link{Text: v.Text("orgs.title"), URL: orgsPath}))
}

func (s *Site) apps(v *desk.Visit) error {
	query := frame.Plain(v.R.URL.Query().Get("q"), 100)
	list, err := v.Actor.AllApps(v.Context(), query, listMost)
	if err != nil {
		return err
	}
	c := struct {
		Filter *desk.Form
		Count  string
		List   []appRow
	}{Filter: search(v, appsPath, query), Count: v.Count("apps.count", len(list))}
	if len(list) >= listMost {
		c.Count = v.Text("list.most", listMost)
	}
	for _, a := range list {
		c.List = append(c.List, appRowOf(v, a))
	}
	return s.render(v, http.StatusOK, "apps", s.page(v, v.Text("apps.title"), c))
}

// requestRow is what an app asked for: no value of anybody is in it.
type requestRow struct {
	At, Method, Route, Cause, Request string
	Status                            int
}

// appContent is the content of the page of an app.
type appContent struct {
	Row        appRow
	Logo       string
	Moves      []offer // that cut it off, or let it in again, through its application
	Related    bool
	Approved   []fact
	Settings   []fact
	Sandbox    []requestRow
	Production []requestRow
	Audit      string
}

// app shows an app. It is suspended, reinstated and revoked through its application, so that there is a reason, a criterion and
// a letter for all of it.
func (s *Site) app(v *desk.Visit) error {
	id := v.R.PathValue("app")
	a, err := v.Actor.App(v.Context(), id)
	if err != nil {
		return err
	}
	all, err := v.Actor.AllApps(v.Context(), id, 1000)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(x *portal.Standing) bool { return x.ID == id })
	if i < 0 {
		return frame.ErrMissing
	}
	c := appContent{Row: appRowOf(v, all[i]), Related: belongs(v, a.Org)}
	domain := ""
	if o, err := v.Actor.Organisation(v.Context(), a.Org); err == nil && !o.Domain.Proofed.IsZero() {
		domain = strings.ToLower(o.Domain.Name)
	} else if gone(err) != nil {
		return err
	}
	if a.Logo != "" {
		c.Logo = appsPath + "/" + a.ID + "/logo/" + a.Logo
	}
	if c.Approved, err = s.settings(v, a.Approved, domain); err != nil {
		return err
	}
	if c.Settings, err = s.settings(v, &a.Settings, domain); err != nil {
		return err
	}
	if c.Row.ApplicationURL != "" && is(v, portal.Reviewer) && !c.Related {
		list, err := v.Actor.Moves(v.Context(), &portal.Application{ID: all[i].Application})
		if err != nil {
			return err
		}
		for _, m := range list {
			if m.Action != lifecycle.Suspend && m.Action != lifecycle.Reinstate && m.Action != lifecycle.Revoke {
				continue
			}
			o := offer{Text: v.Action(m.Action), URL: at(all[i].Application, "move", string(m.Action)), Danger: m.Action != lifecycle.Reinstate}
			for _, n := range m.Lacks {
				o.Lacks = append(o.Lacks, v.Need(n))
			}
			c.Moves = append(c.Moves, o)
		}
	}
	for where, into := range map[portal.Where]*[]requestRow{portal.InSandbox: &c.Sandbox, portal.InProduction: &c.Production} {
		list, err := v.Actor.Requests(v.Context(), a.ID, where, time.Time{}, 20)
		if err != nil {
			return err
		}
		for _, r := range list {
			*into = append(*into, requestRow{v.DateTime(r.At), r.Method, r.Route, r.Cause, r.Request, r.Status})
		}
	}
	if is(v, portal.Reviewer) {
		c.Audit = auditPath + "?app=" + a.ID
	}
	return s.render(v, http.StatusOK, "app", s.page(v, frame.Plain(a.Settings.Name, 80), c, frame.Link{Text: v.Text("apps.title"), URL: appsPath}))
}

// logo gives out a logo of an app: a PNG that the portal has written anew.
func (s *Site) logo(v *desk.Visit) error {
	picture, err := v.Actor.LogoPNG(v.Context(), v.R.PathValue("logo"))
	if err != nil {
		return err
	}
	v.Headers()
	h := v.W.Header()
	h.Set("Content-Type", "image/png")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	_, _ = v.W.Write(picture) // nobody can be told who has gone
	return nil
}
