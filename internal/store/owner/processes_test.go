package owner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// TestCountInProcesses counts up a record from four processes.
func TestCountInProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	const each, rounds = 4, 40
	var all []*puppet
	for i := range each {
		all = append(all, start(t, dir))
		all[i].want("open")
	}
	for i, p := range all {
		p.tell("count o%d %d", i, rounds)
	}
	for _, p := range all {
		p.want("ok")
	}
	if got := text(t, share(t, dir, Options{}), "sum"); got != strconv.Itoa(each*rounds) {
		t.Errorf("the sum is %s, want %d", got, each*rounds)
	}
}

// TestKill kills processes at random moments, the owner every other time, while their lanes load. No
// batch may be lost or loaded twice, and after each death of the owner another process must own the
// store.
func TestKill(t *testing.T) {
	const processes, lanes = 4, 2
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	dir := filepath.Join(t.TempDir(), "store")
	all := make([]*puppet, processes)
	begin := func(i int) {
		all[i] = start(t, dir)
		all[i].want("open")
		all[i].do("ok", "lanes lane-%d-0 lane-%d-1", i, i)
	}
	owner := func() (at int, epoch uint64) {
		at = -1
		for i, p := range all {
			if e := p.epoch.Load(); p.cmd.ProcessState == nil && e > epoch {
				at, epoch = i, e
			}
		}
		return at, epoch
	}
	for i := range all {
		begin(i)
	}
	killed := 0
	for round := range rounds {
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		i, epoch := owner()
		if round%2 == 1 {
			if j := rand.IntN(processes); j != i {
				all[j].kill()
				begin(j)
				continue
			}
		}
		all[i].kill()
		killed++
		for since := time.Now(); ; time.Sleep(time.Millisecond) {
			if _, e := owner(); e > epoch {
				break
			}
			if time.Since(since) > 20*time.Second {
				t.Fatalf("round %d: nobody has taken over", round)
			}
		}
		begin(i)
	}
	_, last := owner()
	for _, p := range all {
		p.do("ok", "enough")
	}
	for _, p := range all {
		p.kill()
	}
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	total := 0
	for i := range processes {
		for j := range lanes {
			lane := fmt.Sprintf("lane-%d-%d", i, j)
			at, err := checkpointOf(s, lane)
			if err != nil || at < rounds {
				t.Errorf("%s: only %d batches, %v", lane, at, err)
			}
			total += at
			if _, err := s.Get(t.Context(), fhir.Organization, fmt.Sprintf("%s-%d", lane, at)); err != store.ErrNotFound {
				t.Errorf("%s is at %d, but batch %d: %v", lane, at, at, err)
			}
			for n := range at {
				e, err := s.Get(t.Context(), fhir.Organization, fmt.Sprintf("%s-%d", lane, n))
				if err != nil || e.Version != 1 {
					t.Fatalf("%s: batch %d: %+v, %v", lane, n, e, err)
				}
			}
		}
	}
	versions := 0
	for n := range 7 {
		e, err := s.Get(t.Context(), fhir.Organization, fmt.Sprint("common-", n))
		if err != nil {
			t.Fatal(err)
		}
		versions += int(e.Version)
	}
	if versions != total {
		t.Errorf("the common resources have %d versions, want one for each of %d batches", versions, total)
	}
	t.Logf("%d batches; %d of %d that were killed owned the store; the last epoch is %d", total, killed, rounds, last)
}

// TestKillInBatch kills processes in the middle of lanes and compares the store with its checkpoints
// as it is then.
func TestKillInBatch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for round := range 6 {
		var all []*puppet
		for i := range 3 {
			p := start(t, dir)
			p.want("open")
			p.do("ok", "lanes lane-%d", i)
			all = append(all, p)
		}
		time.Sleep(time.Duration(50+rand.IntN(150)) * time.Millisecond)
		for _, i := range rand.Perm(len(all)) {
			all[i].kill()
		}
		s, err := store.Open(dir, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			lane := fmt.Sprint("lane-", i)
			at, err := checkpointOf(s, lane)
			if err != nil || at == 0 {
				t.Errorf("round %d: %s is at %d, %v", round, lane, at, err)
			}
			for n, want := range []bool{true, false, false} {
				n += at - 1
				_, err := s.Get(t.Context(), fhir.Organization, fmt.Sprintf("%s-%d", lane, n))
				if errors.Is(err, store.ErrNotFound) == want {
					t.Errorf("round %d: %s is at %d, batch %d: %v", round, lane, at, n, err)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoppedUser stops a user that has a lease, lets another take it, and lets the first go on: it
// can write nothing. Meanwhile it keeps nobody waiting.
func TestStoppedUser(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	own := share(t, dir, Options{limits: quick()})
	first, second := start(t, dir), start(t, dir)
	first.want("open")
	second.want("open")
	first.do("ok", "take lane")
	first.do("ok", "put a lane")
	first.signal(syscall.SIGSTOP)
	first.tell("put b lane")
	second.do("ok", "take lane")
	second.do("ok", "put c lane")
	first.signal(syscall.SIGCONT)
	first.want("fenced")
	if got := text(t, own, "last"); got != "c" {
		t.Errorf("the last record is %q", got)
	}
	if _, err := own.Get(t.Context(), fhir.Organization, "b"); err != store.ErrNotFound {
		t.Errorf("what was fenced: %v, want ErrNotFound", err)
	}

	// Now it is stopped between the outcomes and its commit.
	first.do("holds", "hold d")
	first.signal(syscall.SIGSTOP)
	second.do("ok", "put d lane")
	if err := own.Apply(t.Context(), batchOf(organization("d", "y")), nil); err != nil {
		t.Error(err)
	}
	time.Sleep(time.Second) // its connection is closed
	first.signal(syscall.SIGCONT)
	first.tell("go")    // the commit is too late,
	first.want("holds") // so seal is called again
	first.do("ok", "go")
	if e, err := own.Get(t.Context(), fhir.Organization, "d"); err != nil || e.Version != 3 {
		t.Errorf("after all: %+v, %v", e, err)
	}
}

// TestStoppedOwner stops the owner: users wait, say so, and can be cancelled; then they go on.
func TestStoppedOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	p := start(t, dir)
	p.want("open")
	stalled := make(chan int, 100)
	user := share(t, dir, Options{limits: quick(), Events: Events{Stalled: func(pid int, _ time.Duration) { stalled <- pid }}})
	if err := user.PutMeta(map[string][]byte{"a": []byte("1")}); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := user.Get(ctx, fhir.Organization, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get: %v, want context.DeadlineExceeded", err)
	}
	if err := user.Apply(ctx, batchOf(), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Apply: %v, want context.DeadlineExceeded", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the context ended them after %v", took)
	}
	if _, err := Open(dir, store.Options{}, Options{Wait: 200 * time.Millisecond}); err == nil {
		t.Error("the store is opened although its owner is stopped")
	} else if _, ok := errors.AsType[*store.InUseError](err); !ok {
		t.Errorf("Open: %v, want *store.InUseError", err)
	}
	done := make(chan error, 1)
	go func() { done <- user.PutMeta(map[string][]byte{"a": []byte("2")}) }()
	select {
	case pid := <-stalled:
		if pid != p.cmd.Process.Pid {
			t.Errorf("process %d is said to be stopped, not %d", pid, p.cmd.Process.Pid)
		}
	case <-time.After(10 * time.Second):
		t.Error("no event tells of it")
	}
	wantOwner(t, user, false)
	select {
	case err := <-done:
		t.Errorf("PutMeta while the owner is stopped: %v", err)
	default:
	}
	p.signal(syscall.SIGCONT)
	if err := <-done; err != nil || text(t, user, "a") != "2" {
		t.Errorf("PutMeta after the owner goes on: %v", err)
	}

	// Close gives up on an owner that is stopped.
	p.signal(syscall.SIGSTOP)
	unknown := make(chan error, 1)
	go func() { unknown <- user.PutMeta(map[string][]byte{"a": []byte("3")}) }()
	time.Sleep(50 * time.Millisecond)
	closeIt(t, user)
	if err := <-unknown; !errors.Is(err, store.ErrClosed) {
		t.Errorf("PutMeta that Close ends: %v, want store.ErrClosed", err)
	}
	p.signal(syscall.SIGCONT)
	p.do("ok", "close")
}

// TestKillStoppedOwner kills an owner that is stopped: a user takes over what it was waiting for.
func TestKillStoppedOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	p := start(t, dir)
	p.want("open")
	user := share(t, dir, Options{})
	p.signal(syscall.SIGSTOP)
	done := make(chan error, 1)
	go func() { done <- user.Apply(background(), batchOf(organization("a", "x")), commit(put("a", "1"))) }()
	time.Sleep(50 * time.Millisecond)
	p.kill()
	if err := <-done; err != nil {
		t.Error(err)
	}
	wantOwner(t, user, true)
	if e, err := user.Get(t.Context(), fhir.Organization, "a"); err != nil || e.Version != 1 || text(t, user, "a") != "1" {
		t.Errorf("%+v, %v", e, err)
	}
}
