package accounts

import (
	"context"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkAccess is the cost of authorization for each request to the API.
func BenchmarkAccess(b *testing.B) {
	for _, m := range []struct {
		name   string
		cancel bool
	}{{"background", false}, {"request", true}} {
		b.Run(m.name, func(b *testing.B) {
			w := newWorld(b, "sqlite:"+filepath.Join(b.TempDir(), "a.db"))
			var k *Tokens
			for range 200 {
				_, k = w.redeemed()
			}
			ctx := context.Background()
			if m.cancel { // as of an HTTP request
				c, cancel := context.WithTimeout(ctx, time.Hour)
				defer cancel()
				ctx = c
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Access(ctx, k.Access); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRedeem is a code from consent to tokens: three transactions, each of them durable.
func BenchmarkRedeem(b *testing.B) {
	w := newWorld(b, "sqlite:"+filepath.Join(b.TempDir(), "a.db"))
	for b.Loop() {
		w.redeemed()
	}
}

// BenchmarkRotate is a refresh.
func BenchmarkRotate(b *testing.B) {
	w := newWorld(b, "sqlite:"+filepath.Join(b.TempDir(), "a.db"))
	_, k := w.redeemed()
	for b.Loop() {
		next := w.tokens()
		if _, err := w.Rotate(ctx, k.Refresh, next, time.Minute); err != nil {
			b.Fatal(err)
		}
		k = next
	}
}
