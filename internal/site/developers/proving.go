package developers

import (
	"errors"
	"html/template"
	"strings"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

func (s *Site) reauthForm(v *desk.Visit) *desk.Form {
	return v.NewForm(desk.ReauthPath).Keep("next", v.Next()).Add(
		&desk.Field{ID: "password", Label: v.Text("person.password"), Type: "password", Auto: "current-password", Required: true, Bare: true, Most: 200},
		&desk.Field{ID: "code", Name: "factor", Label: v.Text("factor.code"), Hint: v.Text("factor.hint"), Auto: "one-time-code", Required: true, Bare: true, Most: 40},
	).Button(v.Text("reauth.button"))
}

func (s *Site) showReauth(v *desk.Visit) error {
	if v.Actor.Person.Issuer != "" {
		if s.Upstream == nil {
			return frame.ErrDenied
		}
		// A link, since browsers that hold forms to the own origin would not follow one to the service.
		return s.said(v, "reauth.upstream", frame.Link{Text: v.Text("reauth.upstream.button"), URL: "/developers/login/start?again=1&next=" + template.URLQueryEscaper(v.Next()), Button: true})
	}
	return s.reauthPage(v, s.reauthForm(v))
}

func (s *Site) reauthPage(v *desk.Visit, f *desk.Form) error {
	var paras []string
	for _, d := range s.Demo {
		if d.Code != nil {
			paras = append(paras, v.Text("factor.demo", d.Email, d.Code()))
		}
	}
	return v.RenderForm(&frame.Page{Title: v.Text("reauth.title"), Keep: []string{"next"}}, &desk.FormPage{Lead: v.Text("reauth.lead"), Paras: paras, Form: f})
}

func (s *Site) reauth(v *desk.Visit) error {
	if v.Actor.Person.Issuer != "" {
		return frame.ErrDenied
	}
	f := s.reauthForm(v).Fill()
	if f.Missing() {
		return s.reauthPage(v, f)
	}
	if err := v.LimitSignIn(v.Login.Person); err != nil {
		return err
	}
	session, err := s.Portal.Reauthenticate(v.Context(), v.Login.ID, f.Value("password"), strings.ReplaceAll(f.Value("code"), " ", ""))
	switch {
	case errors.Is(err, accounts.ErrNotFound), errors.Is(err, accounts.ErrUsed):
		f.Fail("password", v.Text("reauth.wrong"))
		return s.reauthPage(v, f)
	case errors.Is(err, accounts.ErrLocked):
		f.Fail("password", v.Text("signin.locked"))
		return s.reauthPage(v, f)
	case err != nil:
		return err
	}
	if session.ID != v.Login.ID {
		v.Begin(session)
	}
	return v.See(orHome(v.Next()))
}

// startUpstream sends the browser to the identity service.
func (s *Site) startUpstream(v *desk.Visit) error {
	if err := v.Limit(desk.SignIn); err != nil {
		return err
	}
	v.Headers()
	return s.Upstream.Begin(v.W, v.R, orHome(v.Next()), v.R.URL.Query().Get("again") != "")
}

// finishUpstream takes its answer.
func (s *Site) finishUpstream(v *desk.Visit) error {
	if err := v.Limit(desk.SignIn); err != nil {
		return err
	}
	who, next, err := s.Upstream.Finish(v.W, v.R)
	if err != nil {
		var why interface{ Reason() string }
		if !errors.As(err, &why) {
			return err
		}
		key := "upstream." + why.Reason()
		if !s.desk.HasText(key + ".title") {
			key = "upstream.provider"
		}
		return s.said(v, key, frame.Link{Text: v.Text("signin.again"), URL: desk.SignInPath})
	}
	session, err := s.Portal.SignInWith(v.Context(), who)
	if _, ok := errors.AsType[*portal.DeniedError](err); ok {
		return s.said(v, "upstream.taken", frame.Link{Text: v.Text("signin.again"), URL: desk.SignInPath}, frame.Link{Text: v.Text("menu.support"), URL: "/support"})
	}
	if err != nil {
		return err
	}
	return s.begin(v, session, desk.Inside(next))
}
