package docs

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// apiDocuments are what the server says about itself.
type apiDocuments struct {
	capability capability
	openAPI    openAPI
}

// capability is what is read of a CapabilityStatement.
type capability struct {
	ResourceType        string
	FHIRVersion         string
	Format              []string
	ImplementationGuide []string
	Rest                []struct{ Resource []resource }
}

type resource struct {
	Type             string
	SupportedProfile []string
	Interaction      []struct{ Code string }
	SearchParam      []struct{ Name, Type, Documentation string }
	SearchInclude    []string
	SearchRevInclude []string
	Operation        []struct{ Name, Documentation string }
}

// openAPI is what is read of a description in OpenAPI.
type openAPI struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }
}

type operation struct {
	Summary    string
	Parameters []parameter
	Responses  map[string]response
}

type parameter struct {
	Name, In, Description string
	Required              bool
	Schema                schema
}

type response struct {
	Description string
	Content     map[string]struct{ Schema schema }
}

type schema struct {
	Ref        string `json:"$ref"`
	Type       string
	Const      string
	Format     string
	Pattern    string
	Enum       []string
	Minimum    *int
	Properties map[string]schema
	Items      *schema
}

func readAPI(statement, description []byte) (*apiDocuments, error) {
	d := &apiDocuments{}
	if err := json.Unmarshal(statement, &d.capability); err != nil || d.capability.ResourceType != "CapabilityStatement" || len(d.capability.Rest) != 1 {
		return nil, fmt.Errorf("the documentation needs the CapabilityStatement of the API: %w", orNot(err))
	}
	if err := json.Unmarshal(description, &d.openAPI); err != nil || len(d.openAPI.Paths) == 0 {
		return nil, fmt.Errorf("the documentation needs the OpenAPI description of the API: %w", orNot(err))
	}
	return d, nil
}

func orNot(err error) error {
	if err == nil {
		return fmt.Errorf("what it was given is another document")
	}
	return err
}

// MappingRow is what one CPCDS column becomes in one profile, as 'cpcds2fhir mapping' has it.
type MappingRow struct {
	MapIDs  []string // numbers in the CPCDS dictionary
	Table   string
	Column  string
	Profile string   // of a claim; otherwise the name of the small table
	Paths   []string // in FHIR, with the system of a code in parentheses
	Unused  string   // why it is not mapped, if it is not
}

// generate makes the Markdown of a part that is not written by hand.
func generate(what, lang string, d *apiDocuments, rows []MappingRow) (string, error) {
	m := &markdown{lang: lang}
	switch what {
	case "overview":
		m.overview(d)
	case "reference":
		m.reference(d)
	case "controls":
		m.controls(d)
	case "statuses":
		m.statuses(d)
	case "mapping":
		m.mapping(rows)
	default:
		return "", fmt.Errorf("nothing generates %q; there are overview, reference, controls, statuses and mapping", what)
	}
	return m.String(), nil
}

// mapping writes the table of columns, with those profiles together that have the same paths.
func (m *markdown) mapping(rows []MappingRow) {
	type group struct {
		first    MappingRow
		profiles []string
	}
	var tables []string
	groups := map[string][]*group{}
	for _, r := range rows {
		if !slices.Contains(tables, r.Table) {
			tables = append(tables, r.Table)
		}
		i := slices.IndexFunc(groups[r.Table], func(g *group) bool {
			return g.first.Column == r.Column && g.first.Unused == r.Unused && slices.Equal(g.first.Paths, r.Paths)
		})
		if i < 0 {
			groups[r.Table] = append(groups[r.Table], &group{first: r})
			i = len(groups[r.Table]) - 1
		}
		if r.Profile != r.Table {
			groups[r.Table][i].profiles = append(groups[r.Table][i].profiles, r.Profile)
		}
	}
	for _, t := range tables {
		m.line("## `%s` {#table-%s}\n", t, strings.ReplaceAll(t, "_", "-"))
		m.row("MapID", m.t("column"), m.t("in"), m.t("becomes"))
		m.row("---", "---", "---", "---")
		for _, g := range groups[t] {
			becomes := m.t(g.first.Unused)
			if len(g.first.Paths) > 0 {
				becomes = codes(g.first.Paths)
			}
			m.row(strings.Join(g.first.MapIDs, " "), "`"+g.first.Column+"`", strings.Join(g.profiles, ", "), becomes)
		}
		m.line("")
	}
}

// codes are texts as code, with commas.
func codes(list []string) string {
	var out []string
	for _, x := range list {
		out = append(out, "`"+x+"`")
	}
	return strings.Join(out, ", ")
}

// example is an answer that a schema describes, as indented JSON.
func (d *apiDocuments) example(s schema) string {
	text, err := json.MarshalIndent(d.sample(s, 0), "", "  ")
	if err != nil {
		panic(err) // texts, numbers, maps and lists always marshal
	}
	return string(text)
}

func (d *apiDocuments) sample(s schema, depth int) any {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s = d.openAPI.Components.Schemas[name]
	}
	switch {
	case s.Const != "":
		return s.Const
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type == "integer":
		return 1
	case s.Type == "array" && s.Items != nil && depth < 6:
		return []any{d.sample(*s.Items, depth+1)}
	case s.Type == "object":
		o := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			o[name] = d.sample(s.Properties[name], depth+1)
		}
		return o
	case s.Format == "uri":
		return "https://..."
	}
	return "..."
}
