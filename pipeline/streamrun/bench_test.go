package streamrun_test

import (
	"path/filepath"
	"testing"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/pipeline/streamrun"
)

// BenchmarkStream loads the messages of 10,000 claims from 12 partitions in memory into a store.
func BenchmarkStream(b *testing.B) {
	x := newBench(b, synth.Options{Claims: 10000, Seed: 6})
	for b.Loop() {
		l := openStore(b, filepath.Join(b.TempDir(), "store"))
		e := x.engine(l, &letters{}, func(c *streamrun.Config) { c.BatchBytes = 0 })
		stream(b, e, x.partitions(12))
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(x.topic)*b.N)/b.Elapsed().Seconds(), "messages/s")
}
