package batchrun_test

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/cpcds"
)

// TestMapping derives by experiment what schemas/carin/mapping.csv says: it changes
// one column of a claim in which every column is filled, and looks which values of
// the resources change with it. So the table is what the program does, forward (a
// column changes exactly these paths) and backward (every other value is one of
// constants.csv). -update rewrites both; read the diff.
func TestMapping(t *testing.T) {
	if testing.Short() {
		t.Skip("the experiments take a while")
	}
	collectLess(t)
	found := mapping{paths: map[string]map[string]bool{}, constants: map[string]bool{}}
	t.Run("experiments", func(t *testing.T) {
		for _, f := range filledClaims {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				f.experiment(t, &found)
			})
		}
	})
	if t.Failed() {
		return
	}
	compareCSV(t, filepath.Join("..", "..", "schemas", "carin", "mapping.csv"), []string{"table", "column", "profile", "paths"}, found.rows())
	compareCSV(t, filepath.Join("..", "..", "schemas", "carin", "constants.csv"), []string{"profile", "path", "value"}, found.constantRows())
}

// collectLess has a test collect garbage less often. Thousands of loads of a claim each leave their buffers
// behind, and collecting them at once would take more than a third of the time.
func collectLess(t *testing.T) {
	t.Helper()
	before := debug.SetGCPercent(800)
	t.Cleanup(func() { debug.SetGCPercent(before) })
}

// mapping is what the experiments find.
type mapping struct {
	mu        sync.Mutex
	paths     map[string]map[string]bool // by "table,column,profile"
	constants map[string]bool            // "profile,path,value"
}

func (m *mapping) rows() [][]string {
	order := map[string]int{}
	for t := range cpcds.NumTables {
		for i, e := range cpcds.Columns(t) {
			order[t.String()+","+e.Column()] = int(t)*1000 + i
		}
	}
	for key, paths := range untried {
		if m.paths[key] == nil {
			m.paths[key] = map[string]bool{}
		}
		for path := range strings.FieldsSeq(paths) {
			m.paths[key][path] = true
		}
	}
	var rows [][]string
	for key, paths := range m.paths {
		rows = append(rows, append(strings.Split(key, ","), strings.Join(slices.Sorted(maps.Keys(paths)), " ")))
	}
	slices.SortFunc(rows, func(a, b []string) int {
		return cmp.Or(order[a[0]+","+a[1]]-order[b[0]+","+b[1]], strings.Compare(a[2], b[2]))
	})
	return rows
}

func (m *mapping) constantRows() [][]string {
	var rows [][]string
	for _, key := range slices.Sorted(maps.Keys(m.constants)) {
		rows = append(rows, strings.SplitN(key, ",", 3))
	}
	return rows
}

// compareCSV holds a file against rows, or rewrites it.
func compareCSV(t *testing.T, path string, header []string, rows [][]string) {
	t.Helper()
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.WriteAll(append([][]string{header}, rows...)); err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile(path)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(have), b.String()); diff != "" {
		t.Errorf("%s is not what the program does: run go test ./pipeline/batchrun -run TestMapping -update (-file +program)\n%s", path, diff)
	}
}

// load returns the values of all resources by path.
func (f *filledClaim) load(t *testing.T, changed cpcds.Element) (leaves map[string][]string, accepted bool) {
	t.Helper()
	m := newMemory()
	account, err := loadRun(t.Context(), openRun(t, f.extract(t, changed), "cpcds", t.TempDir(), false, m))
	if err != nil {
		t.Fatal(err)
	}
	if account.Claims.Loaded != 1 || len(account.Rejects) > 0 {
		t.Logf("%s: changing %v: %v", f.name, changed, account.Rejects)
		return nil, false
	}
	leaves = map[string][]string{}
	for ref, r := range m.resources {
		var v map[string]any
		d := json.NewDecoder(bytes.NewReader(r.json))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
		flatten(v, r.typ.String(), leaves)
	}
	for _, list := range leaves {
		slices.Sort(list)
	}
	return leaves, true
}

// flatten collects the values of a resource by path; a slice is named in brackets.
func flatten(v any, path string, leaves map[string][]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			flatten(x, path+"."+k, leaves)
		}
	case []any:
		for _, x := range v {
			flatten(x, path+sliceName(path, x), leaves)
		}
	default:
		leaves[path] = append(leaves[path], fmt.Sprint(v))
	}
}

// sliceName is what tells the members of a list apart: a code of their category,
// role or type, the system of an identifier, the name of an extension.
func sliceName(path string, x any) string {
	m, ok := x.(map[string]any)
	if !ok {
		return ""
	}
	if url, ok := m["url"].(string); ok {
		return "[" + url[strings.LastIndexByte(url, '/')+1:] + "]"
	}
	last := path[strings.LastIndexByte(path, '.')+1:]
	by := map[string]string{"supportingInfo": "category", "adjudication": "category", "total": "category", "careTeam": "role", "class": "type", "identifier": "type", "related": "relationship"}[last]
	if by == "" {
		return ""
	}
	if c, ok := m[by].(map[string]any); ok {
		if list, ok := c["coding"].([]any); ok && len(list) > 0 {
			if code, ok := list[0].(map[string]any)["code"].(string); ok {
				return "[" + code + "]"
			}
		}
	}
	return ""
}

// experiment changes every column in turn.
func (f *filledClaim) experiment(t *testing.T, found *mapping) {
	base, ok := f.load(t, cpcds.NoElement)
	if !ok {
		t.Fatalf("%s: the claim with everything filled is not accepted", f.name)
	}
	explained := map[string]bool{}
	for table := range cpcds.NumTables {
		for _, e := range cpcds.Columns(table) {
			// The small tables are the same whatever the claim is.
			if f.only != nil && !f.only(e) || table != cpcds.Claims && !strings.HasPrefix(f.name, "inpatient") {
				continue
			}
			if table == cpcds.Claims {
				if v := f.fill(e, filling(f.profile)); f.empty(e) || (v.b == v.a || v.b == "") && renamed[e] == "" {
					continue
				}
			} else if small(table)[0][e.Column()].b == "" && renamed[e] == "" {
				continue
			}
			got, ok := f.load(t, e)
			if !ok {
				continue
			}
			profile := f.profile.String()
			if table != cpcds.Claims {
				profile = table.String()
			}
			key := table.String() + "," + e.Column() + "," + profile
			found.mu.Lock()
			if found.paths[key] == nil {
				found.paths[key] = map[string]bool{}
			}
			for path := range allPaths(base, got) {
				if !slices.Equal(base[path], got[path]) {
					found.paths[key][path] = true
					explained[path] = true
				}
			}
			found.mu.Unlock()
		}
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	for path, list := range base {
		eob := strings.HasPrefix(path, "ExplanationOfBenefit.")
		if !explained[path] && f.only == nil && (eob || f.name == "inpatient") {
			for _, v := range list {
				profile := f.profile.String()
				if !eob {
					profile, _, _ = strings.Cut(path, ".")
				}
				found.constants[profile+","+path+","+v] = true
			}
		}
	}
}

func allPaths(a, b map[string][]string) map[string]bool {
	all := map[string]bool{}
	for p := range a {
		all[p] = true
	}
	for p := range b {
		all[p] = true
	}
	return all
}
