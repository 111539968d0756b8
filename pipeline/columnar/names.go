package columnar

import (
	"slices"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// SetNames names the columns of a nested schema. fields have the names of the
// leaves and the lists that hold them; structs has, for each, the plain groups
// around it within its list, outermost first. A leaf whose name is not unique in
// its list gets those groups as a prefix: "doctor.npi". The place of the first
// column whose name another one has already is returned, -1 if all differ.
func SetNames(fields []cpcds.Field, structs [][]string) (duplicate int) {
	type name struct{ group, name string }
	count := map[name]int{}
	for _, f := range fields {
		count[name{f.Group, f.Name}]++
	}
	seen := map[name]bool{}
	for i := range fields {
		f := &fields[i]
		if count[name{f.Group, f.Name}] > 1 && len(structs[i]) > 0 {
			f.Name = strings.Join(append(slices.Clip(structs[i]), f.Name), ".")
		}
		n := name{f.Group, f.Name}
		if seen[n] {
			return i
		}
		seen[n] = true
	}
	return -1
}
