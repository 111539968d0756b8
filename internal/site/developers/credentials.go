package developers

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// credentialsContent is the content of the page of an app's credentials in one environment.
type credentialsContent struct {
	App                   *portal.App
	Where, Title          string
	Client                string
	Auth                  string
	FHIRBase, Issuer, Aud string
	Secrets               []secretView
	Issue                 *desk.Form // makes the client, or its first secret
	Rotate                string
	KeysURL               string
	Guides                []frame.Link
	New                   string // a secret, shown once
	Until                 string // when the ones before end
}

type secretView struct {
	ID, Created, Expires, Used string
	End                        string
}

// credentials shows the client and what is known of its secrets. The secrets themselves are shown only by the answer
// to the form that has made them.
func (s *Site) credentials(v *desk.Visit) error {
	a, role, err := s.ownApp(v)
	if err != nil {
		return err
	}
	w, err := where(v)
	if err != nil {
		return err
	}
	return s.credentialsPage(v, a, role, w, nil, "")
}

// mayChange reports whether somebody may change what opens an app: in production owners do.
func mayChange(role portal.OrgRole, w portal.Where) bool {
	return role == portal.Owner || role == portal.Developer && w == portal.InSandbox
}

func (s *Site) credentialsPage(v *desk.Visit, a *portal.App, role portal.OrgRole, w portal.Where, made *portal.Credential, until string) error {
	settings := &a.Settings
	client := a.Sandbox
	if w == portal.InProduction {
		client = a.Production
		if a.Approved != nil {
			settings = a.Approved
		}
	}
	e := s.environmentOf(w)
	c := credentialsContent{App: a, Where: string(w), Title: v.Text("where." + string(w)), Client: client, Auth: settings.Auth, FHIRBase: e.FHIRBase, Issuer: e.Issuer, Until: until}
	can := mayChange(role, w)
	if client != "" || made != nil {
		shown := made
		if shown == nil {
			var err error
			if shown, err = v.Actor.CredentialsOf(v.Context(), a.ID, w); err != nil && !errors.Is(err, accounts.ErrNotFound) {
				return err
			}
		}
		if shown != nil {
			c.Client, c.New = shown.Client, shown.Secret
			for _, x := range shown.Secrets {
				view := secretView{ID: x.ID, Created: dateTime(v, x.Created), Expires: dateTime(v, x.Expires), Used: dateTime(v, x.LastUsed)}
				if can {
					view.End = appPath(a.ID, string(w), "end") + "?secret=" + x.ID
				}
				c.Secrets = append(c.Secrets, view)
			}
		}
	}
	if can && made == nil {
		switch {
		case w == portal.InSandbox && client == "":
			c.Issue = s.startForm(v, appPath(a.ID, string(w), "issue"), "credentials.issue")
		case settings.Auth == "client_secret" && client != "" && len(c.Secrets) == 0:
			c.Issue = s.startForm(v, appPath(a.ID, string(w), "issue"), "credentials.first")
		case settings.Auth == "client_secret" && client != "":
			c.Rotate = appPath(a.ID, string(w), "rotate")
		}
	}
	if w == portal.InSandbox && settings.Auth == "private_key_jwt" && client != "" {
		c.KeysURL = appPath(a.ID, "keys")
	}
	c.Guides = s.guides(v, c.Client)
	return v.Render(http.StatusOK, "credentials", &frame.Page{Title: v.Text("credentials.title", v.Text("where."+string(w))), Content: c, Trail: s.appTrail(v, a), Side: s.side(v, a),
		Once: c.New != "", Self: credentialsPath(a.ID, w), Notice: notice(v, "ended", "leaked", "keys")})
}

func dateTime(v *desk.Visit, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return v.DateTime(t)
}

// toCredentials is where somebody comes who had to prove who they are before credentials could be made.
func (s *Site) toCredentials(v *desk.Visit) error {
	return v.See(credentialsPath(v.R.PathValue("app"), portal.Where(v.R.PathValue("where"))))
}

func (s *Site) issue(v *desk.Visit) error {
	a, role, err := s.ownApp(v)
	if err != nil {
		return err
	}
	w, err := where(v)
	if err != nil {
		return err
	}
	v.About.Back = credentialsPath(a.ID, w)
	c, err := v.Actor.Issue(v.Context(), a.ID, w)
	if err != nil {
		return err
	}
	if c.Secret == "" {
		return v.See(credentialsPath(a.ID, w))
	}
	return s.credentialsPage(v, a, role, w, c, "")
}

var overlaps = []int{0, 1, 24, 72, 168} // hours

func (s *Site) rotateForm(v *desk.Visit, a *portal.App, w portal.Where) *desk.Form {
	var list []desk.Option
	for _, h := range overlaps {
		text := v.Count("rotate.hours", h)
		if h == 0 {
			text = v.Text("rotate.now")
		}
		list = append(list, desk.Option{Value: strconv.Itoa(h), Text: text})
	}
	return v.NewForm(appPath(a.ID, string(w), "rotate")).Add(&desk.Field{ID: "overlap", Label: v.Text("rotate.overlap"), Hint: v.Text("rotate.overlap.hint"), Kind: desk.One, Required: true, Bare: true, Options: list, Values: []string{"24"}}).
		Button(v.Text("rotate.button"))
}

func (s *Site) rotatePage(v *desk.Visit, a *portal.App, w portal.Where, f *desk.Form) error {
	return v.RenderForm(&frame.Page{Title: v.Text("rotate.title"), Trail: s.appTrail(v, a, v.Text("credentials.title", v.Text("where."+string(w))), credentialsPath(a.ID, w)), Side: s.side(v, a), Self: selfOf(v)},
		&desk.FormPage{Lead: v.Text("rotate.lead"), Form: f, Links: []frame.Link{{Text: v.Text("rotate.keep"), URL: credentialsPath(a.ID, w)}}})
}

// handling is the app and the environment of the path, for somebody who may change what opens it.
func (s *Site) handling(v *desk.Visit) (*portal.App, portal.OrgRole, portal.Where, error) {
	a, role, err := s.ownApp(v)
	if err != nil {
		return nil, "", "", err
	}
	w, err := where(v)
	if err != nil {
		return nil, "", "", err
	}
	if !mayChange(role, w) {
		return nil, "", "", frame.ErrDenied
	}
	v.About.Back = credentialsPath(a.ID, w)
	return a, role, w, nil
}

func (s *Site) askRotate(v *desk.Visit) error {
	a, _, w, err := s.handling(v)
	if err != nil {
		return err
	}
	return s.rotatePage(v, a, w, s.rotateForm(v, a, w))
}

func (s *Site) rotate(v *desk.Visit) error {
	a, role, w, err := s.handling(v)
	if err != nil {
		return err
	}
	f := s.rotateForm(v, a, w).Fill()
	h, err := strconv.Atoi(f.Value("overlap"))
	if err != nil || !slices.Contains(overlaps, h) {
		f.Fail("overlap", v.Text("field.missing", v.Text("rotate.overlap")))
		return s.rotatePage(v, a, w, f)
	}
	c, err := v.Actor.Rotate(v.Context(), a.ID, w, time.Duration(h)*time.Hour)
	if errors.Is(err, accounts.ErrExists) {
		f.Fail("overlap", v.Text("rotate.two"))
		return s.rotatePage(v, a, w, f)
	}
	if err != nil {
		return err
	}
	return s.credentialsPage(v, a, role, w, c, v.DateTime(v.Now().Add(time.Duration(h)*time.Hour)))
}

func (s *Site) endForm(v *desk.Visit, a *portal.App, w portal.Where, secret string) *desk.Form {
	f := v.NewForm(appPath(a.ID, string(w), "end")).Keep("secret", secret).Add(
		&desk.Field{ID: "leaked", Kind: desk.Tick, Bare: true, Label: v.Text("end.leaked"), Hint: v.Text("end.leaked.hint")})
	f.Buttons = []desk.Button{{Text: v.Text("end.button"), Class: "button danger full"}}
	return f
}

func (s *Site) endPage(v *desk.Visit, a *portal.App, w portal.Where, f *desk.Form) error {
	return v.RenderForm(&frame.Page{Title: v.Text("end.title"), Trail: s.appTrail(v, a, v.Text("credentials.title", v.Text("where."+string(w))), credentialsPath(a.ID, w)), Side: s.side(v, a), Keep: []string{"secret"}},
		&desk.FormPage{Lead: v.Text("end.lead"), Form: f, Links: []frame.Link{{Text: v.Text("rotate.keep"), URL: credentialsPath(a.ID, w)}}})
}

// known reports whether the client has a secret of an id.
func known(v *desk.Visit, a *portal.App, w portal.Where, secret string) (bool, error) {
	c, err := v.Actor.CredentialsOf(v.Context(), a.ID, w)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(c.Secrets, func(x *accounts.Secret) bool { return x.ID == secret }), nil
}

func (s *Site) askEnd(v *desk.Visit) error {
	a, _, w, err := s.handling(v)
	if err != nil {
		return err
	}
	secret := v.R.URL.Query().Get("secret")
	if ok, err := known(v, a, w, secret); err != nil {
		return err
	} else if !ok {
		return frame.ErrMissing
	}
	return s.endPage(v, a, w, s.endForm(v, a, w, secret))
}

func (s *Site) end(v *desk.Visit) error {
	a, _, w, err := s.handling(v)
	if err != nil {
		return err
	}
	secret := v.R.PostForm.Get("secret")
	f := s.endForm(v, a, w, secret).Fill()
	leaked := f.Value("leaked") == "yes"
	err = v.Actor.EndSecret(v.Context(), a.ID, w, secret, leaked)
	if errors.Is(err, accounts.ErrUsed) {
		f.Fail("leaked", v.Text("end.last"))
		return s.endPage(v, a, w, f)
	}
	if err != nil {
		return err
	}
	done := "ended"
	if leaked {
		done = "leaked"
	}
	return v.See(credentialsPath(a.ID, w), "done", done)
}

func (s *Site) keysForm(v *desk.Visit, a *portal.App) *desk.Form {
	return v.NewForm(appPath(a.ID, "keys")).Add(
		&desk.Field{ID: "jwks", Label: v.Text("keys.jwks"), Hint: v.Text("keys.jwks.hint"), Kind: desk.Lines, Rows: 8, Required: true, Bare: true, Most: 20000, Values: []string{a.Settings.JWKS}},
		&desk.Field{ID: "proof", Label: v.Text("keys.proof"), Hint: v.Text("keys.proof.hint", a.Sandbox, s.Portal.Sandbox.Issuer), Kind: desk.Lines, Rows: 4, Required: true, Bare: true, Most: 8000},
	).Button(v.Text("keys.button"))
}

func (s *Site) keysPage(v *desk.Visit, a *portal.App, f *desk.Form) error {
	return v.RenderForm(&frame.Page{Title: v.Text("keys.title"), Trail: s.appTrail(v, a), Side: s.side(v, a), Self: selfOf(v)}, &desk.FormPage{Lead: v.Text("keys.lead"), Form: f, Links: s.guides(v, a.Sandbox)})
}

// keyed is the app of the path, if it authenticates by keys and has a client for which they can be proofed.
func (s *Site) keyed(v *desk.Visit) (*portal.App, error) {
	a, role, err := s.ownApp(v)
	if err != nil {
		return nil, err
	}
	if a.Settings.Auth != "private_key_jwt" {
		return nil, frame.ErrMissing
	}
	if !mayChange(role, portal.InSandbox) {
		return nil, frame.ErrDenied
	}
	return a, nil
}

func (s *Site) showKeys(v *desk.Visit) error {
	a, err := s.keyed(v)
	if err != nil {
		return err
	}
	return s.keysPage(v, a, s.keysForm(v, a))
}

func (s *Site) saveKeys(v *desk.Visit) error {
	a, err := s.keyed(v)
	if err != nil {
		return err
	}
	f := s.keysForm(v, a).Fill()
	if f.Missing() {
		return s.keysPage(v, a, f)
	}
	if err := v.Actor.SetKeys(v.Context(), a.ID, f.Value("jwks"), f.Value("proof")); err != nil {
		if err = failInput(f, err); err != nil {
			return err
		}
		return s.keysPage(v, a, f)
	}
	return v.See(credentialsPath(a.ID, portal.InSandbox), "done", "keys")
}

// membersContent is the content of the page of the test members.
type membersContent struct{ Members []portal.TestMember }

func (s *Site) testMembers(v *desk.Visit) error {
	a, _, err := s.ownApp(v)
	if err != nil {
		return err
	}
	return v.Render(http.StatusOK, "members", &frame.Page{Title: v.Text("members.title"), Content: membersContent{s.Portal.TestMembers}, Trail: s.appTrail(v, a), Side: s.side(v, a)})
}
