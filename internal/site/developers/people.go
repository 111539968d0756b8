package developers

import (
	"errors"
	"net/http"
	"slices"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// peopleContent is the content of the page with the people of an organisation.
type peopleContent struct {
	People  []personRow
	Pending []invitationRow
	Invite  *desk.Form
	Owner   bool
}

type personRow struct {
	Name, Email, Role, Since string
	You                      bool
	Change                   *desk.Form
	Remove                   string
}

type invitationRow struct {
	Email, Role, Until string
	State              frame.State
	Cancel             *desk.Form
}

var orgRoles = []portal.OrgRole{portal.Owner, portal.Developer, portal.Observer}

func roleOptions(v *desk.Visit) (list []desk.Option) {
	for _, r := range orgRoles {
		list = append(list, desk.Option{Value: string(r), Text: v.Text("role." + string(r)), Note: v.Text("role." + string(r) + ".hint")})
	}
	return list
}

func (s *Site) inviteForm(v *desk.Visit, org string) *desk.Form {
	return v.NewForm(orgPath(org, "people")).Add(
		&desk.Field{ID: "email", Label: v.Text("invite.email"), Type: "email", Required: true, Most: 254},
		&desk.Field{ID: "family", Label: v.Text("invite.family"), Hint: v.Text("invite.family.hint"), Required: true, Most: 120},
		&desk.Field{ID: "role", Label: v.Text("invite.role"), Kind: desk.One, Required: true, Options: roleOptions(v), Values: []string{string(portal.Developer)}},
	).Button(v.Text("invite.button"))
}

func (s *Site) people(v *desk.Visit) error {
	o, role, err := s.member(v)
	if err != nil {
		return err
	}
	return s.peoplePage(v, o, role, s.inviteForm(v, o.ID))
}

func (s *Site) peoplePage(v *desk.Visit, o *portal.Organisation, role portal.OrgRole, f *desk.Form) error {
	c := peopleContent{Owner: role == portal.Owner}
	members, err := v.Actor.MembersOf(v.Context(), o.ID)
	if err != nil {
		return err
	}
	for _, m := range members {
		row := personRow{Name: frame.Plain(m.Name, 80), Email: frame.Plain(m.Email, 254), Role: v.Text("role." + string(m.Role)), Since: v.Date(m.Since), You: m.Person == v.Actor.Person.ID}
		if c.Owner {
			row.Change = v.NewForm(orgPath(o.ID, "people", "role")).Keep("person", m.Person).Add(&desk.Field{ID: "role-" + m.Person, Name: "role", Kind: desk.Pick, Bare: true,
				Label: v.Text("people.role", row.Name), Options: roleOptions(v), Values: []string{string(m.Role)}})
			row.Change.Class = "bare"
			row.Change.Buttons = []desk.Button{{Text: v.Text("people.change"), Class: "small button"}}
			row.Remove = orgPath(o.ID, "people", "remove") + "?person=" + m.Person
		}
		c.People = append(c.People, row)
	}
	if c.Owner {
		list, err := v.Actor.Invitations(v.Context(), o.ID)
		if err != nil {
			return err
		}
		for _, i := range list {
			kind := map[string]string{"pending": "wait", "accepted": "good", "expired": "idle", "cancelled": "idle"}[i.State]
			row := invitationRow{Email: frame.Plain(i.Email, 254), Role: v.Text("role." + string(i.Role)), Until: v.DateTime(i.Expires), State: frame.State{Kind: kind, Text: v.Text("invitation." + i.State)}}
			if i.State == "pending" {
				row.Cancel = v.NewForm(orgPath(o.ID, "people", "cancel")).Keep("invitation", i.ID)
				row.Cancel.Class = "bare"
				row.Cancel.Buttons = []desk.Button{{Text: v.Text("invitation.cancel"), Class: "small button"}}
			}
			c.Pending = append(c.Pending, row)
		}
		c.Invite = f
	}
	return v.Render(http.StatusOK, "people", &frame.Page{Title: v.Text("people.title"), Content: c, Fields: f.Errors(), Trail: s.trail(v, orgName(v, o), orgPath(o.ID)), Self: selfOf(v),
		Notice: notice(v, "invited", "cancelled", "role", "removed")})
}

func (s *Site) invite(v *desk.Visit) error {
	o, role, err := s.member(v)
	if err != nil {
		return err
	}
	f := s.inviteForm(v, o.ID).Fill()
	if f.Missing() {
		return s.peoplePage(v, o, role, f)
	}
	if err := v.Limit(desk.SignUp, f.Value("email")); err != nil {
		return err
	}
	_, err = v.Actor.Invite(v.Context(), &portal.Invitation{Org: o.ID, Email: f.Value("email"), Family: f.Value("family"), Role: portal.OrgRole(f.Value("role"))})
	if errors.Is(err, accounts.ErrExists) {
		f.Fail("email", v.Text("invite.exists"))
		return s.peoplePage(v, o, role, f)
	}
	if err != nil {
		if err = failInput(f, err); err != nil {
			return err
		}
		return s.peoplePage(v, o, role, f)
	}
	return v.See(orgPath(o.ID, "people"), "done", "invited")
}

func (s *Site) setRole(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	v.About.Back = orgPath(o.ID, "people")
	role := portal.OrgRole(v.R.PostForm.Get("role"))
	if !slices.Contains(orgRoles, role) {
		return &portal.InputError{Field: "role", Code: "required"}
	}
	if err := v.Actor.SetOrgRole(v.Context(), o.ID, v.R.PostForm.Get("person"), role); err != nil {
		return s.lastOwner(v, o.ID, err)
	}
	return v.See(orgPath(o.ID, "people"), "done", "role")
}

// lastOwner says why the last owner stays one.
func (s *Site) lastOwner(v *desk.Visit, org string, err error) error {
	if _, ok := errors.AsType[*portal.DeniedError](err); ok && roleIn(v, org) == portal.Owner {
		return s.said(v, "lastowner", frame.Link{Text: v.Text("people.title"), URL: orgPath(org, "people")})
	}
	return err
}

func (s *Site) askRemove(v *desk.Visit) error {
	o, role, err := s.member(v)
	if err != nil {
		return err
	}
	id := v.R.URL.Query().Get("person")
	members, err := v.Actor.MembersOf(v.Context(), o.ID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members, func(m portal.Membership) bool { return m.Person == id })
	if i < 0 {
		return frame.ErrMissing
	}
	if role != portal.Owner && id != v.Actor.Person.ID {
		return frame.ErrDenied
	}
	f := v.NewForm(orgPath(o.ID, "people", "remove")).Keep("person", id)
	f.Buttons = []desk.Button{{Text: v.Text("remove.button"), Class: "button danger full"}}
	return v.RenderForm(&frame.Page{Title: v.Text("remove.title"), Trail: s.trail(v, orgName(v, o), orgPath(o.ID), v.Text("people.title"), orgPath(o.ID, "people"))},
		&desk.FormPage{Lead: v.Text("remove.lead", frame.Plain(members[i].Name, 80)), Form: f, Links: []frame.Link{{Text: v.Text("remove.keep"), URL: orgPath(o.ID, "people")}}})
}

func (s *Site) remove(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	v.About.Back = orgPath(o.ID, "people")
	id := v.R.PostForm.Get("person")
	if err := v.Actor.RemoveMember(v.Context(), o.ID, id); err != nil {
		return s.lastOwner(v, o.ID, err)
	}
	if id == v.Actor.Person.ID {
		return v.See(desk.HomePath)
	}
	return v.See(orgPath(o.ID, "people"), "done", "removed")
}

func (s *Site) cancelInvitation(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	v.About.Back = orgPath(o.ID, "people")
	if err := v.Actor.CancelInvitation(v.Context(), o.ID, v.R.PostForm.Get("invitation")); err != nil {
		return err
	}
	return v.See(orgPath(o.ID, "people"), "done", "cancelled")
}

func (s *Site) showInvitation(v *desk.Visit) error {
	i, o, err := v.Actor.Invited(v.Context(), token(v))
	if errors.Is(err, accounts.ErrNotFound) || errors.Is(err, accounts.ErrUsed) {
		return s.said(v, "invitation.bad", frame.Link{Text: v.Text("dashboard.title"), URL: desk.HomePath})
	}
	if err != nil {
		return err
	}
	f := v.NewForm("/developers/invitation").Keep("code", token(v)).Button(v.Text("invitation.accept"))
	return v.RenderForm(&frame.Page{Title: v.Text("invitation.title"), Trail: s.trail(v)},
		&desk.FormPage{Lead: v.Text("invitation.lead", orgName(v, o), v.Text("role."+string(i.Role))), Form: f, Links: []frame.Link{{Text: v.Text("invitation.no"), URL: desk.HomePath}}})
}

func (s *Site) acceptInvitation(v *desk.Visit) error {
	o, err := v.Actor.AcceptInvitation(v.Context(), token(v))
	if _, ok := errors.AsType[*portal.DeniedError](err); ok {
		return s.said(v, "invitation.other", frame.Link{Text: v.Text("profile.title"), URL: "/developers/profile"})
	}
	if errors.Is(err, accounts.ErrNotFound) || errors.Is(err, accounts.ErrUsed) {
		return s.said(v, "invitation.bad", frame.Link{Text: v.Text("dashboard.title"), URL: desk.HomePath})
	}
	if err != nil {
		return err
	}
	return v.See(orgPath(o.ID), "done", "joined")
}
