package layouts

import (
	"fmt"
	"maps"
	"slices"

	"cpcds2fhir/schemas/cpcds"
)

// origin says where the values of an element come from.
type origin uint8

const (
	fromOne   origin = iota // one column
	fromAll                 // several columns, joined by an expression
	fromEach                // one column per repetition
	fromConst               // the layout itself
)

// column is what a layout says about one element.
type column struct {
	element  cpcds.Element
	rep      int // the repetition that it belongs to, -1 outside of repeat blocks
	origin   origin
	headers  [][]string // groups of aliases: one; one per value; one per repetition
	constant string     // canonical
	standby  string     // canonical, used where the source has no value
	nulls    map[string]struct{}
	plain    reading
	lenient  *lenient // nil if lenient mode reads the same
	form     form
	invalid  string // repair that drops unreadable values in lenient mode, "" if they are rejected
}

// reading maps the source's text to the element's words, before the form of the element is read.
type reading struct {
	expression *expression
	codes      map[string]string
	otherwise  otherwise
	other      string // what an unknown code becomes if otherwise is replace
}

type otherwise uint8

const (
	keep otherwise = iota
	replace
	refuse
)

// lenient is another reading, which counts as a repair. A value that is not among its codes is read
// the normal way, unless this reading has its own column.
type lenient struct {
	repair  string
	headers []string // aliases of that column, nil if it is the same one
	reading
}

// result is the outcome of one value.
type result struct {
	text     string // canonical, "" if absent or bad
	bad      string // rule
	repaired string // repair
}

// apply reads one value. known says that an expression or the codes gave a result; rule is the rule
// that the value breaks.
func (r *reading) apply(value string, values []string) (out string, known bool, rule string) {
	out = value
	if r.expression != nil {
		var ok bool
		if out, ok = r.expression.eval(value, values); !ok {
			return "", true, RuleExpression
		}
		known = r.codes == nil
	}
	if r.codes == nil || out == "" {
		return out, known, ""
	}
	if to, ok := r.codes[out]; ok {
		return to, true, ""
	}
	switch r.otherwise {
	case replace:
		return r.other, true, ""
	case refuse:
		return "", true, RuleUnmapped
	}
	return out, false, ""
}

// column reads one entry of the columns block.
func (p *tableParser) column(e entry) {
	el, ok := p.element(p.table.Table, e)
	if !ok {
		return
	}
	if slices.ContainsFunc(p.table.columns, func(c *column) bool { return c.element == el && c.rep < 0 }) {
		p.at(e.node, "", "%s is duplicated", e.key)
		return
	}
	p.table.columns = append(p.table.columns, p.newColumn(el, e))
}

// newColumn reads the entry of an element.
func (p *tableParser) newColumn(el cpcds.Element, e entry) *column {
	c := &column{element: el, rep: -1, form: form{kind: el.Info().Kind, round: -1, zone: p.layout.Zone}, nulls: p.nulls}
	if headers, ok := p.shorthand(e); ok {
		c.headers = [][]string{headers}
		return c
	}
	b := columnParser{tableParser: p, c: c, block: e}
	b.parse(e)
	return c
}

// shorthand reads "element: Header" and "element: [Header, Alias]".
func (p *tableParser) shorthand(e entry) ([]string, bool) {
	n := p.resolve(e.val)
	if n == nil {
		return nil, true
	}
	if _, ok := scalar(n); ok || isList(n) {
		return p.texts(n, e.key), true
	}
	return nil, false
}

// columnParser reads the block of one column.
type columnParser struct {
	*tableParser
	c       *column
	block   entry
	origins int
	repair  string
	drop    bool
}

func (b *columnParser) parse(e entry) {
	c := b.c
	kind := c.form.kind
	known := b.readingKeys(&c.plain, kind)
	maps.Copy(known, map[string]func(entry){
		"from": func(x entry) { b.origin(fromOne); c.headers = [][]string{b.texts(x.val, "from")} },
		"all":  func(x entry) { b.origin(fromAll); c.headers = b.groups(x) },
		"each": func(x entry) { b.origin(fromEach); c.headers = b.groups(x); b.repeats(x) },
		"const": func(x entry) {
			b.origin(fromConst)
			c.constant = b.canonical(c.element, x.val)
		},
		"default": func(x entry) { c.standby = b.canonical(c.element, x.val) },
		"null": func(x entry) {
			c.nulls = maps.Clone(b.nulls)
			for _, s := range b.texts(x.val, "null") {
				c.nulls[s] = struct{}{}
			}
		},
		"invalid": func(x entry) {
			switch s, _ := word(b.resolve(x.val)); s {
			case "null":
				b.drop = true
			case "reject":
			default:
				b.at(x.val, "", "invalid must be null or reject")
			}
		},
		"repair":   func(x entry) { b.repair = b.ruleID(x.val, "repair") },
		"formats":  func(x entry) { b.formats(x, kind) },
		"decimals": func(x entry) { b.numeric(x, kind); c.form.decimals = b.number(x.val, "decimals", 1, 8) },
		"round":    func(x entry) { b.numeric(x, kind); c.form.round = b.number(x.val, "round", 0, 8) },
		"sign": func(x entry) {
			b.numeric(x, kind)
			switch b.text(x.val, "sign") {
			case "trailing":
				c.form.trailing = true
			case "leading":
			default:
				b.at(x.val, "", "sign must be leading or trailing")
			}
		},
		"lenient": func(x entry) { b.lenient(x, kind) },
	})
	b.fields(e.val, e.key, known)
	b.finish(e)
}

// origin notes where the values come from; there is only one such key.
func (b *columnParser) origin(o origin) {
	b.c.origin = o
	b.origins++
}

// finish checks what needs the whole block, and compiles expressions.
func (b *columnParser) finish(e entry) {
	c := b.c
	switch {
	case b.origins == 0 && c.standby == "":
		b.at(e.node, "", "%s needs one of from, all, each or const", e.key)
	case b.origins > 1:
		b.at(e.node, "", "%s must have only one of from, all, each or const", e.key)
	case b.origins == 0:
		c.origin, c.constant = fromConst, c.standby
	}
	if b.drop {
		c.invalid = b.repair
		if c.invalid == "" {
			c.invalid = "invalid-dropped"
		}
	} else if b.repair != "" {
		b.at(e.node, "", `repair of %s has an effect only with "invalid: null"`, e.key)
	}
	if c.origin == fromAll && c.plain.expression == nil {
		b.at(e.node, "", "%s reads several columns, so it needs an expr", e.key)
	}
	if c.origin == fromAll && c.lenient != nil && c.lenient.expression == nil {
		b.at(e.node, "", "lenient of %s reads several columns, so it needs an expr", e.key)
	}
	if c.lenient != nil && c.lenient.headers != nil && c.origin != fromOne {
		b.at(e.node, "", "lenient of %s can have its own column only if the element reads exactly one", e.key)
	}
	if c.origin == fromConst && (c.lenient != nil || c.plain.expression != nil || c.plain.codes != nil) {
		b.at(e.node, "", "%s is a constant, so it cannot have a reading", e.key)
	}
}

// readingKeys are the keys that a column and its lenient block share.
func (b *columnParser) readingKeys(r *reading, kind cpcds.Kind) map[string]func(entry) {
	add := func(codes map[string]string, over bool) {
		if r.codes == nil {
			r.codes = map[string]string{}
		}
		for from, to := range codes {
			if _, ok := r.codes[from]; !ok || over {
				r.codes[from] = to
			}
		}
	}
	return map[string]func(entry){
		"expr": func(x entry) {
			list := false
			for _, y := range b.entries(b.block.val, b.block.key) {
				list = list || y.key == "all"
			}
			var err error
			if r.expression, err = compile(b.text(x.val, "expr"), list); err != nil {
				b.at(x.val, "", "%v", err)
			}
		},
		"map": func(x entry) {
			codes := map[string]string{}
			for _, y := range b.entries(x.val, "map") {
				codes[y.key] = b.text(y.val, "map")
				if _, rule := (&form{kind: kind, round: -1}).check(codes[y.key]); rule != "" && b.c.form.formats == nil {
					b.at(y.val, "", "%s must be a valid %s", b.c.element.Column(), kind)
				}
				b.closed(b.c.element, y.val, codes[y.key])
			}
			add(codes, true)
		},
		"code_map": func(x entry) { add(b.codeMap(x.val, b.c.element), false) },
		"else": func(x entry) {
			r.otherwise, r.other = replace, b.text(x.val, "else")
			if r.other == "bad" {
				r.otherwise = refuse
			} else {
				b.closed(b.c.element, x.val, r.other)
			}
			if r.codes == nil {
				r.codes = map[string]string{}
			}
		},
	}
}

// check reads a text that may be absent.
func (f *form) check(s string) (string, string) {
	if s == "" {
		return "", ""
	}
	return f.read(s)
}

func (b *columnParser) lenient(x entry, kind cpcds.Kind) {
	l := &lenient{}
	known := b.readingKeys(&l.reading, kind)
	known["repair"] = func(y entry) { l.repair = b.ruleID(y.val, "repair") }
	known["from"] = func(y entry) { l.headers = b.texts(y.val, "from") }
	b.fields(x.val, "lenient", known)
	switch {
	case l.repair == "":
		b.at(x.node, "", "lenient of %s needs the name of its repair", b.c.element.Column())
	case l.headers == nil && l.expression == nil && l.codes == nil:
		b.at(x.node, "", "lenient of %s is empty: it needs from, expr, map or code_map", b.c.element.Column())
	}
	b.c.lenient = l
}

// groups reads a list whose items are headers or lists of aliases.
func (b *columnParser) groups(x entry) [][]string {
	var out [][]string
	for _, item := range b.items(x.val) {
		out = append(out, b.texts(item, x.key))
	}
	if len(out) < 2 {
		b.at(x.val, "use from for one column", "%s must be a list of at least two columns", x.key)
	}
	return out
}

// repeats checks that the element may occur several times in a row.
func (b *columnParser) repeats(x entry) {
	if l := b.c.element.Info().Level; !repeats(b.c.element) {
		b.at(x.node, "", "%s is of level %s: only diagnosis, procedure and care_team elements repeat in a row", b.c.element.Column(), l)
	}
}

func (b *columnParser) formats(x entry, kind cpcds.Kind) {
	if kind != cpcds.DateKind && kind != cpcds.InstantKind {
		b.at(x.node, "", "%s is a %s, so it has no date formats", b.c.element.Column(), kind)
	}
	for _, item := range b.items(x.val) {
		f, err := parseFormat(b.text(item, "formats"))
		if err != nil {
			b.at(item, "", "%v", err)
			continue
		}
		b.c.form.formats = append(b.c.form.formats, f)
	}
}

func (b *columnParser) numeric(x entry, kind cpcds.Kind) {
	if kind != cpcds.MoneyKind && kind != cpcds.QuantityKind {
		b.at(x.node, "", "%s is a %s, but %s is only for money and quantity", b.c.element.Column(), kind, x.key)
	}
}

// describe names the headers of the column for messages.
func (c *column) describe() string {
	if len(c.headers) == 1 && len(c.headers[0]) == 1 {
		return fmt.Sprintf("%q", c.headers[0][0])
	}
	if len(c.headers) == 1 {
		return fmt.Sprintf("one of %q", c.headers[0])
	}
	return fmt.Sprintf("all of %q", c.headers)
}
