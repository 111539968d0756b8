package developers

import (
	"errors"
	"net/http"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// profileContent is the content of the page of a person.
type profileContent struct {
	Person    *portal.Person
	Form      *desk.Form
	Embedded  bool // the account is one of ours, with password and factor
	Proof     *proofView
	Terms     bool // in the current version
	TermsURL  string
	Version   string
	Sessions  []string // one sentence for each
	EndOthers *desk.Form
}

// proofView is where the proofing of a person's identity stands, and what to do next.
type proofView struct {
	State      frame.State
	Text, Note string
	Facts      [][2]string
	Ask        *desk.Form // asks staff
	Upstream   string     // signs in again at the identity service
}

func (s *Site) profileForm(v *desk.Visit) *desk.Form {
	p := v.Actor.Person
	f := v.NewForm("/developers/profile")
	name := &desk.Field{ID: "name", Label: v.Text("person.name"), Auto: "name", Required: true, Most: 120, Values: []string{p.Name}}
	if p.Proof.State == "passed" {
		name.Kind, name.Hint = desk.Show, v.Text("profile.proofed")
	}
	return f.Add(name,
		&desk.Field{ID: "phone", Label: v.Text("person.phone"), Hint: v.Text("person.phone.hint"), Type: "tel", Auto: "tel", Most: 40, Values: []string{p.Phone}},
		&desk.Field{ID: "country", Label: v.Text("person.country"), Auto: "country-name", Most: 80, Values: []string{p.Country}},
		&desk.Field{ID: "language", Label: v.Text("person.language"), Hint: v.Text("person.language.hint"), Kind: desk.One, Required: true, Values: []string{p.Language},
			Options: []desk.Option{{Value: "en", Text: "English"}, {Value: "es", Text: "Español"}}},
	).Button(v.Text("save"))
}

func (s *Site) showProfile(v *desk.Visit) error { return s.profilePage(v, s.profileForm(v)) }

func (s *Site) profilePage(v *desk.Visit, f *desk.Form) error {
	p := v.Actor.Person
	c := profileContent{Person: p, Form: f, Embedded: p.Issuer == "", Terms: s.termsAccepted(v), TermsURL: s.guide("terms", ""), Version: s.Portal.Rules.TermsVersion, Proof: s.proof(v)}
	open, err := v.Actor.OpenSessions(v.Context())
	if err != nil {
		return err
	}
	for _, o := range open {
		text := v.Text("profile.session", v.DateTime(o.Begun), v.DateTime(o.Seen))
		if o.Current {
			text = v.Text("profile.session.own", v.DateTime(o.Begun))
		}
		c.Sessions = append(c.Sessions, text)
	}
	c.EndOthers = v.NewForm("/developers/profile/sessions")
	c.EndOthers.Class = "bare"
	c.EndOthers.Buttons = []desk.Button{{Text: v.Text("profile.sessions.button"), Class: "button second"}}
	return v.Render(http.StatusOK, "profile", &frame.Page{Title: v.Text("profile.title"), Content: c, Fields: f.Errors(), Trail: s.trail(v), Self: selfOf(v),
		Notice: notice(v, "saved", "password", "sessions", "proof", "terms")})
}

// trail begins with the dashboard. more are texts and addresses.
func (s *Site) trail(v *desk.Visit, more ...string) []frame.Link {
	list := []frame.Link{{Text: v.Text("dashboard.title"), URL: desk.HomePath}}
	for i := 0; i+1 < len(more); i += 2 {
		list = append(list, frame.Link{Text: frame.Plain(more[i], 80), URL: more[i+1]})
	}
	return list
}

// proof is nil if the agency asks for none.
func (s *Site) proof(v *desk.Visit) *proofView {
	rule, proof := s.Portal.Rules.Proof, v.Actor.Person.Proof
	if rule == "" && proof.State == "" {
		return nil
	}
	view := &proofView{Note: frame.Plain(proof.Note, 2000)}
	state, kind := proof.State, "idle"
	switch state {
	case "passed":
		kind = "good"
	case "failed":
		kind = "bad"
	case "requested":
		kind = "run"
	default:
		state = "none"
	}
	view.State = frame.State{Kind: kind, Text: v.Text("proof." + state)}
	view.Text = v.Text("proof." + state + ".next")
	if proof.State == "passed" {
		add := func(key, value string) {
			if value != "" {
				view.Facts = append(view.Facts, [2]string{v.Text(key), frame.Plain(value, 200)})
			}
		}
		add("proof.level", proof.Level)
		add("proof.issuer", proof.Issuer)
		add("proof.reference", proof.Reference)
		if !proof.At.IsZero() {
			add("proof.at", v.Date(proof.At))
		}
		return view
	}
	if s.Upstream != nil && v.Actor.Person.Issuer != "" && (rule == "claim" || rule == "either") {
		view.Upstream = "/developers/login/start?again=1&next=/developers/profile"
	}
	if (rule == "review" || rule == "either") && proof.State != "requested" {
		view.Ask = v.NewForm("/developers/profile/proof")
		view.Ask.Class = "bare"
		view.Ask.Buttons = []desk.Button{{Text: v.Text("proof.ask.button"), Class: "button second"}}
	}
	return view
}

func (s *Site) saveProfile(v *desk.Visit) error {
	f := s.profileForm(v).Fill()
	if f.Missing() {
		return s.profilePage(v, f)
	}
	name := f.Value("name")
	if v.Actor.Person.Proof.State == "passed" {
		name = v.Actor.Person.Name
	}
	if err := v.Actor.UpdateProfile(v.Context(), name, f.Value("phone"), f.Value("country"), f.Value("language")); err != nil {
		if err = failInput(f, err); err != nil {
			return err
		}
		return s.profilePage(v, f)
	}
	return v.See("/developers/profile", "done", "saved")
}

func (s *Site) requestProof(v *desk.Visit) error {
	v.About.Back = "/developers/profile"
	if err := v.Actor.RequestProof(v.Context()); err != nil {
		return err
	}
	return v.See("/developers/profile", "done", "proof")
}

func (s *Site) endSessions(v *desk.Visit) error {
	v.About.Back = "/developers/profile"
	if err := v.Actor.EndSessions(v.Context()); err != nil {
		return err
	}
	return v.See("/developers/profile", "done", "sessions")
}

func (s *Site) passwordForm(v *desk.Visit) *desk.Form {
	return v.NewForm("/developers/profile/password").Add(
		&desk.Field{ID: "password", Label: v.Text("password.new"), Hint: v.Text("password.hint"), Type: "password", Auto: "new-password", Required: true, Bare: true, Most: 200},
	).Button(v.Text("reset.button"))
}

func (s *Site) passwordPage(v *desk.Visit, f *desk.Form) error {
	return v.RenderForm(&frame.Page{Title: v.Text("password.title"), Trail: s.trail(v, v.Text("profile.title"), "/developers/profile")}, &desk.FormPage{Lead: v.Text("password.lead"), Form: f})
}

func (s *Site) showPassword(v *desk.Visit) error {
	if v.Actor.Person.Issuer != "" {
		return frame.ErrMissing
	}
	return s.passwordPage(v, s.passwordForm(v))
}

func (s *Site) changePassword(v *desk.Visit) error {
	f := s.passwordForm(v).Fill()
	if f.Missing() {
		return s.passwordPage(v, f)
	}
	v.About.Back = "/developers/profile/password"
	if err := v.Actor.ChangePassword(v.Context(), f.Value("password")); err != nil {
		if err = failInput(f, err); err != nil {
			return err
		}
		return s.passwordPage(v, f)
	}
	return v.See("/developers/profile", "done", "password")
}

// termsAccepted reports whether the person has accepted the portal's terms as they are now.
func (s *Site) termsAccepted(v *desk.Visit) bool {
	version := s.Portal.Rules.TermsVersion
	return version == "" || v.Actor.Person.Terms == version
}

func (s *Site) termsForm(v *desk.Visit) *desk.Form {
	return v.NewForm("/developers/terms").Keep("next", v.Next(), "version", s.Portal.Rules.TermsVersion).Add(
		&desk.Field{ID: "accept", Kind: desk.Tick, Label: v.Text("terms.accept"), Required: true},
	).Button(v.Text("terms.button"))
}

func (s *Site) termsPage(v *desk.Visit, f *desk.Form) error {
	var links []frame.Link
	if u := s.guide("terms", ""); u != "" {
		links = append(links, frame.Link{Text: v.Text("terms.read"), URL: u})
	}
	return v.RenderForm(&frame.Page{Title: v.Text("terms.title"), Trail: s.trail(v), Keep: []string{"next"}}, &desk.FormPage{Lead: v.Text("terms.lead", s.Portal.Rules.TermsVersion), Form: f, Links: links})
}

func (s *Site) showTerms(v *desk.Visit) error {
	if s.Portal.Rules.TermsVersion == "" {
		return frame.ErrMissing
	}
	return s.termsPage(v, s.termsForm(v))
}

func (s *Site) acceptTerms(v *desk.Visit) error {
	f := s.termsForm(v).Fill()
	if f.Value("accept") != "yes" {
		f.Fail("accept", v.Text("terms.missing"))
		return s.termsPage(v, f)
	}
	if v.R.PostForm.Get("version") != s.Portal.Rules.TermsVersion {
		return portal.ErrStale
	}
	if err := v.Actor.AcceptTerms(v.Context(), s.Portal.Rules.TermsVersion); err != nil {
		return err
	}
	if next := v.Next(); next != "" {
		return v.See(next)
	}
	return v.See(desk.HomePath, "done", "terms")
}

func (s *Site) deleteForm(v *desk.Visit) *desk.Form {
	f := v.NewForm("/developers/profile/delete").Add(&desk.Field{ID: "sure", Kind: desk.Tick, Label: v.Text("delete.sure"), Required: true})
	f.Buttons = []desk.Button{{Text: v.Text("delete.button"), Class: "button danger full"}}
	return f
}

func (s *Site) deletePage(v *desk.Visit, f *desk.Form) error {
	return v.RenderForm(&frame.Page{Title: v.Text("delete.title"), Trail: s.trail(v, v.Text("profile.title"), "/developers/profile")},
		&desk.FormPage{Lead: v.Text("delete.lead"), Form: f, Links: []frame.Link{{Text: v.Text("delete.keep"), URL: "/developers/profile"}}})
}

func (s *Site) askDelete(v *desk.Visit) error { return s.deletePage(v, s.deleteForm(v)) }

func (s *Site) deleteAccount(v *desk.Visit) error {
	f := s.deleteForm(v).Fill()
	if f.Value("sure") != "yes" {
		f.Fail("sure", v.Text("delete.missing"))
		return s.deletePage(v, f)
	}
	err := v.Actor.DeleteAccount(v.Context())
	if _, ok := errors.AsType[*portal.DeniedError](err); ok {
		f.Fail("sure", v.Text("delete.owner"))
		return s.deletePage(v, f)
	}
	if err != nil {
		return err
	}
	v.SetSession("")
	return v.See(desk.SignInPath, "done", "deleted")
}
