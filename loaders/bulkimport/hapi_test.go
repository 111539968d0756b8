package bulkimport

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

func hapiBed(t *testing.T, o *fhirtest.Options) *bed {
	t.Helper()
	server := fhirtest.Start(t, o)
	b := newBed(t, server, server.URL)
	b.config.Profile = "hapi"
	return b
}

func TestHAPI(t *testing.T) { // V19, V31, V36
	b := hapiBed(t, &fhirtest.Options{Integrity: true, Import: fhirtest.Import{Polls: 2}})
	batches := extract(20, 60)
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	wantThere(t, b.fhir, batches)
	for _, w := range b.fhir.Writes() {
		if w.Request != 0 {
			t.Fatalf("%s/%s was written by REST", w.Type, w.ID)
		}
	}
	for _, e := range []string{"staged Patient 20 in 1", "started ExplanationOfBenefit-1", "ended Coverage-1 20 0", "ended ExplanationOfBenefit-1 60 0"} {
		if b.noted(e) != 1 {
			t.Errorf("no event %q in %q", e, b.events)
		}
	}
	// Again, as another run: nothing is staged, and nothing written.
	b.o.Run, b.o.State = "run-2", filepath.Join(b.state, "import-2")
	b.fhir.Forget()
	wantOutcomes(t, b.whole(batches), pipeline.Unchanged)
	if n := len(b.fhir.Writes()); n != 0 {
		t.Errorf("%d writes", n)
	}
	if n := b.noted("staged"); n != 4 {
		t.Errorf("%d types were staged in both runs", n)
	}
}

func TestServerWithOthers(t *testing.T) { // what was imported counts as created on a server that had some before
	b := hapiBed(t, nil)
	for _, r := range []string{"Patient", "Organization"} {
		b.fhir.Put(`{"resourceType":"` + r + `","id":"other"}`)
	}
	wantOutcomes(t, b.whole(extract(5, 5)), pipeline.Created)
	for _, w := range b.fhir.Writes() {
		if w.Request != 0 {
			t.Errorf("%s/%s was written by REST", w.Type, w.ID)
		}
	}
}

func TestTransactionTime(t *testing.T) {
	b := hapiBed(t, nil)
	before := time.Now().Add(-time.Second)
	i, index := b.must()
	defer shut(t, i, index)
	if _, err := run(t.Context(), i.Staging(index), extract(2, 2)); err != nil {
		t.Fatal(err)
	}
	var m struct{ TransactionTime time.Time }
	text, err := os.ReadFile(filepath.Join(i.stage.folder(), "manifest.json"))
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil || m.TransactionTime.Before(before) || m.TransactionTime.After(time.Now()) {
		t.Errorf("transactionTime %v: %v", m.TransactionTime, err)
	}
}

func TestRefusedLines(t *testing.T) { // V31: HAPI names no line; REST says why
	b := hapiBed(t, nil)
	b.fhir.Refuse(func(typ, id string, _ map[string]any) bool { return id == "e00007" || id == "c00003" })
	batches := extract(10, 20)
	all := b.whole(batches)
	var refused []string
	for n, r := range all {
		for k, o := range r.outcomes {
			if o == pipeline.Refused {
				x := batches[n][k]
				refused = append(refused, fhir.Reference(x.Type, x.ID))
				if why := r.refusals[k]; why == nil || why.Status != 422 || why.Rule != pipeline.RuleServerRefused {
					t.Errorf("%s: %+v", x.ID, why)
				}
			}
		}
	}
	if slices.Sort(refused); !slices.Equal(refused, []string{"Coverage/c00003", "ExplanationOfBenefit/e00007"}) {
		t.Errorf("refused: %s", refused)
	}
	wantThere(t, b.fhir, batches, refused...)
	if b.noted("ended Coverage-1 9 1") != 1 {
		t.Errorf("events: %q", b.events)
	}
}

func TestLineThatDoesNotParse(t *testing.T) { // a whole job fails, and nothing of it is stored
	b := hapiBed(t, nil)
	batches := extract(10, 10)
	batches[0][5] = resource(fhir.Patient, "p00003", `,"birthDate":"no date"`)
	all := b.whole(batches)
	if all[0].outcomes[5] != pipeline.Refused {
		t.Errorf("outcome %d", all[0].outcomes[5])
	}
	wantThere(t, b.fhir, batches, "Patient/p00003")
}

func TestUnreachable(t *testing.T) { // V34
	b := hapiBed(t, nil)
	b.o.Start = map[string]string{"files_url": "http://127.0.0.1:1"}
	i, index := b.must()
	defer shut(t, i, index)
	if _, err := run(t.Context(), i.Staging(index), extract(2, 2)); err != nil {
		t.Fatal(err)
	}
	err := i.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "cannot reach") {
		t.Fatalf("error %v", err)
	}
	i.stage.(*folderStage).base = "http://" + i.journal.Listen
	if err := i.Run(t.Context()); err != nil { // it can be tried again
		t.Fatal(err)
	}
	if n := len(b.fhir.Resources()); n != 8 {
		t.Errorf("%d resources", n)
	}
}

// kicksOff chooses the start of jobs, polls the questions how they are.
func kicksOff(r *fhirtest.Request) bool { return r.Method == http.MethodPost && r.Path == "$import" }
func polls(r *fhirtest.Request) bool    { return r.Path == "$import-poll-status" }

// jobsStarted counts the jobs that the server has really begun.
func jobsStarted(s *fhirtest.Server) (n int) {
	for _, r := range s.Requests() {
		if kicksOff(&r) && len(r.Done) > 0 && r.Done[0] == 202 {
			n++
		}
	}
	return n
}

func TestLostStart(t *testing.T) { // V18
	for name, fault := range map[string]fhirtest.Fault{"answer": fhirtest.LoseAnswer(), "gateway": fhirtest.LoseWithGateway(), "body": fhirtest.ResetInBody()} {
		t.Run(name, func(t *testing.T) {
			b := hapiBed(t, &fhirtest.Options{Import: fhirtest.Import{Time: 50 * time.Millisecond}})
			b.fhir.Inject(fhirtest.Every(1, kicksOff), fault)
			batches := extract(5, 10)
			wantOutcomes(t, b.whole(batches), pipeline.Created)
			wantThere(t, b.fhir, batches)
			kicks := 0
			for _, r := range b.fhir.Requests() {
				if kicksOff(&r) {
					kicks++
				}
			}
			if kicks != 4 { // one a type: what a job has done was seen, and it was not started again
				t.Errorf("%d jobs were started", kicks)
			}
		})
	}
}

func TestStartThatNeverArrived(t *testing.T) {
	b := hapiBed(t, nil)
	b.fhir.Inject(fhirtest.Nth(1, kicksOff), fhirtest.ResetUnread())
	batches := extract(5, 10)
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	wantThere(t, b.fhir, batches)
	if b.noted("started Organization-2") != 1 {
		t.Errorf("events: %q", b.events)
	}
}

func TestStatusThatFails(t *testing.T) { // V36: a failing status call is not a failed job
	for name, fault := range map[string]fhirtest.Fault{
		"500": fhirtest.Status(500), "503": fhirtest.Status(503), "429": fhirtest.Throttle("1"), "date": fhirtest.ThrottleUntil(time.Second),
		"lost": fhirtest.LoseAnswer(), "HTML": fhirtest.HTML(), "404": fhirtest.Status(404),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := hapiBed(t, &fhirtest.Options{Import: fhirtest.Import{Polls: 3}})
			b.fhir.Inject(fhirtest.Every(2, polls), fault)
			batches := extract(5, 10)
			wantOutcomes(t, b.whole(batches), pipeline.Created)
			wantThere(t, b.fhir, batches)
			if n := jobsStarted(b.fhir); n != 4 {
				t.Errorf("%d jobs", n)
			}
		})
	}
}

func TestThrottledStart(t *testing.T) {
	b := hapiBed(t, nil)
	b.fhir.Inject(fhirtest.First(3, kicksOff), fhirtest.Throttle("0.02"))
	batches := extract(3, 3)
	wantOutcomes(t, b.whole(batches), pipeline.Created)
	if n := jobsStarted(b.fhir); n != 4 {
		t.Errorf("%d jobs", n)
	}
}

func TestSomebodyElse(t *testing.T) { // what was changed between the import and the load is not overwritten
	b := hapiBed(t, nil)
	batches := extract(3, 3)
	i, index := b.must()
	defer func() { shut(t, i, index) }()
	if _, err := run(t.Context(), i.Staging(index), batches); err != nil {
		t.Fatal(err)
	}
	if err := i.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.fhir.Edit("Patient/p00001", func(r map[string]any) { r["gender"] = "female" })
	b.fhir.Delete("ExplanationOfBenefit/e00002") // and what is gone is written again
	all, err := run(t.Context(), index, batches)
	if err != nil {
		t.Fatal(err)
	}
	if r := all[0]; r.outcomes[3] != pipeline.Refused || r.refusals[3].Rule != pipeline.RuleServerChanged {
		t.Errorf("outcomes %v", r.outcomes)
	}
	if _, ok := b.fhir.Resources()["ExplanationOfBenefit/e00002"]; !ok {
		t.Error("what was deleted is not there")
	}
}

func TestOnlyNewIsStaged(t *testing.T) { // V27, V30, V34
	b := hapiBed(t, nil)
	batches := extract(4, 4)
	p, c := batches[0][2], batches[1][0]
	b.fhir.Put(string(p.JSON))                                                            // it is there already, and the index is new
	b.fhir.Put(strings.Replace(string(batches[1][1].JSON), `"active"`, `"cancelled"`, 1)) // and this one differs
	newer := resource(fhir.Coverage, c.ID, `,"status":"cancelled","beneficiary":{"reference":"Patient/p00000"},"payor":[{"reference":"Organization/o00000"}]`)
	newer.SourceVersion = "2"
	batches[1] = append(batches[1], newer, newer) // of one batch the last counts
	again := *batches[2][0]
	batches[3] = append(batches[3], &again) // of several batches the first
	i, index := b.must()
	if _, err := run(t.Context(), i.Staging(index), batches); err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for n := range i.journal.Files {
		f := &i.journal.Files[n]
		err := eachLine(i.local(f), func(_ int64, line []byte) error {
			ref := f.Type + "/" + idOf(line)
			if _, ok := lines[ref]; ok {
				t.Errorf("%s is staged twice", ref)
			}
			lines[ref] = string(line)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := lines["Patient/"+p.ID]; ok || len(lines) != len(names(batches))-2 {
		t.Errorf("%d lines", len(lines))
	}
	if lines["Coverage/"+c.ID] != string(newer.JSON) {
		t.Errorf("staged: %s", lines["Coverage/"+c.ID])
	}
	if err := i.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t.Context(), index, batches); err != nil {
		t.Fatal(err)
	}
	shut(t, i, index)
	have := b.fhir.Resources()
	if v := have["Coverage/"+c.ID]; v.Version != "1" || !strings.Contains(v.JSON, "cancelled") {
		t.Errorf("%+v", v)
	}
	if v := have["Patient/"+p.ID]; v.Version != "1" {
		t.Errorf("%+v", v)
	}
	if v := have["Coverage/c00001"]; v.Version != "1" || !strings.Contains(v.JSON, `"cancelled"`) { // nobody knows how old it is
		t.Errorf("%+v", v)
	}
}
