package fhirclient

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// simulation is a server with some cores that share out their time among all requests, in virtual time.
type simulation struct {
	limiter *limiter
	now     time.Time
	random  *rand.Rand
	cores   float64
	work    func() (size int, seconds float64) // of the next request, alone on a core
	noise   float64                            // how much requests differ
	stall   float64                            // how often one takes ten times longer
	most    int                                // requests that the server takes at once; more are refused with 429; 0 is any
	jobs    []*job
	done    float64 // seconds of work
	refused int
	history []int
}

type job struct {
	began time.Time
	size  int
	left  float64
	total float64
}

func simulate(cores float64, start, most int, seed uint64) *simulation {
	s := &simulation{now: time.Unix(1000, 0), random: rand.New(rand.NewPCG(seed, 1)), cores: cores, noise: 0.2}
	s.work = func() (int, float64) { return 700_000, 0.25 }
	s.limiter = newLimiter(start, most, nil)
	s.limiter.clock = func() time.Time { return s.now }
	return s
}

// run lets a loader that always has something to send work for some seconds. It returns the share of the
// cores' time that was used.
func (s *simulation) run(seconds float64) float64 {
	s.done = 0
	s.history = nil
	end := s.now.Add(time.Duration(seconds * float64(time.Second)))
	for s.now.Before(end) {
		for s.limiter.under < s.limiter.limit {
			if s.limiter.acquire(context.Background()) != nil {
				break
			}
			size, work := s.work()
			work *= 1 + s.noise*(2*s.random.Float64()-1)
			if s.random.Float64() < s.stall {
				work *= 10
			}
			s.jobs = append(s.jobs, &job{s.now, size, work, work})
		}
		s.step()
	}
	return s.done / seconds / s.cores
}

// step goes on to the next request that ends.
func (s *simulation) step() {
	if s.most > 0 && len(s.jobs) > s.most {
		last := s.jobs[len(s.jobs)-1]
		s.jobs = s.jobs[:len(s.jobs)-1]
		s.refused++
		s.now = s.now.Add(5 * time.Millisecond)
		s.limiter.slower(last.began)
		s.limiter.release()
		return
	}
	speed := min(1, s.cores/float64(len(s.jobs)))
	first := slices.MinFunc(s.jobs, func(a, b *job) int {
		if a.left < b.left {
			return -1
		}
		return 1
	})
	took := first.left
	for _, j := range s.jobs {
		j.left -= took
	}
	s.now = s.now.Add(time.Duration(took / speed * float64(time.Second)))
	s.jobs = slices.DeleteFunc(s.jobs, func(j *job) bool { return j == first })
	s.done += first.total
	s.limiter.good(first.size, first.began)
	s.limiter.release()
	s.history = append(s.history, s.limiter.limit)
}

func (s *simulation) typical() int {
	h := slices.Clone(s.history)
	slices.Sort(h)
	return h[len(h)/2]
}

// Two cores, 250 ms for a bundle: the server is busy after a few seconds, without a crowd in it.
func TestTwoCores(t *testing.T) {
	for seed := range uint64(20) {
		s := simulate(2, 2, 16, seed)
		if used := s.run(3); used < 0.85 {
			t.Errorf("seed %d: %.0f%% of the server used in the first seconds", seed, used*100)
		}
		if used := s.run(120); used < 0.98 || s.typical() < 3 || s.typical() > 9 {
			t.Errorf("seed %d: %.0f%% used, typically %d at once", seed, used*100, s.typical())
		}
	}
}

// V13: a larger server gets more, one by one.
func TestManyCores(t *testing.T) {
	for seed := range uint64(10) {
		s := simulate(24, 2, 48, seed)
		before := 2
		s.limiter.changed = func(now int) {
			if now > before+1 && now != s.limiter.back {
				t.Errorf("from %d to %d at once", before, now)
			}
			before = now
		}
		s.run(15)
		if used := s.run(120); used < 0.9 || s.typical() < 22 || s.typical() > 40 {
			t.Errorf("seed %d: %.0f%% used, typically %d at once", seed, used*100, s.typical())
		}
	}
}

// Noise, now and then a request that takes ten times longer, and bundles of all sizes.
func TestNoiseDoesNotCollapse(t *testing.T) {
	for seed := range uint64(10) {
		s := simulate(4, 2, 16, seed)
		s.noise, s.stall = 0.6, 0.02
		s.work = func() (int, float64) {
			size := 1000 << s.random.IntN(10)
			return size, 0.02 + float64(size)/512_000*0.25
		}
		s.run(20)
		if used := s.run(120); used < 0.9 || s.typical() < 4 {
			t.Errorf("seed %d: %.0f%% used, typically %d at once", seed, used*100, s.typical())
		}
	}
}

// A server that becomes slower for good (more data, larger resources) is not starved.
func TestServerBecomesSlower(t *testing.T) {
	s := simulate(2, 2, 16, 1)
	s.run(30)
	s.work = func() (int, float64) { return 700_000, 0.75 }
	s.run(60)
	if used := s.run(120); used < 0.95 {
		t.Errorf("%.0f%% used, typically %d at once", used*100, s.typical())
	}
}

// A server that refuses more than six at once is asked for more now and then, and not all the time.
func TestRefusals(t *testing.T) {
	s := simulate(8, 2, 32, 1)
	s.most = 6
	s.run(10)
	s.refused = 0
	used := s.run(120)
	if used < 6.0/8*0.7 || s.refused > len(s.history)/5 || s.refused == 0 {
		t.Errorf("%.0f%% used, %d refused beside %d", used*100, s.refused, len(s.history))
	}
}

func TestHalvedOnceForWhatWasUnderWay(t *testing.T) {
	l := newLimiter(8, 8, nil)
	now := time.Unix(1000, 0)
	l.clock = func() time.Time { return now }
	began := now
	now = now.Add(time.Second)
	for range 8 {
		l.slower(began)
	}
	if l.now() != 4 {
		t.Errorf("%d at once after eight refusals of the same moment", l.now())
	}
	for range 10 {
		now = now.Add(time.Second)
		l.slower(now)
	}
	if l.now() != 1 {
		t.Errorf("%d at once", l.now())
	}
}

// Whoever comes first goes first, and whoever gives up takes no place with him.
func TestFair(t *testing.T) {
	l := newLimiter(1, 1, nil)
	if err := l.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var order []int
	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 10 {
		waiting := func() int {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.waiting.Len()
		}
		group.Go(func() {
			c := t.Context()
			if i%3 == 1 {
				c = ctx
			}
			if l.acquire(c) != nil {
				return
			}
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			l.release()
		})
		for waiting() != i+1 {
			time.Sleep(100 * time.Microsecond)
		}
	}
	cancel()
	for {
		l.mu.Lock()
		n := l.waiting.Len()
		l.mu.Unlock()
		if n == 7 {
			break
		}
		time.Sleep(100 * time.Microsecond)
	}
	l.release()
	group.Wait()
	if want := []int{0, 2, 3, 5, 6, 8, 9}; !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
	if l.under != 0 {
		t.Errorf("%d places are lost", l.under)
	}
}

func TestLimiterUnderLoad(t *testing.T) {
	l := newLimiter(2, 6, func(int) {})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for i := range 50 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.N(3000))*time.Microsecond)
				began := time.Now()
				if l.acquire(ctx) == nil {
					switch i % 5 {
					case 0:
						l.slower(began)
					case 1:
						l.pause(time.Duration(rand.N(200)) * time.Microsecond)
					default:
						l.good(i*1000, began)
					}
					l.release()
				}
				cancel()
			}
		})
	}
	group.Wait()
	if l.under != 0 || l.waiting.Len() != 0 {
		t.Errorf("%d places are lost, %d wait", l.under, l.waiting.Len())
	}
}
