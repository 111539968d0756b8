package batchrun_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"
	"github.com/rogpeppe/go-internal/txtar"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// mutantCase is an extract whose rows can be changed: a golden claim, or a claim
// with every column filled.
type mutantCase struct {
	*golden
	name   string
	files  []mutantFile
	claims []*baseClaim
}

// mutantFile is one file of the extract.
type mutantFile struct {
	name   string
	table  cpcds.Table // the first that it is read for
	header []string
	rows   [][]string
	key    int // the column of the claim number, -1 if it has none
}

// baseClaim is a claim as it is before anything is changed.
type baseClaim struct {
	key      string
	rows     [][][]string // by file
	json     string       // of its resource, "" if it was rejected; see neutral
	profile  string
	problems []pipeline.RejectProblem
	warnings map[string]int64 // loaded alone
}

// newCase reads the files of a case and loads it once.
func newCase(t *testing.T, name string, g *golden) *mutantCase {
	t.Helper()
	c := &mutantCase{golden: g, name: name}
	base := g.run(t, 1)
	for _, f := range g.archive.Files {
		if !strings.HasSuffix(f.Name, ".csv") {
			continue
		}
		r := csv.NewReader(bytes.NewReader(f.Data))
		r.Comma, r.FieldsPerRecord = cmp.Or(g.layout.CSV.Delimiter, ','), -1
		rows, err := r.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		m := mutantFile{name: f.Name, header: rows[0], rows: rows[1:], key: -1}
		for _, in := range base.inputs {
			if filepath.Base(in.Path) != f.Name {
				continue
			}
			if m.table = in.Table; m.table == cpcds.Claims {
				m.key = slices.Index(m.header, in.Binding.Columns(cpcds.ClaimUniqueIdentifier)[0])
			}
		}
		c.files = append(c.files, m)
	}
	loaded, rejects := byNumber(t, base, regexp.MustCompile(`()$`))
	for f, file := range c.files {
		for _, row := range file.rows {
			if file.key < 0 || row[file.key] == "" {
				continue
			}
			i := slices.IndexFunc(c.claims, func(b *baseClaim) bool { return b.key == row[file.key] })
			if i < 0 {
				i = len(c.claims)
				c.claims = append(c.claims, &baseClaim{key: row[file.key], rows: make([][][]string, len(c.files))})
			}
			c.claims[i].rows[f] = append(c.claims[i].rows[f], row)
		}
	}
	for _, b := range c.claims {
		b.json, b.problems = loaded[b.key], rejects[b.key]
		if b.json != "" {
			b.profile = profileOf(b.json)
		}
		b.warnings = c.alone(t, []*mutant{{claim: b, rows: b.rows}}).Warnings
	}
	return c
}

// mutant is a claim with one thing changed.
type mutant struct {
	kind    string
	claim   *baseClaim
	rows    [][][]string // by file
	columns []string     // what was changed, and what a rule may name
	element cpcds.Element
	value   string  // that was written, if one was
	was     string  // what it replaced
	blank   *mutant // the same with nothing there, nil if that is the claim itself

	json     string // what became of it
	problems []pipeline.RejectProblem
}

// suffix tells the copies of a claim apart; it is part of their numbers.
func suffix(i int) string { return fmt.Sprintf("-m%dx", i) }

var suffixed = regexp.MustCompile(`-m\d+x`)

// archiveOf is the extract with other rows of claims.
func (c *mutantCase) archiveOf(claims func(f int) [][]string) *txtar.Archive {
	a := &txtar.Archive{Comment: c.archive.Comment}
	for f, file := range c.files {
		rows := file.rows
		if file.key >= 0 {
			rows = claims(f)
		}
		a.Files = append(a.Files, txtar.File{Name: file.name, Data: c.write(file.header, rows)})
	}
	return a
}

func (c *mutantCase) write(header []string, rows [][]string) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Comma = cmp.Or(c.layout.CSV.Delimiter, ',')
	if err := w.WriteAll(append([][]string{header}, rows...)); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

// numbered are the rows of the mutants in a file, each under a number of its own.
func (c *mutantCase) numbered(f int, list []*mutant) (rows [][]string) {
	for i, m := range list {
		for _, row := range m.rows[f] {
			row = slices.Clone(row)
			row[c.files[f].key] += suffix(i)
			rows = append(rows, row)
		}
	}
	return rows
}

// alone loads mutants without the rest of the claims.
func (c *mutantCase) alone(t *testing.T, list []*mutant) *pipeline.Account {
	t.Helper()
	g := *c.golden
	g.archive = c.archiveOf(func(f int) [][]string { return c.numbered(f, list) })
	return g.run(t, 1).account
}

// load loads the mutants beside the claims they are made of, and finds out what
// became of each.
func (c *mutantCase) load(t *testing.T, list []*mutant) *pipeline.Account {
	t.Helper()
	g := *c.golden
	g.archive = c.archiveOf(func(f int) [][]string { return append(slices.Clone(c.files[f].rows), c.numbered(f, list)...) })
	o := g.run(t, 1)
	if !o.account.Balanced() {
		t.Errorf("the account does not balance: %+v", o.account)
	}
	loaded, rejects := byNumber(t, o, suffixed)
	for i, m := range list {
		m.json, m.problems = loaded[suffix(i)], rejects[suffix(i)]
	}
	readStrictly(t, o.target)
	keepMutants(t, o.target, c.version.Name, c.name)
	return o.account
}

// byNumber are the resources and the problems of claims by what a pattern finds in
// their numbers; with one that finds nothing, by the numbers.
func byNumber(t *testing.T, o *outcome, pattern *regexp.Regexp) (map[string]string, map[string][]pipeline.RejectProblem) {
	t.Helper()
	name := func(number string) string {
		if n := pattern.FindString(number); n != "" {
			return n
		}
		return number
	}
	loaded, rejects := map[string]string{}, map[string][]pipeline.RejectProblem{}
	for _, ref := range o.target.references(fhir.ExplanationOfBenefit) {
		data := o.target.resources[ref].json
		var r struct{ Identifier []struct{ Value string } }
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatal(err)
		}
		n := name(r.Identifier[len(r.Identifier)-1].Value)
		loaded[n] += neutral(data, ref)
	}
	for _, r := range o.rejects {
		if r.Table == cpcds.Claims.String() {
			parts := strings.Split(r.Claim, "\x1f")
			n := name(parts[len(parts)-1])
			rejects[n] = append(rejects[n], r.Problems...)
		}
	}
	return loaded, rejects
}

// neutral is a resource without what tells one copy of a claim from another.
func neutral(data []byte, ref string) string {
	_, id, _ := strings.Cut(ref, "/")
	return suffixed.ReplaceAllString(strings.Replace(string(data), id, "id", 1), "")
}

// profileOf is the profile that a resource claims.
func profileOf(data string) string {
	head := data[:min(len(data), 500)]
	for p := range carin.NumProfiles {
		if url, _, _ := strings.Cut(carin.V220.ProfileURL(p), "|"); strings.Contains(head, url) {
			return p.String()
		}
	}
	return ""
}

// strictReader is a strict reader of FHIR that this project did not write.
var strictReader = sync.OnceValues(func() (*jsonformat.Unmarshaller, error) { return jsonformat.NewUnmarshaller("UTC", fhirversion.R4) })

// wasRead has what the strict reader has read: mutants are often alike.
var wasRead sync.Map

// readStrictly reads everything that a target has with the strict reader, follows its
// references, and holds the periods against per-1, which the reader does not know.
func readStrictly(t *testing.T, m *memory) {
	t.Helper()
	reader, err := strictReader()
	if err != nil {
		t.Fatal(err)
	}
	for ref, r := range m.resources {
		for _, to := range referencesIn(t, r.json) {
			if _, ok := m.resources[to]; !ok {
				t.Errorf("%s refers to %s, which was not loaded", ref, to)
			}
		}
		if _, again := wasRead.LoadOrStore(sha256.Sum256([]byte(neutral(r.json, ref))), true); again {
			continue
		}
		if _, err := reader.Unmarshal(r.json); err != nil {
			t.Errorf("%s: a strict FHIR reader refuses it: %v", ref, err)
		}
		var v any
		if err := json.Unmarshal(r.json, &v); err != nil {
			t.Fatal(err)
		}
		if !periodsHold(v) {
			t.Errorf("%s has a period that ends before it begins (per-1)", ref)
		}
	}
}

func periodsHold(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		start, _ := v["start"].(string)
		if end, ok := v["end"].(string); ok && end < start {
			return false
		}
		for _, x := range v {
			if !periodsHold(x) {
				return false
			}
		}
	case []any:
		return !slices.ContainsFunc(v, func(x any) bool { return !periodsHold(x) })
	}
	return true
}

// tally counts what became of mutants, by kind.
type tally struct {
	mu    sync.Mutex
	kinds map[string]map[string]int
}

func (y *tally) add(kind, outcome string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.kinds == nil {
		y.kinds = map[string]map[string]int{}
	}
	if y.kinds[kind] == nil {
		y.kinds[kind] = map[string]int{}
	}
	y.kinds[kind][outcome]++
}

// report logs the counts, and fails if a kind that must be there is not, or if all
// mutants of it are alike: such mutants test nothing.
func (y *tally) report(t *testing.T, want map[string][]string) {
	t.Helper()
	for _, kind := range slices.Sorted(maps.Keys(y.kinds)) {
		var parts []string
		sum := 0
		for _, o := range slices.Sorted(maps.Keys(y.kinds[kind])) {
			n := y.kinds[kind][o]
			sum += n
			parts = append(parts, strconv.Itoa(n)+" "+o)
		}
		t.Logf("%s: %d mutants: %s", kind, sum, strings.Join(parts, ", "))
	}
	for kind, outcomes := range want {
		for _, o := range outcomes {
			if y.kinds[kind][o] == 0 {
				t.Errorf("%s: no mutant is %s", kind, o)
			}
		}
	}
}

// keepMutants writes the resources of mutants for a validator.
func keepMutants(t *testing.T, target *memory, release, name string) {
	t.Helper()
	dir := os.Getenv("MUTANTS_OUT")
	if dir == "" {
		return
	}
	var b bytes.Buffer
	for _, ref := range slices.Sorted(maps.Keys(target.resources)) {
		b.Write(append(target.resources[ref].json, '\n'))
	}
	dir = filepath.Join(dir, release)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, "/", "-")+".ndjson"), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
