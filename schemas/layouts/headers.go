package layouts

import (
	"fmt"

	"cpcds2fhir/schemas/cpcds"
)

// headers finds the columns of one file by folded names.
type headers struct {
	fields []cpcds.Field
	names  map[string][]int
}

func newHeaders(fields []cpcds.Field) *headers {
	h := &headers{fields: fields, names: make(map[string][]int, len(fields))}
	for i, f := range fields {
		k := cpcds.FoldHeader(f.Name)
		h.names[k] = append(h.names[k], i)
	}
	return h
}

// find returns the one field with one of the aliases. Two such fields are a fault, because it is
// unclear which one is meant. So is a field that cannot become text.
func (h *headers) find(el cpcds.Element, aliases []string, faults *[]string) (int, bool) {
	found := -1
	for _, a := range aliases {
		for _, i := range h.names[cpcds.FoldHeader(a)] {
			switch {
			case found < 0:
				found = i
			case found != i && h.fields[found].Name == h.fields[i].Name:
				*faults = append(*faults, fmt.Sprintf("there are two columns %q", h.fields[i].Name))
				return found, true
			case found != i:
				*faults = append(*faults, fmt.Sprintf("the columns %q and %q both mean %s", h.fields[found].Name, h.fields[i].Name, el))
				return found, true
			}
		}
	}
	if found >= 0 && h.fields[found].Fault != "" {
		*faults = append(*faults, fmt.Sprintf("the column %q %s", h.fields[found].Name, h.fields[found].Fault))
	}
	return found, found >= 0
}

// bound are the fields of one repetition of a column.
type bound struct {
	rep    int // -1: the element does not repeat
	fields []int
}

// columns returns the fields of a column: none, one binding, or one for each repetition that is
// present. A column of several fields needs all of them.
func (h *headers) columns(c *column, faults *[]string) []bound {
	switch c.origin {
	case fromOne:
		if i, ok := h.find(c.element, c.headers[0], faults); ok {
			return []bound{{-1, []int{i}}}
		}
	case fromAll:
		fields := make([]int, 0, len(c.headers))
		for _, group := range c.headers {
			if i, ok := h.find(c.element, group, faults); ok {
				fields = append(fields, i)
			}
		}
		if len(fields) == len(c.headers) {
			return []bound{{-1, fields}}
		}
	case fromEach:
		var out []bound
		for rep, group := range c.headers {
			if i, ok := h.find(c.element, group, faults); ok {
				out = append(out, bound{rep, []int{i}})
			}
		}
		return out
	}
	return nil
}
