package pipeline

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Parallel calls f for 0 to n-1, a limited number at a time, and stops after the first error or
// when ctx is cancelled.
func Parallel(ctx context.Context, workers, n int, f func(ctx context.Context, i int) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(workers, 1))
	for i := range n {
		g.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err
			}
			return f(gctx, i)
		})
	}
	return g.Wait()
}
