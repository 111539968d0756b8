package layouts

import (
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml/ast"

	"cpcds2fhir/schemas/cpcds"
)

// closedCodes holds the codes of elements that have a closed list.
var closedCodes = sync.OnceValue(func() map[cpcds.Element][]string {
	out := map[cpcds.Element][]string{}
	for _, row := range vocabularyTable("codes.csv") {
		t, _ := cpcds.ParseTable(row[0])
		el, ok := cpcds.Lookup(t, row[1])
		if !ok {
			panic("codes.csv: unknown element " + row[1])
		}
		out[el] = strings.Fields(row[2])
	}
	return out
})

// Codes returns the codes of an element that has a closed list of them, nil if it
// has none. It must not be changed.
func Codes(e cpcds.Element) []string { return closedCodes()[e] }

// foreign returns the first code in a text that is not one of the element's, "" if all are or the
// element has no closed list.
func foreign(el cpcds.Element, text string) string {
	codes := closedCodes()[el]
	if codes == nil {
		return ""
	}
	for f := range strings.FieldsSeq(text) {
		if !slices.Contains(codes, f) {
			return f
		}
	}
	return ""
}

// closed adds a finding if a text of the layout is not a code of the element.
func (d *decoder) closed(el cpcds.Element, n ast.Node, text string) {
	if code := foreign(el, text); code != "" {
		hint := meant(code, closedCodes()[el])
		if hint == "" {
			hint = "its codes are " + strings.Join(closedCodes()[el], ", ")
		}
		d.at(n, hint, "%q is not a code of %s", code, el)
	}
}
