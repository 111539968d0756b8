package store

import (
	"bytes"
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"cpcds2fhir/schemas/fhir"
)

// batches makes n batches of about 1 MB of different EOBs.
func batches(n int) []*fhir.Batch {
	c := newClaims(1)
	all := make([]*fhir.Batch, n)
	number := 0
	for i := range all {
		all[i] = &fhir.Batch{}
		for all[i].Size() < 1<<20 {
			c.add(all[i], number, c.money())
			number++
		}
	}
	return all
}

// inLanes hands the batches to as many goroutines as there are processors.
func inLanes(b *testing.B, n int, work func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := work(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func report(b *testing.B, all []*fhir.Batch) {
	docs, size := 0, 0
	for _, x := range all {
		docs += x.Len()
		size += x.Size()
	}
	b.SetBytes(int64(size))
	b.ReportMetric(float64(docs*b.N)/b.Elapsed().Seconds(), "docs/s")
}

// BenchmarkApply loads EOBs of 14 KB in batches of 1 MB: new ones into an empty
// store, and the same ones again. Pebble commits the same keys and values, which
// were compressed beforehand, without asking what is there.
func BenchmarkApply(b *testing.B) {
	all := batches(100)
	ctx := context.Background()
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			s := open(b, b.TempDir(), Options{})
			b.StartTimer()
			inLanes(b, len(all), func(i int) error { return s.Apply(ctx, all[i], nil) })
		}
		report(b, all)
	})
	b.Run("again", func(b *testing.B) {
		s := open(b, b.TempDir(), Options{})
		inLanes(b, len(all), func(i int) error { return s.Apply(ctx, all[i], nil) })
		for b.Loop() {
			inLanes(b, len(all), func(i int) error { return s.Apply(ctx, all[i], nil) })
		}
		report(b, all)
	})
	b.Run("pebble", func(b *testing.B) {
		raw := make([][]byte, len(all))
		s := open(b, b.TempDir(), Options{})
		for i, x := range all {
			a := newApplier()
			if err := a.look(s, x); err != nil {
				b.Fatal(err)
			}
			a.batch = s.db.NewBatch()
			if err := a.fill(s, x); err != nil {
				b.Fatal(err)
			}
			raw[i] = bytes.Clone(a.batch.Repr())
			a.reset()
		}
		for b.Loop() {
			b.StopTimer()
			s := open(b, b.TempDir(), Options{})
			b.StartTimer()
			inLanes(b, len(all), func(i int) error {
				batch := s.db.NewBatch()
				if err := batch.SetRepr(bytes.Clone(raw[i])); err != nil {
					return err
				}
				return batch.Commit(pebble.Sync)
			})
		}
		report(b, all)
	})
}

// BenchmarkRead reads from a store of some thousand EOBs, 40 of each patient.
func BenchmarkRead(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	for _, x := range batches(60) {
		apply(b, s, x)
	}
	if err := s.Compact(b.Context()); err != nil {
		b.Fatal(err)
	}
	var ids, patients []string
	for e, err := range s.Search(b.Context(), &Query{Type: fhir.ExplanationOfBenefit, NoJSON: true}) {
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, e.ID)
		patients = append(patients, e.Keys[0].Value[len("Patient/"):])
	}
	b.Run("get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := s.Get(b.Context(), fhir.ExplanationOfBenefit, ids[i*31%len(ids)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("patient", func(b *testing.B) {
		n := 0
		for i := 0; b.Loop(); i++ {
			q := Query{Type: fhir.ExplanationOfBenefit, Patients: []string{patients[i*31%len(patients)]}}
			for _, err := range s.Search(b.Context(), &q) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
		}
		b.ReportMetric(float64(n)/float64(b.N), "docs/op")
	})
	b.Run("export", func(b *testing.B) {
		for b.Loop() {
			for _, err := range s.Export(b.Context()) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(len(ids)*b.N)/b.Elapsed().Seconds(), "docs/s")
	})
}
