package cpcds_test

import (
	"encoding/csv"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/cpcds"
)

// TestGeneratedIsCurrent runs the generator in another folder: the generated files
// must be what elements.csv says.
func TestGeneratedIsCurrent(t *testing.T) {
	generator, err := filepath.Abs("gen.go")
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("elements.csv")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "elements.csv"), list, 0o600); err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), "go", "run", generator)
	run.Dir = dir
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("run gen.go: %v\n%s", err, out)
	}
	for _, file := range []string{"elements_generated.go", "infos_generated.go"} {
		want, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is not current: run go generate (-current +there):\n%s", file, diff)
		}
	}
}

// constants are the elements of CPCDS that no extract need have, because the
// profile or the resource itself fixes them.
var constants = map[string]string{
	"183": "the type of the claim's identifier is always uc",
	"188": "the amount's column says which category it has",
	"190": "the claim type says which profile the resource has",
}

// TestDictionaryIsCovered: every element that CPCDS has in scope is a column, or is
// a constant.
func TestDictionaryIsCovered(t *testing.T) {
	const file = "cpcds_dictionary_wide.csv"
	f, err := os.Open(filepath.Join(moduleRoot(t), "..", "shared", "carin", file))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s, the dictionary of CPCDS, is not beside the module", file)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	columns := map[string]int{}
	for i, name := range rows[0] {
		columns[name] = i
	}
	id, scope, name := columns["map_id"], columns["in_scope"], columns["element_name"]
	used := map[string]bool{}
	for _, row := range rows[1:] {
		if row[scope] != "yes" {
			continue
		}
		covered := false
		for e := range cpcds.NumElements {
			covered = covered || e.Info().HasMapID(row[id])
		}
		_, constant := constants[row[id]]
		switch {
		case !covered && !constant:
			t.Errorf("MapID %s (%s) has no column", row[id], row[name])
		case covered && constant:
			t.Errorf("MapID %s (%s) has a column and is listed as constant", row[id], row[name])
		}
		used[row[id]] = true
	}
	for id := range constants {
		if !used[id] {
			t.Errorf("MapID %s is listed as constant, but is not in scope", id)
		}
	}
}

// moduleRoot walks up to go.mod.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}

// TestElements holds the list together: names are unique in their table, slots are
// the places of a record, and every element can be found again.
func TestElements(t *testing.T) {
	slots := map[cpcds.Level]int{}
	names := map[string]bool{}
	total := 0
	for table := range cpcds.NumTables {
		list := cpcds.Columns(table)
		total += len(list)
		for _, e := range list {
			info := e.Info()
			if got, ok := cpcds.Lookup(table, e.Column()); !ok || got != e {
				t.Errorf("Lookup(%s, %s) = %v, %v", table, e.Column(), got, ok)
			}
			if info.Level.Table() != table {
				t.Errorf("%s of level %s is listed in %s", e, info.Level, table)
			}
			if e.Slot() != slots[info.Level] {
				t.Errorf("%s has slot %d, want %d", e, e.Slot(), slots[info.Level])
			}
			slots[info.Level]++
			if names[info.Name] {
				t.Errorf("the name %s is there twice", info.Name)
			}
			names[info.Name] = true
			if info.Definition == "" {
				t.Errorf("%s has no definition", e)
			}
		}
	}
	if total != int(cpcds.NumElements) {
		t.Errorf("the tables have %d elements, there are %d", total, cpcds.NumElements)
	}
	if _, ok := cpcds.Lookup(cpcds.Members, "claim_type"); ok {
		t.Error("members have a column of claims")
	}
}

func TestDescribe(t *testing.T) {
	for e, want := range map[cpcds.Element]string{
		cpcds.ClaimUniqueIdentifier: "claim_unique_identifier (CPCDS 35)",
		cpcds.CoverageID:            "coverage_id",
		cpcds.ToothNumber:           "tooth_number (CPCDS 196)",
		cpcds.ProcedureCode:         "procedure_code (CPCDS 40, 194)",
	} {
		if got := e.Describe(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestHasMapID(t *testing.T) {
	info := cpcds.ProcedureCode.Info()
	for id, want := range map[string]bool{"40": true, "194": true, "4": false, "19": false, "": false} {
		if got := info.HasMapID(id); got != want {
			t.Errorf("MapID %q of %s: got %v, want %v", id, info.Column, got, want)
		}
	}
}

func TestParseTable(t *testing.T) {
	for table := range cpcds.NumTables {
		if got, ok := cpcds.ParseTable(table.String()); !ok || got != table {
			t.Errorf("ParseTable(%q) = %v, %v", table, got, ok)
		}
	}
	if _, ok := cpcds.ParseTable(strings.ToUpper("claims")); ok {
		t.Error("a table in capitals is accepted")
	}
}
