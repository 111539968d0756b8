package staff

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// listMost is how many records the lists of people, apps and requests have at most.
const listMost = 200

// gone makes of a record that is not there any more nothing at all: a page about another one still stands.
func gone(err error) error {
	if errors.Is(err, accounts.ErrNotFound) {
		return nil
	}
	return err
}

// search is the form that looks in a list.
func search(v *desk.Visit, path, query string) *desk.Form {
	f := v.NewForm(path).Add(&desk.Field{ID: "q", Label: v.Text("search.label"), Bare: true, Most: 100, Values: []string{query}}).Button(v.Text("search.button"))
	return f
}

// personRow is one of the list of people.
type personRow struct {
	Name, URL, Email, Role string
	Status, Proof          frame.State
	Since                  string
}

func (s *Site) personRow(v *desk.Visit, p *portal.Person) personRow {
	return personRow{
		Name: frame.Plain(p.Name, 80), URL: peoplePath + "/" + p.ID, Email: p.Email, Role: v.Text("staffrole." + string(p.Staff)),
		Status: personState(v, p), Proof: proofState(v, &p.Proof), Since: v.Date(p.Created),
	}
}

func personState(v *desk.Visit, p *portal.Person) frame.State {
	kind := map[string]string{"registered": "good", "suspended": "bad"}[p.Status]
	if kind == "" {
		kind = "wait"
	}
	return frame.State{Kind: kind, Text: v.Text("status." + p.Status)}
}

func (s *Site) people(v *desk.Visit) error {
	query := frame.Plain(v.R.URL.Query().Get("q"), 100)
	list, err := v.Actor.People(v.Context(), query, listMost)
	if err != nil {
		return err
	}
	due, err := v.Actor.ProofsRequested(v.Context())
	if err != nil {
		return err
	}
	c := struct {
		Filter    *desk.Form
		Count     string
		Due, List []personRow
	}{Filter: search(v, peoplePath, query), Count: v.Count("people.count", len(list))}
	if len(list) >= listMost {
		c.Count = v.Text("list.most", listMost)
	}
	for _, p := range due {
		c.Due = append(c.Due, s.personRow(v, p))
	}
	for _, p := range list {
		c.List = append(c.List, s.personRow(v, p))
	}
	return s.render(v, http.StatusOK, "people", s.page(v, v.Text("people.title"), c))
}

// personContent is the content of the page of a person.
type personContent struct {
	Status, Proof frame.State
	Facts         []fact
	ProofFacts    []fact
	Decide        *desk.Form // nil: the agency does not proof, or it is oneself
	Role, Suspend *desk.Form // nil for those who may not
	Sessions      *desk.Form
	Events        []desk.Moment
	Audit         string
}

func (s *Site) person(v *desk.Visit) error {
	p, err := v.Actor.PersonOf(v.Context(), v.R.PathValue("person"))
	if err != nil {
		return err
	}
	return s.personPage(v, p, nil)
}

// personPage shows a person. sent is a form of the page that could not be taken, in its place.
func (s *Site) personPage(v *desk.Visit, p *portal.Person, sent *desk.Form) error {
	v.About.Back = peoplePath + "/" + p.ID
	c := personContent{Status: personState(v, p), Proof: proofState(v, &p.Proof), Audit: auditPath + "?person=" + p.ID}
	login := v.Text("person.embedded")
	if p.Issuer != "" {
		login = frame.Plain(p.Issuer, 200)
	}
	factor := v.Text("field.no")
	if p.Factor {
		factor = v.Text("field.yes")
	}
	c.Facts = []fact{
		one(v.Text("person.email"), value{Text: p.Email, Note: dated(v, "person.verified", p.Verified)}), said(v, v.Text("person.phone"), p.Phone), said(v, v.Text("person.country"), p.Country),
		said(v, v.Text("person.staff"), v.Text("staffrole."+string(p.Staff))), said(v, v.Text("person.login"), login), said(v, v.Text("person.factor"), factor),
		said(v, v.Text("person.terms"), strings.TrimSpace(p.Terms+" "+dated(v, "on", p.TermsAt))), said(v, v.Text("person.created"), v.Date(p.Created)),
	}
	if !p.Seen.IsZero() {
		c.Facts = append(c.Facts, said(v, v.Text("person.seen"), v.DateTime(p.Seen)))
	}
	if p.Proof.State != "" {
		by, err := s.names(v)(p.Proof.By)
		if err != nil {
			return err
		}
		c.ProofFacts = []fact{one(v.Text("proof.state"), value{State: &c.Proof}), said(v, v.Text("proof.level"), p.Proof.Level), said(v, v.Text("proof.issuer"), p.Proof.Issuer),
			said(v, v.Text("proof.reference"), p.Proof.Reference), said(v, v.Text("proof.at"), dated(v, "on", p.Proof.At)), said(v, v.Text("proof.by"), by)}
		if p.Proof.Note != "" {
			c.ProofFacts = append(c.ProofFacts, one(v.Text("proof.said"), value{Text: p.Proof.Note, Lines: true}))
		}
	}
	myself := p.ID == v.Actor.Person.ID
	if rule := s.Portal.Rules.Proof; (rule == "review" || rule == "either") && !myself && p.Status == "registered" {
		c.Decide = s.proofForm(v, p.ID)
	}
	if is(v, portal.Administrator) && !myself {
		c.Role, c.Suspend, c.Sessions = s.roleForm(v, p), s.suspendForm(v, p), v.NewForm(peoplePath+"/"+p.ID+"/sessions").Button(v.Text("sessions.button"))
		c.Sessions.Note = v.Text("sessions.note")
	}
	page := s.page(v, frame.Plain(p.Name, 80), nil, frame.Link{Text: v.Text("people.title"), URL: peoplePath})
	if sent != nil {
		for _, f := range []**desk.Form{&c.Decide, &c.Role, &c.Suspend} {
			if *f != nil && (*f).Action == sent.Action {
				*f = sent
			}
		}
		page.Fields = sent.Errors()
	}
	events, err := v.Actor.Audit(v.Context(), &portal.AuditFilter{Person: p.ID, Limit: 20})
	if err != nil {
		return err
	}
	c.Events = v.Timeline(events)
	page.Content, page.Self = c, peoplePath+"/"+p.ID
	page.Notice = notice(v, "role", "suspended", "readmitted", "ended", "proof")
	return s.render(v, http.StatusOK, "person", page)
}

// dated is a text with a day, "" without one.
func dated(v *desk.Visit, key string, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return v.Text(key, v.Date(t))
}

func (s *Site) proofForm(v *desk.Visit, id string) *desk.Form {
	f := v.NewForm(peoplePath+"/"+id+"/proof").Add(
		&desk.Field{ID: "passed", Kind: desk.One, Label: v.Text("proof.decide"), Required: true, Options: []desk.Option{{Value: "yes", Text: v.Text("proof.passed")}, {Value: "no", Text: v.Text("proof.failed")}}},
		&desk.Field{ID: "level", Label: v.Text("proof.level"), Hint: v.Text("proof.level.hint"), Most: 40, Bare: true},
		&desk.Field{ID: "issuer", Label: v.Text("proof.issuer"), Hint: v.Text("proof.issuer.hint"), Most: 120, Bare: true},
		&desk.Field{ID: "at", Label: v.Text("proof.at"), Hint: v.Text("proof.at.hint"), Type: "date", Bare: true},
		&desk.Field{ID: "note", Kind: desk.Lines, Rows: 4, Label: v.Text("proof.said"), Hint: v.Text("proof.note.hint"), Most: 2000, Bare: true},
	)
	return f.Button(v.Text("proof.button"))
}

func (s *Site) roleForm(v *desk.Visit, p *portal.Person) *desk.Form {
	f := &desk.Field{ID: "role", Kind: desk.One, Label: v.Text("rolechange.label"), Hint: v.Text("rolechange.hint"), Required: true, Values: []string{word(p.Staff)}}
	for _, r := range []portal.StaffRole{portal.NoStaff, portal.Support, portal.Reviewer, portal.Administrator} {
		f.Options = append(f.Options, desk.Option{Value: word(r), Text: v.Text("staffrole." + string(r)), Note: v.Text("staffrole." + string(r) + ".note")})
	}
	return v.NewForm(peoplePath + "/" + p.ID + "/role").Add(f).Button(v.Text("rolechange.button"))
}

// word is a role as a form sends it: none has one too.
func word(r portal.StaffRole) string {
	if r == portal.NoStaff {
		return "none"
	}
	return string(r)
}

func (s *Site) suspendForm(v *desk.Visit, p *portal.Person) *desk.Form {
	f := v.NewForm(peoplePath + "/" + p.ID + "/suspend")
	key, class := "suspend", "button danger"
	if p.Status == "suspended" {
		key, class = "readmit", "button"
	}
	f.Keep("do", key).Add(&desk.Field{ID: "reason", Kind: desk.Lines, Rows: 3, Label: v.Text(key + ".reason"), Hint: v.Text("suspend.hint"), Required: true, Most: 2000})
	f.Buttons = []desk.Button{{Text: v.Text(key + ".button"), Class: class}}
	return f
}

// target is the person of the path.
func (s *Site) target(v *desk.Visit) (*portal.Person, error) {
	p, err := v.Actor.PersonOf(v.Context(), v.R.PathValue("person"))
	if err == nil {
		v.About.Back = peoplePath + "/" + p.ID
	}
	return p, err
}

// refused shows the page of a person again with what is wrong in a form of it; other errors stay what they are.
func (s *Site) refused(v *desk.Visit, p *portal.Person, f *desk.Form, err error) error {
	if input, is := errors.AsType[*portal.InputError](err); is {
		f.FailInput(input)
		return s.personPage(v, p, f)
	}
	return err
}

func (s *Site) setRole(v *desk.Visit) error {
	p, err := s.target(v)
	if err != nil {
		return err
	}
	f := s.roleForm(v, p).Fill()
	role := portal.StaffRole(f.Value("role"))
	if f.Missing() {
		return s.personPage(v, p, f)
	}
	if role == "none" {
		role = portal.NoStaff
	}
	if err := v.Actor.SetStaff(v.Context(), p.ID, role); err != nil {
		return s.refused(v, p, f, err)
	}
	return v.See(peoplePath+"/"+p.ID, "done", "role")
}

func (s *Site) suspendPerson(v *desk.Visit) error {
	p, err := s.target(v)
	if err != nil {
		return err
	}
	f := s.suspendForm(v, p).Fill()
	suspend := v.R.PostFormValue("do") == "suspend"
	if suspend == (p.Status == "suspended") {
		return portal.ErrStale // somebody else has done it
	}
	if f.Missing() {
		return s.personPage(v, p, f)
	}
	if err := v.Actor.SuspendPerson(v.Context(), p.ID, f.Value("reason"), suspend); err != nil {
		return s.refused(v, p, f, err)
	}
	done := "readmitted"
	if suspend {
		done = "suspended"
	}
	return v.See(peoplePath+"/"+p.ID, "done", done)
}

func (s *Site) endSessions(v *desk.Visit) error {
	p, err := s.target(v)
	if err != nil {
		return err
	}
	if err := v.Actor.EndSessionsOf(v.Context(), p.ID); err != nil {
		return err
	}
	return v.See(peoplePath+"/"+p.ID, "done", "ended")
}

func (s *Site) decideProof(v *desk.Visit) error {
	p, err := s.target(v)
	if err != nil {
		return err
	}
	f := s.proofForm(v, p.ID).Fill()
	passed := f.Value("passed") == "yes"
	if !slices.Contains([]string{"yes", "no"}, f.Value("passed")) {
		f.Field("passed").Values = nil
	}
	for _, id := range []string{"level", "issuer", "at"} {
		f.Field(id).Required = passed
	}
	f.Field("note").Required = f.Value("passed") == "no"
	missing := f.Missing()
	var at time.Time
	if day := f.Value("at"); day != "" {
		if at, err = time.ParseInLocation(time.DateOnly, day, s.desk.Zone); err != nil {
			f.Fail("at", v.Text("code.date"))
			missing = true
		}
	}
	for _, id := range []string{"level", "issuer", "at", "note"} {
		f.Field(id).Required = false // which of them is, depends on the answer: the hints say so
	}
	if missing {
		return s.personPage(v, p, f)
	}
	if err := v.Actor.DecideProof(v.Context(), p.ID, passed, f.Value("level"), f.Value("issuer"), at, f.Value("note")); err != nil {
		return s.refused(v, p, f, err)
	}
	return v.See(peoplePath+"/"+p.ID, "done", "proof")
}
