package batchrun_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// The guide's examples, and our rows that mean the same.
var (
	guideExamples = filepath.Join("..", "..", "..", "shared", "data", "carin-bb-examples")
	guideRows     = filepath.Join("..", "..", "testdata", "guide")
)

// TestGuide holds what the engine makes of the rows of testdata/guide against the
// official examples of the guide. A case is a txtar archive of input tables in the
// layout beside it, and of the differences that are left:
//
//	differences              of both examples of a claim
//	differences (financial)  of the example with amounts alone
//	differences (basis)      of the example without
//
// differences.txt beside the cases has those that are the same everywhere. Every
// difference must be listed, and what is listed must occur.
func TestGuide(t *testing.T) {
	if _, err := os.Stat(guideExamples); err != nil {
		t.Skipf("the guide's examples are not at hand: %v", err)
	}
	everywhere := readDifferences(t, filepath.Join(guideRows, "differences.txt"), "")
	tables, err := txtar.ParseFile(filepath.Join(guideRows, "tables.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	ran, cases := 0, 1
	t.Run("tables", func(t *testing.T) {
		ran++
		guideTables(t, tables, everywhere)
	})
	files, err := filepath.Glob(filepath.Join(guideRows, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Glob(filepath.Join(guideExamples, "ExplanationOfBenefit-EOB*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(examples)+1 {
		t.Errorf("%d cases of %d examples", len(files)-1, len(examples))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		if name == "tables" {
			continue
		}
		claim, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		both := differencesOf(t, claim, "differences")
		before := ran
		for i, example := range []string{"EOB" + name, "BB-EOB" + name + "-nonfinancial"} {
			word := carin.Profiles[i]
			cases++
			t.Run(name+"/"+word, func(t *testing.T) {
				ran++
				own := differencesOf(t, claim, "differences ("+word+")")
				g := newGuide(t, word, tables, claim)
				m := g.load(t)
				found := compareResources(g.example(t, "ExplanationOfBenefit", example), g.resource(t, fhir.ExplanationOfBenefit, m))
				judgeDifferences(t, found, own, both, everywhere)
				unused(t, own)
			})
		}
		if ran-before == len(carin.Profiles) { // -run may have left out some
			unused(t, both)
		}
	}
	if ran == cases {
		unused(t, everywhere)
	}
}

// guideTables compares the members, coverages, providers and organizations.
func guideTables(t *testing.T, tables *txtar.Archive, everywhere []*difference) {
	g := newGuide(t, carin.Profiles[0], tables)
	m := g.load(t)
	listed := differencesOf(t, tables, "differences")
	for _, example := range slices.Sorted(maps.Keys(g.examples)) {
		typ, id, _ := strings.Cut(example, "/")
		ours, ok := g.ours(m, example)
		if !ok {
			t.Errorf("%s: no row became it", example)
			continue
		}
		found := compareResources(g.example(t, typ, id), g.named(t, m, ours))
		for i := range found {
			found[i].path = id + "." + found[i].path
		}
		judgeDifferences(t, found, listed, everywhere)
	}
	unused(t, listed)
}

// guide is one case with the tables that it refers to.
type guide struct {
	golden
	examples map[string]string // example -> an identifier that its row has
	names    map[string]string // our reference -> example
}

func newGuide(t *testing.T, profiles string, archives ...*txtar.Archive) *guide {
	t.Helper()
	g := &guide{examples: map[string]string{}, names: map[string]string{}}
	g.archive = &txtar.Archive{}
	// Several examples have one claim number. With keys of their own their ids differ.
	g.key = "guide-" + t.Name()
	for _, a := range archives {
		g.archive.Files = append(g.archive.Files, a.Files...)
	}
	var err error
	if g.layout, err = layouts.Open(filepath.Join(guideRows, "layout.yaml")); err != nil {
		t.Fatal(err)
	}
	if g.version, err = carin.V220.WithProfiles(profiles); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(g.setting("examples", "")) {
		example, identifier, _ := strings.Cut(strings.TrimSpace(line), " ")
		g.examples[example] = identifier
	}
	return g
}

// load runs the engine, which must not reject anything, and learns which of our
// resources is which example.
func (g *guide) load(t *testing.T) *memory {
	t.Helper()
	o := g.run(t, 1)
	if len(o.rejects) > 0 {
		t.Fatalf("rejected:\n%s", rejectText(o.rejects))
	}
	g.check(t, o)
	for example := range g.examples {
		if ref, ok := g.ours(o.target, example); ok {
			g.names[ref] = example
		}
	}
	if dir := os.Getenv("GUIDE_OUT"); dir != "" {
		word := carin.Profiles[0]
		if g.version.Basis {
			word = carin.Profiles[1]
		}
		o.export(t, filepath.Join(dir, word), strings.NewReplacer("/", "-").Replace(t.Name()))
	}
	return o.target
}

// ours finds the resource that has the identifier of an example.
func (g *guide) ours(m *memory, example string) (ref string, ok bool) {
	typ, _, _ := strings.Cut(example, "/")
	for ref, r := range m.resources {
		if strings.HasPrefix(ref, typ+"/") && bytes.Contains(r.json, []byte(`"value":"`+g.examples[example]+`"`)) {
			return ref, true
		}
	}
	return "", false
}

// example reads an official example.
func (g *guide) example(t *testing.T, typ, id string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(guideExamples, typ+"-"+id+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, data)
}

// resource is our only resource of a type.
func (g *guide) resource(t *testing.T, typ fhir.Type, m *memory) map[string]any {
	t.Helper()
	refs := m.references(typ)
	if len(refs) != 1 {
		t.Fatalf("%d resources of type %s", len(refs), typ)
	}
	return g.named(t, m, refs[0])
}

// named is one of our resources with the references of the examples.
func (g *guide) named(t *testing.T, m *memory, ref string) map[string]any {
	t.Helper()
	r := decode(t, m.resources[ref].json)
	g.rename(r)
	return r
}

func (g *guide) rename(v any) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["reference"].(string); ok && g.names[ref] != "" {
			v["reference"] = g.names[ref]
		}
		for _, child := range v {
			g.rename(child)
		}
	case []any:
		for _, child := range v {
			g.rename(child)
		}
	}
}

func decode(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var v map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
