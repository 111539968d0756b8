package bundle_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// A server that does not know a type refuses the resources of that type, and takes all others, however it says
// so when it is asked for one of them.
func TestTypeThatTheServerLacks(t *testing.T) {
	for _, status := range []int{0, 400, 404, 405} {
		for _, kind := range []string{"transaction", "batch"} {
			t.Run(fmt.Sprint(kind, status), func(t *testing.T) {
				s := fhirtest.Start(t, &fhirtest.Options{Types: []string{"Organization", "Patient", "Coverage"}})
				if status != 0 {
					s.Inject(func(r *fhirtest.Request) bool {
						return r.Method == http.MethodGet && strings.HasPrefix(r.Path, "RelatedPerson")
					}, fhirtest.Status(status))
				}
				to := &target{server: s, config: fhirclient.Config{Bundle: kind, Entries: 3, Patience: 2 * time.Second}, state: filepath.Join(t.TempDir(), "state")}
				for round, want := range []pipeline.Outcome{pipeline.Created, pipeline.Unchanged} {
					l := to.Open(t)
					list := &fhir.Batch{}
					for i := range 4 {
						for _, typ := range []fhir.Type{fhir.Patient, fhir.RelatedPerson} {
							id := fmt.Sprintf("%s%d", strings.ToLower(typ.String()), i)
							list.Add(&fhir.Resource{Type: typ, ID: id, SourceVersion: "1", JSON: fmt.Appendf(nil, `{"resourceType":"%s","id":"%s"}`, typ, id)})
						}
					}
					err := l.Load(t.Context(), "0", list, func(outcomes []pipeline.Outcome, why pipeline.Refusals) (pipeline.Checkpoint, error) {
						for i, o := range outcomes {
							switch refused := why[i]; {
							case i%2 == 0 && o != want:
								t.Errorf("round %d: the outcome of a patient is %v: %+v", round, o, refused)
							case i%2 == 1 && (o != pipeline.Refused || refused == nil || refused.Rule != pipeline.RuleServerRefused):
								t.Errorf("round %d: the outcome of a related person is %v: %+v", round, o, refused)
							}
						}
						return pipeline.Checkpoint{Row: int64(round + 1)}, nil
					})
					if err != nil {
						t.Fatalf("round %d: %v", round, err)
					}
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
				}
				if n := len(s.Resources()); n != 4 {
					t.Errorf("%d resources are there", n)
				}
			})
		}
	}
}
