package bundle_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/loaders/remote"
)

// Who asks again later may be answered: a server that puts off entries, or does not answer them, until the
// patience has run out is no fault of ours.
func TestPatienceRunsOut(t *testing.T) {
	for name, c := range map[string]struct {
		fault  fhirtest.Fault
		status int
	}{
		"put off": {fhirtest.PutOff(503), 503}, "too much to do": {fhirtest.PutOff(429), 429}, "no answer": {fhirtest.ShortAnswer(1), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, nil, &fhirclient.Config{Bundle: "batch", Patience: 300 * time.Millisecond})
			b.Inject(fhirtest.Bundles, c.fault)
			_, err := b.sender.Send(t.Context(), []remote.Entry{patient("secret")})
			e, ok := errors.AsType[*fhirclient.Error](err)
			if !ok || !e.Retriable || e.Status != c.status || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "Patient") {
				t.Errorf("%#v: %v", e, err)
			}
		})
	}
}
