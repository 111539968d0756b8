package developers

import (
	"errors"
	"html/template"
	"net/http"
	"strings"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// failInput shows what the portal does not accept at its field; other errors stay what they are.
func failInput(f *desk.Form, err error) error {
	if e, ok := errors.AsType[*portal.InputError](err); ok {
		f.FailInput(e)
		return nil
	}
	return err
}

func (s *Site) signUpForm(v *desk.Visit) *desk.Form {
	f := v.NewForm("/developers/sign-up").Add(
		&desk.Field{ID: "name", Label: v.Text("person.name"), Hint: v.Text("person.name.hint"), Auto: "name", Required: true, Most: 120},
		&desk.Field{ID: "email", Label: v.Text("person.email"), Hint: v.Text("signup.email.hint"), Type: "email", Auto: "username", Required: true, Most: 254},
		&desk.Field{ID: "password", Label: v.Text("person.password"), Hint: v.Text("password.hint"), Type: "password", Auto: "new-password", Required: true, Most: 200},
	)
	return f.Button(v.Text("signup.button"))
}

func (s *Site) showSignUp(v *desk.Visit) error {
	if v.Actor != nil {
		return v.See(desk.HomePath)
	}
	return s.signUpPage(v, s.signUpForm(v))
}

func (s *Site) signUpPage(v *desk.Visit, f *desk.Form) error {
	links := []frame.Link{{Text: v.Text("signup.have"), URL: desk.SignInPath}}
	if s.Upstream != nil {
		links = append(links, frame.Link{Text: v.Text("signin.upstream"), URL: "/developers/login/start"})
	}
	if u := s.guide("terms", ""); u != "" {
		links = append(links, frame.Link{Text: v.Text("terms.read"), URL: u})
	}
	return v.ShowForm(v.Text("signup.title"), v.Text("signup.lead"), f, links...)
}

// signUp answers the same whether or not there is an account: who has the address reads it in the mail.
func (s *Site) signUp(v *desk.Visit) error {
	f := s.signUpForm(v).Fill()
	if f.Missing() {
		return s.signUpPage(v, f)
	}
	if err := v.Limit(desk.SignUp, f.Value("email")); err != nil {
		return err
	}
	err := s.Portal.SignUp(v.Context(), &portal.SignUp{Email: f.Value("email"), Name: f.Value("name"), Password: f.Value("password"), Language: v.Lang})
	if err != nil {
		if err = failInput(f, err); err != nil {
			return err
		}
		return s.signUpPage(v, f)
	}
	return s.said(v, "signup.sent", frame.Link{Text: v.Text("signup.again"), URL: "/developers/sign-up"})
}

// said is a page that only says something: key.title, key.text and key.next.
func (s *Site) said(v *desk.Visit, key string, links ...frame.Link) error {
	return v.Render(http.StatusOK, "said", &frame.Page{Title: v.Text(key + ".title"), Content: said{v.Text(key + ".text"), v.Text(key + ".next"), links}, Self: selfOf(v)})
}

type said struct {
	Text, Next string
	Links      []frame.Link
}

// selfOf is a link to a page that a form was sent from, for the other language.
func selfOf(v *desk.Visit) string {
	if v.R.Method == http.MethodGet {
		return ""
	}
	return v.R.URL.Path
}

// token is that of a mail: in the query of the link, then in the form.
func token(v *desk.Visit) string {
	t := v.R.FormValue("code")
	if t == "" {
		t = v.R.URL.Query().Get("token")
	}
	if len(t) > 200 || strings.ContainsAny(t, " \r\n") {
		return ""
	}
	return t
}

// asking is a page with one button, for what a link in a mail or on a page begins: programs that read mails follow
// links, and nothing happens by them.
func (s *Site) asking(v *desk.Visit, key, action string, keep []string, class string, links ...frame.Link) error {
	f := v.NewForm(action).Keep(keep...)
	f.Buttons = append(f.Buttons, desk.Button{Text: v.Text(key + ".button"), Class: class})
	return v.RenderForm(&frame.Page{Title: v.Text(key + ".title")}, &desk.FormPage{Lead: v.Text(key + ".text"), Form: f, Links: links})
}

func (s *Site) askConfirm(v *desk.Visit) error {
	t := token(v)
	if t == "" {
		return s.said(v, "confirm.bad", frame.Link{Text: v.Text("signup.again"), URL: "/developers/sign-up"})
	}
	return s.asking(v, "confirm", "/developers/confirm", []string{"code", t}, "")
}

func (s *Site) confirm(v *desk.Visit) error {
	if err := v.Limit(desk.SignIn); err != nil {
		return err
	}
	_, err := s.Portal.ConfirmEmail(v.Context(), token(v))
	if errors.Is(err, accounts.ErrNotFound) || errors.Is(err, accounts.ErrUsed) {
		return s.said(v, "confirm.bad", frame.Link{Text: v.Text("signup.again"), URL: "/developers/sign-up"}, frame.Link{Text: v.Text("signup.have"), URL: desk.SignInPath})
	}
	if err != nil {
		return err
	}
	return v.See(desk.SignInPath, "done", "confirmed")
}

// signInContent is the content of the page for signing in.
type signInContent struct {
	Form     *desk.Form
	Upstream string // link that signs in at the identity service
	Demo     []Demo
	Links    []frame.Link
}

func (s *Site) signInForm(v *desk.Visit) *desk.Form {
	f := v.NewForm(desk.SignInPath).Keep("next", v.Next()).Add(
		&desk.Field{ID: "email", Label: v.Text("person.email"), Type: "email", Auto: "username", Required: true, Bare: true, Most: 254},
		&desk.Field{ID: "password", Label: v.Text("person.password"), Type: "password", Auto: "current-password", Required: true, Bare: true, Most: 200},
	)
	return f.Button(v.Text("signin.button"))
}

func (s *Site) showSignIn(v *desk.Visit) error {
	if v.Actor != nil {
		return v.See(orHome(v.Next()))
	}
	return s.signInPage(v, s.signInForm(v))
}

func (s *Site) signInPage(v *desk.Visit, f *desk.Form) error {
	c := signInContent{Demo: s.Demo}
	p := &frame.Page{Title: v.Text("signin.title"), Notice: notice(v, "confirmed", "reset", "out", "deleted"), Keep: []string{"next"}}
	if v.Lapsed() && p.Notice == "" {
		p.Notice = v.Text("signin.lapsed")
		if v.Typed() {
			p.Notice = v.Text("signin.typed")
		}
	}
	if s.Upstream != nil {
		c.Upstream = "/developers/login/start"
		if next := v.Next(); next != "" {
			c.Upstream += "?next=" + template.URLQueryEscaper(next)
		}
	}
	if s.Passwords {
		c.Form = f
		p.Fields = f.Errors()
		c.Links = []frame.Link{{Text: v.Text("signin.new"), URL: "/developers/sign-up"}, {Text: v.Text("signin.forgot"), URL: "/developers/forgot"}}
	}
	p.Content = c
	return v.Render(http.StatusOK, "signin", p)
}

func orHome(next string) string {
	if next == "" {
		return desk.HomePath
	}
	return next
}

func (s *Site) signIn(v *desk.Visit) error {
	if !s.Passwords {
		return frame.ErrMissing
	}
	f := s.signInForm(v).Fill()
	if f.Missing() {
		return s.signInPage(v, f)
	}
	if err := v.LimitSignIn(f.Value("email")); err != nil {
		return err
	}
	session, err := s.Portal.SignIn(v.Context(), f.Value("email"), f.Value("password"))
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		f.Fail("email", v.Text("signin.wrong"))
		return s.signInPage(v, f)
	case errors.Is(err, accounts.ErrLocked):
		f.Fail("email", v.Text("signin.locked"))
		return s.signInPage(v, f)
	case err != nil:
		return err
	}
	return s.begin(v, session, v.Next())
}

// begin goes on with a session, to what is still missing or to where somebody wanted to go.
func (s *Site) begin(v *desk.Visit, session *portal.Session, next string) error {
	if v.Login != nil && v.Login.ID != session.ID && v.Login.Kind == portal.Full {
		if err := s.Portal.SignOut(v.Context(), v.Login.ID); err != nil {
			return err
		}
	}
	v.Begin(session)
	switch session.Kind {
	case portal.Half:
		return v.See(desk.FactorPath, "next", next)
	case portal.Enrol:
		return v.See(desk.EnrolPath, "next", next)
	}
	return v.See(orHome(next))
}

func (s *Site) forgotForm(v *desk.Visit) *desk.Form {
	return v.NewForm("/developers/forgot").Add(&desk.Field{ID: "email", Label: v.Text("person.email"), Type: "email", Auto: "username", Required: true, Bare: true, Most: 254}).Button(v.Text("forgot.button"))
}

func (s *Site) showForgot(v *desk.Visit) error {
	return v.ShowForm(v.Text("forgot.title"), v.Text("forgot.lead"), s.forgotForm(v), frame.Link{Text: v.Text("signup.have"), URL: desk.SignInPath})
}

func (s *Site) forgot(v *desk.Visit) error {
	f := s.forgotForm(v).Fill()
	if f.Missing() {
		return v.ShowForm(v.Text("forgot.title"), v.Text("forgot.lead"), f)
	}
	if err := v.Limit(desk.Forgot, f.Value("email")); err != nil {
		return err
	}
	if err := s.Portal.ForgotPassword(v.Context(), f.Value("email")); err != nil {
		if err = failInput(f, err); err != nil {
			return err
		}
		return v.ShowForm(v.Text("forgot.title"), v.Text("forgot.lead"), f)
	}
	return s.said(v, "forgot.sent", frame.Link{Text: v.Text("signup.have"), URL: desk.SignInPath})
}

func (s *Site) resetForm(v *desk.Visit) *desk.Form {
	return v.NewForm("/developers/reset").Keep("code", token(v)).Add(
		&desk.Field{ID: "password", Label: v.Text("password.new"), Hint: v.Text("password.hint"), Type: "password", Auto: "new-password", Required: true, Bare: true, Most: 200},
	).Button(v.Text("reset.button"))
}

func (s *Site) showReset(v *desk.Visit) error {
	if token(v) == "" {
		return s.said(v, "reset.bad", frame.Link{Text: v.Text("signin.forgot"), URL: "/developers/forgot"})
	}
	return v.ShowForm(v.Text("reset.title"), v.Text("reset.lead"), s.resetForm(v))
}

func (s *Site) reset(v *desk.Visit) error {
	f := s.resetForm(v).Fill()
	if f.Missing() {
		return v.ShowForm(v.Text("reset.title"), v.Text("reset.lead"), f)
	}
	if err := v.Limit(desk.SignIn); err != nil {
		return err
	}
	err := s.Portal.ResetPassword(v.Context(), token(v), f.Value("password"))
	switch {
	case errors.Is(err, accounts.ErrNotFound), errors.Is(err, accounts.ErrUsed):
		return s.said(v, "reset.bad", frame.Link{Text: v.Text("signin.forgot"), URL: "/developers/forgot"})
	case err != nil:
		if err = failInput(f, err); err != nil {
			return err
		}
		return v.ShowForm(v.Text("reset.title"), v.Text("reset.lead"), f)
	}
	return v.See(desk.SignInPath, "done", "reset")
}

func (s *Site) askSignOut(v *desk.Visit) error {
	if v.Login == nil {
		return v.See(desk.SignInPath, "done", "out")
	}
	return s.asking(v, "signout", "/developers/sign-out", nil, "", frame.Link{Text: v.Text("signout.stay"), URL: desk.HomePath})
}

func (s *Site) signOut(v *desk.Visit) error {
	if v.Login != nil {
		if err := s.Portal.SignOut(v.Context(), v.Login.ID); err != nil {
			return err
		}
	}
	v.SetSession("")
	v.W.Header().Set("Clear-Site-Data", `"storage"`) // what the console has kept in this browser
	return v.See(desk.SignInPath, "done", "out")
}
