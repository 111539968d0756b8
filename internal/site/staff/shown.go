package staff

import (
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// shownPage is what templates get: the desk's page, with what the tables of staff need besides.
type shownPage struct{ *desk.Page }

// render writes a page by a template.
func (s *Site) render(v *desk.Visit, status int, name string, p *frame.Page) error {
	return v.Show(status, name, &shownPage{&desk.Page{Page: p, V: v}})
}

// table is a list with its words.
type table struct {
	ID, Caption, None string
	Heads             []string
	List              any
}

func (p *shownPage) heads(keys ...string) (list []string) {
	for _, k := range keys {
		list = append(list, p.T(k))
	}
	return list
}

// People is a table of people of an organisation.
func (p *shownPage) People(list []member) table {
	return table{Caption: p.T("org.peoplecaption"), Heads: p.heads("list.name", "org.role", "person.proof"), List: list}
}

// Accounts is a table of people.
func (p *shownPage) Accounts(list []personRow, id, caption string) table {
	return table{ID: id, Caption: p.T(caption), Heads: p.heads("list.name", "person.staff", "list.status", "person.proof", "list.since"), List: list}
}

// Apps is a table of apps.
func (p *shownPage) Apps(list []appRow) table {
	return table{Caption: p.T("apps.caption"), Heads: p.heads("list.name", "fact.applicant", "app.sandbox", "app.production", "app.application"), List: list}
}

// Requests is a table of what an app asked for.
func (p *shownPage) Requests(list []requestRow, where string) table {
	return table{ID: where, Caption: p.T("requests." + where), None: p.T("requests.none"),
		Heads: p.heads("requests.at", "requests.method", "requests.route", "requests.status", "requests.cause", "requests.request"), List: list}
}

// comparison is what stands side by side, with its words.
type comparison struct {
	List          []difference
	Was, Is, None string
}

// Compare is a list of differences.
func (p *shownPage) Compare(list []difference, was, is string) comparison {
	return comparison{list, was, is, p.T("none")}
}

// Talk is a list of messages.
func (p *shownPage) Talk(list []talk) table { return table{List: list, None: p.T("messages.none")} }

// Pager leads from page to page, in words.
func (p *shownPage) Pager(m pager) struct {
	pager
	Label, Back, On string
} {
	return struct {
		pager
		Label, Back, On string
	}{m, p.T("pager.label"), p.T("pager.back"), p.T("pager.on")}
}
