package columnar

import (
	"slices"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// SetNames sets the names of the columns of a nested schema. fields have the names of the leaves
// and of the lists that contain them. structs has, for each leaf, the plain groups that contain it
// within its list, outermost first. If the name of a leaf is not unique in its list, it is
// prefixed with these groups: "doctor.npi". SetNames returns the index of the first column whose
// name is already taken, or -1 if all names are unique.
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
