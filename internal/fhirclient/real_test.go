package fhirclient_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirclient"
)

// TestReal runs against a server of its own choice, such as a real HAPI.
func TestReal(t *testing.T) {
	base := os.Getenv("FHIR_SERVER")
	if base == "" {
		t.Skip("FHIR_SERVER names no server: set it to the base URL of an R4 server that may be written to")
	}
	s, probe, err := fhirclient.Connect(t.Context(), base, &fhirclient.Config{}, &fhirclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", probe)
	run := fmt.Sprintf("t%x", time.Now().UnixNano())
	var writes []fhirclient.Write
	var refs []fhirclient.Reference
	for i := range 250 {
		r := fhirclient.Reference{Type: "Patient", ID: fmt.Sprintf("%s-%d", run, i)}
		refs = append(refs, r)
		writes = append(writes, fhirclient.Write{Reference: r, JSON: fmt.Appendf(nil, `{"resourceType":"Patient","id":%q,"active":true}`, r.ID)})
	}
	before, err := s.Count(t.Context(), "Patient")
	if err != nil {
		t.Fatal(err)
	}
	send := func(bundle string, w []fhirclient.Write, status int, version string) {
		t.Helper()
		answers, err := s.Send(t.Context(), bundle, w)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range answers {
			if a.Status != status || a.Version != version || status < 300 && a.Location != w[i].Reference {
				t.Fatalf("entry %d: %+v, want status %d, version %s", i, a, status, version)
			}
		}
	}
	send("transaction", writes[:100], 201, "1")
	send("batch", writes[100:], 201, "1")
	send("", writes[:100], 200, "1") // equal content
	after, err := s.Count(t.Context(), "Patient")
	if err != nil || after-before != 250 {
		t.Errorf("Count: %d after %d, %v", after, before, err)
	}

	read, err := s.Read(t.Context(), append(refs, fhirclient.Reference{Type: "Patient", ID: run + "-none"}))
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range read[:250] {
		if a.Status != 200 || a.Version != "1" || a.Location != refs[i] || len(a.JSON) == 0 || a.Modified.IsZero() {
			t.Fatalf("Read %d: %+v", i, a)
		}
	}
	if a := read[250]; a.Status != 404 || a.Meaning != fhirclient.Absent {
		t.Errorf("what is not there: %+v", a)
	}
	listed := map[string]string{}
	err = s.Each(t.Context(), "Patient", []string{"active"}, func(id, version string, _ json.RawMessage) error {
		if _, ok := listed[id]; ok {
			t.Errorf("%s came twice", id)
		}
		listed[id] = version
		return nil
	})
	if err != nil || int64(len(listed)) != after {
		t.Errorf("Each: %d of %d, %v", len(listed), after, err)
	}
	for _, r := range refs {
		if listed[r.ID] != "1" {
			t.Fatalf("Each: %s has version %q", r, listed[r.ID])
		}
	}

	stale := writes[0]
	stale.IfMatch = "7"
	got, err := s.Send(t.Context(), "batch", []fhirclient.Write{stale, writes[1]})
	if err != nil || got[0].Meaning != fhirclient.Conflict || !got[1].Stored() {
		t.Errorf("If-Match of another version: %+v, %v", got, err)
	}
	_, err = s.Send(t.Context(), "transaction", []fhirclient.Write{stale, writes[1]})
	if e, ok := errors.AsType[*fhirclient.Error](err); !ok || e.Meaning != fhirclient.Conflict || e.Unknown || e.Retriable {
		t.Errorf("If-Match of another version in a transaction: %+v", err)
	}
	dangling := fhirclient.Write{
		Reference: fhirclient.Reference{Type: "Patient", ID: run + "-dangling"},
		JSON:      fmt.Appendf(nil, `{"resourceType":"Patient","id":"%s-dangling","managingOrganization":{"reference":"Organization/%s-none"}}`, run, run),
	}
	if got, err = s.Send(t.Context(), "batch", []fhirclient.Write{dangling}); err == nil {
		t.Logf("dangling: %+v %+v", got[0], got[0].Outcome)
	}
	found, err := s.Find(t.Context(), "Patient", "_id="+refs[3].ID)
	if err != nil || len(found) != 1 || found[0].Location != refs[3] {
		t.Errorf("Find: %+v, %v", found, err)
	}
	deletions := make([]fhirclient.Write, len(refs))
	for i, r := range refs {
		deletions[i].Reference = r
	}
	for from := 0; from < len(deletions); from += 100 {
		if got, err = s.Send(t.Context(), "", deletions[from:min(from+100, len(deletions))]); err != nil || !got[0].Stored() {
			t.Fatalf("deletions: %+v %v", got, err)
		}
	}
	if read, err = s.Read(t.Context(), refs[:2]); err != nil || read[0].Status != 410 {
		t.Errorf("deleted: %+v %v", read, err)
	}
}
