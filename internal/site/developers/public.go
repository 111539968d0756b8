package developers

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// directoryContent is the content of the public list of apps.
type directoryContent struct{ Apps []publicApp }

type publicApp struct {
	portal.PublicApp
	LogoURL, AttestedOn string
	SupportURL          string
	Devices             []string
}

func (s *Site) directory(v *desk.Visit) error {
	list, err := s.Portal.Directory(v.Context(), v.Lang)
	if err != nil {
		return err
	}
	var c directoryContent
	for _, a := range list {
		x := publicApp{PublicApp: a, AttestedOn: date(v, a.Attested), SupportURL: frame.WebLink(a.Support)}
		if x.SupportURL == "" && strings.Contains(a.Support, "@") {
			x.SupportURL = "mailto:" + a.Support
		}
		if a.Logo != "" {
			x.LogoURL = "/developers/logo/" + a.Logo
		}
		for _, p := range a.Platforms {
			text := p
			if s.desk.HasText("app.platforms." + p) {
				text = v.Text("app.platforms." + p)
			}
			x.Devices = append(x.Devices, text)
		}
		c.Apps = append(c.Apps, x)
	}
	return v.Render(http.StatusOK, "directory", &frame.Page{Title: v.Text("directory.title"), Content: c, Public: true, Index: true})
}

// phr is the public form for apps of personal health records.
func (s *Site) phr() *forms.Form { return s.Portal.Forms.Form(forms.PHR) }

func (s *Site) phrForm(v *desk.Visit, answers forms.Answers, problems []forms.Problem) *desk.Form {
	f := v.NewForm("/phr").Ask(&desk.FormView{Form: s.phr(), Answers: answers, Problems: problems})
	return f.Also("_do", "review", v.Text("phr.review"), "button")
}

func (s *Site) showPHR(v *desk.Visit) error { return s.phrPage(v, s.phrForm(v, nil, nil)) }

func (s *Site) phrPage(v *desk.Visit, f *desk.Form) error {
	form := s.phr()
	return v.RenderForm(&frame.Page{Title: form.Title.In(v.Lang), Index: true, Self: "/phr"}, &desk.FormPage{Lead: form.Intro.In(v.Lang), Paras: []string{v.Text("phr.how")}, Form: f,
		Links: []frame.Link{{Text: v.Text("phr.track"), URL: "/phr/status"}, {Text: v.Text("phr.account"), URL: "/developers/sign-up"}}})
}

// phrReview is the content of the page that shows the answers before they are sent.
type phrReview struct {
	Answers []desk.Answered
	Form    *desk.Form
	Notes   []string
}

// takePHR shows the answers, goes back to the form, or sends them. Nothing is kept before they are sent, so all of them
// travel with the form.
func (s *Site) takePHR(v *desk.Visit) error {
	form := s.phr()
	answers := form.Parse(v.R.PostForm)
	do := v.R.PostForm.Get("_do")
	if do == "change" {
		return s.phrPage(v, s.phrForm(v, answers, nil))
	}
	problems := form.Check(answers, true)
	if len(problems) > 0 {
		return s.phrPage(v, s.phrForm(v, answers, problems))
	}
	if do != "send" {
		c := phrReview{Answers: v.Answers(&desk.FormView{Form: form, Answers: answers}, nil)}
		for _, x := range form.Contradictions(answers) {
			c.Notes = append(c.Notes, x.Text.In(v.Lang))
		}
		c.Form = v.NewForm("/phr")
		for _, q := range form.Visible(answers) {
			for _, value := range answers[q.ID] {
				c.Form.Hidden = append(c.Form.Hidden, desk.Pair{Name: q.ID, Value: value})
			}
		}
		c.Form.Also("_do", "send", v.Text("phr.send"), "button").Also("_do", "change", v.Text("phr.change"), "button second")
		return v.Render(http.StatusOK, "phrreview", &frame.Page{Title: v.Text("phr.review.title"), Content: c, Self: "/phr"})
	}
	about := ""
	for _, q := range form.Questions() {
		if q.Kind == forms.Email && len(answers[q.ID]) > 0 && about == "" {
			about = answers[q.ID][0]
		}
	}
	if err := v.Limit(desk.SignUp, about); err != nil {
		return err
	}
	number, key, err := s.Portal.SubmitForm(v.Context(), answers, v.Lang)
	if need, ok := errors.AsType[*portal.NeedError](err); ok && len(need.Problems) > 0 {
		return s.phrPage(v, s.phrForm(v, answers, need.Problems))
	}
	if err != nil {
		return err
	}
	return v.Render(http.StatusOK, "phrsent", &frame.Page{Title: v.Text("phr.sent.title"), Once: true, Content: struct{ Number, Key string }{number, key}})
}

func (s *Site) askConfirmPHR(v *desk.Visit) error {
	t := token(v)
	if t == "" {
		return s.said(v, "phrconfirm.bad", frame.Link{Text: v.Text("phr.again"), URL: "/phr"})
	}
	return s.asking(v, "phrconfirm", "/phr/confirm", []string{"code", t}, "")
}

func (s *Site) confirmPHR(v *desk.Visit) error {
	if err := v.Limit(desk.SignIn); err != nil {
		return err
	}
	_, err := s.Portal.ConfirmForm(v.Context(), token(v))
	if errors.Is(err, accounts.ErrNotFound) || errors.Is(err, accounts.ErrUsed) {
		return s.said(v, "phrconfirm.bad", frame.Link{Text: v.Text("phr.track"), URL: "/phr/status"}, frame.Link{Text: v.Text("phr.again"), URL: "/phr"})
	}
	if err != nil {
		return err
	}
	return s.said(v, "phrconfirm.done", frame.Link{Text: v.Text("phr.track"), URL: "/phr/status"})
}

func (s *Site) trackForm(v *desk.Visit, action string) *desk.Form {
	return v.NewForm(action).Add(
		&desk.Field{ID: "number", Label: v.Text("track.number"), Hint: v.Text("track.number.hint"), Required: true, Bare: true, Most: 40},
		&desk.Field{ID: "key", Label: v.Text("track.key"), Hint: v.Text("track.key.hint"), Required: true, Bare: true, Most: 100},
	)
}

func (s *Site) trackPage(v *desk.Visit, f *desk.Form) error {
	return v.ShowForm(v.Text("track.title"), v.Text("track.lead"), f, frame.Link{Text: v.Text("phr.again"), URL: "/phr"})
}

func (s *Site) showTrack(v *desk.Visit) error {
	return s.trackPage(v, s.trackForm(v, "/phr/status").Button(v.Text("track.button")))
}

// trackContent is the content of the page of an application that came without an account.
type trackContent struct {
	State    frame.State
	Steps    frame.Steps
	Next     string
	Timeline []desk.Moment
	Due      string
}

func (s *Site) track(v *desk.Visit) error {
	f := s.trackForm(v, "/phr/status").Button(v.Text("track.button")).Fill()
	if f.Missing() {
		return s.trackPage(v, f)
	}
	if err := v.Limit(desk.SignIn, f.Value("number")); err != nil {
		return err
	}
	a, events, err := s.Portal.Track(v.Context(), f.Value("number"), f.Value("key"))
	if errors.Is(err, accounts.ErrNotFound) {
		f.Fail("number", v.Text("track.wrong"))
		return s.trackPage(v, f)
	}
	if err != nil {
		return err
	}
	c := trackContent{State: v.State(string(a.State)), Steps: v.StepList(v.Steps(a.Kind, a.State)), Next: v.Text("track." + trackNext(a)), Timeline: v.Timeline(events)}
	if !a.Due.IsZero() {
		c.Due = v.Date(a.Due)
	}
	return v.Render(http.StatusOK, "track", &frame.Page{Title: v.Text("application.title", v.Kind(a.Kind), a.ID), Content: c, Self: "/phr/status"})
}

// trackNext says what somebody without an account can do next.
func trackNext(a *portal.Application) string {
	switch {
	case a.State == "unconfirmed":
		return "unconfirmed"
	case ended(a.State):
		return "ended"
	case waits(a.State):
		return "waits"
	}
	return "open"
}

// showClaim takes an application that came without an account into an organisation.
func (s *Site) showClaim(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	return s.claimPage(v, o, s.trackForm(v, orgPath(o.ID, "claim")).Button(v.Text("claim.button")))
}

func (s *Site) claimPage(v *desk.Visit, o *portal.Organisation, f *desk.Form) error {
	return v.RenderForm(&frame.Page{Title: v.Text("claim.title"), Trail: s.trail(v, orgName(v, o), orgPath(o.ID)), Self: selfOf(v)}, &desk.FormPage{Lead: v.Text("claim.lead"), Form: f})
}

func (s *Site) claim(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	f := s.trackForm(v, orgPath(o.ID, "claim")).Button(v.Text("claim.button")).Fill()
	if f.Missing() {
		return s.claimPage(v, o, f)
	}
	if err := v.Limit(desk.SignIn, f.Value("number")); err != nil {
		return err
	}
	a, err := v.Actor.ClaimForm(v.Context(), f.Value("number"), f.Value("key"), o.ID)
	if errors.Is(err, accounts.ErrNotFound) {
		f.Fail("number", v.Text("track.wrong"))
		return s.claimPage(v, o, f)
	}
	if err != nil {
		if err = failInput(f, err); err != nil {
			return err
		}
		return s.claimPage(v, o, f)
	}
	return v.See(applicationPath(a.ID))
}

// supportContent is the content of the page with the ways to get help.
type supportContent struct {
	Support    Support
	ContactURL string
	TTYURL     string
	PostalText []string
}

func (s *Site) support(v *desk.Visit) error {
	c := supportContent{Support: s.Support, ContactURL: frame.WebLink(s.Support.Contact), TTYURL: frame.WebLink(s.Support.TTY)}
	if c.ContactURL == "" && strings.Contains(s.Support.Contact, "@") {
		c.ContactURL = "mailto:" + strings.TrimPrefix(s.Support.Contact, "mailto:")
	}
	for line := range strings.SplitSeq(s.Support.Postal, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			c.PostalText = append(c.PostalText, line)
		}
	}
	return v.Render(http.StatusOK, "support", &frame.Page{Title: v.Text("support.title"), Content: c, Public: true, Index: true})
}

func (s *Site) showTicket(kind string) func(*desk.Visit) error {
	return func(v *desk.Visit) error {
		answers := forms.Answers{}
		if v.Actor != nil { // nobody types twice what is known
			form := s.Portal.Forms.Form(kind)
			for id, value := range map[string]string{"email": v.Actor.Person.Email, "name": v.Actor.Person.Name} {
				if form.Question(id) != nil {
					answers[id] = []string{value}
				}
			}
		}
		return s.ticketPage(v, kind, s.ticketForm(v, kind, answers, nil), "")
	}
}

func (s *Site) ticketForm(v *desk.Visit, kind string, answers forms.Answers, problems []forms.Problem) *desk.Form {
	return v.NewForm("/support/" + ticketPath(kind)).Ask(&desk.FormView{Form: s.Portal.Forms.Form(kind), Answers: answers, Problems: problems})
}

func ticketPath(kind string) string {
	if kind == forms.Support {
		return "request"
	}
	return kind
}

func (s *Site) ticketPage(v *desk.Visit, kind string, f *desk.Form, warning string) error {
	form := s.Portal.Forms.Form(kind)
	if len(f.Buttons) == 0 {
		f.Button(v.Text("ticket.button"))
	}
	return v.RenderForm(&frame.Page{Title: form.Title.In(v.Lang), Warning: warning, Trail: []frame.Link{{Text: v.Text("support.title"), URL: "/support"}}, Self: "/support/" + ticketPath(kind)},
		&desk.FormPage{Lead: v.Text("ticket.never", s.desk.Agency(v.Lang)), Paras: []string{form.Intro.In(v.Lang)}, Form: f})
}

func (s *Site) fileTicket(kind string) func(*desk.Visit) error {
	return func(v *desk.Visit) error {
		form := s.Portal.Forms.Form(kind)
		answers := form.Parse(v.R.PostForm)
		if problems := form.Check(answers, true); len(problems) > 0 {
			return s.ticketPage(v, kind, s.ticketForm(v, kind, answers, problems), "")
		}
		about, person := "", ""
		if list := answers["email"]; len(list) > 0 {
			about = list[0]
		}
		if v.Actor != nil {
			person = v.Actor.Person.ID
		}
		if err := v.Limit(desk.SignUp, about); err != nil {
			return err
		}
		t, err := s.Portal.File(v.Context(), kind, answers, person, "", v.Lang, v.R.PostForm.Get("_confirmed") == "yes")
		if need, ok := errors.AsType[*portal.NeedError](err); ok && len(need.Problems) > 0 {
			return s.ticketPage(v, kind, s.ticketForm(v, kind, answers, need.Problems), "")
		}
		if e, ok := errors.AsType[*portal.InputError](err); ok {
			f := s.ticketForm(v, kind, answers, nil)
			f.Fail(desk.QuestionID(e.Field), v.Code(e))
			if e.Code == "warn_secret" || e.Code == "warn_health" {
				f.Button(v.Text("ticket.again")).Also("_confirmed", "yes", v.Text("ticket.anyway"), "button second")
				return s.ticketPage(v, kind, f, v.Text("ticket.warn"))
			}
			return s.ticketPage(v, kind, f, "")
		}
		if err != nil {
			return err
		}
		return v.Render(http.StatusOK, "ticket", &frame.Page{Title: v.Text("ticket.title"), Once: true, Content: struct{ Number string }{t.ID}})
	}
}

// status keeps the answer of Config.Status for a while, so that a page that anybody may open costs nothing.
type status struct {
	now func() time.Time

	mu   sync.Mutex
	at   time.Time
	list []Service
}

func (x *status) of(ctx context.Context, ask func(context.Context) []Service) ([]Service, time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now := x.now(); x.at.IsZero() || now.Sub(x.at) >= StatusFor || now.Before(x.at) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		x.list, x.at = ask(ctx), now
	}
	return x.list, x.at
}

// statusContent is the content of the page of the status.
type statusContent struct {
	Rows []statusRow
	At   string
	All  frame.State
}

type statusRow struct {
	Name, Since, Detail string
	State               frame.State
}

func (s *Site) showStatus(v *desk.Visit) error {
	c := statusContent{All: frame.State{Kind: "idle", Text: v.Text("status.unknown")}}
	if s.Config.Status != nil {
		list, at := s.status.of(v.Context(), s.Config.Status)
		c.At = v.DateTime(at)
		c.All = frame.State{Kind: "good", Text: v.Text("status.all")}
		for _, x := range list {
			row := statusRow{Name: v.Text("service." + x.Key), Detail: frame.Plain(x.Detail, 300), State: frame.State{Kind: "good", Text: v.Text("status.up")}}
			if !x.Up {
				row.State = frame.State{Kind: "bad", Text: v.Text("status.down")}
				c.All = frame.State{Kind: "bad", Text: v.Text("status.some")}
			}
			if !x.Since.IsZero() {
				row.Since = v.DateTime(x.Since)
			}
			c.Rows = append(c.Rows, row)
		}
	}
	return v.Render(http.StatusOK, "status", &frame.Page{Title: v.Text("status.title"), Content: c, Index: true})
}
