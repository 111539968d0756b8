package bulkimport

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/loaders/bundle"
	"cpcds2fhir/loaders/loadertest"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
)

// target is a server with a loader into it that imports every batch by jobs of its own.
type target struct {
	server *fhirtest.Server
	config fhirclient.Config
	state  string
	stage  string
}

var (
	_ loadertest.Server     = (*target)(nil)
	_ loadertest.Indexed    = (*target)(nil)
	_ loadertest.Overwriter = (*target)(nil)
	_ loadertest.Updater    = (*target)(nil)
)

func (s *target) Fhirtest() *fhirtest.Server { return s.server }

func (s *target) CanUpdate() bool { return true }

func (s *target) Overwrite() { s.config.Conflicts = "overwrite" }

func (s *target) LoseIndex(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(s.state, "index")); err != nil {
		t.Fatal(err)
	}
}

func (s *target) Open(t *testing.T) pipeline.Loader {
	t.Helper()
	l, err := s.Try(t.Context())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return l
}

func (s *target) Try(ctx context.Context) (pipeline.Loader, error) {
	client, _, err := fhirclient.Connect(ctx, s.server.URL, &s.config, &fhirclient.Options{})
	if err != nil {
		return nil, err
	}
	p := hurry
	p.settle, p.patience = 30*time.Millisecond, time.Second
	imports := &jobs{
		o:    Options{State: filepath.Join(s.state, "import"), KeyFingerprint: "key", Stage: s.stage, Server: client, Start: map[string]string{"kind": "hapi"}},
		rest: bundle.New(client), least: 1, around: surroundings{buckets: openBucket, pace: &p},
	}
	l, err := remote.Open(ctx, &remote.Options{
		State: s.state, URL: s.server.URL, Run: "run", KeyFingerprint: "key", Memory: 8 << 20, Server: client, Sender: imports,
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (s *target) Resources(t *testing.T) map[string]string {
	t.Helper()
	out := loadertest.OnServer(t, s.server, "")
	if left, err := filepath.Glob(filepath.Join(s.state, "import", "jobs-*")); err != nil || len(left) > 1 {
		t.Errorf("left: %s %v", left, err)
	}
	return out
}

// TestAcceptance runs what every loader must do, with imports.
func TestAcceptance(t *testing.T) {
	loadertest.Run(t, func(t *testing.T) loadertest.Target {
		return &target{
			server: fhirtest.Start(t, &fhirtest.Options{Integrity: true}), state: t.TempDir(), stage: "file://" + t.TempDir(),
			config: fhirclient.Config{Profile: "hapi", Timeout: 2 * time.Second, Patience: 500 * time.Millisecond},
		}
	})
}

func TestJobsOfBefore(t *testing.T) { // a job that an earlier process has left ends first
	server := fhirtest.Start(t, &fhirtest.Options{Import: fhirtest.Import{Polls: 50, Time: 100 * time.Millisecond}})
	s := &target{server: server, state: t.TempDir(), stage: "file://" + t.TempDir(), config: fhirclient.Config{Profile: "hapi", Timeout: 2 * time.Second, Patience: time.Second}}
	l := s.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	stop := server.Inject(polls, fhirtest.Latency(time.Millisecond))
	server.Inject(func(r *fhirtest.Request) bool {
		if polls(r) {
			cancel()
		}
		return false
	}, fhirtest.Latency(0))
	batches := extract(3, 3)
	if _, err := load(ctx, l, "0", 1, batches[0]); err == nil {
		t.Fatal("no error")
	}
	stop()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = s.Open(t)
	defer l.Close()
	for n, list := range batches {
		if _, err := load(t.Context(), l, "0", int64(n+1), list); err != nil {
			t.Fatal(err)
		}
	}
	wantThere(t, server, batches)
	if left, err := filepath.Glob(filepath.Join(s.state, "import", "jobs-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %s %v", left, err)
	}
}

func TestSmallCallsAreSent(t *testing.T) {
	server := fhirtest.Start(t, nil)
	s := &target{server: server, state: t.TempDir(), stage: "file://" + t.TempDir(), config: fhirclient.Config{Profile: "hapi"}}
	l := s.Open(t)
	defer l.Close()
	client, _, err := fhirclient.Connect(t.Context(), server.URL, &s.config, &fhirclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sender := Jobs(&Options{State: t.TempDir(), Stage: s.stage, Server: client}, bundle.New(client))
	list := extract(3, 3)[0]
	var entries []remote.Entry
	for _, r := range list {
		entries = append(entries, remote.Entry{Type: r.Type, ID: r.ID, JSON: r.JSON})
	}
	answers, err := sender.Send(t.Context(), entries)
	if err != nil || len(answers) != len(entries) || answers[0].Fate != remote.Stored {
		t.Fatal(answers, err)
	}
	if jobsStarted(server) != 0 {
		t.Error("a job was started for a few resources")
	}
}

func TestJobsThatCannotStart(t *testing.T) { // the error is told, nothing is left, and the next call may succeed
	server := fhirtest.Start(t, &fhirtest.Options{Import: fhirtest.Import{Off: true}})
	s := &target{server: server, state: t.TempDir(), stage: "file://" + t.TempDir(), config: fhirclient.Config{Profile: "hapi"}}
	l := s.Open(t)
	defer l.Close()
	list := extract(3, 3)[0]
	_, err := load(t.Context(), l, "0", 1, list)
	if e, ok := errors.AsType[*JobError](err); !ok || e.Status != 400 {
		t.Fatalf("error %v", err)
	}
	server.Set(func(o *fhirtest.Options) { o.Import.Off = false })
	if _, err := load(t.Context(), l, "0", 1, list); err != nil {
		t.Fatal(err)
	}
	if n := len(server.Resources()); n != len(list) {
		t.Errorf("%d resources", n)
	}
}
