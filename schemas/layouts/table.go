package layouts

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"cpcds2fhir/schemas/cpcds"
)

// tableParser reads the block of one table, or of one form of it.
type tableParser struct {
	*layoutParser
	table    *Table
	repeated int // repetitions of repeat blocks so far
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
			p.at(e.node, "", "table %s is duplicated", e.key)
		default:
			p.layout.tables[t] = p.forms(t, e)
		}
	}
	p.lend()
}

// forms reads the block of a table and returns its forms, at least one.
func (p *layoutParser) forms(t cpcds.Table, e entry) []*Table {
	tp := tableParser{layoutParser: p, table: &Table{Table: t}}
	var forms []entry
	known := tp.formKeys()
	maps.Copy(known, map[string]func(entry){
		"key":   func(x entry) { tp.table.Key = p.elements(t, x.val, x.key) },
		"split": func(x entry) { tp.only(x, cpcds.Claims); tp.table.Split = tp.split(x) },
		"collapse": func(x entry) {
			tp.only(x, smallTables...)
			tp.table.Collapse = tp.collapse(x)
		},
		"forms": func(x entry) {
			if forms = p.entries(x.val, "forms"); len(forms) == 0 {
				p.at(x.node, "", "forms must not be empty")
			}
		},
	})
	p.fields(e.val, "table "+e.key, known)
	if len(forms) == 0 {
		tp.finish(e)
		return []*Table{tp.table}
	}
	var out []*Table
	for _, f := range forms {
		if !layoutName.MatchString(f.key) {
			p.at(f.node, "", "the name of a form must consist of lower-case letters, digits, hyphens and dots")
		}
		if slices.ContainsFunc(out, func(x *Table) bool { return x.Form == f.key }) {
			p.at(f.node, "", "form %s is duplicated", f.key)
			continue
		}
		own := tableParser{layoutParser: p, table: &Table{Table: t, Form: f.key}, repeated: tp.repeated}
		p.fields(f.val, "form "+f.key, own.formKeys())
		own.inherit(tp.table)
		own.finish(f)
		out = append(out, own.table)
	}
	return out
}

var smallTables = []cpcds.Table{cpcds.Members, cpcds.Coverages, cpcds.Providers, cpcds.Organizations}

// formKeys are the keys that a table and each of its forms can have.
func (p *tableParser) formKeys() map[string]func(entry) {
	t := p.table
	return map[string]func(entry){
		"files":     func(x entry) { t.Files = p.patterns(x.val) },
		"rows_of":   func(x entry) { p.rowsOf(x) },
		"headers":   func(x entry) { t.Headers = p.texts(x.val, x.key) },
		"required":  func(x entry) { t.Required = p.elements(t.Table, x.val, x.key) },
		"line_when": func(x entry) { p.only(x, cpcds.Claims); t.LineWhen = p.elements(t.Table, x.val, x.key) },
		"row_when":  func(x entry) { p.only(x, smallTables...); t.RowWhen = p.elements(t.Table, x.val, x.key) },
		"columns":   func(x entry) { p.columns(x.val) },
		"repeat":    func(x entry) { p.repeat(x.val) },
		"ignore":    func(x entry) { p.ignore(x.val) },
		"refuse":    func(x entry) { p.refuse(x.val) },
	}
}

// inherit adds what the table sets for all its forms. A form's own entry for an element replaces
// the table's.
func (p *tableParser) inherit(base *Table) {
	t := p.table
	t.Key, t.Split, t.Collapse = base.Key, base.Split, base.Collapse
	t.Required = slices.Concat(base.Required, t.Required)
	t.Headers = slices.Concat(base.Headers, t.Headers)
	if t.Files == nil {
		t.Files = base.Files
	}
	if t.RowsOf == nil {
		t.RowsOf = base.RowsOf
	}
	if t.LineWhen == nil {
		t.LineWhen = base.LineWhen
	}
	if t.RowWhen == nil {
		t.RowWhen = base.RowWhen
	}
	own := t.columns
	for _, c := range base.columns {
		if !slices.ContainsFunc(own, func(x *column) bool { return x.element == c.element }) {
			copied := *c // its repetition is renumbered
			t.columns = append(t.columns, &copied)
		}
	}
	reads := t.reads()
	for _, i := range base.ignored {
		if i.prefix || !reads[i.header] {
			t.ignored = append(t.ignored, i)
		}
	}
	refused := maps.Clone(base.refused)
	if refused == nil {
		refused = map[string]string{}
	}
	maps.Copy(refused, t.refused)
	t.refused = refused
}

// finish checks a complete table or form.
func (p *tableParser) finish(e entry) {
	t := p.table
	p.places[t] = e.node
	if len(t.columns) == 0 {
		p.at(e.node, "", "table %s has no columns", t)
	}
	if t.Table == cpcds.Claims && t.LineWhen == nil {
		t.LineWhen = []cpcds.Element{cpcds.LineNumber}
	}
	slices.SortStableFunc(t.columns, func(a, b *column) int { return cmp.Compare(a.element, b.element) })
	t.number()
	p.check(e)
}

// rowsOf reads the names of the tables whose files a small table is read from.
func (p *tableParser) rowsOf(x entry) {
	p.only(x, smallTables...)
	for _, item := range p.items(x.val) {
		t, ok := cpcds.ParseTable(p.text(item, x.key))
		if !ok || t == p.table.Table {
			p.at(item, "", "rows_of must name other tables")
			continue
		}
		p.table.RowsOf = append(p.table.RowsOf, t)
	}
}

// lend tells each table which of its headers other tables with its rows use.
func (p *layoutParser) lend() {
	for _, t := range p.layout.all() {
		for _, of := range t.RowsOf {
			owners := slices.DeleteFunc(slices.Clone(p.layout.tables[of]), func(x *Table) bool { return x.RowsOf != nil })
			if len(owners) == 0 {
				p.at(p.places[t], "", "table %s has the rows of %s, which does not have its own files", t, of)
			}
			for _, o := range owners {
				if o.lent == nil {
					o.lent = map[string]bool{}
				}
				for _, c := range t.columns {
					for _, h := range slices.Concat(c.headers...) {
						o.lent[cpcds.FoldHeader(h)] = true
					}
				}
			}
		}
	}
}

// only adds a finding if the key is not allowed for the table.
func (p *tableParser) only(x entry, tables ...cpcds.Table) {
	if !slices.Contains(tables, p.table.Table) {
		p.at(x.node, "", "%s is not allowed in table %s", x.key, p.table.Table)
	}
}

// check finds what needs the whole table: named elements without a column, and headers with two
// meanings.
func (p *tableParser) check(e entry) {
	t := p.table
	p.keyed(e)
	for _, el := range slices.Concat(t.Required, t.Key, t.RowWhen) {
		if t.column(el) == nil {
			p.at(e.node, "", "table %s has no column for %s", t, el)
		}
	}
	for _, c := range t.columns {
		for _, group := range c.headers {
			for _, h := range group {
				if t.Reason(h) != "" {
					p.at(e.node, "", "header %q of %s is also under ignore", h, c.element)
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

// reads returns the folded headers that columns are read from.
func (t *Table) reads() map[string]bool {
	out := map[string]bool{}
	for _, c := range t.columns {
		for _, group := range c.headers {
			for _, h := range group {
				out[cpcds.FoldHeader(h)] = true
			}
		}
	}
	return out
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
				element: el, rep: -1, headers: [][]string{{el.Column()}}, nulls: p.nulls,
				form: form{kind: el.Info().Kind, round: -1, zone: p.layout.Zone},
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
			p.at(e.node, "", "give a reason why %q is ignored", e.key)
		}
		header, prefix := strings.CutSuffix(e.key, "*")
		i := ignored{header: cpcds.FoldHeader(header), prefix: prefix, reason: reason}
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
			p.at(e.node, "", "give a reason why a file with %q is refused", e.key)
		}
		p.table.refused[cpcds.FoldHeader(e.key)] = reason
	}
}

func (p *tableParser) split(x entry) *Split {
	s := &Split{}
	p.fields(x.val, "split", map[string]func(entry){
		"element": func(e entry) {
			if els := p.elements(cpcds.Claims, e.val, "element"); len(els) > 0 {
				s.Element = els[0]
				if s.Element.Info().Level != cpcds.LineLevel {
					p.at(e.val, "", "claims are split by a line element, but %s is of level %s", s.Element, s.Element.Info().Level)
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
