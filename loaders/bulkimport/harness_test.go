package bulkimport

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/loaders/bundle"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// hurry is the pace of tests.
var hurry = pace{first: time.Millisecond, most: 20 * time.Millisecond, heed: 50 * time.Millisecond, settle: 150 * time.Millisecond, patience: 5 * time.Second}

// bed is a server, and what a load into it needs.
type bed struct {
	t      *testing.T
	fhir   *fhirtest.Server
	base   string // of the server
	state  string
	config fhirclient.Config
	o      Options
	around surroundings

	mu     sync.Mutex
	events []string
}

func newBed(t *testing.T, fhir *fhirtest.Server, base string) *bed {
	t.Helper()
	p := hurry
	b := &bed{t: t, fhir: fhir, base: base, state: t.TempDir(), around: surroundings{buckets: openBucket, pace: &p},
		config: fhirclient.Config{IDs: "client", Timeout: 5 * time.Second, Patience: 2 * time.Second}}
	b.o = Options{Run: "run-1", KeyFingerprint: "key-1", Stage: "file://" + t.TempDir(), State: filepath.Join(b.state, "import")}
	b.o.Events = Events{
		Staged:  func(typ string, files int, resources, _ int64) { b.note("staged %s %d in %d", typ, resources, files) },
		Started: func(job, typ string) { b.note("started %s of %s", job, typ) },
		Ended:   func(job string, n, failed int64, _ time.Duration) { b.note("ended %s %d %d", job, n, failed) },
	}
	return b
}

func (b *bed) note(form string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, fmt.Sprintf(form, args...))
}

func (b *bed) noted(begin string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if strings.HasPrefix(e, begin) {
			n++
		}
	}
	return n
}

func (b *bed) connect() fhirclient.Server {
	b.t.Helper()
	server, _, err := fhirclient.Connect(b.t.Context(), b.base, &b.config, &fhirclient.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	return server
}

// open opens the import and its index as a process would.
func (b *bed) open() (*Import, *remote.Loader, error) {
	server := b.connect()
	o := b.o
	o.Server = server
	i, err := open(b.t.Context(), &o, b.around)
	if err != nil {
		return nil, nil, err
	}
	index, err := remote.Open(b.t.Context(), &remote.Options{
		State: b.state, URL: server.URL(), Run: o.Run, KeyFingerprint: o.KeyFingerprint, Memory: 4 << 20, Server: server,
		Sender: i.Sender(bundle.New(server)), Landed: i.Landed(),
	})
	if err != nil {
		return nil, nil, errors.Join(err, i.Close())
	}
	return i, index, nil
}

func (b *bed) must() (*Import, *remote.Loader) {
	b.t.Helper()
	i, index, err := b.open()
	if err != nil {
		b.t.Fatal(err)
	}
	return i, index
}

func shut(t *testing.T, i *Import, index *remote.Loader) {
	t.Helper()
	if err := errors.Join(index.Close(), i.Close()); err != nil {
		t.Fatal(err)
	}
}

type result struct {
	outcomes []pipeline.Outcome
	refusals pipeline.Refusals
}

func load(ctx context.Context, l pipeline.Loader, lane string, row int64, list []*fhir.Resource) (r result, err error) {
	b := &fhir.Batch{}
	for _, x := range list {
		b.Add(x)
	}
	err = l.Load(ctx, lane, b, func(o []pipeline.Outcome, why pipeline.Refusals) (pipeline.Checkpoint, error) {
		r = result{slices.Clone(o), maps.Clone(why)}
		return pipeline.Checkpoint{Row: row}, nil
	})
	return r, err
}

// run loads batches with a loader, one after the other, from where it was.
func run(ctx context.Context, l pipeline.Loader, batches [][]*fhir.Resource) (all []result, err error) {
	cp, err := l.Resume(ctx, "0")
	if err != nil {
		return nil, err
	}
	for n := cp.Row; n < int64(len(batches)); n++ {
		r, err := load(ctx, l, "0", n+1, batches[n])
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, l.Finish(ctx, &pipeline.Account{})
}

// whole does the three steps of a load, each in a process of its own.
func (b *bed) whole(batches [][]*fhir.Resource) []result {
	b.t.Helper()
	i, index := b.must()
	if _, err := run(b.t.Context(), i.Staging(index), batches); err != nil {
		b.t.Fatal(err)
	}
	shut(b.t, i, index)
	i, index = b.must()
	if err := i.Run(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	shut(b.t, i, index)
	i, index = b.must()
	defer shut(b.t, i, index)
	all, err := run(b.t.Context(), index, batches)
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

const updated = "2024-05-06T07:08:09Z"

func resource(typ fhir.Type, id, rest string) *fhir.Resource {
	return &fhir.Resource{Type: typ, ID: id, LastUpdated: updated, SourceVersion: "1",
		JSON: fmt.Appendf(nil, `{"resourceType":"%s","id":"%s","meta":{"lastUpdated":"%s"}%s}`, typ, id, updated, rest)}
}

func organization(n int) *fhir.Resource {
	return resource(fhir.Organization, fmt.Sprintf("o%05d", n), fmt.Sprintf(`,"name":"Payer %d"`, n))
}

func patient(n int) *fhir.Resource {
	return resource(fhir.Patient, fmt.Sprintf("p%05d", n), fmt.Sprintf(`,"name":[{"family":"Doe %d"}]`, n))
}

func coverage(n int) *fhir.Resource {
	return resource(fhir.Coverage, fmt.Sprintf("c%05d", n), fmt.Sprintf(
		`,"status":"active","beneficiary":{"reference":"Patient/p%05d"},"payor":[{"reference":"Organization/o00000"}]`, n))
}

func claim(n, member int) *fhir.Resource {
	return resource(fhir.ExplanationOfBenefit, fmt.Sprintf("e%05d", n), fmt.Sprintf(
		`,"status":"active","type":{"text":"x"},"use":"claim","patient":{"reference":"Patient/p%05d"},"created":"2024-01-01","insurer":{"reference":"Organization/o00000"},`+
			`"provider":{"reference":"Organization/o00000"},"outcome":"complete","insurance":[{"focal":true,"coverage":{"reference":"Coverage/c%05d"}}]`, member, member))
}

// extract is a small load: claims come before what they refer to, as batches of lanes may.
func extract(members, claims int) [][]*fhir.Resource {
	var first, second, third []*fhir.Resource
	first = append(first, organization(0), organization(1))
	for n := range members {
		first = append(first, patient(n))
		second = append(second, coverage(n))
	}
	for n := range claims {
		third = append(third, claim(n, n%members))
	}
	return [][]*fhir.Resource{first, second, third[:claims/2], third[claims/2:]}
}

func names(batches [][]*fhir.Resource) (all []string) {
	for _, b := range batches {
		for _, r := range b {
			all = append(all, fhir.Reference(r.Type, r.ID))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// wantThere fails the test unless the server has exactly these resources with their content, each in one
// version.
func wantThere(t *testing.T, server *fhirtest.Server, batches [][]*fhir.Resource, without ...string) {
	t.Helper()
	want := map[string][]byte{}
	for _, b := range batches {
		for _, r := range b {
			want[fhir.Reference(r.Type, r.ID)] = r.JSON
		}
	}
	for _, ref := range without {
		delete(want, ref)
	}
	have := server.Resources()
	if got, all := slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(want)); !slices.Equal(got, all) {
		t.Fatalf("the server has %d resources, not these %d:\n%s\n%s", len(got), len(all), got, all)
	}
	for ref, text := range want {
		got := have[ref]
		a, err := remote.DigestOf([]byte(got.JSON), nil, nil)
		b, err2 := remote.DigestOf(text, nil, nil)
		if err := errors.Join(err, err2); err != nil || a != b {
			t.Errorf("%s is %s, want %s (%v)", ref, got.JSON, text, err)
		}
		if n := len(server.Versions(ref)); n != 1 {
			t.Errorf("%s has %d versions", ref, n)
		}
	}
}

// wantOutcomes fails the test unless all outcomes are the same.
func wantOutcomes(t *testing.T, all []result, want pipeline.Outcome) {
	t.Helper()
	for n, r := range all {
		for k, o := range r.outcomes {
			if o != want {
				t.Errorf("batch %d, resource %d: outcome %d, want %d", n, k, o, want)
			}
		}
	}
}
