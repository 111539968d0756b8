package streamrun_test

import (
	"path/filepath"
	"testing"
	"time"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/pipeline/streamrun"
)

func TestRate(t *testing.T) {
	b := newBench(t, synth.Options{Claims: 20000, Seed: 6})
	parts := b.partitions(12)
	l := openStore(t, filepath.Join(t.TempDir(), "store"))
	defer l.Close()
	var again int
	e := b.engine(l, &letters{}, func(c *streamrun.Config) {
		c.BatchBytes = 0
		c.Events.Again = func(string, int) { again++ }
	})
	start := time.Now()
	stream(t, e, parts)
	t.Logf("%d messages in %v, %.0f/s; %d again", len(b.topic), time.Since(start), float64(len(b.topic))/time.Since(start).Seconds(), again)
}
