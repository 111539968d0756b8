package carin_test

import (
	"encoding/csv"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/schemas/carin"
)

// profileOf names the profiles of the CPCDS dictionary.
var profileOf = map[string]string{"EOB Inpatient Institutional": "inpatient", "EOB Outpatient Institutional": "outpatient",
	"EOB Professional & Non-Clinician": "professional", "EOB Pharmacy": "pharmacy", "EOB Oral": "oral", "Coverage": "coverages",
	"Patient": "members", "Practitioner": "providers", "Organization": "organizations"}

// elsewhere are elements whose value stands in the resource that the path of the
// dictionary refers to, or beside it.
var elsewhere = map[string]string{
	"2": "insurer, and the payor of the coverage", "175": "the name of the insurer's Organization",
	"166": "the name of the practitioner", "168": "the name of the practitioner", "169": "the name of the practitioner", "171": "the name of the practitioner",
	"172": "the name of the practitioner", "174": "the name of the practitioner", "182": "the name of the practitioner",
	"167": "the name of the organization", "170": "the name of the facility", "176": "the address of the facility",
	"184": "the type is that of the column", "185": "the type is that of the column", "186": "the type is that of the column",
}

var slice = regexp.MustCompile(`:[A-Za-z-]+|\[[^\]]*\]`)

// TestDictionaryIsMapped accounts for every element of the CPCDS dictionary in every
// profile that has it: a column of that MapID becomes the path that the dictionary
// names, or unmapped.csv says why none does.
func TestDictionaryIsMapped(t *testing.T) {
	rows := dictionary(t)
	unmapped := map[string]bool{}
	for _, u := range carin.Unmappeds() {
		for _, id := range u.MapIDs {
			for _, p := range u.Profiles {
				unmapped[id+" "+p] = false
			}
		}
	}
	mapped, reasoned := 0, 0
	for _, row := range rows {
		if row["in_scope"] != "yes" {
			continue
		}
		id, profile := row["map_id"], profileOf[row["profile"]]
		if profile == "" {
			t.Fatalf("the dictionary has the profile %q", row["profile"])
		}
		var paths []string
		for _, m := range carin.Mapping() {
			if m.Profile == profile && m.Element.Info().HasMapID(id) {
				paths = append(paths, m.Paths...)
			}
		}
		if _, ok := unmapped[id+" "+profile]; ok {
			unmapped[id+" "+profile] = true
			reasoned++
			if len(paths) > 0 {
				t.Errorf("MapID %s in %s is in unmapped.csv and becomes %v", id, profile, paths)
			}
			continue
		}
		mapped++
		if len(paths) == 0 {
			t.Errorf("MapID %s (%s) in %s becomes nothing, and unmapped.csv does not say why", id, row["element_name"], profile)
		}
		if elsewhere[id] == "" && !slices.ContainsFunc(paths, func(p string) bool { return under(p, row["fhir_path_2_2_0"]) }) {
			t.Errorf("MapID %s (%s) in %s becomes %v, the dictionary says %s", id, row["element_name"], profile, paths, row["fhir_path_2_2_0"])
		}
	}
	for key, seen := range unmapped {
		if !seen {
			t.Errorf("unmapped.csv has MapID and profile %s, the dictionary has not", key)
		}
	}
	t.Logf("%d rows of the dictionary: %d mapped, %d with a reason, the others are out of its scope", len(rows), mapped, reasoned)
}

// under reports whether a path is that of the dictionary or below it; there [x]
// stands for a type.
func under(path, want string) bool {
	path = slice.ReplaceAllString(path, "")
	for w := range strings.FieldsFuncSeq(want, func(r rune) bool { return strings.ContainsRune(" ;|", r) }) {
		open := strings.Contains(w, "[x]")
		w = slice.ReplaceAllString(w, "")
		if path == w || strings.HasPrefix(path, w+".") || open && strings.HasPrefix(path, w) {
			return true
		}
	}
	return false
}

func dictionary(t *testing.T) []map[string]string {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "carin", "cpcds_dictionary.csv")
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("the CPCDS dictionary is not there: %s", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	for _, r := range records[1:] {
		row := map[string]string{}
		for i, name := range records[0] {
			row[name] = r[i]
		}
		rows = append(rows, row)
	}
	return rows
}
