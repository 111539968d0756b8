package developers

import (
	"net/http"
	"strconv"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// logoContent is the content of the page of an app's logo.
type logoContent struct {
	Now  string
	Form *desk.Form
}

func (s *Site) logoForm(v *desk.Visit, a *portal.App) *desk.Form {
	return v.NewForm(appPath(a.ID, "logo")).Add(&desk.Field{ID: "logo", Label: v.Text("logo.file"), Hint: v.Text("logo.hint"), Kind: desk.Give, Accept: "image/png", Required: true, Bare: true}).Button(v.Text("logo.button"))
}

func (s *Site) logoPage(v *desk.Visit, a *portal.App, f *desk.Form) error {
	c := logoContent{Form: f}
	if a.Logo != "" {
		c.Now = appPath(a.ID, "logo.png")
	}
	return v.Render(http.StatusOK, "logo", &frame.Page{Title: v.Text("app.logo"), Content: c, Fields: f.Errors(), Trail: s.appTrail(v, a), Side: s.side(v, a), Self: selfOf(v)})
}

func (s *Site) showLogo(v *desk.Visit) error {
	a, _, err := s.ownApp(v)
	if err != nil {
		return err
	}
	return s.logoPage(v, a, s.logoForm(v, a))
}

func (s *Site) saveLogo(v *desk.Visit) error {
	a, _, err := s.ownApp(v)
	if err != nil {
		return err
	}
	f := s.logoForm(v, a)
	if err := v.Limit(desk.Uploads); err != nil {
		return err
	}
	file, err := v.File("logo")
	if err != nil {
		return err
	}
	if file == nil {
		f.Fail("logo", v.Text("logo.missing"))
		return s.logoPage(v, a, f)
	}
	picture, err := file.Data()
	if err != nil {
		return err
	}
	if err := v.Actor.SetLogo(v.Context(), a.ID, picture); err != nil {
		if err = failInput(f, err); err != nil {
			return err
		}
		return s.logoPage(v, a, f)
	}
	return v.See(appPath(a.ID), "done", "logo")
}

func (s *Site) logoPNG(v *desk.Visit) error {
	a, _, err := s.ownApp(v)
	if err != nil {
		return err
	}
	if a.Logo == "" {
		return frame.ErrMissing
	}
	b, err := v.Actor.LogoPNG(v.Context(), a.Logo)
	if err != nil {
		return err
	}
	return writePNG(v, b)
}

// publicLogo is the logo of an app that is live, which members see when they decide and in the directory.
func (s *Site) publicLogo(v *desk.Visit) error {
	b, err := s.Portal.LogoPNG(v.Context(), v.R.PathValue("logo"))
	if err != nil {
		return err
	}
	return writePNG(v, b)
}

func writePNG(v *desk.Visit, b []byte) error {
	v.Headers()
	h := v.W.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Content-Type", "image/png")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	v.W.WriteHeader(http.StatusOK)
	_, _ = v.W.Write(b)
	return nil
}
