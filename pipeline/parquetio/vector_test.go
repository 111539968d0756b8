package parquetio

import (
	"slices"
	"testing"

	"cpcds2fhir/schemas/cpcds"
)

// TestEqualNeighboursAreOneValue adds dictionary and plain pages to a vector in turn. The rows
// must be unchanged, and equal adjacent values must be stored only once.
func TestEqualNeighboursAreOneValue(t *testing.T) {
	const present = 1
	a := &dictionary{id: 1, text: []string{"x", "y", ""}, blank: true}
	b := &dictionary{id: 2, text: []string{"y", "z"}}
	for _, c := range []struct {
		name         string
		fill         func(v *vector)
		want, values []string
	}{
		{"a page of plain values", func(v *vector) {
			v.plain = append(v.plain, "a", "a", "", "a", "b")
			v.addPlain(0, nil, present)
		}, []string{"a", "a", "", "a", "b"}, []string{"a", "b"}},
		{"with absent ones", func(v *vector) {
			v.plain = append(v.plain, "a", "a", "b")
			v.addPlain(0, []byte{1, 0, 1, 1, 0}, present)
		}, []string{"a", "", "a", "b", ""}, []string{"a", "b"}},
		{"two pages", func(v *vector) {
			v.plain = append(v.plain, "a", "b")
			v.addPlain(0, nil, present)
			v.plain = append(v.plain, "b", "c")
			v.addPlain(2, nil, present)
		}, []string{"a", "b", "b", "c"}, []string{"a", "b", "c"}},
		{"a dictionary given up", func(v *vector) {
			v.addIndexes(a, []int32{0, 0, 2, 1}, []byte{1, 1, 1, 0, 1}, present)
			v.beginPlain()
			v.plain = append(v.plain, "y", "w")
			v.addPlain(2, nil, present)
		}, []string{"x", "x", "", "", "y", "y", "w"}, []string{"x", "y", "w"}},
		{"another dictionary", func(v *vector) {
			v.addIndexes(a, []int32{0, 1}, nil, present)
			v.addIndexes(b, []int32{0, 0, 1}, nil, present)
		}, []string{"x", "y", "y", "y", "z"}, []string{"x", "y", "y", "z"}},
	} {
		var v vector
		for range 2 {
			v.reset()
			c.fill(&v)
			col := cpcds.Column{Index: v.index}
			v.column(&col)
			var got []string
			for i := range col.Index {
				got = append(got, col.Value(i))
			}
			if !slices.Equal(got, c.want) || !slices.Equal(col.Values, c.values) {
				t.Errorf("%s: %q of %q, want %q of %q", c.name, got, col.Values, c.want, c.values)
			}
		}
	}
}
