package layouts

import (
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// Convert makes canonical text of src, whose columns are those of Source, and puts
// it into dst, replacing what is there. dst points into src and into the binding:
// it holds until either is filled again. Values that were bad are empty and have
// their rule in Bad; those that a repair made have its name in Repaired.
func (b *Binding) Convert(dst *cpcds.Batch, src *cpcds.Rows) {
	dst.Table, dst.N, dst.Elements = b.table.Table, src.N, b.elements
	if cap(dst.Columns) < len(b.plans) {
		dst.Columns = make([]cpcds.Column, len(b.plans))
	}
	dst.Columns = dst.Columns[:len(b.plans)]
	for i, p := range b.plans {
		switch {
		case len(p.source) == 0:
			dst.Columns[i] = p.repeat(src.N)
		case p.conv.list:
			dst.Columns[i] = p.join(src)
		default:
			dst.Columns[i] = p.convert(&src.Columns[p.source[0]], src.N)
		}
	}
}

// conversion says how one value is converted. It is immutable and shared by clones.
type conversion struct {
	nulls         map[string]struct{}
	plain         *reading
	lenient       *lenient // nil if it is off
	replaces      bool     // the lenient reading has its own column
	form          *form
	standby       string
	repairInvalid string // repair that drops unreadable values, "" if they are bad
	list          bool   // several columns make one value
	simple        bool   // neither expression nor codes
}

// value converts the text of one value. It does not keep raw.
func (c *conversion) value(raw string) result {
	s := strings.TrimSpace(raw)
	if c.absent(s) {
		return result{text: c.standby}
	}
	return c.words(s, nil)
}

// canonical reports whether a value is already canonical, by a look at its bytes.
func (c *conversion) canonical(s string) bool { return c.form.plain(s) && !c.absent(s) }

// values converts the texts of several columns into one value.
func (c *conversion) values(raw []string) result {
	some := false
	for i, r := range raw {
		if raw[i] = strings.TrimSpace(r); c.absent(raw[i]) {
			raw[i] = ""
		}
		some = some || raw[i] != ""
	}
	if !some {
		return result{text: c.standby}
	}
	return c.words("", raw)
}

func (c *conversion) absent(s string) bool {
	if s == "" {
		return true
	}
	if len(c.nulls) == 0 {
		return false
	}
	_, null := c.nulls[s]
	return null
}

// words applies the readings and then the form.
func (c *conversion) words(s string, values []string) result {
	out, rule, repair := "", "", ""
	if l := c.lenient; l != nil {
		t, known, r := l.apply(s, values)
		if known || c.replaces {
			out, rule, repair = t, r, l.repair
		}
	}
	if !c.replaces {
		// If the normal reading gives the same, it is not a repair.
		if t, _, r := c.plain.apply(s, values); repair == "" || t == out && r == rule {
			out, rule, repair = t, r, ""
		}
	}
	var r result
	if rule == "" {
		if out = strings.TrimSpace(out); out == "" {
			return result{text: c.standby, repaired: repair}
		}
		r.text, rule = c.form.read(out)
	}
	switch {
	case rule == "":
		r.repaired = repair
	case c.repairInvalid != "":
		r = result{repaired: c.repairInvalid}
	default:
		r = result{bad: rule}
	}
	return r
}
