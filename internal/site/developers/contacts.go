package developers

import (
	"errors"
	"net/http"
	"strconv"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

var contactKinds = []string{"primary", "secondary", "security", "privacy", "incident", "status"}

func (s *Site) contactsForm(v *desk.Visit, o *portal.Organisation) *desk.Form {
	f := v.NewForm(orgPath(o.ID, "contacts")).Keep("_version", strconv.Itoa(o.Version))
	for _, kind := range contactKinds {
		var x portal.Contact
		for _, c := range o.Contacts {
			if c.Kind == kind {
				x = c
			}
		}
		need := kind == "primary" || kind == "security"
		f.Group(v.Text("contact."+kind), v.Text("contact."+kind+".hint")).Add(
			&desk.Field{ID: kind + ".name", Label: v.Text("contact.name"), Required: need, Most: 120, Values: []string{x.Name}},
			&desk.Field{ID: kind + ".email", Label: v.Text("contact.email"), Type: "email", Required: need, Most: 254, Values: []string{x.Email}},
			&desk.Field{ID: kind + ".phone", Label: v.Text("contact.phone"), Type: "tel", Most: 40, Values: []string{x.Phone}})
	}
	return f.Button(v.Text("save"))
}

func (s *Site) contactsPage(v *desk.Visit, o *portal.Organisation, f *desk.Form) error {
	return v.RenderForm(&frame.Page{Title: v.Text("contacts.title"), Trail: s.trail(v, orgName(v, o), orgPath(o.ID)), Self: selfOf(v)}, &desk.FormPage{Lead: v.Text("contacts.lead"), Paras: []string{v.Idle()}, Form: f})
}

func (s *Site) editContacts(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	return s.contactsPage(v, o, s.contactsForm(v, o))
}

func (s *Site) saveContacts(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	f := s.contactsForm(v, o).Fill()
	if f.Missing() {
		return s.contactsPage(v, o, f)
	}
	o.Contacts = nil
	for _, kind := range contactKinds {
		c := portal.Contact{Kind: kind, Name: f.Value(kind + ".name"), Email: f.Value(kind + ".email"), Phone: f.Value(kind + ".phone")}
		if c.Name != "" || c.Email != "" || c.Phone != "" {
			if c.Email == "" {
				f.Fail(kind+".email", v.Text("field.missing", v.Text("contact."+kind)+": "+v.Text("contact.email")))
			}
			o.Contacts = append(o.Contacts, c)
		}
	}
	if len(f.Errors()) > 0 {
		return s.contactsPage(v, o, f)
	}
	o.Version = version(v)
	v.About.Back = orgPath(o.ID, "contacts")
	return s.savedOrganisation(v, o, f, "contacts", func() error { return s.contactsPage(v, o, f) })
}

// domainContent is the content of the page on which a domain is proofed.
type domainContent struct {
	Org    *portal.Organisation
	State  frame.State
	At, By string
	Form   *desk.Form
	Failed bool
}

func (s *Site) showDomain(v *desk.Visit) error {
	o, role, err := s.member(v)
	if err != nil {
		return err
	}
	return s.domainPage(v, o, role, false)
}

func (s *Site) domainPage(v *desk.Visit, o *portal.Organisation, role portal.OrgRole, failed bool) error {
	c := domainContent{Org: o, State: domainState(v, o), Failed: failed}
	if !o.Domain.Proofed.IsZero() {
		c.At = v.Date(o.Domain.Proofed)
	} else if o.Domain.Name != "" && role != portal.Observer {
		c.Form = s.startForm(v, orgPath(o.ID, "domain"), "domain.check")
	}
	p := &frame.Page{Title: v.Text("domain.title"), Content: c, Trail: s.trail(v, orgName(v, o), orgPath(o.ID)), Self: selfOf(v)}
	if failed {
		p.Warning = v.Text("domain.failed")
	}
	return v.Render(http.StatusOK, "domain", p)
}

func (s *Site) checkDomain(v *desk.Visit) error {
	o, role, err := s.member(v)
	if err != nil {
		return err
	}
	if err := v.Limit(desk.SignUp); err != nil { // it makes this server look elsewhere
		return err
	}
	after, err := v.Actor.CheckDomain(v.Context(), o.ID)
	if _, ok := errors.AsType[*portal.InputError](err); ok {
		return s.domainPage(v, o, role, true)
	}
	if err != nil {
		return err
	}
	if after.Domain.Proofed.IsZero() {
		return s.domainPage(v, after, role, true)
	}
	return v.See(orgPath(o.ID), "done", "domain")
}
