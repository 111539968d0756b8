package developers

import (
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"strings"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

func (s *Site) factorForm(v *desk.Visit) *desk.Form {
	return v.NewForm(desk.FactorPath).Keep("next", v.Next()).Add(
		&desk.Field{ID: "code", Name: "factor", Label: v.Text("factor.code"), Hint: v.Text("factor.hint"), Auto: "one-time-code", Mode: "text", Required: true, Bare: true, Most: 40},
	).Button(v.Text("factor.button"))
}

func (s *Site) showFactor(v *desk.Visit) error {
	switch {
	case v.Actor != nil:
		return v.See(orHome(v.Next()))
	case v.Login == nil || v.Login.Kind != portal.Half:
		return v.See(desk.SignInPath, "next", v.Next())
	}
	return s.factorPage(v, s.factorForm(v))
}

func (s *Site) factorPage(v *desk.Visit, f *desk.Form) error {
	var paras []string
	for _, d := range s.Demo {
		if d.Code != nil {
			paras = append(paras, v.Text("factor.demo", d.Email, d.Code()))
		}
	}
	return v.RenderForm(&frame.Page{Title: v.Text("factor.title"), Keep: []string{"next"}}, &desk.FormPage{Lead: v.Text("factor.lead"), Paras: paras, Form: f,
		Links: []frame.Link{{Text: v.Text("factor.lost"), URL: "/support"}}})
}

func (s *Site) factor(v *desk.Visit) error {
	if v.Login == nil || v.Login.Kind != portal.Half {
		return v.See(desk.SignInPath, "next", v.Next())
	}
	f := s.factorForm(v).Fill()
	if f.Missing() {
		return s.factorPage(v, f)
	}
	if err := v.LimitSignIn(v.Login.Person); err != nil {
		return err
	}
	session, err := s.Portal.Factor(v.Context(), v.Login.ID, strings.ReplaceAll(f.Value("code"), " ", ""))
	switch {
	case errors.Is(err, accounts.ErrNotFound), errors.Is(err, accounts.ErrUsed):
		f.Fail("code", v.Text("factor.wrong"))
		return s.factorPage(v, f)
	case errors.Is(err, accounts.ErrLocked):
		f.Fail("code", v.Text("signin.locked"))
		return s.factorPage(v, f)
	case err != nil:
		return err
	}
	return s.begin(v, session, v.Next())
}

// enrolContent is the content of the page on which a second factor is set up.
type enrolContent struct {
	QR   template.URL // a picture as data
	Key  string       // the same as letters, in groups
	URL  template.URL // for an authenticator on this device
	Form *desk.Form
}

func (s *Site) enrolForm(v *desk.Visit) *desk.Form {
	return v.NewForm(v.R.URL.Path).Keep("next", v.Next()).Add(
		&desk.Field{ID: "code", Name: "factor", Label: v.Text("factor.code"), Hint: v.Text("enrol.code.hint"), Auto: "one-time-code", Mode: "numeric", Required: true, Bare: true, Most: 10},
	).Button(v.Text("enrol.button"))
}

// mayEnrol reports whether the session may set up a factor: a new one, or in place of the one before.
func mayEnrol(v *desk.Visit) bool {
	return v.Login != nil && (v.Login.Kind == portal.Enrol && v.R.URL.Path == desk.EnrolPath || v.Actor != nil && v.R.URL.Path != desk.EnrolPath)
}

func (s *Site) showEnrol(v *desk.Visit) error {
	if !mayEnrol(v) {
		return v.See(desk.SignInPath, "next", v.Next())
	}
	return s.enrolPage(v, s.enrolForm(v))
}

// retryPage asks for the code once more. The key stays the one that the device has, so there is no new picture.
func (s *Site) retryPage(v *desk.Visit, f *desk.Form) error {
	return v.Render(http.StatusOK, "enrol", &frame.Page{Title: v.Text("enrol.title"), Content: enrolContent{Form: f}, Fields: f.Errors(), Keep: []string{"next"}})
}

func (s *Site) enrolPage(v *desk.Visit, f *desk.Form) error {
	link, key, png, err := s.Portal.NewFactor(v.Context(), v.Login.ID)
	if err != nil {
		return err
	}
	c := enrolContent{Key: grouped(key), Form: f}
	c.QR = template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(png)) //nolint:gosec // a picture that we have made
	if strings.HasPrefix(link, "otpauth://") {
		c.URL = template.URL(link) //nolint:gosec // of a scheme that opens an authenticator
	}
	return v.Render(http.StatusOK, "enrol", &frame.Page{Title: v.Text("enrol.title"), Content: c, Fields: f.Errors(), Keep: []string{"next"}})
}

// grouped is a key as people type it.
func grouped(key string) string {
	var b strings.Builder
	for i, r := range key {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (s *Site) enrol(v *desk.Visit) error {
	if !mayEnrol(v) {
		return v.See(desk.SignInPath, "next", v.Next())
	}
	f := s.enrolForm(v).Fill()
	if f.Missing() {
		return s.retryPage(v, f)
	}
	if err := v.LimitSignIn(v.Login.Person); err != nil {
		return err
	}
	session, codes, err := s.Portal.EnrolFactor(v.Context(), v.Login.ID, strings.ReplaceAll(f.Value("code"), " ", ""))
	switch {
	case errors.Is(err, accounts.ErrNotFound), errors.Is(err, accounts.ErrUsed):
		f.Fail("code", v.Text("enrol.wrong"))
		return s.retryPage(v, f)
	case errors.Is(err, accounts.ErrLocked):
		f.Fail("code", v.Text("signin.locked"))
		return s.retryPage(v, f)
	case err != nil:
		return err
	}
	v.Begin(session)
	next := orHome(v.Next())
	if v.R.URL.Path != desk.EnrolPath {
		next = "/developers/profile"
	}
	return v.Render(http.StatusOK, "recovery", &frame.Page{Title: v.Text("recovery.title"), Once: true, Content: struct {
		Codes []string
		Next  string
	}{codes, next}})
}
