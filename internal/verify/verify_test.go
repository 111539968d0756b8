package verify_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"

	"cpcds2fhir/internal/verify"
	"cpcds2fhir/internal/verify/strict"
)

const (
	profiles = "http://hl7.org/fhir/us/carin-bb/StructureDefinition/"
	secret   = "Zebediah"
)

func organization(id string) string {
	return fmt.Sprintf(`{"resourceType":"Organization","id":%q,"meta":{"profile":["%sC4BB-Organization|2.2.0"]},"active":true,"name":%q}`, id, profiles, secret)
}

func patient(id, extra string) string {
	return fmt.Sprintf(`{"resourceType":"Patient","id":%q,"meta":{"profile":["%sC4BB-Patient|2.2.0"]},"name":[{"family":%q}]%s}`, id, profiles, secret, extra)
}

func coverage(id, of, payor string) string {
	return fmt.Sprintf(`{"resourceType":"Coverage","id":%q,"meta":{"profile":["%sC4BB-Coverage|2.2.0"]},"status":"active","beneficiary":{"reference":%q},"payor":[{"reference":%q}]}`, id, profiles, of, payor)
}

// write writes a file of lines below dir.
func write(t *testing.T, dir, name string, lines ...string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	text := []byte(strings.Join(lines, "\n") + "\n")
	var packed bytes.Buffer
	switch filepath.Ext(name) {
	case ".gz":
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(text)
		_ = z.Close()
		text = packed.Bytes()
	case ".zst":
		z, err := zstd.NewWriter(&packed)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = z.Write(text)
		_ = z.Close()
		text = packed.Bytes()
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func run(t *testing.T, q *verify.Request) *verify.Report {
	t.Helper()
	parse, err := strict.Parser()
	if err != nil {
		t.Fatal(err)
	}
	r, err := verify.Run(t.Context(), q, parse, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found lists problems as CHECK LINE RESOURCE MESSAGE.
func found(r *verify.Report) (list []string) {
	for _, p := range r.Problems {
		list = append(list, fmt.Sprintf("%s %d %s %s", p.Check, p.Line, p.Resource, p.Message))
	}
	return list
}

func TestNothingWrong(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "Organization/part-1.ndjson.gz", organization("o1"))
	write(t, dir, "Patient/part-1.ndjson.zst", patient("p1", ""), patient("p2", ""))
	write(t, dir, "Coverage/part-1.ndjson", coverage("c1", "Patient/p1", "Organization/o1"), coverage("c2", "Patient/p2/_history/3", "https://elsewhere.test/fhir/Organization/x"))
	write(t, dir, "manifest.json", `{"output":[]}`)
	r := run(t, &verify.Request{Inputs: []string{"ndjson:" + dir + "?compress=zstd"}})
	want := &verify.Report{
		Resources: 5, Parsed: 5,
		Types: map[string]*verify.TypeCount{
			"Organization": {Resources: 1, Profiles: map[string]int64{profiles + "C4BB-Organization|2.2.0": 1}},
			"Patient":      {Resources: 2, Profiles: map[string]int64{profiles + "C4BB-Patient|2.2.0": 2}},
			"Coverage":     {Resources: 2, Profiles: map[string]int64{profiles + "C4BB-Coverage|2.2.0": 2}},
		},
		References: verify.References{Checked: 3, Outside: 1, Distinct: 3},
	}
	if d := cmp.Diff(want, r, cmpopts.IgnoreFields(verify.Report{}, "Seconds"), cmpopts.IgnoreUnexported(verify.Problem{}), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

// TestEveryCheck spoils one thing at a time.
func TestEveryCheck(t *testing.T) {
	good := coverage("c1", "Patient/p1", "Organization/o1")
	for _, c := range []struct {
		name, line string
		want       []string
	}{
		{"none", good, nil},
		{"no JSON", `{"resourceType":"Coverage",`, []string{"json 3  it is not a JSON object"}},
		{"a list", `[]`, []string{"json 3  it is not a JSON object"}},
		{"two objects", good + "{}", []string{"json 3 Coverage/c1 something follows the JSON object"}},
		{"a name twice", strings.Replace(good, `"status":"active"`, `"status":"active","status":"draft"`, 1), []string{"json 3 Coverage/c1 the resource has a duplicate name"}},
		{"a name twice, deeper", strings.Replace(good, `{"reference":"Patient/p1"}`, `{"reference":"Patient/p1","reference":"Patient/p1"}`, 1), []string{"json 3 Coverage/c1 beneficiary has a duplicate name"}},
		{"unknown code", strings.Replace(good, `"active"`, `"`+secret+`"`, 1), []string{`strict 3 Coverage/c1 error at "Coverage.status": code type mismatch`}},
		{"unknown element", strings.Replace(good, `"status"`, `"state":"`+secret+`","status"`, 1), []string{`strict 3 Coverage/c1 error at "Coverage": unknown field`}},
		{"missing element", strings.Replace(good, `"status":"active",`, ``, 1), []string{`strict 3 Coverage/c1 error at "Coverage": missing required field "status"`}},
		{"reference to a wrong type", strings.Replace(good, `"Patient/p1"`, `"Organization/o1"`, 1), []string{`strict 3 Coverage/c1 error at "Coverage.beneficiary": invalid reference to a Organization resource, want Patient`}},
		{"reference that names another type", strings.Replace(good, `"Patient/p1"`, `"Patient/p1","type":"Group"`, 1), []string{"reference 3 Coverage/c1 beneficiary refers to a Patient but names another type"}},
		{"reference that leads nowhere", strings.Replace(good, `Patient/p1`, `Patient/p7`, 1), []string{"reference 3 Coverage/c1 beneficiary refers to Patient/p7, which does not exist"}},
		{"reference to nothing contained", strings.Replace(good, `Organization/o1`, `#o1`, 1), []string{"reference 3 Coverage/c1 payor refers to a contained resource that does not exist"}},
		{"no reference", strings.Replace(good, `Organization/o1`, secret, 1), []string{"reference 3 Coverage/c1 payor is not of the form TYPE/ID"}},
		{"no id", strings.Replace(good, `"id":"c1",`, ``, 1), []string{"id 3  it has no id, or not one that FHIR allows"}},
		{"no profile", strings.Replace(good, `|2.2.0`, ``, 1), []string{"profile 3 Coverage/c1 meta.profile has no profile of the guide for Coverage, or none with a release"}},
		{"profile of another type", strings.Replace(good, `C4BB-Coverage`, `C4BB-Patient`, 1), []string{"profile 3 Coverage/c1 meta.profile has no profile of the guide for Coverage, or none with a release"}},
		{"profile of a release without it", strings.Replace(good, `C4BB-Coverage|2.2.0`, `C4BB-Coverage|1.9.0`, 1), []string{"profile 3 Coverage/c1 meta.profile has no profile of the guide for Coverage, or none with a release"}},
		{"no meta", strings.Replace(good, `"meta":{"profile":["`+profiles+`C4BB-Coverage|2.2.0"]},`, ``, 1), []string{"profile 3 Coverage/c1 meta.profile is missing"}},
		{"a type without profile", `{"resourceType":"Location","id":"l1","meta":{"profile":["x"]}}`, []string{
			"profile 3 Location/l1 meta.profile has no profile of the guide for Location, or none with a release",
			"type 3 Location/l1 the guide has no profile for this type"}},
		{"there already", organization("o1"), []string{"duplicate 3 Organization/o1 duplicate: FILE:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := write(t, t.TempDir(), "all.ndjson", organization("o1"), patient("p1", ""), c.line)
			r := run(t, &verify.Request{Inputs: []string{file}})
			got := found(r)
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], file, "FILE")
			}
			if c.name == "no reference" { // the strict parser sees it too
				got = slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "strict") })
			}
			if d := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
			if strings.Contains(fmt.Sprint(r.Problems), secret) {
				t.Errorf("a value is told: %v", r.Problems)
			}
			if r.Found != int64(len(r.Problems)) {
				t.Errorf("%d found, %d listed", r.Found, len(r.Problems))
			}
		})
	}
}

func TestForms(t *testing.T) {
	dir := t.TempDir()
	bundle := `{"resourceType":"Bundle","type":"collection","entry":[
	  {"resource":` + organization("o1") + `},
	  {"response":{"status":"201"}},
	  {"resource":` + strings.Replace(coverage("c1", "Patient/p1", "Organization/o1"), "active", "x", 1) + `}]}`
	r := run(t, &verify.Request{Inputs: []string{write(t, dir, "b.json", bundle), write(t, dir, "p.json.gz", "{", patient("p1", "")[1:])}})
	if d := cmp.Diff([]string{`strict 1 Coverage/c1 entry[2]: error at "Coverage.status": code type mismatch`}, found(r)); d != "" {
		t.Error(d)
	}
	if r.Resources != 3 {
		t.Errorf("%d resources, want 3", r.Resources)
	}
	folder := filepath.Join(dir, "wrong")
	write(t, folder, "Patient/a.ndjson", organization("o1"))
	r = run(t, &verify.Request{Inputs: []string{folder}})
	if d := cmp.Diff([]string{"type 1 Organization/o1 it is in the folder Patient"}, found(r)); d != "" {
		t.Error(d)
	}
}

func TestCannotRead(t *testing.T) {
	dir := t.TempDir()
	cut := filepath.Join(dir, "cut.ndjson")
	if err := os.WriteFile(cut, []byte(patient("p1", "")+"\n"+patient("p2", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	packed := write(t, dir, "x.ndjson.gz", patient("p1", ""))
	if err := os.Truncate(packed, 40); err != nil {
		t.Fatal(err)
	}
	never := func([]byte) error { return nil }
	for _, c := range []struct{ input, want string }{
		{cut, "line 2 has no line end"},
		{packed, "line 1"},
		{write(t, dir, "x.json", "{]"), "invalid JSON at byte"},
		{filepath.Join(dir, "none.ndjson"), "no such file"},
		{"store:" + filepath.Join(dir, "none"), "no such file"},
		{"ndjson:" + cut, "is a file"},
		{t.TempDir(), "has no .ndjson or .json files"},
	} {
		_, err := verify.Run(t.Context(), &verify.Request{Inputs: []string{c.input}}, never, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.input, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := verify.Run(ctx, &verify.Request{Inputs: []string{write(t, dir, "p.ndjson", patient("p1", ""))}}, never, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a run that is stopped ends with %v", err)
	}
}

// TestBounded has next to no memory for the ids, and several readers: the report is
// the same, and no file is left.
func TestBounded(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	const n = 20_000
	patients, coverages := []string{organization("o")}, []string{}
	for i := range n {
		patients = append(patients, patient(fmt.Sprintf("patient-with-a-long-id-%d", i), ""))
		coverages = append(coverages, coverage(fmt.Sprintf("coverage-with-a-long-id-%d", i), fmt.Sprintf("Patient/patient-with-a-long-id-%d", i*i%(n+10)), "Organization/o"))
	}
	coverages = append(coverages, coverages[17], coverages[17], patients[3])
	files := []string{write(t, dir, "p.ndjson", patients...), write(t, dir, "c.ndjson", coverages...)}
	var spilled atomic.Bool
	verifyWith := func(workers int, memory int64) *verify.Report {
		r, err := verify.Run(t.Context(), &verify.Request{Inputs: files, Workers: workers, Memory: memory, Temp: temp, Keep: 7}, func([]byte) error { return nil }, func(int64) {
			shards, _ := filepath.Glob(filepath.Join(temp, "*", "shard-*"))
			if len(shards) > 0 {
				spilled.Store(true)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	want := verifyWith(1, 1<<30)
	if spilled.Swap(false) {
		t.Error("it wrote files although there was memory")
	}
	got := verifyWith(4, 1<<20)
	if !spilled.Load() {
		t.Error("it wrote no files although memory was short")
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(verify.Report{}, "Seconds"), cmpopts.IgnoreUnexported(verify.Problem{})); d != "" {
		t.Error(d)
	}
	missing := map[int]bool{}
	for i := range n {
		if to := i * i % (n + 10); to >= n {
			missing[to] = true
		}
	}
	if got.Duplicates != 3 || got.References.Nowhere != int64(len(missing)) || got.Found != int64(3+len(missing)) || len(got.Problems) != min(7, 3+len(missing)) {
		t.Errorf("%d duplicates, %d nowhere (want %d), %d problems, %d listed", got.Duplicates, got.References.Nowhere, len(missing), got.Found, len(got.Problems))
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestEvery has the parser read a share of the resources; the other checks see all.
func TestEvery(t *testing.T) {
	lines := make([]string, 0, 1000)
	for i := range 1000 {
		lines = append(lines, strings.Replace(organization(fmt.Sprint("o", i)), "true", "1", 1))
	}
	r := run(t, &verify.Request{Inputs: []string{write(t, t.TempDir(), "o.ndjson", lines...)}, Every: 100})
	if r.Resources != 1000 || r.Parsed != 10 || r.Found != 10 {
		t.Errorf("%d resources, %d parsed, %d problems", r.Resources, r.Parsed, r.Found)
	}
}

func FuzzResource(f *testing.F) {
	f.Add([]byte(coverage("c1", "Patient/p1", "#x")))
	f.Add([]byte(`{"resourceType":"Bundle","entry":[{"resource":{"id":"x","contained":[{"id":"y"}]}}]}`))
	f.Add([]byte(`{"a":[{"reference":"/"},[],"",null,1e400]}`))
	parse, err := strict.Parser()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		file := filepath.Join(t.TempDir(), "x.ndjson")
		if err := os.WriteFile(file, append(bytes.ReplaceAll(line, []byte("\n"), nil), '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := verify.Run(t.Context(), &verify.Request{Inputs: []string{file}}, parse, nil); err != nil {
			t.Error(err)
		}
	})
}
