package docs

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// markdown is text of pages that is generated, in a language.
type markdown struct {
	strings.Builder
	lang string
}

func (m *markdown) line(format string, args ...any) {
	fmt.Fprintf(m, format, args...)
	m.WriteByte('\n')
}

// row writes a row of a table.
func (m *markdown) row(cells ...string) {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	m.line("| %s |", strings.Join(cells, " | "))
}

// t is a word or sentence of the reference in the language of the page. What the server says about itself is English: a
// text that has no translation stays as it is.
func (m *markdown) t(text string) string {
	if m.lang == "es" {
		if es, ok := referenceES[text]; ok {
			return es
		}
	}
	if en, ok := referenceEN[text]; ok {
		return en
	}
	return text
}

// curl is a request that a reader can make.
func (m *markdown) curl(run, rest string) {
	m.line("```sh run=%s\ncurl -H \"Authorization: Bearer $ACCESS\" %s\n```\n", run, rest)
}

// overview writes what all types have in common.
func (m *markdown) overview(d *apiDocuments) {
	c := &d.capability
	m.row(m.t("property"), m.t("value"))
	m.row("---", "---")
	m.row(m.t("version"), c.FHIRVersion)
	m.row(m.t("formats"), codes(c.Format))
	m.row(m.t("guide"), codes(c.ImplementationGuide))
	var names []string
	for _, r := range c.Rest[0].Resource {
		names = append(names, fmt.Sprintf("[%s](#%s)", r.Type, strings.ToLower(r.Type)))
	}
	m.row(m.t("types"), strings.Join(names, ", "))
	m.line("")
}

// reference writes a section for each type.
func (m *markdown) reference(d *apiDocuments) {
	for i := range d.capability.Rest[0].Resource {
		m.resource(d, &d.capability.Rest[0].Resource[i])
	}
}

// interactions are how an interaction of FHIR is called.
var interactions = map[string]string{
	"read": "GET /%s/{id}", "vread": "GET /%s/{id}/_history/{version}", "history-instance": "GET /%s/{id}/_history",
	"search-type": "GET /%[1]s?...` `POST /%[1]s/_search",
}

func (m *markdown) resource(d *apiDocuments, r *resource) {
	anchor := strings.ToLower(r.Type)
	m.line("## %s {#%s}\n", r.Type, anchor)
	m.line("%s\n", m.t("profiles"))
	for _, p := range r.SupportedProfile {
		m.line("- `%s`", p)
	}
	m.line("\n### %s: %s\n", r.Type, m.t("interactions"))
	m.row(m.t("interaction"), m.t("request"), m.t("meaning"))
	m.row("---", "---", "---")
	for _, i := range r.Interaction {
		m.row("`"+i.Code+"`", "`"+fmt.Sprintf(interactions[i.Code], r.Type)+"`", m.t("does:"+i.Code))
	}
	for _, o := range r.Operation {
		m.row("`$"+o.Name+"`", fmt.Sprintf("`GET /%s/{id}/$%s`", r.Type, o.Name), m.t(o.Documentation))
	}
	m.line("\n### %s: %s\n", r.Type, m.t("parameters"))
	m.row(m.t("name"), m.t("type"), m.t("meaning"))
	m.row("---", "---", "---")
	byPatient := false
	for _, p := range r.SearchParam {
		byPatient = byPatient || p.Name == "patient"
		m.row("`"+p.Name+"`", p.Type, m.t(p.Documentation))
	}
	m.line("")
	if len(r.SearchInclude) > 0 {
		m.line("`_include`: %s\n", codes(r.SearchInclude))
	}
	if len(r.SearchRevInclude) > 0 {
		m.line("`_revinclude`: %s\n", codes(r.SearchRevInclude))
	}
	for _, o := range r.Operation {
		if op, ok := d.openAPI.Paths["/"+r.Type+"/{id}/$"+o.Name]; ok {
			m.line("%s\n", fmt.Sprintf(m.t("operation parameters"), "`$"+o.Name+"`"))
			m.parameters(op["get"].Parameters)
		}
	}
	m.line("### %s: %s\n", r.Type, m.t("examples"))
	m.curl("reference", fmt.Sprintf(`"{{sandbox_base}}/%s/$ID"`, r.Type))
	search := `?_id=$ID`
	if byPatient {
		search = `?patient=$PATIENT&_count=10`
	}
	m.curl("reference", fmt.Sprintf(`"{{sandbox_base}}/%s%s"`, r.Type, search))
	for _, o := range r.Operation {
		m.curl("reference", fmt.Sprintf(`"{{sandbox_base}}/%s/$ID/\$%s?_count=100"`, r.Type, o.Name))
	}
	if op, ok := d.openAPI.Paths["/"+r.Type]["get"]; ok {
		m.line("%s\n", m.t("shape"))
		for _, content := range op.Responses["200"].Content {
			m.line("```json\n%s\n```\n", d.example(content.Schema))
		}
	}
}

// parameters writes a table of parameters as OpenAPI has them.
func (m *markdown) parameters(list []parameter) {
	m.row(m.t("name"), m.t("type"), m.t("meaning"))
	m.row("---", "---", "---")
	for _, p := range list {
		typ := p.Schema.Type
		if values := slices.DeleteFunc(slices.Clone(p.Schema.Enum), func(v string) bool { return v == "" }); len(values) > 0 {
			typ = codes(values)
		}
		if p.In != "query" {
			typ += ", " + m.t("in "+p.In)
		}
		m.row("`"+p.Name+"`", typ, m.t(p.Description))
	}
	m.line("")
}

// controls writes the parameters that all searches have, and those of a read.
func (m *markdown) controls(d *apiDocuments) {
	var common []parameter
	for i := range d.capability.Rest[0].Resource {
		r := &d.capability.Rest[0].Resource[i]
		op := d.openAPI.Paths["/"+r.Type]["get"]
		if i == 0 {
			common = op.Parameters
			continue
		}
		common = slices.DeleteFunc(slices.Clone(common), func(p parameter) bool {
			return !slices.ContainsFunc(op.Parameters, func(q parameter) bool { return q.Name == p.Name })
		})
	}
	m.parameters(common)
	first := d.capability.Rest[0].Resource[0].Type
	m.line("### %s\n", m.t("read parameters"))
	m.parameters(d.openAPI.Paths["/"+first+"/{id}"]["get"].Parameters)
}

// statuses writes every status that an operation may answer with, and what it means there.
func (m *markdown) statuses(d *apiDocuments) {
	texts := map[string]string{}
	for _, path := range d.openAPI.Paths {
		for _, op := range path {
			for status, r := range op.Responses {
				if status == "200" {
					r.Description = m.t("what was asked for")
				}
				texts[status] = r.Description
			}
		}
	}
	m.row(m.t("status"), m.t("name"), m.t("meaning"))
	m.row("---", "---", "---")
	for _, status := range slices.Sorted(maps.Keys(texts)) {
		var n int
		_, _ = fmt.Sscan(status, &n)
		m.row(status, http.StatusText(n), m.t(texts[status]))
	}
	m.line("")
}
