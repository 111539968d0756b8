package developers

import (
	"strconv"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// live is the application of an app whose production client can be changed.
func (s *Site) live(v *desk.Visit, a *portal.App) (*portal.Application, *forms.Form, error) {
	list, err := v.Actor.Applications(v.Context(), a.Org)
	if err != nil {
		return nil, nil, err
	}
	x := productionOf(list, a.ID)
	if x == nil {
		return nil, nil, frame.ErrMissing
	}
	roles := []lifecycle.Role{}
	if roleIn(v, a.Org) == portal.Owner {
		roles = append(roles, lifecycle.Owner)
	}
	if _, err := lifecycle.Find(x.Kind, x.State, lifecycle.Change, roles); err != nil {
		return nil, nil, err
	}
	return x, s.formOf(x), nil
}

// changeApp asks for other settings of the production client. What was approved stays live until it is decided.
func (s *Site) changeApp(v *desk.Visit, a *portal.App) error {
	x, form, err := s.live(v, a)
	if err != nil {
		return err
	}
	f := s.editAppForm(v, a)
	f.Keep("_application", strconv.Itoa(x.Version))
	s.attestForm(v, x, form, "change", f)
	f.Fill()
	if missingAttests(v, f) {
		return s.editAppPage(v, a, f)
	}
	settings := a.Settings
	s.takeApp(f, &settings)
	n, err := strconv.Atoi(v.R.PostForm.Get("_application"))
	if err != nil {
		return portal.ErrStale
	}
	in := &portal.Input{Version: n, Settings: &settings}
	attested(f, form, in)
	v.About = desk.About{Back: applicationPath(x.ID), Form: form, At: func(string) string { return applicationPath(x.ID) }}
	if _, err := v.Actor.Move(v.Context(), x.ID, lifecycle.Change, in); err != nil {
		if err = failApp(f, err); err != nil {
			return err
		}
		return s.editAppPage(v, a, f)
	}
	return v.See(appPath(a.ID), "done", "change")
}
