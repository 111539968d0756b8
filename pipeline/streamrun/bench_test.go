package streamrun_test

import (
	"path/filepath"
	"testing"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/loaders/ndjson"
	"cpcds2fhir/pipeline/streamrun"
)

// BenchmarkStream loads the messages of 10,000 claims from 12 partitions in memory into a store, and
// into files.
func BenchmarkStream(b *testing.B) {
	x := newBench(b, synth.Options{Claims: 10000, Seed: 6})
	b.Run("store", func(b *testing.B) {
		for b.Loop() {
			l := openStore(b, filepath.Join(b.TempDir(), "store"))
			e := x.engine(l, &letters{}, func(c *streamrun.Config) { c.BatchBytes = 0 })
			stream(b, e, x.partitions(12))
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(x.topic)*b.N)/b.Elapsed().Seconds(), "messages/s")
	})
	b.Run("files", func(b *testing.B) {
		for b.Loop() {
			files, end := openFiles(b, filepath.Join(b.TempDir(), "out"), ndjson.StreamOptions{})
			e := x.engine(nil, &letters{}, func(c *streamrun.Config) { c.Target, c.Voider, c.BatchBytes = files, nil, 0 })
			stream(b, e, x.partitions(12))
			end()
		}
		b.ReportMetric(float64(len(x.topic)*b.N)/b.Elapsed().Seconds(), "messages/s")
	})
}
