package ndjson

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// benchBatch has claims of 16 kB that repeat themselves as real ones do.
func benchBatch(size int) *fhir.Batch {
	random := rand.New(rand.NewPCG(1, 2))
	b := &fhir.Batch{}
	for i := 0; b.Size() < size; i++ {
		text := fmt.Appendf(nil, `{"resourceType":"ExplanationOfBenefit","id":"e%d","item":[`, i)
		for line := 0; len(text) < 16<<10; line++ {
			text = fmt.Appendf(text, `{"sequence":%d,"category":{"coding":[{"system":"http://example.org/codes","code":"c%d"}]},"net":{"value":%d.%02d,"currency":"USD"}},`,
				line, random.IntN(300), random.IntN(10_000), random.IntN(100))
		}
		text = append(text[:len(text)-1], "]}"...)
		b.Add(&fhir.Resource{Type: fhir.ExplanationOfBenefit, ID: fmt.Sprintf("e%d", i), JSON: text})
	}
	return b
}

func BenchmarkLoad(b *testing.B) {
	for _, compress := range []string{"", "zstd", "gzip"} {
		for _, mb := range []int{1, 4} {
			for _, lanes := range []int{1, 4} {
				b.Run(fmt.Sprintf("compress=%s/batch=%dMB/lanes=%d", compress, mb, lanes), func(b *testing.B) {
					l, err := Open(filepath.Join(b.TempDir(), "out"), Options{Compress: compress, Run: "bench"})
					if err != nil {
						b.Fatal(err)
					}
					defer l.Close()
					batch := benchBatch(mb << 20)
					b.SetBytes(int64(batch.Size() * lanes))
					b.ReportAllocs()
					for b.Loop() {
						var wg sync.WaitGroup
						for lane := range lanes {
							wg.Go(func() {
								err := l.Load(context.Background(), fmt.Sprintf("claims-%02d", lane), batch, func([]pipeline.Outcome, pipeline.Refusals) (pipeline.Checkpoint, error) {
									return pipeline.Checkpoint{}, nil
								})
								if err != nil {
									b.Error(err)
								}
							})
						}
						wg.Wait()
					}
				})
			}
		}
	}
}
