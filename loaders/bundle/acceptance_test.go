package bundle_test

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/loaders/bundle"
	"cpcds2fhir/loaders/loadertest"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
)

// target is a server with the loader into it: all parts are the real ones.
type target struct {
	server *fhirtest.Server
	config fhirclient.Config
	state  string
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
	if err := os.RemoveAll(s.state); err != nil {
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
	l, err := remote.Open(ctx, &remote.Options{
		State: s.state, URL: s.server.URL, Run: "run", KeyFingerprint: "key", Memory: 8 << 20, Server: client, Sender: bundle.New(client),
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Resources gives resources our ids, and takes away what the server has added.
func (s *target) Resources(t *testing.T) map[string]string {
	t.Helper()
	there := s.server.Resources()
	bodies, own := map[string]map[string]any{}, map[string]string{}
	for ref, r := range there {
		var body map[string]any
		if err := json.Unmarshal([]byte(r.JSON), &body); err != nil {
			t.Fatal(err)
		}
		bodies[ref], own[ref] = body, ref
		if id := takeIdentifier(body); id != "" {
			own[ref] = r.Type + "/" + id
			body["id"] = id
		}
		body["meta"] = map[string]any{"lastUpdated": "2024-05-06T07:08:09Z"}
	}
	out := map[string]string{}
	for ref, body := range bodies {
		rename(body, own)
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := out[own[ref]]; twice {
			t.Errorf("%s is there twice", own[ref])
		}
		out[own[ref]] = string(text)
	}
	return out
}

// takeIdentifier takes the identifier with our id out of a resource.
func takeIdentifier(body map[string]any) (id string) {
	list, _ := body["identifier"].([]any)
	for i, x := range list {
		if m, _ := x.(map[string]any); m["system"] == remote.IdentifierSystem {
			id, _ = m["value"].(string)
			body["identifier"] = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if list, _ := body["identifier"].([]any); len(list) == 0 {
		delete(body, "identifier")
	}
	return id
}

// rename gives all references of a resource our ids.
func rename(x any, own map[string]string) {
	switch x := x.(type) {
	case map[string]any:
		if ref, ok := x["reference"].(string); ok && own[ref] != "" {
			x["reference"] = own[ref]
		}
		for _, v := range x {
			rename(v, own)
		}
	case []any:
		for _, v := range x {
			rename(v, own)
		}
	}
}

var allServers = flag.Bool("all", false, "run the acceptance suite with all kinds of servers")

// kinds are the servers of TestAcceptance: the first ones always, the next ones not with -short, the last ones
// with -all, because they differ little from the others.
var kinds = []struct {
	name    string
	options fhirtest.Options
	config  fhirclient.Config
}{
	{name: "transaction", options: fhirtest.Options{Integrity: true, DeleteIfMatch: true}},
	{"its ids, equal makes version", fhirtest.Options{Software: "Another", AssignIDs: true, EqualMakesVersion: true}, fhirclient.Config{IDs: "conditional"}},

	{"batch fails whole", fhirtest.Options{BatchFailsWhole: true}, fhirclient.Config{Bundle: "batch"}},
	{name: "equal makes version, 412", options: fhirtest.Options{Software: "Another", EqualMakesVersion: true, Stale412: true}},

	{name: "without integrity"},
	{name: "batch", config: fhirclient.Config{Bundle: "batch"}},
	{name: "transaction as batch", options: fhirtest.Options{TransactionAsBatch: true}},
	{name: "no transactions", options: fhirtest.Options{NoTransaction: true}, config: fhirclient.Config{Bundle: "transaction"}},
	{name: "412", options: fhirtest.Options{Stale412: true, DeleteIfMatch: true}},
	{"its ids", fhirtest.Options{AssignIDs: true}, fhirclient.Config{IDs: "conditional"}},
	{name: "small bundles", options: fhirtest.Options{MaxEntries: 2}},
}

func TestAcceptance(t *testing.T) {
	run := kinds[:4]
	switch {
	case *allServers:
		run = kinds
	case testing.Short():
		run = kinds[:2]
	}
	for _, s := range run {
		t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
			t.Parallel() // most of the time it waits
			loadertest.Run(t, func(t *testing.T) loadertest.Target {
				t.Helper()
				c, o := s.config, s.options
				c.Patience, c.Timeout = 2*time.Second, 5*time.Second
				return &target{server: fhirtest.Start(t, &o), config: c, state: filepath.Join(t.TempDir(), "state")}
			})
		})
	}
}
