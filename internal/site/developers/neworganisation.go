package developers

import (
	"errors"
	"net/http"
	"strconv"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

var orgTypes = []string{"company", "nonprofit", "provider", "payer", "government", "university", "individual"}

var hipaaStates = []string{"none", "business_associate", "covered_entity", "unknown"}

func options(v *desk.Visit, prefix string, values []string) (list []desk.Option) {
	for _, value := range values {
		list = append(list, desk.Option{Value: value, Text: v.Text(prefix + value)})
	}
	return list
}

// organisationForm is for an organisation, or for a developer alone: then most of it is not asked.
func (s *Site) organisationForm(v *desk.Visit, action string, o *portal.Organisation) *desk.Form {
	f := v.NewForm(action)
	if o.Solo {
		f.Keep("solo", "yes")
		f.Add(&desk.Field{ID: "name", Label: v.Text("org.publisher"), Hint: v.Text("org.publisher.hint"), Required: true, Most: 120, Values: []string{o.Name}})
	} else {
		f.Keep("solo", "no")
		f.Add(&desk.Field{ID: "legal", Label: v.Text("org.legal"), Auto: "organization", Required: true, Most: 200, Values: []string{o.Legal}},
			&desk.Field{ID: "name", Label: v.Text("org.name"), Hint: v.Text("org.name.hint"), Required: true, Most: 120, Values: []string{o.Name}},
			&desk.Field{ID: "type", Label: v.Text("org.type"), Kind: desk.Pick, Required: true, Values: []string{o.Type}, Options: options(v, "org.type.", orgTypes[:len(orgTypes)-1])})
	}
	us := "no"
	if o.US {
		us = "yes"
	} else if o.ID == "" {
		us = ""
	}
	f.Add(&desk.Field{ID: "website", Label: v.Text("org.website"), Hint: v.Text("org.website.hint"), Auto: "url", Mode: "url", Required: !o.Solo, Most: 300, Values: []string{o.Website}},
		&desk.Field{ID: "us", Label: v.Text("org.us"), Kind: desk.One, Required: true, Values: []string{us}, Options: []desk.Option{{Value: "yes", Text: v.Text("field.yes")}, {Value: "no", Text: v.Text("field.no")}}},
		&desk.Field{ID: "hipaa", Label: v.Text("org.hipaa"), Hint: v.Text("org.hipaa.hint"), Kind: desk.One, Required: true, Values: []string{o.HIPAA}, Options: options(v, "org.hipaa.", hipaaStates)},
		&desk.Field{ID: "address", Label: v.Text("org.address"), Kind: desk.Lines, Rows: 3, Auto: "street-address", Most: 400, Values: []string{o.Address}})
	if !o.Solo {
		f.Add(&desk.Field{ID: "tax_id", Label: v.Text("org.tax"), Most: 40, Values: []string{o.TaxID}},
			&desk.Field{ID: "parent", Label: v.Text("org.parent"), Most: 200, Values: []string{o.Parent}})
	}
	if o.ID != "" {
		f.Keep("_version", strconv.Itoa(o.Version))
	}
	return f.Button(v.Text("save"))
}

// takeOrganisation takes what was sent into an organisation.
func takeOrganisation(v *desk.Visit, f *desk.Form, o *portal.Organisation) {
	o.Name, o.Website, o.Address = f.Value("name"), f.Value("website"), f.Value("address")
	o.US, o.HIPAA = f.Value("us") == "yes", f.Value("hipaa")
	if o.Solo {
		o.Type = "individual"
		if o.Legal == "" {
			o.Legal = v.Actor.Person.Name
		}
		return
	}
	o.Legal, o.Type, o.TaxID, o.Parent = f.Value("legal"), f.Value("type"), f.Value("tax_id"), f.Value("parent")
}

// newOrganisation asks first whether somebody works alone.
func (s *Site) newOrganisation(v *desk.Visit) error {
	solo := v.R.FormValue("solo")
	if solo == "" {
		return v.Render(http.StatusOK, "neworg", &frame.Page{Title: v.Text("neworg.title"), Trail: s.trail(v)})
	}
	return s.newOrganisationPage(v, s.organisationForm(v, "/developers/organisations/new", &portal.Organisation{Solo: solo == "yes"}))
}

func (s *Site) newOrganisationPage(v *desk.Visit, f *desk.Form) error {
	title, lead := v.Text("neworg.org.title"), v.Text("neworg.org.lead")
	if v.R.FormValue("solo") == "yes" {
		title, lead = v.Text("neworg.solo.title"), v.Text("neworg.solo.lead")
	}
	return v.RenderForm(&frame.Page{Title: title, Trail: s.trail(v, v.Text("neworg.title"), "/developers/organisations/new"), Keep: []string{"solo"}}, &desk.FormPage{Lead: lead, Paras: []string{v.Idle()}, Form: f})
}

func (s *Site) addOrganisation(v *desk.Visit) error {
	o := &portal.Organisation{Solo: v.R.PostForm.Get("solo") == "yes"}
	f := s.organisationForm(v, "/developers/organisations/new", o).Fill()
	if f.Missing() {
		return s.newOrganisationPage(v, f)
	}
	takeOrganisation(v, f, o)
	v.About.Back = desk.HomePath
	made, err := v.Actor.AddOrganisation(v.Context(), o)
	if errors.Is(err, accounts.ErrExists) {
		f.Fail("name", v.Text("neworg.exists"))
		return s.newOrganisationPage(v, f)
	}
	if err != nil {
		if err = failInput(f, err); err != nil {
			return err
		}
		return s.newOrganisationPage(v, f)
	}
	return v.See(orgPath(made.ID), "done", "organisation")
}
