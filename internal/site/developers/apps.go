package developers

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// appPath is the page of an app, or one below it.
func appPath(id string, more ...string) string {
	p := "/developers/apps/" + id
	for _, m := range more {
		p += "/" + m
	}
	return p
}

func credentialsPath(app string, where portal.Where) string {
	return appPath(app, string(where), "credentials")
}

// ownApp is the app of the path, for somebody of its organisation.
func (s *Site) ownApp(v *desk.Visit) (*portal.App, portal.OrgRole, error) {
	a, err := v.Actor.App(v.Context(), v.R.PathValue("app"))
	if err != nil {
		return nil, "", err
	}
	role := roleIn(v, a.Org)
	if role == "" {
		return nil, "", frame.ErrMissing
	}
	v.About.Back = appPath(a.ID)
	return a, role, nil
}

// where is the environment of the path.
func where(v *desk.Visit) (portal.Where, error) {
	switch w := portal.Where(v.R.PathValue("where")); w {
	case portal.InSandbox, portal.InProduction:
		return w, nil
	}
	return "", frame.ErrMissing
}

// appTrail is the way to a page of an app.
func (s *Site) appTrail(v *desk.Visit, a *portal.App, more ...string) []frame.Link {
	org := ""
	for _, m := range v.Actor.Members {
		if m.Org == a.Org {
			org = m.OrgName
		}
	}
	if org == "" {
		org = v.Text("org.solo")
	}
	return s.trail(v, append([]string{org, orgPath(a.Org), a.Settings.Name, appPath(a.ID)}, more...)...)
}

// side is the menu at the side of an app's pages.
func (s *Site) side(v *desk.Visit, a *portal.App) []frame.Group {
	link := func(key, url string) frame.Link {
		path, _, _ := strings.Cut(url, "?")
		return frame.Link{Text: v.Text(key), URL: url, Current: v.R.URL.Path == path}
	}
	general := frame.Group{Title: frame.Plain(a.Settings.Name, 60), Links: []frame.Link{link("app.overview", appPath(a.ID)), link("app.settings", appPath(a.ID, "edit")), link("app.logo", appPath(a.ID, "logo"))}}
	sandbox := frame.Group{Title: v.Text("where.sandbox"), Links: []frame.Link{link("credentials.menu", credentialsPath(a.ID, portal.InSandbox)), link("members.title", appPath(a.ID, "members")), link("console.title", appPath(a.ID, "console")),
		link("requests.menu", appPath(a.ID, "requests"))}}
	if a.Settings.Auth == "private_key_jwt" {
		sandbox.Links = append(sandbox.Links, link("keys.title", appPath(a.ID, "keys")))
	}
	list := []frame.Group{general, sandbox}
	if a.Production != "" {
		list = append(list, frame.Group{Title: v.Text("where.production"), Links: []frame.Link{link("credentials.menu", credentialsPath(a.ID, portal.InProduction)),
			{Text: v.Text("requests.menu"), URL: appPath(a.ID, "requests") + "?where=production"}}})
	}
	return list
}

// appContent is the content of the page of an app.
type appContent struct {
	App                 *portal.App
	Environments        []environment // sandbox and production, side by side
	Start               *desk.Form    // begins the application for production
	StartLacks          string
	Guides              []frame.Link
	Missing             []string
	Logo                string
	Changed             bool // the settings differ from what was approved
	PerMinute, PerMonth string
	Acts                bool
}

// environment is a client of an app, and where it is.
type environment struct {
	Where, Title     string
	State            frame.State
	Client           string
	FHIRBase, Issuer string
	Settings         [][2]string
	Links            []frame.Link
	Requests         string
	Application      *applicationRow
}

func (s *Site) environmentOf(w portal.Where) portal.Environment {
	if w == portal.InProduction {
		return s.Portal.Production
	}
	return s.Portal.Sandbox
}

func (s *Site) app(v *desk.Visit) error {
	a, role, err := s.ownApp(v)
	if err != nil {
		return err
	}
	list, err := v.Actor.Applications(v.Context(), a.Org)
	if err != nil {
		return err
	}
	c := appContent{App: a, Acts: role != portal.Observer, Guides: s.guides(v, a.Sandbox)}
	if a.Logo != "" {
		c.Logo = appPath(a.ID, "logo.png")
	}
	if s.PerMinute > 0 {
		c.PerMinute = v.Text("quota.minute", s.PerMinute)
	}
	sandbox, production := s.appStates(v, a, list)
	x := environment{Where: "sandbox", Title: v.Text("where.sandbox"), State: sandbox, Client: a.Sandbox, FHIRBase: s.Portal.Sandbox.FHIRBase, Issuer: s.Portal.Sandbox.Issuer, Settings: s.shown(v, &a.Settings)}
	x.Links = []frame.Link{{Text: v.Text("credentials.menu"), URL: credentialsPath(a.ID, portal.InSandbox)}, {Text: v.Text("console.title"), URL: appPath(a.ID, "console")}, {Text: v.Text("requests.menu"), URL: appPath(a.ID, "requests")}}
	y := environment{Where: "production", Title: v.Text("where.production"), State: production, Client: a.Production, FHIRBase: s.Portal.Production.FHIRBase, Issuer: s.Portal.Production.Issuer}
	if a.Approved != nil {
		y.Settings = s.shown(v, a.Approved)
		c.Changed = !sameShown(x.Settings, y.Settings)
	}
	if a.Production != "" {
		y.Links = []frame.Link{{Text: v.Text("credentials.menu"), URL: credentialsPath(a.ID, portal.InProduction)}, {Text: v.Text("requests.menu"), URL: appPath(a.ID, "requests") + "?where=production"}}
	}
	if p := productionOf(list, a.ID); p != nil {
		row := s.applicationRow(v, p)
		y.Application = &row
	}
	if (y.Application == nil || ended(productionOf(list, a.ID).State)) && c.Acts && a.Retired.IsZero() {
		if y.Application == nil {
			c.Start = s.startForm(v, appPath(a.ID, "production"), "production.start")
		}
		_, missing, err := v.Actor.Evidence(v.Context(), a.ID)
		if err != nil {
			return err
		}
		for _, m := range missing {
			c.Missing = append(c.Missing, v.Text("shown."+m))
		}
	}
	c.Environments = []environment{x, y}
	return v.Render(http.StatusOK, "app", &frame.Page{Title: frame.Plain(a.Settings.Name, 80), Content: c, Full: true, Side: s.side(v, a), Trail: s.appTrail(v, a)[:2], Notice: notice(v, "app", "saved", "logo", "keys", "change")})
}

func sameShown(x, y [][2]string) bool { return slices.Equal(x, y) }

// shown are settings in words.
func (s *Site) shown(v *desk.Visit, x *portal.Settings) (list [][2]string) {
	add := func(key, value string) {
		if value != "" {
			list = append(list, [2]string{v.Text(key), value})
		}
	}
	add("app.name", x.Name)
	add("app.kind", v.Text("app.kind."+x.Kind))
	add("app.auth", v.Text("app.auth."+x.Auth))
	add("app.redirects", strings.Join(x.RedirectURIs, "\n"))
	var scopes []string
	for _, sc := range x.Scopes {
		scopes = append(scopes, sc.Scope)
	}
	add("app.scopes", strings.Join(scopes, "\n"))
	if x.Offline {
		add("app.offline", v.Text("field.yes"))
	}
	if x.Category != "" {
		add("app.category", v.Text("app.category."+x.Category))
	}
	add("app.homepage", x.Homepage)
	add("app.policy", x.Policy)
	add("app.terms", x.Terms)
	add("app.support", x.Support)
	if x.Audience != "" {
		add("app.audience", v.Text("app.audience."+x.Audience))
	}
	if x.Utah {
		add("app.utah", v.Text("field.yes"))
	}
	return list
}

func (s *Site) newApp(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	x := &portal.Settings{} // nothing is chosen for anybody
	return s.newAppPage(v, o, s.appForm(v, orgPath(o.ID, "apps", "new"), nil, x))
}

func (s *Site) newAppPage(v *desk.Visit, o *portal.Organisation, f *desk.Form) error {
	return v.RenderForm(&frame.Page{Title: v.Text("newapp.title"), Trail: s.trail(v, orgName(v, o), orgPath(o.ID)), Self: selfOf(v)}, &desk.FormPage{Lead: v.Text("newapp.lead"), Paras: []string{v.Idle()}, Form: f, Links: s.guides(v, "")})
}

func (s *Site) addApp(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	x := &portal.Settings{}
	f := s.appForm(v, orgPath(o.ID, "apps", "new"), nil, x).Fill()
	if f.Missing() {
		return s.newAppPage(v, o, f)
	}
	s.takeApp(f, x)
	a, err := v.Actor.AddApp(v.Context(), o.ID, x)
	if errors.Is(err, accounts.ErrExists) {
		f.Fail("name", v.Text("newapp.exists"))
		return s.newAppPage(v, o, f)
	}
	if err != nil {
		if err = failApp(f, err); err != nil {
			return err
		}
		return s.newAppPage(v, o, f)
	}
	return v.See(appPath(a.ID), "done", "app")
}

// changing reports whether the form asks for other settings of the production client.
func changing(v *desk.Visit) bool { return v.R.FormValue("change") != "" }

func (s *Site) editApp(v *desk.Visit) error {
	a, _, err := s.ownApp(v)
	if err != nil {
		return err
	}
	return s.editAppPage(v, a, s.editAppForm(v, a))
}

// editAppForm is the form of the settings. A change of the production client shows them all again, with the
// statements that it needs, which are made anew.
func (s *Site) editAppForm(v *desk.Visit, a *portal.App) *desk.Form {
	return s.appForm(v, appPath(a.ID, "edit"), a, &a.Settings)
}

func (s *Site) editAppPage(v *desk.Visit, a *portal.App, f *desk.Form) error {
	title, lead := v.Text("editapp.title"), v.Text("editapp.lead")
	if changing(v) {
		title, lead = v.Text("changeapp.title"), v.Text("changeapp.lead")
		app, form, err := s.live(v, a)
		if err != nil {
			return err
		}
		if f.Field(signerAuthority) == nil {
			f.Keep("_application", strconv.Itoa(app.Version))
			s.attestForm(v, app, form, "change", f)
		}
	}
	return v.RenderForm(&frame.Page{Title: title, Trail: s.appTrail(v, a), Side: s.side(v, a), Self: selfOf(v)}, &desk.FormPage{Lead: lead, Paras: []string{v.Idle()}, Form: f})
}

func (s *Site) saveApp(v *desk.Visit) error {
	a, _, err := s.ownApp(v)
	if err != nil {
		return err
	}
	v.About.Back = appPath(a.ID, "edit")
	if changing(v) {
		return s.changeApp(v, a)
	}
	f := s.editAppForm(v, a).Fill()
	if f.Missing() {
		return s.editAppPage(v, a, f)
	}
	x := a.Settings
	s.takeApp(f, &x)
	if _, err := v.Actor.UpdateApp(v.Context(), a.ID, version(v), &x); err != nil {
		if err = failApp(f, err); err != nil {
			return err
		}
		return s.editAppPage(v, a, f)
	}
	return v.See(appPath(a.ID), "done", "saved")
}

// startProduction begins the application for production of an app, or goes on with the one that there is.
func (s *Site) startProduction(v *desk.Visit) error {
	a, _, err := s.ownApp(v)
	if err != nil {
		return err
	}
	made, err := v.Actor.Start(v.Context(), lifecycle.Production, a.Org, a.ID)
	if errors.Is(err, accounts.ErrExists) {
		list, err := v.Actor.Applications(v.Context(), a.Org)
		if err != nil {
			return err
		}
		if p := productionOf(list, a.ID); p != nil {
			return v.See(applicationPath(p.ID))
		}
		return accounts.ErrExists
	}
	if err != nil {
		return err
	}
	return v.See(applicationPath(made.ID))
}
