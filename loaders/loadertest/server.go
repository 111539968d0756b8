package loadertest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// Server is a Target whose resources are on a FHIR server, which answers for each of them, and whose answers get
// lost. Its loader must be a pipeline.Refuser; if it is a pipeline.StreamTarget as well, that is tested too.
//
// The server is the Target's own: with client ids or its own, with transactions or batches, with versions of equal
// content or without. The suite changes faults, refusals and Integrity, and nothing else.
type Server interface {
	Target

	// Fhirtest is the server. It is there before the first Open, and stays when the loader is closed.
	Fhirtest() *fhirtest.Server

	// Try is Open, but returns the error: the server may have failed. What a failed Try has opened it has closed.
	// Its client must wait for a second or two at most until it gives up, so that a test ends.
	Try(ctx context.Context) (pipeline.Loader, error)
}

// Indexed is a Server whose loader remembers what the server has.
type Indexed interface {
	// LoseIndex removes what the loader remembers. The loader is closed.
	LoseIndex(t *testing.T)
}

// Overwriter is a Server that can be told what to do about what somebody else has changed.
type Overwriter interface {
	// Overwrite makes what Open opens from now on overwrite it, and not report it.
	Overwrite()
}

// OnServer is what Target.Resources is for a Server: all resources of a server, under our ids and with references to
// our ids, without what servers add. added is the system of the identifiers that the loader adds, if it does.
func OnServer(t *testing.T, s *fhirtest.Server, added string) map[string]string {
	t.Helper()
	all := s.Resources()
	own, bodies := map[string]string{}, map[string]map[string]any{}
	for ref, r := range all {
		body := parse(t, r.JSON).(map[string]any)
		bodies[ref], own[ref] = body, ref
		list, _ := body["identifier"].([]any)
		var keep []any
		for _, x := range list {
			i, _ := x.(map[string]any)
			if value, ok := i["value"].(string); ok && i["system"] == system {
				own[ref] = r.Type + "/" + value
			}
			if added == "" || i["system"] != added {
				keep = append(keep, x)
			}
		}
		if list != nil {
			body["identifier"] = keep
		}
	}
	out := map[string]string{}
	for ref, body := range bodies {
		if _, twice := out[own[ref]]; twice {
			t.Fatalf("%s is there twice", own[ref])
		}
		_, body["id"], _ = strings.Cut(own[ref], "/")
		if meta, ok := body["meta"].(map[string]any); ok {
			delete(meta, "versionId")
			delete(meta, "source")
		}
		translate(body, own)
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		out[own[ref]] = string(text)
	}
	return out
}

// translate replaces the references of a resource.
func translate(value any, own map[string]string) {
	switch x := value.(type) {
	case map[string]any:
		for k, v := range x {
			if ref, ok := v.(string); ok && k == "reference" && own[ref] != "" {
				x[k] = own[ref]
			}
			translate(v, own)
		}
	case []any:
		for _, v := range x {
			translate(v, own)
		}
	}
}

// runServer runs what only servers do.
func runServer(t *testing.T, newServer func(t *testing.T) Server) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Server)
	}{
		{"RefusesEach", testRefusesEach},
		{"RefusedDependents", testRefusedDependents},
		{"LostAnswer", testLostAnswer},
		{"LostAnswerOfUpdate", testLostAnswerOfUpdate},
		{"SameResourceInLanes", testSameResourceInLanes},
		{"TwiceInBatch", testTwiceInBatch},
		{"OrderOfReferences", testOrderOfReferences},
		{"MissingReference", testMissingReference},
		{"Void", testVoid},
		{"RerunWritesNothing", testRerunWritesNothing},
		{"IndexLost", testIndexLost},
		{"EditReported", testEditReported},
		{"EditOverwritten", testEditOverwritten},
		{"StreamRefusals", testStreamRefusals},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newServer(t)) })
	}
	t.Run("Faults", func(t *testing.T) { testFaults(t, newServer, false) })
	t.Run("Storm", func(t *testing.T) { testStorm(t, newServer) })
	if !streams(t, newServer(t)) {
		return
	}
	t.Run("Stream", func(t *testing.T) {
		RunStream(t, func(t *testing.T) StreamTarget { return streamServer{newServer(t)} })
	})
	t.Run("StreamFaults", func(t *testing.T) { testFaults(t, newServer, true) })
}

// streams reports whether the loader of a server is a target of streams.
func streams(t *testing.T, s Server) bool {
	t.Helper()
	l := s.Open(t)
	defer closeLoader(t, l)
	_, ok := l.(pipeline.StreamTarget)
	return ok
}

// streamServer is a Server as a target of streams.
type streamServer struct{ Server }

func (s streamServer) OpenStream(t *testing.T) Stream {
	t.Helper()
	return s.Open(t).(Stream)
}

// marked is a resource with a mark, by which one version of it is told from another on any server, and with
// references.
func marked(typ fhir.Type, id, mark, version string, refs ...string) *fhir.Resource {
	body := map[string]any{
		"resourceType": typ.String(), "id": id, "meta": map[string]any{"lastUpdated": "2024-05-06T07:08:09Z"},
		"identifier": []any{map[string]any{"system": system, "value": id}},
		"extension":  []any{map[string]any{"url": markURL, "valueString": mark}},
	}
	switch typ {
	case fhir.Organization:
		body["name"] = "secret of " + id
	case fhir.Coverage:
		body["status"] = "active"
		body["beneficiary"] = reference(refs[0])
		body["payor"] = []any{reference(refs[1])}
	case fhir.ExplanationOfBenefit:
		body["status"], body["use"] = "active", "claim"
		body["patient"] = reference(refs[0])
		body["insurance"] = []any{map[string]any{"focal": true, "coverage": reference(refs[1])}}
		body["insurer"], body["provider"] = reference(refs[2]), reference(refs[2])
	default:
		body["name"] = []any{map[string]any{"text": "secret of " + id}}
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return &fhir.Resource{Type: typ, ID: id, LastUpdated: "2024-05-06T07:08:09Z", SourceVersion: version, JSON: text,
		Keys: []fhir.Key{{Param: fhir.ParamIdentifier, Value: system + "|" + id}}}
}

const markURL = "urn:test:mark"

func reference(to string) map[string]any { return map[string]any{"reference": to} }

// deletion is of a resource.
func deletion(typ fhir.Type, id, version string) *fhir.Resource {
	return &fhir.Resource{Type: typ, ID: id, LastUpdated: "2024-06-07T08:09:10Z", SourceVersion: version, Deleted: true}
}

// claimSet is a claim with all that it refers to, in the order of references.
func claimSet(n string) []*fhir.Resource {
	return []*fhir.Resource{
		marked(fhir.Organization, "o"+n, "1", "1"), marked(fhir.Patient, "p"+n, "1", "1"),
		marked(fhir.Coverage, "c"+n, "1", "1", "Patient/p"+n, "Organization/o"+n),
		marked(fhir.ExplanationOfBenefit, "e"+n, "1", "1", "Patient/p"+n, "Coverage/c"+n, "Organization/o"+n),
	}
}

// markOf is the mark of a resource of the server; "" of one without.
func markOf(text string) string {
	var r struct {
		Extension []struct{ URL, ValueString string }
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return ""
	}
	for _, e := range r.Extension {
		if e.URL == markURL {
			return e.ValueString
		}
	}
	return ""
}

// there are the marks of what the server has under an identifier: one, if it is there.
func there(s Server, typ fhir.Type, id string) (marks []string) {
	for _, r := range s.Fhirtest().Find(typ.String(), system, id) {
		marks = append(marks, markOf(r.JSON))
	}
	return marks
}

// wantThere fails the test unless the server has exactly one resource with that mark; "" is none at all.
func wantThere(t *testing.T, s Server, typ fhir.Type, id, mark string) {
	t.Helper()
	var want []string
	if mark != "" {
		want = []string{mark}
	}
	if got := there(s, typ, id); !slices.Equal(got, want) {
		t.Errorf("the server has %s with the marks %q, want %q", fhir.Reference(typ, id), got, want)
	}
}

// story is what the server has had of a resource over time: the mark of each version, "" of a deletion. On a server
// that gives ids, a resource that comes again after its deletion has another one.
func story(s Server, typ fhir.Type, id string) (marks []string) {
	var all []fhirtest.Stored
	for _, name := range s.Fhirtest().Names() {
		if !strings.HasPrefix(name, typ.String()+"/") {
			continue
		}
		versions := s.Fhirtest().Versions(name)
		if strings.Contains(versions[0].JSON, fmt.Sprintf("%q", id)) {
			all = append(all, versions...)
		}
	}
	slices.SortFunc(all, func(a, b fhirtest.Stored) int { return a.Order - b.Order })
	for _, v := range all {
		if v.Deleted {
			marks = append(marks, "")
		} else {
			marks = append(marks, markOf(v.JSON))
		}
	}
	return marks
}

func wantStory(t *testing.T, s Server, typ fhir.Type, id string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, story(s, typ, id)); diff != "" {
		t.Errorf("versions of %s (-want +got):\n%s", fhir.Reference(typ, id), diff)
	}
}

// told is what seal was told.
type told struct {
	outcomes []pipeline.Outcome
	refusals map[int]*pipeline.Refusal
}

// newTold keeps the arguments of a seal.
func newTold(outcomes []pipeline.Outcome, refusals pipeline.Refusals) told {
	got := told{slices.Clone(outcomes), map[int]*pipeline.Refusal{}}
	for i, r := range refusals {
		if r != nil {
			keep := *r
			got.refusals[i] = &keep
		}
	}
	return got
}

// loadTold loads a batch and returns what seal was told.
func loadTold(t *testing.T, l pipeline.Loader, lane string, b *fhir.Batch, cp pipeline.Checkpoint) told {
	t.Helper()
	got, err := tryTold(l, lane, b, cp)
	if err != nil {
		t.Fatalf("load lane %s: %v", lane, err)
	}
	return got
}

func tryTold(l pipeline.Loader, lane string, b *fhir.Batch, cp pipeline.Checkpoint) (told, error) {
	var got told
	err := l.Load(context.Background(), lane, b, func(outcomes []pipeline.Outcome, refusals pipeline.Refusals) (pipeline.Checkpoint, error) {
		got = newTold(outcomes, refusals)
		return cp, nil
	})
	if err == nil && len(got.outcomes) != b.Len() {
		err = fmt.Errorf("seal was told %d outcomes of %d resources", len(got.outcomes), b.Len())
	}
	return got, err
}

// wantOutcomes fails the test unless the outcomes are these, and exactly those that are Refused have a reason of
// one of the rules.
func (g *told) wantOutcomes(t *testing.T, want []pipeline.Outcome, rules ...string) {
	t.Helper()
	if diff := cmp.Diff(want, g.outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	for i, o := range g.outcomes {
		r := g.refusals[i]
		if (o == pipeline.Refused) != (r != nil) {
			t.Errorf("resource %d has the outcome %d and the refusal %v", i, o, r)
		}
		if r == nil {
			continue
		}
		if !slices.Contains(rules, r.Rule) {
			t.Errorf("resource %d is refused by rule %s, want one of %s", i, r.Rule, rules)
		}
		if open := fmt.Sprint(r.Rule, r.Codes, r.Locations); strings.Contains(open, "secret") {
			t.Errorf("the refusal of resource %d shows a value: %s", i, open)
		}
	}
}

// all is an outcome n times.
func all(n int, o pipeline.Outcome) []pipeline.Outcome {
	return slices.Repeat([]pipeline.Outcome{o}, n)
}

// settle calls f on an open loader, again with another one after each error, until it succeeds.
func settle(t *testing.T, s Server, f func(l pipeline.Loader) error) {
	t.Helper()
	var errs []error
	for range 12 {
		l, err := s.Try(context.Background())
		if err != nil {
			errs = append(errs, fmt.Errorf("open: %w", err))
			continue
		}
		err = f(l)
		if errClose := l.Close(); errClose != nil && err == nil {
			err = errClose
		}
		if err == nil {
			return
		}
		errs = append(errs, err)
	}
	t.Fatalf("it does not end: %v", errs)
}

// refuseID makes the server refuse resources by our ids, whatever their ids there are.
func refuseID(s Server, ids ...string) (stop func()) {
	return s.Fhirtest().Refuse(func(_, _ string, r map[string]any) bool {
		list, _ := r["identifier"].([]any)
		for _, x := range list {
			i, _ := x.(map[string]any)
			if value, _ := i["value"].(string); i["system"] == system && slices.Contains(ids, value) {
				return true
			}
		}
		return false
	})
}
