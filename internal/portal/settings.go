package portal

import (
	"context"
	"errors"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/smart/clientrules"
)

// aboutMost is the most characters of what members read about an app.
const aboutMost = 415

var (
	knownScope = regexp.MustCompile(`^(launch/patient|openid|fhirUser|offline_access|(patient|user|system)/(\*|[A-Z][A-Za-z]+)\.(\*|read|c?r?u?d?s?)(\?[!-~]*)?)$`)
	languageID = regexp.MustCompile(`^[a-z]{2}$`)
)

// checkSettings says what is wrong with settings: *InputError. In the sandbox an app may be on its developer's machine, and
// say less.
func (p *Portal) checkSettings(s *Settings, where Where) error {
	bad := func(field, code string) error { return &InputError{field, code} }
	switch {
	case strings.TrimSpace(s.Name) == "" || utf8.RuneCountInString(s.Name) > 100 || !printable(s.Name) || strings.ContainsAny(s.Name, "\r\n\t"):
		return bad("name", "name")
	case s.Kind != "web" && s.Kind != "native" && s.Kind != "service":
		return bad("kind", "kind")
	case s.Auth != "none" && s.Auth != "client_secret" && s.Auth != "private_key_jwt":
		return bad("auth", "auth")
	case s.Kind == "service" && s.Auth != "private_key_jwt":
		return bad("auth", "service_keys")
	case s.Kind == "native" && s.Auth == "client_secret":
		return bad("auth", "native_secret") // what is on a device is no secret
	case s.Auth != "private_key_jwt" && (s.JWKS != "" || s.JWKSURI != ""):
		return bad("jwks", "no_keys")
	case s.JWKS != "" && s.JWKSURI != "":
		return bad("jwks", "one_of_both")
	case s.Utah && s.Auth != "client_secret":
		return bad("utah", "utah_secret")
	case s.Category != "" && !slices.Contains([]string{"one_time", "months_13", "research"}, s.Category):
		return bad("category", "category")
	case s.Audience != "" && !slices.Contains([]string{"adults", "teens", "children"}, s.Audience):
		return bad("audience", "audience")
	case len(s.Platforms) > 20 || slices.ContainsFunc(s.Platforms, func(x string) bool { return x == "" || len(x) > 50 || !printable(x) }):
		return bad("platforms", "platforms")
	case where == InProduction && !s.ready():
		return bad("jwks", "required")
	}
	for _, check := range []func(*Settings, Where) error{checkRedirects, checkScopes, checkPages, checkAbout} {
		if err := check(s, where); err != nil {
			return err
		}
	}
	if !s.ready() {
		return nil
	}
	c := p.client(&App{}, s, where)
	if err := clientrules.Check(c); err != nil { // whatever else the authorization server wants
		field, _, _ := strings.Cut(err.Error(), ":")
		return bad(field, "rules")
	}
	return nil
}

func checkRedirects(s *Settings, where Where) error {
	const field = "redirect_uris"
	switch {
	case s.Kind == "service" && len(s.RedirectURIs) > 0:
		return &InputError{field, "service"}
	case s.Kind != "service" && len(s.RedirectURIs) == 0:
		return &InputError{field, "required"}
	case len(s.RedirectURIs) > 20:
		return &InputError{field, "many"}
	}
	for i, uri := range s.RedirectURIs {
		u, err := url.Parse(uri)
		local := err == nil && loopbackHost(u.Hostname())
		switch {
		case err != nil || len(uri) > 2000 || !u.IsAbs() || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' }):
			return &InputError{field, "uri"}
		case strings.Contains(uri, "#"):
			return &InputError{field, "fragment"}
		case u.User != nil || strings.Contains(u.Host, "@"):
			return &InputError{field, "user"}
		case strings.Contains(uri, "*"):
			return &InputError{field, "wildcard"}
		case slices.Contains(s.RedirectURIs[:i], uri):
			return &InputError{field, "twice"}
		case s.Kind == "web" && where == InProduction && local:
			return &InputError{field, "loopback"} // of whoever uses the browser, and not of the app
		case u.Scheme == "https" && u.Host != "":
		case u.Scheme == "http" && local:
		case u.Scheme == "http":
			return &InputError{field, "https"}
		case s.Kind == "native" && strings.Contains(u.Scheme, "."):
		case s.Kind == "native":
			return &InputError{field, "scheme"}
		default:
			return &InputError{field, "https"}
		}
		if clientrules.CheckRedirect(uri, s.Kind == "native") != nil {
			return &InputError{field, "uri"}
		}
	}
	return nil
}

func checkScopes(s *Settings, where Where) error {
	if len(s.Scopes) == 0 || len(s.Scopes) > 100 {
		return &InputError{"scopes", "required"}
	}
	seen := map[string]bool{}
	for _, x := range s.Scopes {
		system := strings.HasPrefix(x.Scope, "system/")
		switch {
		case len(x.Scope) > 300 || !knownScope.MatchString(x.Scope) || strings.HasSuffix(strings.SplitN(x.Scope, "?", 2)[0], "."):
			return &InputError{"scopes", "scope"}
		case seen[x.Scope]:
			return &InputError{"scopes", "twice"}
		case system != (s.Kind == "service"):
			return &InputError{"scopes", "service"}
		case len(x.Reason) > 2000 || !printable(x.Reason):
			return &InputError{"scopes", "text"}
		case where == InProduction && strings.TrimSpace(x.Reason) == "":
			return &InputError{"scopes", "reason"}
		}
		seen[x.Scope] = true
	}
	return nil
}

func checkPages(s *Settings, where Where) error {
	for field, page := range map[string]string{"homepage": s.Homepage, "policy": s.Policy, "terms": s.Terms, "jwks_uri": s.JWKSURI} {
		if page == "" {
			if where == InProduction && (field == "policy" || field == "terms") {
				return &InputError{field, "required"}
			}
			continue
		}
		u, err := url.Parse(page)
		if err != nil || len(page) > 2000 || u.Scheme != "https" || u.Host == "" || u.User != nil || loopbackHost(u.Hostname()) ||
			strings.ContainsFunc(page, func(r rune) bool { return r <= ' ' }) {
			return &InputError{field, "url"}
		}
	}
	if s.Support == "" {
		return nil
	}
	u, err := url.Parse(s.Support)
	if err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && len(s.Support) <= 2000 {
		return nil
	}
	if at, err := mail.ParseAddress(s.Support); err != nil || at.Address != s.Support || len(s.Support) > 254 {
		return &InputError{"support", "support"}
	}
	return nil
}

func checkAbout(s *Settings, _ Where) error {
	for lang, text := range s.About {
		if !languageID.MatchString(lang) || utf8.RuneCountInString(text) > aboutMost || !printable(text) {
			return &InputError{"about_" + lang, "about"}
		}
	}
	return nil
}

// takeName makes the name of an app that of its organisation: nobody else may have one that looks like it. It fails with
// *InputError if somebody has, or if it looks like the agency's.
func (p *Portal) takeName(ctx context.Context, tx *step, app *App, name string) error {
	skeleton := forms.Confusable(name)
	if skeleton == "" {
		return &InputError{"name", "name"}
	}
	if looksOfficial(skeleton, p.Agency) {
		return &InputError{"name", "official"}
	}
	if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_names (skeleton, org) VALUES ($1, $2) ON CONFLICT (skeleton) DO NOTHING`,
		skeleton, app.Org); err != nil {
		return err
	}
	owner, err := first(database.Column(ctx, tx, `SELECT org FROM portal_names WHERE skeleton = $1`, skeleton))
	if err != nil {
		return err
	}
	if owner != app.Org {
		return &InputError{"name", "taken"}
	}
	return nil
}

// publisherNames is what keys of portal_names begin with that are names of organisations, and not of apps.
const publisherNames = "publisher "

// takePublisher makes the name of an organisation its own: no other may have one that looks like it, and nobody one that looks
// like the agency's. Developers who work alone have the names of people, which several may have; but none may look like that
// of an organisation. It fails with *InputError.
func (p *Portal) takePublisher(ctx context.Context, tx *step, o *Organisation) error {
	skeleton := forms.Confusable(o.Name)
	if skeleton == "" {
		return &InputError{"name", codeWrong}
	}
	if looksOfficial(skeleton, p.Agency) {
		return &InputError{"name", "official"}
	}
	key := publisherNames + skeleton
	if !o.Solo {
		if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_names (skeleton, org) VALUES ($1, $2) ON CONFLICT (skeleton) DO NOTHING`, key, o.ID); err != nil {
			return err
		}
	}
	owners, err := database.Column(ctx, tx, `SELECT org FROM portal_names WHERE skeleton = $1`, key)
	if err != nil {
		return err
	}
	if len(owners) > 0 && owners[0] != o.ID {
		return &InputError{"name", "taken_publisher"}
	}
	return p.releasePublisher(ctx, tx, o.ID, key)
}

// releasePublisher gives back names that an organisation had, but for one.
func (p *Portal) releasePublisher(ctx context.Context, tx *step, org, but string) error {
	_, err := database.Change(ctx, tx.Tx, `DELETE FROM portal_names WHERE org = $1 AND skeleton LIKE '`+publisherNames+`%' AND skeleton <> $2`, org, but)
	return err
}

// looksOfficial reports whether a name is that of the agency or of its program, or looks like it. Names that only have such a
// word in them are the reviewer's affair: "for Medicaid members" is a fact.
func looksOfficial(skeleton, agency string) bool {
	for _, own := range []string{agency, "Medicaid", "Medicare", "CMS", "HHS", "Medicaid app", "Medicaid official", "Blue Button"} {
		if s := forms.Confusable(own); s != "" && s == skeleton {
			return true
		}
	}
	return false
}

// releaseNames gives back names that no app of the organisation has any more.
func (p *Portal) releaseNames(ctx context.Context, tx *step, org string) error {
	apps, err := p.appsOf(ctx, tx, org)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, a := range apps {
		for _, s := range []*Settings{&a.Settings, a.Approved, a.Asked} {
			if s != nil {
				used[forms.Confusable(s.Name)] = true
			}
		}
	}
	names, err := database.Column(ctx, tx, `SELECT skeleton FROM portal_names WHERE org = $1 AND skeleton NOT LIKE '`+publisherNames+`%' ORDER BY skeleton`, org)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !used[n] {
			if _, err := database.Change(ctx, tx.Tx, `DELETE FROM portal_names WHERE skeleton = $1 AND org = $2`, n, org); err != nil {
				return err
			}
		}
	}
	return nil
}

// foreignName fails with *InputError if a client that somebody else has registered, such as the operator, has a name
// that looks like this one.
func (p *Portal) foreignName(ctx context.Context, name string) error {
	clients, err := p.production().Clients(ctx)
	if err != nil {
		return err
	}
	skeleton := forms.Confusable(name)
	if slices.ContainsFunc(clients, func(c *accounts.Client) bool {
		return c.App == "" && c.Status == accounts.Active && forms.Confusable(c.Name) == skeleton
	}) {
		return &InputError{"name", "taken"}
	}
	return nil
}

// takeKeys makes public keys those of an app. It fails with *InputError if another app has one of them.
func (p *Portal) takeKeys(ctx context.Context, tx *step, app, jwks string) error {
	if jwks == "" {
		return nil
	}
	thumbs, err := clientrules.Thumbprints(jwks)
	if err != nil {
		return &InputError{"jwks", "keys"}
	}
	for _, t := range thumbs {
		if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_keys (thumbprint, app) VALUES ($1, $2) ON CONFLICT (thumbprint) DO NOTHING`, t, app); err != nil {
			return err
		}
		owner, err := first(database.Column(ctx, tx, `SELECT app FROM portal_keys WHERE thumbprint = $1`, t))
		if err != nil {
			return err
		}
		if owner != app {
			return &InputError{"jwks", "keys_used"}
		}
	}
	return nil
}

// foreignKeys fails with *InputError if a client of somebody else has one of the keys.
func (p *Portal) foreignKeys(ctx context.Context, app, jwks string) error {
	thumbs, err := clientrules.Thumbprints(jwks)
	if err != nil {
		return &InputError{"jwks", "keys"}
	}
	for _, in := range []*accounts.Accounts{p.production(), p.sandboxAccounts()} {
		clients, err := in.Clients(ctx)
		if err != nil {
			return err
		}
		for _, c := range clients {
			if c.App == app || c.JWKS == "" {
				continue
			}
			theirs, err := clientrules.Thumbprints(c.JWKS)
			if err == nil && slices.ContainsFunc(thumbs, func(t string) bool { return slices.Contains(theirs, t) }) {
				return &InputError{"jwks", "keys_used"}
			}
		}
	}
	return nil
}

// asInput is the input error in an error, if there is one.
func asInput(err error) (*InputError, bool) {
	var in *InputError
	ok := errors.As(err, &in)
	return in, ok
}
