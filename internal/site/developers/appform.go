package developers

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

var (
	appKinds      = []string{"web", "native", "service"}
	appAuths      = []string{"none", "client_secret", "private_key_jwt"}
	appCategories = []string{"one_time", "months_13", "research"}
	appPlatforms  = []string{"web", "ios", "android", "desktop"}
	appAudiences  = []string{"adults", "teens", "children"}
)

func hinted(v *desk.Visit, prefix string, values []string) (list []desk.Option) {
	for _, value := range values {
		list = append(list, desk.Option{Value: value, Text: v.Text(prefix + value), Note: v.Text(prefix + value + ".hint")})
	}
	return list
}

// scopesOf are the scopes that the form offers: those of the server, and others that the app has already.
func (s *Site) scopesOf(x *portal.Settings) []string {
	list := slices.Clone(s.Scopes)
	for _, sc := range x.Scopes {
		if !slices.Contains(list, sc.Scope) && sc.Scope != "offline_access" {
			list = append(list, sc.Scope)
		}
	}
	return list
}

func (s *Site) appForm(v *desk.Visit, action string, a *portal.App, x *portal.Settings) *desk.Form {
	f := v.NewForm(action)
	if a != nil {
		f.Keep("_version", strconv.Itoa(a.Version), "change", v.R.FormValue("change"))
	}
	f.Group(v.Text("app.part.about"), "").Add(
		&desk.Field{ID: "name", Label: v.Text("app.name"), Hint: v.Text("app.name.hint"), Required: true, Most: 100, Values: []string{x.Name}},
		&desk.Field{ID: "homepage", Label: v.Text("app.homepage"), Mode: "url", Most: 300, Values: []string{x.Homepage}},
		&desk.Field{ID: "about_en", Label: v.Text("app.about.en"), Hint: v.Text("app.about.hint"), Kind: desk.Lines, Rows: 4, Lang: "en", Most: 415, Values: []string{x.About["en"]}},
		&desk.Field{ID: "about_es", Label: v.Text("app.about.es"), Hint: v.Text("app.about.hint"), Kind: desk.Lines, Rows: 4, Lang: "es", Most: 415, Values: []string{x.About["es"]}},
		&desk.Field{ID: "platforms", Label: v.Text("app.platforms"), Kind: desk.Some, Options: options(v, "app.platforms.", appPlatforms), Values: x.Platforms},
		&desk.Field{ID: "audience", Label: v.Text("app.audience"), Kind: desk.One, Options: options(v, "app.audience.", appAudiences), Values: []string{x.Audience}})
	f.Group(v.Text("app.part.client"), v.Text("app.part.client.intro")).Add(
		&desk.Field{ID: "kind", Label: v.Text("app.kind"), Kind: desk.One, Required: true, Options: hinted(v, "app.kind.", appKinds), Values: []string{x.Kind}},
		&desk.Field{ID: "auth", Label: v.Text("app.auth"), Hint: v.Text("app.auth.hint"), Kind: desk.One, Required: true, Options: hinted(v, "app.auth.", appAuths), Values: []string{x.Auth}},
		&desk.Field{ID: "redirect_uris", Label: v.Text("app.redirects"), Hint: v.Text("app.redirects.hint"), Kind: desk.Lines, Rows: 3, Most: 8000, Values: []string{strings.Join(x.RedirectURIs, "\n")}},
		&desk.Field{ID: "jwks_uri", Label: v.Text("app.jwksuri"), Hint: v.Text("app.jwksuri.hint"), Mode: "url", Most: 500, Values: []string{x.JWKSURI}})
	f.Group(v.Text("app.scopes"), v.Text("app.scopes.intro"))
	for i, scope := range s.scopesOf(x) {
		n := strconv.Itoa(i + 1)
		ticked, reason := "", ""
		for _, sc := range x.Scopes {
			if sc.Scope == scope {
				ticked, reason = "yes", sc.Reason
			}
		}
		label := scope
		if key := "scope." + strings.ReplaceAll(scope, "/", "."); s.desk.HasText(key) {
			label = scope + ": " + v.Text(key)
		}
		f.Add(&desk.Field{ID: "scope-" + n, Kind: desk.Tick, Bare: true, Label: label, Values: []string{ticked}},
			&desk.Field{ID: "reason-" + n, Bare: true, Label: v.Text("app.reason", scope), Most: 500, Values: []string{reason}})
	}
	offline, utah := "", ""
	if x.Offline {
		offline = "yes"
	}
	if x.Utah {
		utah = "yes"
	}
	f.Group(v.Text("app.part.access"), "").Add(
		&desk.Field{ID: "offline", Kind: desk.Tick, Label: v.Text("app.offline.label"), Hint: v.Text("app.offline.hint"), Values: []string{offline}},
		&desk.Field{ID: "category", Kind: desk.One, Label: v.Text("app.category"), Options: hinted(v, "app.category.", appCategories), Values: []string{x.Category}},
		&desk.Field{ID: "utah", Kind: desk.Tick, Label: v.Text("app.utah.label"), Hint: v.Text("app.utah.hint"), Values: []string{utah}})
	f.Group(v.Text("app.part.links"), "").Add(
		&desk.Field{ID: "policy", Label: v.Text("app.policy"), Hint: v.Text("app.later"), Mode: "url", Most: 300, Values: []string{x.Policy}},
		&desk.Field{ID: "terms", Label: v.Text("app.terms"), Hint: v.Text("app.later"), Mode: "url", Most: 300, Values: []string{x.Terms}},
		&desk.Field{ID: "support", Label: v.Text("app.support"), Hint: v.Text("app.support.hint"), Most: 300, Values: []string{x.Support}})
	return f.Button(v.Text("save"))
}

// takeApp takes what was sent into settings.
func (s *Site) takeApp(f *desk.Form, x *portal.Settings) {
	scopes := s.scopesOf(x)
	x.Name, x.Homepage, x.Policy, x.Terms, x.Support = f.Value("name"), f.Value("homepage"), f.Value("policy"), f.Value("terms"), f.Value("support")
	x.Kind, x.Auth, x.JWKSURI, x.Category, x.Audience = f.Value("kind"), f.Value("auth"), f.Value("jwks_uri"), f.Value("category"), f.Value("audience")
	x.RedirectURIs = nil
	for line := range strings.SplitSeq(f.Value("redirect_uris"), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			x.RedirectURIs = append(x.RedirectURIs, line)
		}
	}
	x.Scopes = nil
	for i, scope := range scopes {
		n := strconv.Itoa(i + 1)
		if f.Value("scope-"+n) == "yes" {
			x.Scopes = append(x.Scopes, portal.Scope{Scope: scope, Reason: f.Value("reason-" + n)})
		}
	}
	x.Offline, x.Utah = f.Value("offline") == "yes", f.Value("utah") == "yes"
	x.Platforms = nil
	if p := f.Field("platforms"); p != nil {
		x.Platforms = slices.Clone(p.Values)
	}
	x.About = map[string]string{}
	for _, lang := range frame.Languages() {
		if text := f.Value("about_" + lang); text != "" {
			x.About[lang] = text
		}
	}
	if x.Auth != "private_key_jwt" {
		x.JWKS = ""
	}
}

// failApp shows what is not accepted of settings.
func failApp(f *desk.Form, err error) error {
	if e, ok := errors.AsType[*portal.InputError](err); ok && e.Field == "scopes" {
		c := *e
		c.Field = "scope-1"
		f.FailInput(&c)
		return nil
	}
	return failInput(f, err)
}
