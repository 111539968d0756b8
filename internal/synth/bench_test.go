package synth

import (
	"testing"
)

// BenchmarkWrite writes the claims of a small extract; it reports claims and
// lines per second.
func BenchmarkWrite(b *testing.B) {
	for _, format := range []string{Parquet, CSV} {
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			lines := 0
			for b.Loop() {
				s, err := Write(b.Context(), Options{Claims: 20000, Seed: 1, Format: format, Dir: b.TempDir()})
				if err != nil {
					b.Fatal(err)
				}
				lines += s.Lines
			}
			b.ReportMetric(float64(lines)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
