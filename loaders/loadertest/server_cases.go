package loadertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// testRefusesEach refuses the ith of a batch, for all i: exactly that one is refused, and arrives once the server
// accepts it.
func testRefusesEach(t *testing.T, s Server) {
	const n = 7
	l := s.Open(t)
	if r, ok := l.(pipeline.Refuser); !ok || !r.Refuses() {
		t.Fatal("the loader of a server is no pipeline.Refuser")
	}
	row := int64(0)
	for i := range n {
		var list []*fhir.Resource
		for j := range n {
			list = append(list, marked([]fhir.Type{fhir.Organization, fhir.Patient}[j%2], fmt.Sprintf("r%d-%d", i, j), "1", "1"))
		}
		stop := refuseID(s, list[i].ID)
		row++
		want := all(n, pipeline.Created)
		want[i] = pipeline.Refused
		got := loadTold(t, l, "lane", batch(list...), checkpoint(row))
		got.wantOutcomes(t, want, pipeline.RuleServerRefused)
		if r := got.refusals[i]; r != nil && (r.Status != 422 || !slices.Contains(r.Codes, "business-rule") || !strings.Contains(r.Text, "secret of")) {
			t.Errorf("the refusal says %+v", r)
		}
		for j, r := range list {
			wantThere(t, s, r.Type, r.ID, map[bool]string{true: "", false: "1"}[j == i])
		}
		stop()
		row++
		want = all(n, pipeline.Unchanged)
		want[i] = pipeline.Created
		got = loadTold(t, l, "lane", batch(list...), checkpoint(row))
		got.wantOutcomes(t, want)
		wantThere(t, s, list[i].Type, list[i].ID, "1")
		for _, r := range list {
			wantStory(t, s, r.Type, r.ID, "1")
		}
	}
	closeLoader(t, l)
}

// testRefusedDependents: with referential integrity, what refers to a refused resource is refused as well, and
// everything arrives once the cause is gone.
func testRefusedDependents(t *testing.T, s Server) {
	s.Fhirtest().Set(func(o *fhirtest.Options) { o.Integrity = true })
	l := s.Open(t)
	list := append(claimSet("1"), claimSet("2")...)
	stop := refuseID(s, "p1")
	got := loadTold(t, l, "lane", batch(list...), checkpoint(1))
	const c, r = pipeline.Created, pipeline.Refused
	got.wantOutcomes(t, []pipeline.Outcome{c, r, r, r, c, c, c, c}, pipeline.RuleServerRefused, pipeline.RuleReferenceGone)
	if x := got.refusals[1]; x != nil && x.Rule != pipeline.RuleServerRefused {
		t.Errorf("the patient is refused by %s", x.Rule)
	}
	stop()
	got = loadTold(t, l, "lane", batch(list...), checkpoint(2))
	const u = pipeline.Unchanged
	got.wantOutcomes(t, []pipeline.Outcome{u, c, c, c, u, u, u, u})
	finish(t, l)
	wantResources(t, s, list...)
}

// testLostAnswer loses the answer of the first write of a batch: after that the target has it once.
func testLostAnswer(t *testing.T, s Server) {
	list := claimSet("1")
	s.Fhirtest().Inject(fhirtest.Nth(1, fhirtest.Writes), fhirtest.LoseAnswer())
	settle(t, s, func(l pipeline.Loader) error {
		got, err := tryTold(l, "lane", batch(list...), checkpoint(1))
		if err == nil {
			got.wantThere(t)
		}
		return err
	})
	l := s.Open(t)
	wantResume(t, l, "lane", checkpoint(1))
	finish(t, l)
	wantResources(t, s, list...)
	for _, r := range list {
		wantStory(t, s, r.Type, r.ID, "1")
	}
}

// testLostAnswerOfUpdate: a lost answer must not make an older content come back, and an update is done once.
func testLostAnswerOfUpdate(t *testing.T, s Server) {
	l := s.Open(t)
	loadTold(t, l, "lane", batch(marked(fhir.Patient, "a", "1", "1"), marked(fhir.Patient, "d", "1", "1")), checkpoint(1))
	closeLoader(t, l)
	s.Fhirtest().Inject(fhirtest.Nth(1, fhirtest.Writes), fhirtest.LoseAnswer())
	settle(t, s, func(l pipeline.Loader) error {
		_, err := tryTold(l, "lane", batch(marked(fhir.Patient, "a", "2", "2"), deletion(fhir.Patient, "d", "2")), checkpoint(2))
		return err
	})
	settle(t, s, func(l pipeline.Loader) error {
		got, err := tryTold(l, "lane", batch(marked(fhir.Patient, "a", "1", "1")), checkpoint(3))
		if err == nil && got.outcomes[0] != pipeline.Stale {
			t.Errorf("the older record has the outcome %d", got.outcomes[0])
		}
		return err
	})
	wantStory(t, s, fhir.Patient, "a", "1", "2")
	wantStory(t, s, fhir.Patient, "d", "1", "")
}

// wantThere fails the test unless each resource was reported to be in the target.
func (g *told) wantThere(t *testing.T) {
	t.Helper()
	for i, o := range g.outcomes {
		if o != pipeline.Created && o != pipeline.Updated && o != pipeline.Unchanged {
			t.Errorf("resource %d has the outcome %d: %+v", i, o, g.refusals[i])
		}
	}
}

// testSameResourceInLanes loads one organization in all lanes at once.
func testSameResourceInLanes(t *testing.T, s Server) {
	s.Fhirtest().Set(func(o *fhirtest.Options) { o.Integrity = true })
	const lanes = 6
	l := s.Open(t)
	var wait sync.WaitGroup
	var mu sync.Mutex
	count := map[pipeline.Outcome]int{}
	want := []*fhir.Resource{marked(fhir.Organization, "o", "1", "1")}
	for i := range lanes {
		p := fmt.Sprint("p", i)
		mine := []*fhir.Resource{marked(fhir.Patient, p, "1", "1"), marked(fhir.Coverage, fmt.Sprint("c", i), "1", "1", "Patient/"+p, "Organization/o")}
		want = append(want, mine...)
		wait.Go(func() {
			got, err := tryTold(l, fmt.Sprint("lane-", i), batch(append(mine, marked(fhir.Organization, "o", "1", "1"))...), checkpoint(1))
			if err != nil {
				t.Errorf("lane %d: %v", i, err)
				return
			}
			got.wantThere(t)
			mu.Lock()
			defer mu.Unlock()
			count[got.outcomes[2]]++
		})
	}
	wait.Wait()
	if count[pipeline.Created] != 1 || count[pipeline.Unchanged] != lanes-1 {
		t.Errorf("outcomes of the organization of all lanes: %v", count)
	}
	finish(t, l)
	wantStory(t, s, fhir.Organization, "o", "1")
	wantResources(t, s, want...)
}

func testTwiceInBatch(t *testing.T, s Server) {
	l := s.Open(t)
	got := loadTold(t, l, "lane", batch(
		marked(fhir.Patient, "a", "1", "1"), marked(fhir.Patient, "b", "1", "1"), marked(fhir.Patient, "a", "1", "1"),
		marked(fhir.Patient, "b", "2", "2"), marked(fhir.Patient, "b", "1", "1")), checkpoint(1))
	got.wantOutcomes(t, []pipeline.Outcome{pipeline.Created, pipeline.Created, pipeline.Unchanged, pipeline.Updated, pipeline.Stale})
	finish(t, l)
	wantStory(t, s, fhir.Patient, "a", "1")
	wantTold(t, s, fhir.Patient, "b", []string{"1", "2"})
	wantResources(t, s, marked(fhir.Patient, "a", "1", "1"), marked(fhir.Patient, "b", "2", "2"))
}

// testOrderOfReferences loads a claim and what it refers to in every order of the batch.
func testOrderOfReferences(t *testing.T, s Server) {
	s.Fhirtest().Set(func(o *fhirtest.Options) { o.Integrity = true })
	l := s.Open(t)
	row := int64(0)
	permute(4, func(order []int) {
		row++
		set := claimSet(fmt.Sprint(row))
		b := &fhir.Batch{}
		for _, i := range order {
			b.Add(set[i])
		}
		got := loadTold(t, l, "lane", b, checkpoint(row))
		got.wantOutcomes(t, all(4, pipeline.Created))
	})
	// What refers to something else is deleted first.
	set := claimSet("1")
	b := &fhir.Batch{}
	for _, r := range set {
		b.Add(deletion(r.Type, r.ID, "2"))
	}
	got := loadTold(t, l, "lane", b, checkpoint(row+1))
	got.wantOutcomes(t, all(4, pipeline.Deleted))
	closeLoader(t, l)
	for _, r := range set {
		wantStory(t, s, r.Type, r.ID, "1", "")
	}
}

// permute calls f with every order of n numbers.
func permute(n int, f func([]int)) {
	order := make([]int, 0, n)
	var next func()
	next = func() {
		if len(order) == n {
			f(order)
			return
		}
		for i := range n {
			if !slices.Contains(order, i) {
				order = append(order, i)
				next()
				order = order[:len(order)-1]
			}
		}
	}
	next()
}

// testMissingReference: with referential integrity, what refers to something that is nowhere is refused, alone.
func testMissingReference(t *testing.T, s Server) {
	s.Fhirtest().Set(func(o *fhirtest.Options) { o.Integrity = true })
	l := s.Open(t)
	set := append(claimSet("1"), marked(fhir.ExplanationOfBenefit, "lost", "1", "1", "Patient/nobody", "Coverage/c1", "Organization/o1"))
	got := loadTold(t, l, "lane", batch(set...), checkpoint(1))
	want := all(5, pipeline.Created)
	want[4] = pipeline.Refused
	got.wantOutcomes(t, want, pipeline.RuleServerRefused, pipeline.RuleReferenceGone)
	finish(t, l)
	wantResources(t, s, set[:4]...)
}

// testVoid cancels a claim as it is on the server.
func testVoid(t *testing.T, s Server) {
	l := s.Open(t)
	v, ok := l.(pipeline.Voider)
	if !ok {
		t.Skip("the loader does not void")
	}
	ctx := context.Background()
	loadTold(t, l, "lane", batch(claimSet("1")...), checkpoint(1))
	b := &fhir.Batch{}
	const updated = "2024-08-09T10:11:12Z"
	if found, err := v.Void(ctx, b, "ExplanationOfBenefit/none", "", updated, "2"); found || err != nil || b.Len() != 0 {
		t.Errorf("a claim that is not there: found %t, %v", found, err)
	}
	if _, err := v.Void(ctx, b, "ExplanationOfBenefit/e1", "Patient/other", updated, "2"); !errors.Is(err, pipeline.ErrOtherPatient) {
		t.Errorf("a claim of another patient: %v", err)
	}
	b.Reset()
	if found, err := v.Void(ctx, b, "ExplanationOfBenefit/e1", "Patient/p1", updated, "2"); !found || err != nil || b.Len() != 1 {
		t.Fatalf("void: found %t, %v, %d resources", found, err, b.Len())
	}
	got := loadTold(t, l, "lane", b, checkpoint(2))
	got.wantOutcomes(t, []pipeline.Outcome{pipeline.Updated})
	finish(t, l)
	wantStory(t, s, fhir.ExplanationOfBenefit, "e1", "1", "1")
	status := ""
	for ref, text := range s.Resources(t) {
		if ref == "ExplanationOfBenefit/e1" {
			status, _ = parse(t, text).(map[string]any)["status"].(string)
		}
	}
	if status != "cancelled" {
		t.Errorf("the claim is %q", status)
	}
}

// testRerunWritesNothing loads the same again in another lane.
func testRerunWritesNothing(t *testing.T, s Server) {
	list := append(claimSet("1"), claimSet("2")...)
	l := s.Open(t)
	loadTold(t, l, "lane", batch(list...), checkpoint(1))
	closeLoader(t, l)
	l = s.Open(t)
	s.Fhirtest().Forget()
	got := loadTold(t, l, "again", batch(list...), checkpoint(1))
	got.wantOutcomes(t, all(8, pipeline.Unchanged))
	for _, r := range s.Fhirtest().Requests() {
		if fhirtest.Writes(&r) {
			t.Errorf("a rerun sends %s %s %v", r.Method, r.Path, r.Entries)
		}
	}
	finish(t, l)
	wantResources(t, s, list...)
}

// testIndexLost loads again after what the loader remembers is lost: nothing is written.
func testIndexLost(t *testing.T, s Server) {
	x, ok := s.(Indexed)
	if !ok {
		t.Skip("the loader remembers nothing")
	}
	list := append(claimSet("1"), claimSet("2")...)
	l := s.Open(t)
	loadTold(t, l, "lane", batch(list...), checkpoint(1))
	loadTold(t, l, "lane", batch(marked(fhir.Patient, "gone", "1", "1"), deletion(fhir.Patient, "gone", "2")), checkpoint(2))
	closeLoader(t, l)
	x.LoseIndex(t)
	s.Fhirtest().Forget()
	l = s.Open(t)
	wantResume(t, l, "lane", pipeline.Checkpoint{})
	got := loadTold(t, l, "lane", batch(list...), checkpoint(1))
	got.wantOutcomes(t, all(8, pipeline.Unchanged))
	if w := s.Fhirtest().Writes(); len(w) != 0 {
		t.Errorf("it has written %v", w)
	}
	// And what has changed since is written.
	changed := marked(fhir.Organization, "o1", "2", "2")
	got = loadTold(t, l, "lane", batch(changed, marked(fhir.Patient, "new", "1", "1")), checkpoint(2))
	got.wantOutcomes(t, []pipeline.Outcome{pipeline.Updated, pipeline.Created})
	finish(t, l)
	wantStory(t, s, fhir.Organization, "o1", "1", "2")
	wantResources(t, s, append(list[1:], changed, marked(fhir.Patient, "new", "1", "1"))...)
}

// edit changes a resource as somebody else would.
func edit(t *testing.T, s Server, typ fhir.Type, id string) {
	t.Helper()
	found := s.Fhirtest().Find(typ.String(), system, id)
	if len(found) != 1 {
		t.Fatalf("%s is there %d times", fhir.Reference(typ, id), len(found))
	}
	s.Fhirtest().Edit(found[0].Ref(), func(r map[string]any) {
		r["extension"] = []any{map[string]any{"url": markURL, "valueString": "edited"}}
	})
}

// testEditReported: somebody else's edit is reported when we would overwrite it, and stays.
func testEditReported(t *testing.T, s Server) {
	l := s.Open(t)
	loadTold(t, l, "lane", batch(marked(fhir.Patient, "a", "1", "1"), marked(fhir.Patient, "b", "1", "1")), checkpoint(1))
	edit(t, s, fhir.Patient, "a")
	got := loadTold(t, l, "lane", batch(marked(fhir.Patient, "a", "2", "2"), marked(fhir.Patient, "b", "2", "2"), marked(fhir.Patient, "c", "1", "1")), checkpoint(2))
	got.wantOutcomes(t, []pipeline.Outcome{pipeline.Refused, pipeline.Updated, pipeline.Created}, pipeline.RuleServerChanged)
	got = loadTold(t, l, "lane", batch(deletion(fhir.Patient, "a", "3")), checkpoint(3))
	got.wantOutcomes(t, []pipeline.Outcome{pipeline.Refused}, pipeline.RuleServerChanged)
	closeLoader(t, l)
	wantStory(t, s, fhir.Patient, "a", "1", "edited")
	wantStory(t, s, fhir.Patient, "b", "1", "2")
	wantStory(t, s, fhir.Patient, "c", "1")
}

// testEditOverwritten: somebody else's edit is overwritten if the loader is told to.
func testEditOverwritten(t *testing.T, s Server) {
	o, ok := s.(Overwriter)
	if !ok {
		t.Skip("the loader only reports")
	}
	o.Overwrite()
	l := s.Open(t)
	loadTold(t, l, "lane", batch(marked(fhir.Patient, "a", "1", "1"), marked(fhir.Patient, "b", "1", "1")), checkpoint(1))
	edit(t, s, fhir.Patient, "a")
	edit(t, s, fhir.Patient, "b")
	got := loadTold(t, l, "lane", batch(marked(fhir.Patient, "a", "2", "2"), deletion(fhir.Patient, "b", "2")), checkpoint(2))
	got.wantOutcomes(t, []pipeline.Outcome{pipeline.Updated, pipeline.Deleted})
	finish(t, l)
	wantStory(t, s, fhir.Patient, "a", "1", "edited", "2")
	wantStory(t, s, fhir.Patient, "b", "1", "edited", "")
	wantResources(t, s, marked(fhir.Patient, "a", "2", "2"))
}
