package strict_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/store"
	"cpcds2fhir/internal/synth"
	"cpcds2fhir/internal/verify/strict"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/parquetio"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// loaded is a store with a synthetic extract.
func loaded(t *testing.T) store.Handle {
	t.Helper()
	dir := t.TempDir()
	extract := filepath.Join(dir, "extract")
	if _, err := synth.Write(t.Context(), synth.Options{Dir: extract, Claims: 300, Seed: 8, Format: synth.Parquet}); err != nil {
		t.Fatal(err)
	}
	l, err := layouts.Open("cpcds")
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(extract, "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	var files []layouts.File
	var opened []pipeline.File
	for _, p := range paths {
		f, err := parquetio.Open(p, parquetio.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		opened = append(opened, f)
		files = append(files, layouts.File{Path: p, Fields: f.Fields()})
	}
	places, err := l.Assign(files)
	if err != nil {
		t.Fatal(err)
	}
	loader, err := storeloader.Open(filepath.Join(dir, "store"), storeloader.Options{Run: "run"})
	if err != nil {
		t.Fatal(err)
	}
	run := &batchrun.Config{ID: "run", Layout: l, Version: carin.V220, Identity: fhir.NewIdentity([]byte("a key for tests only")), State: filepath.Join(dir, "state"), Workers: 1, Loader: loader}
	for i, p := range paths {
		for _, table := range places[i].Tables {
			b, err := table.Bind(opened[i].Fields(), layouts.Options{})
			if err != nil {
				t.Fatal(err)
			}
			run.Inputs = append(run.Inputs, &rowbatch.Input{Path: p, Table: table.Table, File: opened[i], Binding: b})
		}
	}
	engine, err := batchrun.New(run)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := loader.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := storeloader.OpenHandle(filepath.Join(dir, "store"), &storeloader.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestAnswersOfTheAPI reads every kind of answer of the API with google/fhir.
func TestAnswersOfTheAPI(t *testing.T) {
	s := loaded(t)
	parse, err := strict.Parser()
	if err != nil {
		t.Fatal(err)
	}
	if parse([]byte(`{"resourceType":"Coverage","status":"active"}`)) == nil {
		t.Fatal("the parser takes everything")
	}
	h, err := api.New(&api.Config{Store: s, Authorizer: api.Open{}, Base: "https://api.example.org/fhir", CursorKey: bytes.Repeat([]byte("k"), 32),
		Security: &api.Security{Authorize: "https://id.example.org/authorize", Token: "https://id.example.org/token", Revoke: "https://id.example.org/revoke"}})
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	get := func(path string, status int) []byte {
		t.Helper()
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/fhir/"+path, http.NoBody))
		if rec.Code != status {
			t.Fatalf("%s: %d, want %d: %.300s", path, rec.Code, status, rec.Body)
		}
		if err := parse(rec.Body.Bytes()); err != nil {
			t.Errorf("%s: a strict reader refuses it: %v: %.500s", path, err, rec.Body)
		}
		read++
		return rec.Body.Bytes()
	}
	ids := map[string]string{}
	for _, typ := range []string{"Patient", "ExplanationOfBenefit", "Coverage", "Organization", "Practitioner", "RelatedPerson"} {
		var b struct {
			Entry []struct{ Resource struct{ ID string } }
		}
		if err := json.Unmarshal(get(typ+"?_count=500&_total=accurate", 200), &b); err != nil || len(b.Entry) == 0 {
			t.Fatalf("%s: %v", typ, err)
		}
		for i, e := range b.Entry {
			if ids[typ] = e.Resource.ID; i < 40 {
				get(typ+"/"+e.Resource.ID, 200)
			}
		}
		one := typ + "/" + ids[typ]
		for _, path := range []string{one + "/_history/1", one + "/_history", one + "?_summary=true", one + "?_summary=text", one + "?_summary=data", one + "?_elements=identifier", one + "?_pretty=true",
			typ + "?_id=" + ids[typ] + "&_summary=true", typ + "?_id=" + ids[typ] + "&_elements=meta", typ + "?_summary=count", typ + "?_count=0", typ + "?_count=1", typ + "?_id=none"} {
			get(path, 200)
		}
	}
	member := ids["Patient"]
	for _, path := range []string{"metadata", "ExplanationOfBenefit?patient=" + member + "&_include=*&_include:iterate=Coverage:payor", "ExplanationOfBenefit?patient=" + member + "&_sort=-service-date&_count=2&_include=*&_elements=total",
		"ExplanationOfBenefit?patient=" + member + "&_summary=true&_include=*", "Patient?_id=" + member + "&_revinclude=ExplanationOfBenefit:patient&_revinclude=Coverage:beneficiary", "Coverage?patient=" + member + "&_include=Coverage:payor",
		"Patient/" + member + "/$everything", "Patient/" + member + "/$everything?_count=2", "Patient/" + member + "/$everything?_since=2999"} {
		get(path, 200)
	}
	for path, status := range map[string]int{"Patient/none": 404, "Observation": 404, "Patient?birthdate=1970": 400, "Patient?_format=xml": 406, "ExplanationOfBenefit?_sort=service-date": 403, "Patient?_id=" + strings.Repeat("a", 9000): 414} {
		get(path, status)
	}
	// What is deleted, and comes again.
	claim := ids["ExplanationOfBenefit"]
	e, err := s.Get(t.Context(), fhir.ExplanationOfBenefit, claim)
	if err != nil {
		t.Fatal(err)
	}
	text := slices.Clone(e.JSON)
	var b fhir.Batch
	b.Delete(fhir.ExplanationOfBenefit, claim, "2999-01-01T00:00:00Z", "2999-01-01T00:00:00Z")
	if err := s.Apply(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	get("ExplanationOfBenefit/"+claim, 410)
	get("ExplanationOfBenefit/"+claim+"/_history/2", 410)
	if history := get("ExplanationOfBenefit/"+claim+"/_history", 200); !bytes.Contains(history, []byte(`"DELETE"`)) {
		t.Errorf("the history has no deletion: %.300s", history)
	}
	b = fhir.Batch{}
	b.Add(&fhir.Resource{Type: fhir.ExplanationOfBenefit, ID: claim, LastUpdated: e.LastUpdated, SourceVersion: "2999-02-01T00:00:00Z", JSON: text, Keys: []fhir.Key{{Param: fhir.ParamPatient, Value: "Patient/" + member}}})
	if err := s.Apply(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	get("ExplanationOfBenefit/"+claim+"/_history?_count=2", 200)
	t.Logf("%d answers", read)
}
