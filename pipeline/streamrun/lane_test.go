package streamrun

import "testing"

// All batches together keep to Config.InFlight, and no batch becomes so small that its cost is that of
// loading it.
func TestBatchesShareMemory(t *testing.T) {
	for _, x := range []struct{ inFlight, lanes, limit, want int }{
		{0, 1000, 1 << 20, 1 << 20},
		{32 << 20, 1, 1 << 20, 1 << 20},
		{32 << 20, 12, 4 << 20, 32 << 20 / 24},
		{32 << 20, 100, 1 << 20, 32 << 20 / 200},
		{32 << 20, 10_000, 1 << 20, leastBatch},
		{32 << 20, 1, 16 << 10, 16 << 10},
	} {
		l := &lane{Engine: &Engine{Config: Config{InFlight: x.inFlight}}, limit: x.limit}
		l.lanes.Store(int64(x.lanes))
		if got := l.room(); got != x.want {
			t.Errorf("%d lanes with %d bytes, at most %d each: a batch may have %d, want %d", x.lanes, x.inFlight, x.limit, got, x.want)
		}
	}
}
