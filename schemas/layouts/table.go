package layouts

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"cpcds2fhir/schemas/cpcds"
)

// tableParser reads the block of one table.
type tableParser struct {
	*layoutParser
	table *Table
}

func isList(n ast.Node) bool {
	_, ok := n.(*ast.SequenceNode)
	return ok
}

// tables reads the tables block.
func (p *layoutParser) tablesBlock(n ast.Node) {
	names := make([]string, 0, cpcds.NumTables)
	for t := range cpcds.NumTables {
		names = append(names, t.String())
	}
	for _, e := range p.entries(n, "tables") {
		t, ok := cpcds.ParseTable(e.key)
		switch {
		case !ok:
			p.unknown(e, "table", "tables", names)
		case p.layout.tables[t] != nil:
			p.at(e.node, "", "table %s stands twice", e.key)
		default:
			tp := tableParser{p, &Table{Table: t}}
			p.layout.tables[t], p.places[t] = tp.table, e.node
			tp.parse(e)
		}
	}
}

func (p *tableParser) parse(e entry) {
	t := p.table
	p.fields(e.val, "table "+e.key, map[string]func(entry){
		"files":     func(x entry) { t.Files = p.patterns(x.val) },
		"required":  func(x entry) { t.Required = p.elements(t.Table, x.val, x.key) },
		"key":       func(x entry) { t.Key = p.elements(t.Table, x.val, x.key) },
		"line_when": func(x entry) { p.only(x, cpcds.Claims); t.LineWhen = p.elements(t.Table, x.val, x.key) },
		"columns":   func(x entry) { p.columns(x.val) },
		"ignore":    func(x entry) { p.ignore(x.val) },
		"refuse":    func(x entry) { p.refuse(x.val) },
		"split":     func(x entry) { p.only(x, cpcds.Claims); t.Split = p.split(x) },
		"collapse": func(x entry) {
			p.only(x, cpcds.Members, cpcds.Coverages, cpcds.Providers, cpcds.Organizations)
			t.Collapse = p.collapse(x)
		},
	})
	if len(t.columns) == 0 {
		p.at(e.node, "", "table %s has no columns", e.key)
	}
	if t.Table == cpcds.Claims && t.LineWhen == nil {
		t.LineWhen = []cpcds.Element{cpcds.LineNumber}
	}
	slices.SortFunc(t.columns, func(a, b *column) int { return cmp.Compare(a.element, b.element) })
	p.check(e)
}

// only adds a finding if the table is none of those that the key is for.
func (p *tableParser) only(x entry, tables ...cpcds.Table) {
	if !slices.Contains(tables, p.table.Table) {
		p.at(x.node, "", "%s is not for table %s", x.key, p.table.Table)
	}
}

// check finds what only the whole table can show: elements that are named but have
// no column, and headers with two meanings.
func (p *tableParser) check(e entry) {
	t := p.table
	p.keyed(e)
	for _, el := range slices.Concat(t.Required, t.Key) {
		if t.column(el) == nil {
			p.at(e.node, "", "table %s has no column for %s", e.key, el)
		}
	}
	for _, c := range t.columns {
		for _, group := range c.headers {
			for _, h := range group {
				if t.Reason(h) != "" {
					p.at(e.node, "", "the header %q of %s is ignored too", h, c.element)
				}
			}
		}
	}
}

func (t *Table) column(el cpcds.Element) *column {
	for _, c := range t.columns {
		if c.element == el {
			return c
		}
	}
	return nil
}

func (p *tableParser) patterns(n ast.Node) []string {
	out := p.texts(n, "files")
	for i, s := range out {
		if _, err := path.Match(s, ""); err != nil {
			p.at(n, "", "%q is not a pattern of file names", s)
		}
		out[i] = strings.ToLower(s)
	}
	return out
}

// columns reads the columns block; "canonical" binds every element to its own name.
func (p *tableParser) columns(n ast.Node) {
	if s, ok := n.(*ast.StringNode); ok && s.Value == "canonical" {
		for _, el := range cpcds.Columns(p.table.Table) {
			p.table.columns = append(p.table.columns, &column{
				element: el, headers: [][]string{{el.Column()}}, nulls: p.nulls,
				form: form{kind: el.Info().Kind, round: -1},
			})
		}
		return
	}
	for _, e := range p.entries(n, "columns") {
		p.column(e)
	}
}

func (p *tableParser) ignore(n ast.Node) {
	for _, e := range p.entries(n, "ignore") {
		reason := p.text(e.val, "ignore")
		if reason == "" {
			p.at(e.node, "", "say why %q is ignored", e.key)
		}
		header, prefix := strings.CutSuffix(e.key, "*")
		i := ignored{header: fold(header), prefix: prefix, reason: reason}
		if i.header == "" {
			p.at(e.node, "", "ignore must name headers")
			continue
		}
		p.table.ignored = append(p.table.ignored, i)
	}
}

func (p *tableParser) refuse(n ast.Node) {
	p.table.refused = map[string]string{}
	for _, e := range p.entries(n, "refuse") {
		reason := p.text(e.val, "refuse")
		if reason == "" {
			p.at(e.node, "", "say why a file with %q is refused", e.key)
		}
		p.table.refused[fold(e.key)] = reason
	}
}

func (p *tableParser) split(x entry) *Split {
	s := &Split{}
	p.fields(x.val, "split", map[string]func(entry){
		"element": func(e entry) {
			if els := p.elements(cpcds.Claims, e.val, "element"); len(els) > 0 {
				s.Element = els[0]
				if s.Element.Info().Level != cpcds.LineLevel {
					p.at(e.val, "", "claims are split by an element of their lines, %s is of level %s", s.Element, s.Element.Info().Level)
				}
			}
		},
		"claim_type": func(e entry) { s.ClaimType = p.canonical(cpcds.ClaimType, e.val) },
		"repair":     func(e entry) { s.Repair = p.ruleID(e.val, "repair") },
	})
	if s.Element == 0 || s.ClaimType == "" || s.Repair == "" {
		p.at(x.node, "", "split needs element, claim_type and repair")
	}
	return s
}

func (p *tableParser) collapse(x entry) *Collapse {
	c := &Collapse{}
	p.fields(x.val, "collapse", map[string]func(entry){
		"by":     func(e entry) { c.By = p.elements(p.table.Table, e.val, "by") },
		"repair": func(e entry) { c.Repair = p.ruleID(e.val, "repair") },
	})
	if len(c.By) == 0 || c.Repair == "" {
		p.at(x.node, "", "collapse needs by and repair")
	}
	return c
}
