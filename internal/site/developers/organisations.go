package developers

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// orgPath is the page of an organisation, or one below it.
func orgPath(org string, more ...string) string {
	p := "/developers/organisations/" + org
	for _, m := range more {
		p += "/" + m
	}
	return p
}

// member is the organisation of the path, for somebody who belongs to it: staff who do not have pages of their own.
func (s *Site) member(v *desk.Visit) (*portal.Organisation, portal.OrgRole, error) {
	id := v.R.PathValue("org")
	role := roleIn(v, id)
	if role == "" {
		return nil, "", frame.ErrMissing
	}
	o, err := v.Actor.Organisation(v.Context(), id)
	if err != nil {
		return nil, "", err
	}
	v.About.Back = orgPath(id)
	return o, role, nil
}

// roleIn is what somebody who has signed in may do for an organisation, "" if they do not belong to it.
func roleIn(v *desk.Visit, org string) portal.OrgRole {
	for _, m := range v.Actor.Members {
		if m.Org == org && org != "" {
			return m.Role
		}
	}
	return ""
}

// orgName is how pages call an organisation.
func orgName(v *desk.Visit, o *portal.Organisation) string {
	switch {
	case o.Name != "":
		return frame.Plain(o.Name, 80)
	case o.Legal != "":
		return frame.Plain(o.Legal, 80)
	}
	return v.Text("org.solo")
}

// orgContent is the content of the page of an organisation.
type orgContent struct {
	Org          *portal.Organisation
	Role         string
	Owner, Acts  bool // the person is an owner; is an owner or a developer
	Facts        [][2]string
	Contacts     []contactView
	Domain       frame.State
	Apps         []appRow
	Sandbox      *applicationRow
	Applications []applicationRow
	Start        *desk.Form // begins the questionnaire
	Mayadd       bool       // apps can be added
	People       int
}

type contactView struct{ Kind, Name, Email, Phone string }

// appRow is an app in a list.
type appRow struct {
	ID, Name, URL, Org  string
	Sandbox, Production frame.State
}

// applicationRow is an application in a list.
type applicationRow struct {
	ID, URL, Kind, App, Org string
	State                   frame.State
	Next                    string
	Due                     string
	Waits                   bool // for the applicant
}

func (s *Site) applicationRow(v *desk.Visit, a *portal.Application) applicationRow {
	r := applicationRow{ID: a.ID, URL: applicationPath(a.ID), Kind: v.Kind(a.Kind), App: frame.Plain(a.AppName, 80), Org: frame.Plain(a.OrgName, 80),
		State: v.State(string(a.State)), Next: v.Text("next." + string(a.Kind) + "." + string(a.State)), Waits: waits(a.State)}
	if lifecycle.Open(a.State) && !a.Due.IsZero() {
		r.Due = v.Date(a.Due)
	}
	return r
}

// waits reports whether it is the applicant's turn.
func waits(st lifecycle.State) bool {
	switch st {
	case lifecycle.Draft, lifecycle.RenewalDue:
		return true
	}
	return lifecycle.Waits(st)
}

// appStates are where an app stands in both environments, in words.
func (s *Site) appStates(v *desk.Visit, app *portal.App, list []*portal.Application) (sandbox, production frame.State) {
	sandbox, production = frame.State{Kind: "idle", Text: v.Text("app.none")}, frame.State{Kind: "idle", Text: v.Text("app.none")}
	if app.Sandbox != "" {
		sandbox = frame.State{Kind: "good", Text: v.Text("app.active")}
	}
	if a := productionOf(list, app.ID); a != nil {
		production = v.State(string(a.State))
	}
	if !app.Retired.IsZero() {
		production = v.State(string(lifecycle.Retired))
	}
	return sandbox, production
}

// productionOf is the application for production of an app that counts now: the open one, or the newest.
func productionOf(list []*portal.Application, app string) *portal.Application {
	var newest *portal.Application
	for _, a := range list {
		if a.App != app || a.Kind != lifecycle.Production {
			continue
		}
		if !ended(a.State) {
			return a
		}
		if newest == nil {
			newest = a
		}
	}
	return newest
}

// ended reports whether an application is over, so that another one can be made.
func ended(st lifecycle.State) bool {
	switch st {
	case lifecycle.Declined, lifecycle.Withdrawn, lifecycle.Lapsed, lifecycle.Denied, lifecycle.Revoked, lifecycle.Retired:
		return true
	}
	return false
}

// sandboxOf is the application of an organisation for the sandbox that counts now.
func sandboxOf(list []*portal.Application) *portal.Application {
	var newest *portal.Application
	for _, a := range list {
		if a.Kind != lifecycle.Sandbox {
			continue
		}
		if !ended(a.State) {
			return a
		}
		if newest == nil {
			newest = a
		}
	}
	return newest
}

func (s *Site) organisation(v *desk.Visit) error {
	o, role, err := s.member(v)
	if err != nil {
		return err
	}
	c := orgContent{Org: o, Role: v.Text("role." + string(role)), Owner: role == portal.Owner, Acts: role != portal.Observer}
	add := func(key, value string) {
		if value != "" {
			c.Facts = append(c.Facts, [2]string{v.Text(key), frame.Plain(value, 400)})
		}
	}
	if !o.Solo {
		add("org.legal", o.Legal)
		add("org.type", v.Text("org.type."+o.Type))
	}
	add("org.website", o.Website)
	if o.HIPAA != "" {
		add("org.hipaa", v.Text("org.hipaa."+o.HIPAA))
	}
	add("org.address", o.Address)
	add("org.tax", o.TaxID)
	add("org.parent", o.Parent)
	for _, x := range o.Contacts {
		c.Contacts = append(c.Contacts, contactView{v.Text("contact." + x.Kind), frame.Plain(x.Name, 80), frame.Plain(x.Email, 254), frame.Plain(x.Phone, 40)})
	}
	c.Domain = domainState(v, o)
	list, err := v.Actor.Applications(v.Context(), o.ID)
	if err != nil {
		return err
	}
	apps, err := v.Actor.Apps(v.Context(), o.ID)
	if err != nil {
		return err
	}
	for _, a := range apps {
		row := appRow{ID: a.ID, Name: frame.Plain(a.Settings.Name, 80), URL: appPath(a.ID)}
		row.Sandbox, row.Production = s.appStates(v, a, list)
		c.Apps = append(c.Apps, row)
	}
	for _, a := range list {
		c.Applications = append(c.Applications, s.applicationRow(v, a))
	}
	if a := sandboxOf(list); a != nil {
		row := s.applicationRow(v, a)
		c.Sandbox = &row
		c.Mayadd = c.Acts && a.State == lifecycle.Approved
	} else if c.Acts {
		c.Start = s.startForm(v, orgPath(o.ID, "sandbox"), "sandbox.start")
	}
	people, err := v.Actor.MembersOf(v.Context(), o.ID)
	if err != nil {
		return err
	}
	c.People = len(people)
	return v.Render(http.StatusOK, "organisation", &frame.Page{Title: orgName(v, o), Content: c, Trail: s.trail(v), Notice: notice(v, "organisation", "saved", "contacts", "domain", "joined")})
}

// startForm is one button that begins something.
func (s *Site) startForm(v *desk.Visit, action, key string) *desk.Form {
	f := v.NewForm(action).Button(v.Text(key))
	f.Class = "bare"
	return f
}

func domainState(v *desk.Visit, o *portal.Organisation) frame.State {
	switch {
	case o.Domain.Name == "":
		return frame.State{Kind: "idle", Text: v.Text("domain.none")}
	case o.Domain.Proofed.IsZero():
		return frame.State{Kind: "wait", Text: v.Text("domain.open")}
	}
	return frame.State{Kind: "good", Text: v.Text("domain.proofed")}
}

func (s *Site) editOrganisation(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	return s.editOrganisationPage(v, o, s.organisationForm(v, orgPath(o.ID, "edit"), o))
}

func (s *Site) editOrganisationPage(v *desk.Visit, o *portal.Organisation, f *desk.Form) error {
	return v.RenderForm(&frame.Page{Title: v.Text("editorg.title"), Trail: s.trail(v, orgName(v, o), orgPath(o.ID)), Self: selfOf(v)}, &desk.FormPage{Lead: v.Text("editorg.lead"), Paras: []string{v.Idle()}, Form: f})
}

func (s *Site) saveOrganisation(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	f := s.organisationForm(v, orgPath(o.ID, "edit"), o).Fill()
	if f.Missing() {
		return s.editOrganisationPage(v, o, f)
	}
	takeOrganisation(v, f, o)
	o.Version = version(v)
	v.About.Back = orgPath(o.ID, "edit")
	return s.savedOrganisation(v, o, f, "saved", func() error { return s.editOrganisationPage(v, o, f) })
}

// savedOrganisation saves, and shows what is not accepted.
func (s *Site) savedOrganisation(v *desk.Visit, o *portal.Organisation, f *desk.Form, done string, show func() error) error {
	err := v.Actor.UpdateOrganisation(v.Context(), o)
	if _, ok := errors.AsType[*portal.DeniedError](err); ok && roleIn(v, o.ID) == portal.Owner {
		f.Fail("name", v.Text("editorg.live"))
		return show()
	}
	if e, ok := errors.AsType[*portal.InputError](err); ok {
		if kind, ok := strings.CutPrefix(e.Field, "contact_"); ok {
			e = &portal.InputError{Field: kind + ".email", Code: e.Code}
		}
		f.FailInput(e)
		return show()
	}
	if err != nil {
		return err
	}
	return v.See(orgPath(o.ID), "done", done)
}

// version is that of the record which the form was made of.
func version(v *desk.Visit) int {
	n, err := strconv.Atoi(v.R.PostForm.Get("_version"))
	if err != nil {
		return -1
	}
	return n
}

// historyContent is the content of the page with what has happened.
type historyContent struct {
	Lines []desk.Moment
	Older string
}

const historyLimit = 50

func (s *Site) history(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	events, err := v.Actor.History(v.Context(), o.ID, before(v), historyLimit)
	if err != nil {
		return err
	}
	c := historyContent{Lines: v.Timeline(events)}
	if len(events) == historyLimit {
		c.Older = orgPath(o.ID, "history") + "?before=" + strconv.FormatInt(events[len(events)-1].At.UnixMilli(), 10)
	}
	return v.Render(http.StatusOK, "history", &frame.Page{Title: v.Text("history.title"), Content: c, Trail: s.trail(v, orgName(v, o), orgPath(o.ID))})
}

// before is the moment at which a page of a list ends; zero for the newest page.
func before(v *desk.Visit) time.Time {
	ms, err := strconv.ParseInt(v.R.URL.Query().Get("before"), 10, 64)
	if err != nil || ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
