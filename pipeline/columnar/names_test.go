package columnar

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/cpcds"
)

func TestSetNames(t *testing.T) {
	fields := []cpcds.Field{{Name: "npi"}, {Name: "npi"}, {Name: "name"}, {Name: "npi", Group: "lines"}}
	structs := [][]string{nil, {"billing", "provider"}, {"billing"}, {"doctor"}}
	want := []cpcds.Field{{Name: "npi"}, {Name: "billing.provider.npi"}, {Name: "name"}, {Name: "npi", Group: "lines"}}
	if i := SetNames(fields, structs); i != -1 {
		t.Errorf("column %d was reported as a duplicate", i)
	}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if i := SetNames([]cpcds.Field{{Name: "a"}, {Name: "b"}, {Name: "a"}}, make([][]string, 3)); i != 2 {
		t.Errorf("got duplicate %d, want 2", i)
	}
}
