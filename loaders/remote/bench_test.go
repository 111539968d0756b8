package remote

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// fast is a server that takes everything at once, so that only the loader is measured.
type fast struct{ server }

func (*fast) Send(_ context.Context, entries []Entry) ([]Answer, error) {
	answers := make([]Answer, len(entries))
	for i := range answers {
		answers[i].Version = "1"
	}
	return answers, nil
}

func (*fast) Read(_ context.Context, refs []fhirclient.Reference) ([]fhirclient.Answer, error) {
	answers := make([]fhirclient.Answer, len(refs))
	for i := range answers {
		answers[i].Status = 404
	}
	return answers, nil
}

// BenchmarkLoad loads claims of 16 KB, 100 at once, that are new or have not changed.
func BenchmarkLoad(b *testing.B) {
	body := bytes.Repeat([]byte(`,{"sequence":1,"productOrService":{"coding":[{"system":"http://www.ama-assn.org/go/cpt","code":"99213"}]},"net":{"value":10.50,"currency":"USD"}}`), 110)
	for _, again := range []bool{false, true} {
		b.Run(fmt.Sprint("again=", again), func(b *testing.B) {
			s := &fast{*newServer()}
			l, err := Open(b.Context(), &Options{State: b.TempDir(), URL: "http://s", Run: "r", Server: s, Sender: s})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			n := 0
			batch := &fhir.Batch{}
			for b.Loop() {
				batch.Reset()
				for i := range 100 {
					id := fmt.Sprintf("e%d", i)
					if !again {
						id = fmt.Sprintf("e%d-%d", n, i)
					}
					text := append(batch.Begin(fhir.ExplanationOfBenefit, id, "2024-01-01", "1"), fmt.Sprintf(`{"resourceType":"ExplanationOfBenefit","id":"%s","item":[{"sequence":0}`, id)...)
					batch.End(append(append(text, body...), "]}"...))
				}
				n++
				err := l.Load(b.Context(), "lane", batch, func([]pipeline.Outcome, pipeline.Refusals) (pipeline.Checkpoint, error) {
					return pipeline.Checkpoint{Row: int64(n)}, nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(100*n)/b.Elapsed().Seconds(), "claims/s")
		})
	}
}
