package batchrun_test

import (
	"context"
	"testing"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/schemas/fhir"
)

// discard is a target that keeps nothing, so that what is measured is all that
// happens before.
type discard struct{}

func (discard) Resume(context.Context, string) (pipeline.Checkpoint, error) {
	return pipeline.Checkpoint{}, nil
}

func (discard) Load(_ context.Context, _ string, b *fhir.Batch, seal pipeline.Seal) error {
	_, err := seal(make([]pipeline.Outcome, b.Len()), nil)
	return err
}

func (discard) Finish(context.Context, *pipeline.Account) error { return nil }
func (discard) Close() error                                    { return nil }

// BenchmarkRules loads an extract with the rules and without; an operation is one
// claim.
func BenchmarkRules(b *testing.B) {
	const claims = 20_000
	dir := b.TempDir()
	if _, err := synth.Write(b.Context(), synth.Options{Dir: dir, Claims: claims, Seed: 1, Format: synth.Parquet}); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		off  bool
	}{{"on", false}, {"off", true}} {
		b.Run(c.name, func(b *testing.B) {
			for done := 0; done < b.N; done += claims {
				r := openRun(b, dir, "cpcds", b.TempDir(), false, discard{})
				r.Workers = 1
				if _, err := loadWith(b.Context(), r, batchrun.Seams{Unjudged: c.off}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64((b.N+claims-1)/claims*claims), "ns/op")
		})
	}
}
