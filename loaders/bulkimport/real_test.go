package bulkimport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// TestReal imports 2,000 resources into a real HAPI server. The process ends while the claims are
// imported, and another one goes on with the job.
func TestReal(t *testing.T) {
	base := os.Getenv("FHIR_SERVER")
	if base == "" {
		t.Skip("FHIR_SERVER is not set: it must be the URL of a HAPI FHIR server with $import")
	}
	b := newBed(t, nil, base)
	b.around.pace = nil // as it is
	b.config = fhirclient.Config{Profile: "hapi"}
	b.o.Run = newToken()
	prefix := "i" + b.o.Run[:8]
	batches := extract(400, 1198)
	for _, list := range batches {
		for _, r := range list {
			r.ID = prefix + r.ID
			text := strings.Replace(string(r.JSON), `"id":"`, `"id":"`+prefix, 1)
			for _, typ := range []string{"Patient/", "Organization/", "Coverage/"} {
				text = strings.ReplaceAll(text, `"`+typ, `"`+typ+prefix)
			}
			r.JSON = []byte(text)
		}
	}
	// A line that HAPI refuses, and names nowhere: the wrong type of a target.
	bad := batches[2][7]
	bad.JSON = []byte(strings.Replace(string(bad.JSON), `"patient":{"reference":"Patient/`, `"patient":{"reference":"Organization/`, 1))
	bad.JSON = []byte(strings.Replace(string(bad.JSON), "Organization/"+prefix+"p", "Organization/"+prefix+"o", 1))

	server := b.connect()
	ctx, cancel := context.WithCancel(t.Context())
	handle := ""
	var claims time.Time
	b.o.Events.Started = func(_, typ string) {
		if typ == fhir.ExplanationOfBenefit.String() {
			claims = time.Now()
		}
	}
	b.o.Events.Progress = func(string, string) {
		if !claims.IsZero() && time.Since(claims) > 2*time.Second { // it has fetched the file by then
			cancel()
		}
	}
	began := time.Now()
	if _, err := b.attempt(ctx, batches); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	b.o.Events.Progress = nil
	b.o.Events.Started = func(job, typ string) { b.note("started %s of %s again", job, typ) }
	i, index := b.must()
	if j := i.journal.Jobs[len(i.journal.Jobs)-1]; j.State != jobRunning || j.Handle == "" {
		t.Errorf("job %+v", j)
	} else {
		handle = j.Handle
	}
	if err := i.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	t.Logf("imported in %s: %q", took, b.events)
	if j := i.journal.Jobs[len(i.journal.Jobs)-1]; j.Handle != handle {
		// A job whose files are gone before it has fetched them all has failed; then another is right.
		t.Logf("another job was started: %+v", j)
	}
	all, err := run(t.Context(), index, batches)
	if err != nil {
		t.Fatal(err)
	}
	for n, r := range all {
		for k, o := range r.outcomes {
			if batches[n][k] == bad {
				if why := r.refusals[k]; o != pipeline.Refused || why == nil || len(why.Codes) == 0 {
					t.Errorf("outcome %d: %+v", o, why)
				}
				continue
			}
			if o != pipeline.Created && !t.Failed() {
				t.Errorf("batch %d, resource %d: outcome %d, %+v", n, k, o, r.refusals[k])
			}
		}
	}
	shut(t, i, index)
	wantReally(t, server, batches, bad)

	// Another run stages nothing, with the index and without it.
	batches[2] = append(batches[2][:7:7], batches[2][8:]...)
	for n := range 2 {
		b.events = nil
		b.o.Run, b.o.State = newToken(), fmt.Sprintf("%s-%d", b.o.State, n)
		if n == 1 {
			b.state = t.TempDir()
		}
		wantOutcomes(t, b.whole(batches), pipeline.Unchanged)
		if b.noted("staged") != 0 {
			t.Errorf("events: %q", b.events)
		}
	}
	wantReally(t, server, batches, bad)
}

// wantReally reads what a server has.
func wantReally(t *testing.T, server fhirclient.Server, batches [][]*fhir.Resource, without *fhir.Resource) {
	t.Helper()
	for _, list := range batches {
		refs := make([]fhirclient.Reference, len(list))
		for n, r := range list {
			refs[n] = fhirclient.Reference{Type: r.Type.String(), ID: r.ID}
		}
		there, err := server.Read(t.Context(), refs)
		if err != nil {
			t.Fatal(err)
		}
		for n, r := range list {
			a := &there[n]
			if r == without {
				if a.Status != 404 {
					t.Errorf("%s is there", r.ID)
				}
				continue
			}
			if a.Status != 200 || a.Version != "1" {
				t.Errorf("%s/%s: status %d, version %s", r.Type, r.ID, a.Status, a.Version)
				continue
			}
			want, err := remote.DigestOf(r.JSON, nil, nil)
			have, err2 := remote.DigestOf(a.JSON, server.Settings().Ignore, nil)
			if err != nil || err2 != nil || want != have {
				t.Errorf("%s differs: %s", r.ID, a.JSON)
			}
		}
	}
}
