package remote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestWhoComesFirst has one who wants a resource alone among others who share it all the time.
func TestWhoComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := newTaken()
		shared, err := taken.take(t.Context(), []string{"a", "b"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		want := func(ctx context.Context, who string, alone bool, names ...string) {
			m := map[string]bool{}
			for _, n := range names {
				m[n] = alone
			}
			release, err := taken.take(ctx, names, m)
			mu.Lock()
			order = append(order, fmt.Sprint(who, " ", err == nil))
			mu.Unlock()
			if err == nil {
				time.Sleep(time.Second)
				release()
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go want(ctx, "alone, gives up", true, "a")
		synctest.Wait()
		go want(t.Context(), "alone", true, "a", "c")
		synctest.Wait()
		go want(t.Context(), "shares", false, "a", "b")
		synctest.Wait()
		go want(t.Context(), "other", true, "d")
		synctest.Wait()
		cancel()
		synctest.Wait()
		shared()
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		got := fmt.Sprint(order)
		if want := "[other true alone, gives up false alone true shares true]"; got != want {
			t.Errorf("order %s, want %s", got, want)
		}
		taken.mu.Lock()
		defer taken.mu.Unlock()
		if len(taken.holders)+len(taken.queue) > 0 {
			t.Errorf("left: %v, %v", taken.holders, taken.queue)
		}
	})
}

// TestTakenByMany takes and gives up at random: nobody waits for ever, and nothing is left.
func TestTakenByMany(t *testing.T) {
	taken := newTaken()
	hand := make([]int, 4)
	var mu sync.Mutex
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for range 200 {
				n, alone := r.IntN(len(hand)), r.IntN(3) == 0
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(300))*time.Microsecond)
				release, err := taken.take(ctx, []string{fmt.Sprint(n), "x"}, map[string]bool{fmt.Sprint(n): alone})
				cancel()
				if errors.Is(err, context.DeadlineExceeded) {
					continue
				}
				mu.Lock()
				if hand[n] < 0 || alone && hand[n] > 0 {
					t.Errorf("%d is held by %d and taken by another (alone: %v)", n, hand[n], alone)
				}
				if hand[n]++; alone {
					hand[n] = -1
				}
				mu.Unlock()
				mu.Lock()
				if hand[n]--; alone {
					hand[n] = 0
				}
				mu.Unlock()
				release()
			}
		})
	}
	wait.Wait()
	if len(taken.holders)+len(taken.queue) > 0 {
		t.Errorf("left: %v, %v", taken.holders, taken.queue)
	}
}
