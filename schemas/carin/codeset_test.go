package carin

import "testing"

// TestCodeSetHasWhatItLists asks a set for every text of up to two bytes, and for some
// that are longer.
func TestCodeSetHasWhatItLists(t *testing.T) {
	set := codes("5 A 09 AS 1234 Zz")
	want := map[string]bool{}
	for _, c := range set.Codes() {
		want[c] = true
	}
	ask := func(s string) {
		if set.Has(s) != want[s] {
			t.Errorf("Has(%q) is %v", s, set.Has(s))
		}
		if (CodeSet{}).Has(s) {
			t.Errorf("the empty set has %q", s)
		}
	}
	for a := range 256 {
		ask(string([]byte{byte(a)}))
		for b := range 256 {
			ask(string([]byte{byte(a), byte(b)}))
		}
	}
	for _, s := range []string{"", "123", "1234", "12345", "AS1"} {
		ask(s)
	}
}
