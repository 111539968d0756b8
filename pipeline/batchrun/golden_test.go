package batchrun_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/csvio"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

var update = flag.Bool("update", false, "rewrite the golden claims with what the engine makes of them")

// TestGolden runs the engine over the cases of testdata/claims. A case is a txtar
// archive: a comment that says what it shows, settings, input tables, and what
// must come of them.
//
//	layout, mode, carin, profiles
//	                      settings; without them cpcds, strict, 2.2.0, financial
//	want-types            the resource types that the case shows; without it all
//	*.csv                 the input files
//	<Type>.json           the resources of a type in order of id, each after its reference
//	rejects.txt           table, rule, element, columns and row of each problem
//	account.txt           what became of rows and claims
//
// -update rewrites the last three. GOLDEN_OUT=DIR also writes all resources of a
// release to DIR/<release>/<case>.ndjson, for a validator.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "claims", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("testdata/claims has no cases")
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := readGolden(t, file)
			got := g.run(t, 1)
			g.check(t, got)
			if again := g.run(t, 3); !maps.EqualFunc(got.target.resources, again.target.resources, sameResource) {
				t.Error("three workers make other resources than one")
			}
			if dir := os.Getenv("GOLDEN_OUT"); dir != "" {
				got.export(t, filepath.Join(dir, g.version.Name), name)
			}
			g.compare(t, got)
		})
	}
}

func sameResource(a, b memoryResource) bool { return bytes.Equal(a.json, b.json) }

// golden is one case.
type golden struct {
	file    string
	archive *txtar.Archive
	layout  *layouts.Layout
	lenient bool
	version *carin.Version
	types   []fhir.Type // that the case shows
	key     string      // of the ids
}

func readGolden(t *testing.T, file string) *golden {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(archive.Comment)) == 0 {
		t.Errorf("%s has no comment that says what it shows", file)
	}
	g := &golden{file: file, archive: archive, key: "golden-claims-key"}
	if g.layout, err = layouts.Open(g.setting("layout", "cpcds")); err != nil {
		t.Fatal(err)
	}
	if g.version, err = carin.ParseVersion(g.setting("carin", "2.2.0")); err != nil {
		t.Fatal(err)
	}
	if g.version, err = g.version.WithProfiles(g.setting("profiles", "financial")); err != nil {
		t.Fatal(err)
	}
	switch mode := g.setting("mode", "strict"); mode {
	case "strict":
	case "lenient":
		g.lenient = true
	default:
		t.Fatalf("mode %q: use strict or lenient", mode)
	}
	for _, name := range strings.Fields(g.setting("want-types", "")) {
		typ, ok := fhir.ParseType(name)
		if !ok {
			t.Fatalf("want-types: no type %q", name)
		}
		g.types = append(g.types, typ)
	}
	if len(g.types) == 0 {
		for typ := range fhir.NumTypes {
			g.types = append(g.types, typ)
		}
	}
	return g
}

// setting is the text of a section, or the default if the case has none.
func (g *golden) setting(section, byDefault string) string {
	for _, f := range g.archive.Files {
		if f.Name == section {
			return strings.TrimSpace(string(f.Data))
		}
	}
	return byDefault
}

// outcome is what a run made of a case.
type outcome struct {
	target  *memory
	account *pipeline.Account
	rejects []*pipeline.Reject
	inputs  []*rowbatch.Input
}

// run loads the case with the real engine into memory.
func (g *golden) run(t *testing.T, workers int) *outcome {
	t.Helper()
	dir := t.TempDir()
	var headers []layouts.File
	var files []pipeline.File
	for _, f := range g.archive.Files {
		if !strings.HasSuffix(f.Name, ".csv") {
			continue
		}
		path := filepath.Join(dir, f.Name)
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		l := g.layout.CSV
		file, err := csvio.Open(path, csvio.Options{Delimiter: byte(l.Delimiter), Quote: byte(l.Quote), NoQuote: l.Quote == 0,
			Encoding: l.Encoding, ShortRows: l.ShortRows})
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		headers = append(headers, layouts.File{Path: path, Fields: file.Fields()})
		files = append(files, file)
	}
	places, err := g.layout.Assign(headers)
	if err != nil {
		t.Fatal(err)
	}
	var inputs []*rowbatch.Input
	for i, file := range files {
		for n, table := range places[i].Tables {
			in := &rowbatch.Input{Path: headers[i].Path, Table: table.Table, File: file}
			if in.Binding, err = table.Bind(file.Fields(), layouts.Options{Lenient: g.lenient}); err != nil {
				t.Fatal(err)
			}
			if unknown := table.Match(in.Path, file.Fields()).Unknown; n == 0 && len(unknown) > 0 {
				t.Fatalf("%s: layout %s does not know the columns %q", filepath.Base(in.Path), g.layout.Name, unknown)
			}
			inputs = append(inputs, in)
		}
	}
	o := &outcome{target: newMemory(), inputs: inputs}
	run := &batchrun.Config{
		ID: "golden", Inputs: inputs, Layout: g.layout, Repairs: pipeline.Repairs{Lenient: g.lenient}, Version: g.version,
		Identity: fhir.NewIdentity([]byte(g.key)), Loader: o.target,
		State: filepath.Join(dir, "state"), Workers: workers,
	}
	if o.account, err = loadRun(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	o.rejects = rejectsIn(t, run.State)
	return o
}

// noKey is the rest of an id that is encoded from no key at all.
var noKey = fhir.Raw{}.ID(fhir.Patient)[1:]

// check holds for every case, whatever it expects.
func (g *golden) check(t *testing.T, o *outcome) {
	t.Helper()
	if !o.account.Balanced() {
		t.Error("the account does not balance")
	}
	if o.target.finished == nil {
		t.Error("the target was not finished")
	}
	if len(o.target.twice) > 0 {
		t.Errorf("loaded twice: %v", o.target.twice)
	}
	checkResources(t, o.target, g.version.Name)
}

// checkResources reads everything that a target has with a strict FHIR reader, and
// follows its references.
func checkResources(t *testing.T, m *memory, release string) {
	t.Helper()
	reader, err := jsonformat.NewUnmarshaller("UTC", fhirversion.R4)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range slices.Sorted(maps.Keys(m.resources)) {
		r := m.resources[ref]
		if _, err := reader.Unmarshal(r.json); err != nil {
			t.Errorf("%s: a strict FHIR reader refuses it: %v", ref, err)
		}
		var resource struct {
			ResourceType, ID string
			Meta             struct{ Profile []string }
		}
		if err := json.Unmarshal(r.json, &resource); err != nil {
			t.Fatal(err)
		}
		if resource.ID[1:] == noKey {
			t.Errorf("%s: the id is made of nothing: the row has no key", ref)
		}
		if own := resource.ResourceType + "/" + resource.ID; own != ref {
			t.Errorf("%s calls itself %s", ref, own)
		}
		if len(resource.Meta.Profile) != 1 || !strings.HasSuffix(resource.Meta.Profile[0], "|"+release) {
			t.Errorf("%s: meta.profile %q is not one profile of release %s", ref, resource.Meta.Profile, release)
		}
		for _, to := range referencesIn(t, r.json) {
			if _, ok := m.resources[to]; !ok {
				t.Errorf("%s refers to %s, which was not loaded", ref, to)
			}
		}
	}
}

// referencesIn lists the literal references of a resource.
func referencesIn(t *testing.T, data []byte) []string {
	t.Helper()
	var refs []string
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["reference"].(string); ok {
				refs = append(refs, ref)
			}
			for _, child := range v {
				walk(child)
			}
		case []any:
			for _, child := range v {
				walk(child)
			}
		}
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	walk(v)
	return refs
}

// export writes the resources of a case as one NDJSON file.
func (o *outcome) export(t *testing.T, dir, name string) {
	t.Helper()
	var b bytes.Buffer
	for typ := range fhir.NumTypes {
		for _, ref := range o.target.references(typ) {
			b.Write(o.target.resources[ref].json)
			b.WriteByte('\n')
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".ndjson"), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// compare holds the run against the sections of the case, or rewrites them.
func (g *golden) compare(t *testing.T, o *outcome) {
	t.Helper()
	want, kept := map[string]string{}, []txtar.File{}
	for _, f := range g.archive.Files {
		if strings.HasSuffix(f.Name, ".json") || f.Name == "rejects.txt" || f.Name == "account.txt" {
			want[f.Name] = string(f.Data)
		} else {
			kept = append(kept, f)
		}
	}
	got := g.sections(o)
	if *update {
		g.archive.Files = append(kept, got...)
		if err := os.WriteFile(g.file, txtar.Format(g.archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, f := range got {
		if diff := cmp.Diff(want[f.Name], string(f.Data)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.Name, diff)
		}
		delete(want, f.Name)
	}
	for name := range want {
		t.Errorf("%s: nothing of the kind came out", name)
	}
}

// sections writes a run as a case shows it.
func (g *golden) sections(o *outcome) []txtar.File {
	var files []txtar.File
	for _, typ := range g.types {
		var b bytes.Buffer
		for _, ref := range o.target.references(typ) {
			fmt.Fprintf(&b, "%s\n%s\n", ref, layOut(o.target.resources[ref].json, 0))
		}
		if b.Len() > 0 {
			files = append(files, txtar.File{Name: typ.String() + ".json", Data: b.Bytes()})
		}
	}
	if len(o.rejects) > 0 {
		files = append(files, txtar.File{Name: "rejects.txt", Data: rejectText(o.rejects)})
	}
	return append(files, txtar.File{Name: "account.txt", Data: accountText(o.account)})
}

// layOut writes JSON for people: what fits on a line stands on one.
func layOut(v json.RawMessage, indent int) string {
	const width = 110
	if len(v)+indent <= width || v[0] != '{' && v[0] != '[' {
		return string(v)
	}
	margin := strings.Repeat(" ", indent)
	var b strings.Builder
	b.WriteByte(v[0])
	d := json.NewDecoder(bytes.NewReader(v))
	first, _ := d.Token()
	for n := 0; d.More(); n++ {
		if n > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n  " + margin)
		if first == json.Delim('{') {
			name, _ := d.Token()
			fmt.Fprintf(&b, "%q: ", name)
		}
		var child json.RawMessage
		if err := d.Decode(&child); err != nil {
			return string(v) // check reports what is no JSON
		}
		b.WriteString(layOut(child, indent+2))
	}
	b.WriteString("\n" + margin)
	b.WriteByte(v[len(v)-1])
	return b.String()
}

// rejectText has one line per problem: names and places, never values.
func rejectText(rejects []*pipeline.Reject) []byte {
	var lines []string
	for _, r := range rejects {
		for _, p := range r.Problems {
			place := "the claim"
			if p.Row > 0 {
				place = fmt.Sprintf("row %d", p.Row)
			}
			element := p.Element
			if len(p.Columns) > 0 && (len(p.Columns) > 1 || p.Columns[0] != element) {
				element += " (" + strings.Join(p.Columns, ", ") + ")"
			}
			lines = append(lines, fmt.Sprintf("%s: %s: %s, %s\n", r.ID, p.Rule, element, place))
		}
	}
	return []byte(strings.Join(lines, ""))
}

func accountText(a *pipeline.Account) []byte {
	var b bytes.Buffer
	for table, n := range a.Rows {
		if n.Read > 0 {
			fmt.Fprintf(&b, "%s: %d rows = %d in resources + %d rejected + %d skipped\n", cpcds.Table(table), n.Read, n.InClaims, n.Rejected, n.Skipped)
		}
	}
	c := a.Claims
	fmt.Fprintf(&b, "claims: %d = %d loaded + %d rejected + %d skipped", c.Seen, c.Loaded, c.Rejected, c.Skipped)
	if c.PartlyRejected > 0 {
		fmt.Fprintf(&b, "; %d partly rejected", c.PartlyRejected)
	}
	b.WriteByte('\n')
	for _, m := range []struct {
		name   string
		counts map[string]int64
	}{{"reject", a.Rejects}, {"repair", a.Repairs}, {"skip", a.Skips}, {"warning", a.Warnings}} {
		for _, rule := range slices.Sorted(maps.Keys(m.counts)) {
			fmt.Fprintf(&b, "%s: %s %d\n", m.name, rule, m.counts[rule])
		}
	}
	return b.Bytes()
}
