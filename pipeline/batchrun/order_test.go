package batchrun_test

import (
	"encoding/csv"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rejects"
)

// textExtract is the files of an extract: by name, the header and the rows.
type textExtract struct {
	comma rune
	files map[string][][]string
}

func readText(t *testing.T, dir string, comma rune) *textExtract {
	t.Helper()
	x := &textExtract{comma, map[string][][]string{}}
	paths, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in %s (%v)", dir, err)
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r := csv.NewReader(f)
		r.Comma = comma
		rows, err := r.ReadAll()
		f.Close()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		x.files[filepath.Base(path)] = rows
	}
	return x
}

func (x *textExtract) write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, rows := range x.files {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		w := csv.NewWriter(f)
		w.Comma = x.comma
		if err := w.WriteAll(rows); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// each makes an extract of what f makes of the rows of each file.
func (x *textExtract) each(f func(name string, header []string, rows [][]string) [][]string) *textExtract {
	y := &textExtract{x.comma, map[string][][]string{}}
	for _, name := range slices.Sorted(maps.Keys(x.files)) {
		rows := x.files[name]
		y.files[name] = append([][]string{rows[0]}, f(name, rows[0], slices.Clone(rows[1:]))...)
	}
	return y
}

// shuffled has the rows of all files in another order.
func (x *textExtract) shuffled(r *rand.Rand) *textExtract {
	return x.each(func(_ string, _ []string, rows [][]string) [][]string {
		r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		return rows
	})
}

// shuffledWithin has rows in another order that stand together and agree in the column of
// a key: those of a claim.
func (x *textExtract) shuffledWithin(r *rand.Rand, key string) *textExtract {
	return x.each(func(_ string, header []string, rows [][]string) [][]string {
		c := slices.Index(header, key)
		for i := 0; c >= 0 && i < len(rows); {
			j := i
			for j < len(rows) && rows[j][c] == rows[i][c] {
				j++
			}
			claim := rows[i:j]
			r.Shuffle(len(claim), func(i, j int) { claim[i], claim[j] = claim[j], claim[i] })
			i = j
		}
		return rows
	})
}

// columns has the columns of all files in another order.
func (x *textExtract) columns(r *rand.Rand) *textExtract {
	y := &textExtract{x.comma, map[string][][]string{}}
	for name, rows := range x.files {
		order := r.Perm(len(rows[0]))
		for _, row := range rows {
			moved := make([]string, len(row))
			for to, from := range order {
				moved[to] = row[from]
			}
			y.files[name] = append(y.files[name], moved)
		}
	}
	return y
}

// split has each file in three, at random places, in another order of names.
func (x *textExtract) split(r *rand.Rand) *textExtract {
	y := &textExtract{x.comma, map[string][][]string{}}
	for name, rows := range x.files {
		header, rows := rows[0], rows[1:]
		at, to := r.IntN(len(rows)+1), r.IntN(len(rows)+1)
		at, to = min(at, to), max(at, to)
		names := r.Perm(3)
		for i, part := range [][][]string{rows[:at], rows[at:to], rows[to:]} {
			// Still the name that the layout knows.
			y.files[strings.TrimSuffix(name, ".csv")+fmt.Sprintf("-%d.csv", names[i])] = append([][]string{header}, part...)
		}
	}
	return y
}

// half has the claims of one half of the keys, and all else.
func (x *textExtract) half(key string, second bool) *textExtract {
	return x.each(func(_ string, header []string, rows [][]string) [][]string {
		c := slices.Index(header, key)
		if c < 0 {
			return rows
		}
		return slices.DeleteFunc(rows, func(row []string) bool {
			sum := 0
			for _, b := range []byte(row[c]) {
				sum += int(b)
			}
			return (sum%2 == 1) != second
		})
	})
}

// loaded is what became of an extract, without the places of its rows.
type loaded struct {
	Resources map[string]string
	Account   *pipeline.Account
	Rejects   []string
}

type orderCase struct {
	layout  string
	lenient bool
	key     string
	x       *textExtract
}

func (c *orderCase) load(t *testing.T, x *textExtract, id, state string, m *memory) loaded {
	t.Helper()
	r := openRun(t, x.write(t), c.layout, state, c.lenient, m)
	r.ID = id
	m.lanes = map[string]pipeline.Checkpoint{}
	a, err := loadRun(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !a.Balanced() {
		t.Errorf("the account does not balance: %+v", a)
	}
	s, err := rejects.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	l := loaded{Resources: m.texts(), Account: a}
	runs, err := s.Runs()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(runs, id) {
		err = s.Each(id, func(r *pipeline.Reject) error {
			text := fmt.Sprintf("%s %v %v %s:", r.Table, r.Resources, r.Loaded, r.Version)
			for _, p := range r.Problems {
				text += fmt.Sprintf(" %s %s %s;", p.Part, p.Rule, p.Element)
			}
			l.Rejects = append(l.Rejects, text)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(l.Rejects)
	return l
}

// TestOrderSaysNothing loads extracts whose rows, files and columns come in other orders,
// and half of the claims before the other half: what is loaded, rejected, repaired,
// warned of and counted is the same, and a second load changes nothing.
func TestOrderSaysNothing(t *testing.T) {
	var cases []orderCase
	claims := 200
	if testing.Short() {
		claims = 60
	}
	for _, faults := range []float64{0, 0.5} {
		for _, grain := range []string{synth.LineGrain, synth.NormalisedGrain} {
			dir := makeExtract(t, synth.Options{Claims: claims, Seed: 9, Format: synth.CSV, Grain: grain, Faults: faults})
			x := readText(t, dir, ',')
			for _, lenient := range []bool{false, true} {
				cases = append(cases, orderCase{"cpcds", lenient, "claim_unique_identifier", x})
			}
		}
	}
	shared := filepath.Join("..", "..", "..", "shared", "data")
	if _, err := os.Stat(shared); err == nil && !testing.Short() {
		synthea := readText(t, filepath.Join(shared, "synthea-cpcds", "csv"), ',')
		rif := readText(t, filepath.Join(shared, "bfd-rif", "rif-synthea"), '|')
		delete(rif.files, "beneficiary_history.csv")
		delete(rif.files, "export_summary.csv")
		for _, lenient := range []bool{false, true} {
			cases = append(cases, orderCase{"synthea", lenient, "Claim unique identifier", synthea}, orderCase{"rif", lenient, "CLM_ID", rif})
		}
	} else {
		t.Log("without the extracts of others, which are not there")
	}
	for i := range cases {
		c := &cases[i]
		t.Run(fmt.Sprintf("%s-%d-lenient=%v", c.layout, i, c.lenient), func(t *testing.T) {
			t.Parallel()
			c.permute(t)
		})
	}
}

func (c *orderCase) permute(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	want := c.load(t, c.x, "a", t.TempDir(), newMemory())
	if want.Account.Claims.Seen == 0 {
		t.Fatalf("there is nothing: %+v", want.Account)
	}
	for _, v := range []struct {
		name string
		x    *textExtract
	}{
		{"rows of claims", c.x.shuffledWithin(r, c.key)},
		{"all rows", c.x.shuffled(r)},
		{"columns", c.x.columns(r)},
		{"files", c.x.split(r)},
		{"everything", c.x.shuffled(r).columns(r).split(r)},
	} {
		got := c.load(t, v.x, "a", t.TempDir(), newMemory())
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s in another order (-want +got):\n%.6000s", v.name, diff)
		}
	}
	for _, second := range []bool{false, true} {
		state, m := t.TempDir(), newMemory()
		c.load(t, c.x.half(c.key, second), "a", state, m)
		c.load(t, c.x.half(c.key, !second), "b", state, m)
		if diff := cmp.Diff(want.Resources, m.texts()); diff != "" {
			t.Errorf("half of the claims before the others (-want +got):\n%.6000s", diff)
		}
		again := c.load(t, c.x.shuffled(r).split(r), "c", state, m)
		for typ, n := range again.Account.Resources {
			if n.Created+n.Updated+n.Stale > 0 {
				t.Errorf("loaded again, of type %d: %+v", typ, n)
			}
		}
	}
}
