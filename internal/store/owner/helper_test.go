package owner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// share opens a store, and closes it when the test ends.
func share(t testing.TB, dir string, o Options) *Shared {
	t.Helper()
	s, err := Open(dir, store.Options{}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt(t, s) })
	return s
}

func closeIt(t testing.TB, s *Shared) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// pair opens a store twice: its owner, and a user through the socket.
func pair(t testing.TB) (own, user *Shared) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	own, user = share(t, dir, Options{}), share(t, dir, Options{})
	wantOwner(t, own, true)
	wantOwner(t, user, false)
	return own, user
}

func wantOwner(t testing.TB, s *Shared, want bool) {
	t.Helper()
	if _, got := s.Owner(); got != want {
		t.Fatalf("owns the store: %v, want %v", got, want)
	}
}

// quick are limits for tests that wait for them.
func quick() limits {
	l := defaults
	l.seal, l.read, l.write, l.beat, l.stall, l.closing = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond,
		50*time.Millisecond, 200*time.Millisecond, 500*time.Millisecond
	return l
}

func organization(id, name string) *fhir.Resource {
	return &fhir.Resource{
		Type: fhir.Organization, ID: id, LastUpdated: "2024-05-06T07:08:09Z",
		JSON: fmt.Appendf(nil, `{"resourceType":"Organization","id":"%s","name":"%s"}`, id, name),
		Keys: []fhir.Key{{Param: fhir.ParamIdentifier, Value: "urn:test|" + id}},
	}
}

func batchOf(resources ...*fhir.Resource) *fhir.Batch {
	b := &fhir.Batch{}
	for _, r := range resources {
		b.Add(r)
	}
	return b
}

func commit(c store.Commit) store.Seal {
	return func([]store.Outcome) (store.Commit, error) { return c, nil }
}

func put(name, value string) store.Commit {
	return store.Commit{Put: []store.MetaRecord{{Name: name, Value: []byte(value)}}}
}

// text is a meta record, "" if there is none.
func text(t testing.TB, h store.Handle, name string) string {
	t.Helper()
	v, err := h.Meta(name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return string(v)
}

// claims makes a batch of EOBs of 14 KB, of at least size bytes.
func claims(from, size int) *fhir.Batch {
	b := &fhir.Batch{}
	for n := from; b.Size() < size; n++ {
		var items strings.Builder
		for i := range 40 {
			fmt.Fprintf(&items, `,{"sequence":%d,"productOrService":{"coding":[{"system":"http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets","code":"%05d"}]},"servicedPeriod":{"start":"2024-03-%02d"},"adjudication":[{"category":{"coding":[{"code":"submitted"}]},"amount":{"value":%d.%02d,"currency":"USD"}}]}`,
				i+1, (n*7919+i*104729)%100000, i%28+1, (n*31+i*17)%9000, n%100)
		}
		id := fmt.Sprintf("eob-%08d", n)
		b.Add(&fhir.Resource{
			Type: fhir.ExplanationOfBenefit, ID: id, LastUpdated: "2024-05-06T07:08:09Z", SourceVersion: "1",
			JSON: fmt.Appendf(nil, `{"resourceType":"ExplanationOfBenefit","id":"%s","patient":{"reference":"Patient/p%d"},"item":[%s]}`, id, n/40, items.String()[1:]),
			Keys: []fhir.Key{
				{Param: fhir.ParamPatient, Value: fmt.Sprintf("Patient/p%d", n/40)}, {Param: fhir.ParamIdentifier, Value: "urn:claims|" + id},
				{Param: fhir.ParamServiceDate, Value: "2024-03-01/2024-03-28"}, {Param: fhir.ParamProvider, Value: "Organization/o1"},
			},
		})
	}
	return b
}

func background() context.Context { return context.Background() }
