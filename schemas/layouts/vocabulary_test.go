package layouts

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/cpcds"
)

func TestWordsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range vocabularyTable("vocabulary/words.csv") {
		if seen[row[0]] {
			t.Errorf("%q is duplicated", row[0])
		}
		seen[row[0]] = true
		if n := len(strings.Fields(row[0])); n == 0 || n > longestRun || row[0] != strings.ToLower(row[0]) {
			t.Errorf("%q is not one to %d lower-case words", row[0], longestRun)
		}
		// Meanings are final: they are not looked up again.
		for _, m := range strings.Fields(row[1]) {
			if means, ok := wordMeanings()[m]; ok && means[0] != m {
				t.Errorf("%q means %q, which itself means %q", row[0], m, means)
			}
		}
	}
}

// TestHeadersAreUnambiguous proves that no listed header names two elements of a
// table and level. Of the claim and of its lines it may: the file decides.
func TestHeadersAreUnambiguous(t *testing.T) {
	for table, v := range vocabularies() {
		of := map[string]cpcds.Element{}
		for _, p := range v.phrases {
			words := strings.Join(slices.Sorted(maps.Keys(p.words)), " ")
			if el, ok := of[words]; ok && el != p.element && v.exact[p.name] != p.element && el.Info().Level == p.element.Info().Level {
				t.Errorf("%s: %q names %s and %s", cpcds.Table(table), p.name, el, p.element)
			}
			of[words] = p.element
		}
	}
}

func TestMeaning(t *testing.T) {
	f := func(header, want string) {
		t.Helper()
		if d := cmp.Diff(want, strings.Join(meaning(header), " ")); d != "" {
			t.Errorf("%s: -want +got\n%s", header, d)
		}
	}
	f("DxCode-01", "diagnosis code 1")
	f("ICD_DGNS_CD12", "icd diagnosis code 12")
	f("HCPCS_1ST_MDFR_CD", "procedure 1 modifier code")
	f("lineNPINumber", "line npi number")
	f("First Name", "given name")
	f("Beginning Date of Service", "from date service")
	f("", "")
}
