package owner

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// cutter stands between users and the owner and cuts the connection after some bytes, of both
// directions together.
type cutter struct {
	listener *net.UnixListener
	left     atomic.Int64
	passed   atomic.Int64
	now      chan struct{} // closed to cut all connections
	wait     sync.WaitGroup
}

// between puts a cutter in the place of the owner's socket.
func between(t *testing.T, dir string) *cutter {
	t.Helper()
	own := filepath.Join(dir, "owner.real")
	if err := os.Rename(filepath.Join(dir, socketName), own); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, now: make(chan struct{})}
	c.left.Store(1 << 60)
	go func() {
		for {
			user, err := l.AcceptUnix()
			if err != nil {
				return
			}
			owner, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: own, Net: "unix"})
			if err != nil {
				_ = user.Close()
				continue
			}
			cut := func() { _, _ = user.Close(), owner.Close() }
			c.wait.Go(func() {
				select {
				case <-c.now:
					cut()
				case <-t.Context().Done():
				}
			})
			c.wait.Go(func() { c.pass(owner, user, cut) })
			c.wait.Go(func() { c.pass(user, owner, cut) })
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		c.wait.Wait()
	})
	return c
}

func (c *cutter) pass(to io.Writer, from io.Reader, cut func()) {
	defer cut()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		c.passed.Add(int64(n))
		if left := c.left.Add(-int64(n)); left < 0 {
			_, _ = to.Write(b[:max(0, left+int64(n))])
			c.left.Store(1 << 60)
			return
		}
		if _, errWrite := to.Write(b[:n]); err != nil || errWrite != nil {
			return
		}
	}
}

// TestCutEverywhere cuts the connection after every byte of a write. Each must take effect exactly
// once, whichever of its messages is lost.
func TestCutEverywhere(t *testing.T) {
	own, err := Open(filepath.Join(t.TempDir(), "store"), store.Options{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := between(t, own.dir)
	user := share(t, own.dir, Options{})
	defer closeIt(t, own)
	sum, applied, asked := 0, 0, 0
	steps := map[string]func() error{
		"Apply": func() error {
			cp := put("sum", strconv.Itoa(sum+1))
			cp.Guards = []store.MetaRecord{{Name: "sum", Value: []byte(strconv.Itoa(sum))}}
			var last store.Outcome
			err := user.Apply(t.Context(), batchOf(organization("a", strconv.Itoa(sum))), func(o []store.Outcome) (store.Commit, error) {
				asked++
				last = o[0]
				return cp, nil
			})
			if sum, applied = sum+1, applied+1; (last == store.Created) != (applied == 1) || last > store.Updated {
				t.Errorf("the outcome of batch %d is %d", applied, last)
			}
			return err
		},
		"PutMeta": func() error {
			sum++
			return user.PutMeta(map[string][]byte{"sum": []byte(strconv.Itoa(sum))})
		},
		"Take": func() error { _, err := user.Take(t.Context(), "lane"); return err },
		"Metas": func() error {
			values, err := user.Metas([]string{"sum"})
			if err == nil && string(values[0]) != strconv.Itoa(sum) {
				err = fmt.Errorf("the sum is %q, want %d", values[0], sum)
			}
			return err
		},
	}
	if err := user.PutMeta(map[string][]byte{"sum": []byte("0")}); err != nil {
		t.Fatal(err)
	}
	cuts := 0
	for _, name := range []string{"Apply", "PutMeta", "Take", "Metas"} {
		for at := int64(0); ; at++ {
			c.left.Store(at)
			before := c.passed.Load()
			if err := steps[name](); err != nil {
				t.Fatalf("%s, cut after %d bytes: %v", name, at, err)
			}
			if got := text(t, own, "sum"); got != strconv.Itoa(sum) {
				t.Fatalf("%s, cut after %d bytes: the sum is %s, want %d", name, at, got, sum)
			}
			if at > c.passed.Load()-before {
				break
			}
			cuts++
		}
	}
	e, err := own.Get(t.Context(), fhir.Organization, "a")
	if err != nil || int(e.Version) != applied {
		t.Errorf("version %+v, %v, after %d batches", e, err, applied)
	}
	if asked <= applied || cuts < 300 {
		t.Errorf("only %d cuts, %d calls of seal for %d batches", cuts, asked, applied)
	}
}

// TestLateWrite cuts the connection while the owner is still busy with the write: when the user has
// found out that nothing is written, the owner must not write it later.
func TestLateWrite(t *testing.T) {
	own, err := Open(filepath.Join(t.TempDir(), "store"), store.Options{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := between(t, own.dir)
	user := share(t, own.dir, Options{})
	defer closeIt(t, own)
	if err := user.PutMeta(map[string][]byte{"a": []byte("1")}); err != nil { // makes a receipt
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	blocked, release := make(chan struct{}), make(chan struct{})
	wait.Go(func() { holdLock(own, blocked, release) })
	<-blocked
	var calls atomic.Int32
	done := make(chan error, 1)
	go func() {
		done <- user.Apply(background(), batchOf(organization("a", "y")), func([]store.Outcome) (store.Commit, error) {
			n := calls.Add(1)
			return store.Commit{Put: []store.MetaRecord{{Name: fmt.Sprint("call", n), Value: []byte("x")}}}, nil
		})
	}()
	await := func(what string, ok func() bool) {
		t.Helper()
		for since := time.Now(); !ok(); time.Sleep(time.Millisecond) {
			if time.Since(since) > 20*time.Second {
				t.Fatal(what)
			}
		}
	}
	await("seal is not called", func() bool { return calls.Load() == 1 })
	time.Sleep(50 * time.Millisecond) // the owner waits for the lock
	close(c.now)
	_ = c.listener.Close()
	if err := os.Rename(filepath.Join(own.dir, "owner.real"), filepath.Join(own.dir, socketName)); err != nil {
		t.Fatal(err)
	}
	await("seal is not called again", func() bool { return calls.Load() == 2 })
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	wait.Wait()
	time.Sleep(50 * time.Millisecond)
	if text(t, own, "call1") != "" {
		t.Error("the owner has written what the user had given up")
	}
	if e, err := own.Get(t.Context(), fhir.Organization, "a"); err != nil || e.Version != 1 {
		t.Errorf("%+v, %v, want version 1", e, err)
	}
}

// holdLock holds the lock of a resource until release, and writes nothing.
func holdLock(own *Shared, blocked, release chan struct{}) {
	_ = own.Apply(background(), batchOf(organization("a", "x")), func([]store.Outcome) (store.Commit, error) {
		close(blocked)
		<-release
		return store.Commit{}, errors.New("no")
	})
}

// TestBusyOwner proves that an owner that takes long, but is alive, is not said to be stopped.
func TestBusyOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	own := share(t, dir, Options{limits: quick()})
	var stalled atomic.Int32
	user := share(t, dir, Options{limits: quick(), Events: Events{Stalled: func(int, time.Duration) { stalled.Add(1) }}})
	blocked, release := make(chan struct{}), make(chan struct{})
	go holdLock(own, blocked, release)
	<-blocked
	time.AfterFunc(time.Second, func() { close(release) })
	if err := user.Apply(t.Context(), batchOf(organization("a", "y")), nil); err != nil || stalled.Load() > 0 {
		t.Errorf("Apply: %v, and the owner was said to be stopped %d times", err, stalled.Load())
	}
}

// TestLostInRead proves that a read is repeated if the owner is lost before anything was yielded, and
// else says so.
func TestLostInRead(t *testing.T) {
	own, err := Open(filepath.Join(t.TempDir(), "store"), store.Options{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := between(t, own.dir)
	user := share(t, own.dir, Options{})
	defer closeIt(t, own)
	if err := own.Apply(t.Context(), claims(0, 1<<20), nil); err != nil {
		t.Fatal(err)
	}
	read := func(at int64) (n int, err error) {
		c.left.Store(at)
		for _, e := range user.Export(t.Context()) {
			if err = e; err == nil {
				n++
			}
		}
		return n, err
	}
	all, err := read(1 << 60)
	if err != nil || all < 70 {
		t.Fatalf("%d entries, %v", all, err)
	}
	if n, err := read(50 << 10); n != all || err != nil {
		t.Errorf("cut in the first part: %d of %d entries, %v", n, all, err)
	}
	n, err := read(300 << 10)
	if _, lost := errors.AsType[*LostError](err); !lost || n == 0 || n >= all {
		t.Errorf("cut in a later part: %d of %d entries, %v, want *LostError", n, all, err)
	}
	for range user.Export(t.Context()) {
		break // the connection is not used again
	}
	if n, err := read(1 << 60); n != all || err != nil {
		t.Errorf("after a read that was left: %d of %d entries, %v", n, all, err)
	}
}
