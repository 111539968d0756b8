package batchrun_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rejects"
)

// TestRejectsLeadToTheFault loads extracts with planted faults, whose rows stand together
// or scattered, in one file or several, and compares each with the same extract without
// faults: every row that a reject names is one that the fault has changed.
func TestRejectsLeadToTheFault(t *testing.T) {
	claims := 3000
	if testing.Short() {
		claims = 300
	}
	for _, grain := range []string{synth.LineGrain, synth.NormalisedGrain} {
		for _, form := range []string{"as written", "scattered", "split"} {
			t.Run(grain+" "+form, func(t *testing.T) {
				t.Parallel()
				opt := synth.Options{Claims: claims, Seed: 12, Format: synth.CSV, Grain: grain}
				clean := readText(t, makeExtract(t, opt), ',')
				opt.Faults = 0.6
				x := readText(t, makeExtract(t, opt), ',')
				r := rand.New(rand.NewPCG(5, 6))
				switch form {
				case "scattered":
					x = x.shuffled(r)
				case "split":
					x = x.shuffled(r).columns(r).split(r)
				}
				checkPlaces(t, clean, x)
			})
		}
	}
}

// rowText is a row as text that does not depend on the order of its columns.
func rowText(header, row []string) string {
	var cells []string
	for i, v := range row {
		if v != "" {
			cells = append(cells, header[i]+"="+v)
		}
	}
	slices.Sort(cells)
	return strings.Join(cells, "\x00")
}

// headers counts the rows of a reject that have a value in a column.
func headers(r *pipeline.Reject, column string) (n int) {
	for _, row := range r.Rows {
		if row.Values[column] != "" {
			n++
		}
	}
	return n
}

func checkPlaces(t *testing.T, clean, x *textExtract) {
	known := map[string]bool{} // rows without a fault
	for _, rows := range clean.files {
		for _, row := range rows[1:] {
			known[rowText(rows[0], row)] = true
		}
	}
	dir, state := x.write(t), t.TempDir()
	if _, err := loadRun(t.Context(), openRun(t, dir, "cpcds", state, false, newMemory())); err != nil {
		t.Fatal(err)
	}
	s, err := rejects.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	rejects, named, wrong := 0, 0, map[string]int{}
	err = s.Each("run", func(r *pipeline.Reject) error {
		rejects++
		for _, p := range r.Problems {
			if p.Row == 0 {
				continue
			}
			named++
			rows := x.files[filepath.Base(p.Input)]
			row := rows[p.Row]
			cell := ""
			for _, c := range p.Columns {
				if i := slices.Index(rows[0], c); i >= 0 {
					cell += row[i]
				} else {
					t.Errorf("%s: %s has no column %s", r.ID, p.Input, c)
				}
			}
			// Of two lines with one number, or two headers that disagree, either is at fault;
			// what is missing has not changed the row in which it should stand.
			pair := p.Rule == "duplicate-line" || p.Rule == "header-disagrees" && headers(r, p.Columns[0]) == 2
			if missing := cell == "" && strings.HasPrefix(p.Rule, "required"); known[rowText(rows[0], row)] && !pair && !missing {
				wrong[fmt.Sprintf("%s %s (empty: %v)", p.Rule, p.Element, cell == "")]++
			}
			if p.Rule[:5] == "value" && cell == "" {
				wrong["nothing in the cell: "+p.Rule+" "+p.Element]++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if named < rejects/3 {
		t.Errorf("of %d rejects %d problems name a row", rejects, named)
	}
	for what, n := range wrong {
		t.Errorf("%d times a row without a fault is named: %s", n, what)
	}
	t.Logf("%d rejects, %d problems with a row", rejects, named)
}

// TestRejectsOfNestedRows holds the same for nested rows, as far as can be seen without the
// file: the row that is named is one of the claim, and has the value that cannot be read.
func TestRejectsOfNestedRows(t *testing.T) {
	claims := 2000
	if testing.Short() {
		claims = 200
	}
	dir, state := makeExtract(t, synth.Options{Claims: claims, Seed: 12, Grain: synth.NestedGrain, Faults: 0.6}), t.TempDir()
	if _, err := loadRun(t.Context(), openRun(t, dir, "cpcds", state, false, newMemory())); err != nil {
		t.Fatal(err)
	}
	s, err := rejects.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	err = s.Each("run", func(r *pipeline.Reject) error {
		for _, p := range r.Problems {
			if p.Row == 0 {
				continue
			}
			named++
			found, read := false, false
			for _, row := range r.Rows {
				if row.Input != p.Input || row.Row != p.Row {
					continue
				}
				found = true
				for name, v := range row.Values {
					_, column, listed := strings.Cut(name, "\x1f")
					if !listed {
						column = name
					}
					read = read || v != "" && slices.Contains(p.Columns, column)
				}
			}
			if !found || strings.HasPrefix(p.Rule, "value-") && !read {
				t.Errorf("%s: %s %s is said to be in row %d", r.ID, p.Rule, p.Element, p.Row)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if named < claims/10 {
		t.Errorf("only %d problems name a row", named)
	}
}
