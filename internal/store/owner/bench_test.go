package owner

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// BenchmarkApply loads new EOBs into an empty store from two goroutines, or the same again: with the
// store itself and through the socket, by turns, so that other work on the machine slows both.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1 << 20, 4 << 20} {
		all := make([]*fhir.Batch, 100<<20/size)
		total := 0
		for i := range all {
			all[i] = claims(i*100000, size)
			total += all[i].Size()
		}
		for _, name := range []string{"new", "again"} {
			b.Run(fmt.Sprintf("%dMB/%s", size>>20, name), func(b *testing.B) {
				var times [2][]float64
				for b.Loop() {
					for i := range times {
						dir := filepath.Join(b.TempDir(), "store")
						own, err := Open(dir, store.Options{}, Options{})
						if err != nil {
							b.Fatal(err)
						}
						h := own
						if i == 1 {
							if h, err = Open(dir, store.Options{}, Options{}); err != nil {
								b.Fatal(err)
							}
						}
						if name == "again" {
							loadAll(b, h, all)
						}
						began := time.Now()
						loadAll(b, h, all)
						times[i] = append(times[i], time.Since(began).Seconds())
						closeIt(b, h)
						closeIt(b, own)
						_ = os.RemoveAll(dir)
					}
				}
				for i := range times {
					slices.Sort(times[i])
				}
				direct, socket := times[0][len(times[0])/2], times[1][len(times[1])/2]
				b.ReportMetric(float64(total)/direct/1e6, "direct-MB/s")
				b.ReportMetric(float64(total)/socket/1e6, "socket-MB/s")
				b.ReportMetric(100*direct/socket, "%-of-direct")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func loadAll(b *testing.B, h store.Handle, all []*fhir.Batch) {
	b.Helper()
	var next atomic.Int64
	var wait sync.WaitGroup
	for lane := range 2 {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				if err := h.Apply(b.Context(), all[i], commit(put(fmt.Sprint("lane", lane), fmt.Sprint(i)))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
}

// BenchmarkMetas reads 32 records at once.
func BenchmarkMetas(b *testing.B) {
	own, user := pair(b)
	records := map[string][]byte{}
	var names []string
	for i := range 32 {
		names = append(names, fmt.Sprintf("record/%d", i*7919))
		records[names[i]] = make([]byte, 100)
	}
	if err := own.PutMeta(records); err != nil {
		b.Fatal(err)
	}
	for name, h := range map[string]store.Handle{"direct": own, "socket": user} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := h.Metas(names); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
