package owner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
	real := filepath.Join(dir, "owner.real")
	if err := os.Rename(filepath.Join(dir, socketName), real); err != nil {
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
			owner, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: real, Net: "unix"})
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

// TestUnknown proves that a write whose answer is lost, and cannot be asked for, says so.
func TestUnknown(t *testing.T) {
	own, user := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The lock of the record keeps the owner from answering.
	blocked, release := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	defer wait.Wait()
	defer close(release)
	wait.Go(func() { holdLock(own, blocked, release) })
	<-blocked
	sealed := make(chan struct{})
	go func() {
		<-sealed
		time.Sleep(20 * time.Millisecond)
		cancel()
	}()
	began := time.Now()
	err := user.Apply(ctx, batchOf(organization("a", "y")), func([]store.Outcome) (store.Commit, error) {
		close(sealed)
		return store.Commit{}, nil
	})
	if _, ok := errors.AsType[*store.UnknownError](err); !ok || !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: %v, want *store.UnknownError of context.Canceled", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the context ended Apply after %v", took)
	}
}

// TestCancelled proves that what is cancelled before it is sent has no effect, and says why.
func TestCancelled(t *testing.T) {
	_, user := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := user.Apply(ctx, batchOf(organization("a", "x")), func([]store.Outcome) (store.Commit, error) {
		cancel()
		return store.Commit{}, ctx.Err()
	})
	if err != context.Canceled {
		t.Errorf("Apply: %v, want context.Canceled", err)
	}
	if _, err := user.Get(t.Context(), fhir.Organization, "a"); err != store.ErrNotFound {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
	for name, do := range map[string]func() error{
		"Apply":   func() error { return user.Apply(ctx, batchOf(), nil) },
		"Compare": func() error { _, err := user.Compare(ctx, batchOf()); return err },
		"Take":    func() error { _, err := user.Take(ctx, "x"); return err },
		"Get":     func() error { _, err := user.Get(ctx, fhir.Patient, "x"); return err },
		"Stats":   func() error { _, err := user.Stats(ctx); return err },
		"Export": func() (err error) {
			for _, err = range user.Export(ctx) {
			}
			return err
		},
	} {
		if err := do(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
	if user.server != nil || len(user.idle) == 0 {
		t.Error("no connection is kept")
	}
}

// TestSlowUser proves that users that stop in the middle of something cost their own connection
// alone, and that those that only think for long can go on.
func TestSlowUser(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	var refused atomic.Int32
	own := share(t, dir, Options{limits: quick(), Events: Events{Refused: func(int, error) { refused.Add(1) }}})
	user := share(t, dir, Options{})
	if err := own.Apply(t.Context(), claims(0, 4<<20), nil); err != nil {
		t.Fatal(err)
	}
	raw := func(messages ...func(e *encoder)) *net.UnixConn {
		t.Helper()
		c, _, err := dial(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		for _, m := range append([]func(e *encoder){func(e *encoder) {
			e.greeting(greeting{protocol: protocolVersion})
			e.buf[4] = askHello
		}}, messages...) {
			var e encoder
			m(&e)
			_ = e.end(0)
			if _, err := c.Write(e.buf); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	apply := func(e *encoder) {
		e.begin(askApply)
		e.whole(batchOf(organization("a", "x")))
	}
	half := func(e *encoder) {
		e.begin(askPut)
		e.buf = append(e.buf, 1, 2, 3)
	}
	for name, c := range map[string]*net.UnixConn{
		"between outcomes and commit": raw(apply),
		"in a read":                   raw(func(e *encoder) { e.begin(askExport); e.uint(0) }),
		"in a message": func() *net.UnixConn {
			c := raw()
			var e encoder
			half(&e)
			_ = e.end(1 << 20)
			_, _ = c.Write(e.buf)
			return c
		}(),
		"at once": func() *net.UnixConn {
			c, _, err := dial(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			return c
		}(),
	} {
		// Meanwhile others work.
		if err := user.Apply(t.Context(), batchOf(organization("a", name)), nil); err != nil {
			t.Error(err)
		}
		time.Sleep(800 * time.Millisecond)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still open after %d bytes: %v", name, n, err)
		}
	}
	if refused.Load() == 0 {
		t.Error("no event tells of it")
	}
	n := 0
	err := user.Apply(t.Context(), batchOf(organization("b", "x")), func([]store.Outcome) (store.Commit, error) {
		if n++; n == 1 {
			time.Sleep(600 * time.Millisecond) // longer than the owner waits
		}
		return store.Commit{}, nil
	})
	if err != nil || n != 2 {
		t.Errorf("Apply with a slow seal: %v after %d calls", err, n)
	}
}

// TestTooMany proves that connections are limited, and that users wait for one.
func TestTooMany(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	l := quick()
	l.conns = 2
	var full atomic.Int32
	share(t, dir, Options{limits: l, Events: Events{Refused: func(_ int, err error) {
		if errors.Is(err, errFull) {
			full.Add(1)
		}
	}}})
	user := share(t, dir, Options{})
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for n := range 5 {
				if err := user.Apply(t.Context(), batchOf(organization(fmt.Sprint("o", i), strconv.Itoa(n))), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if full.Load() == 0 {
		t.Error("no connection was refused")
	}
}

// TestOtherProtocol proves that programs that differ refuse each other and say how.
func TestOtherProtocol(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	l := defaults
	l.protocol = 7
	refused := make(chan error, 1)
	share(t, dir, Options{Program: "v9.1", limits: l, Events: Events{Refused: func(_ int, err error) { refused <- err }}})
	_, err := Open(dir, store.Options{}, Options{Program: "v1.0"})
	want := "store " + dir + " is in use by a program with store protocol 7 (version v9.1), but this program has 1 (version v1.0); run the same version, or stop the other program"
	if e, ok := errors.AsType[*ProtocolError](err); !ok || err.Error() != want || e.Own != 1 || e.Owner != 7 {
		t.Errorf("Open: %v\nwant %s", err, want)
	}
	if err := <-refused; !strings.Contains(err.Error(), "version v1.0") {
		t.Errorf("the owner's event: %v", err)
	}
}

// TestSocketIsPrivate looks at the mode of the socket, and at the check of the peer.
func TestSocketIsPrivate(t *testing.T) {
	own, _ := pair(t)
	info, err := os.Stat(filepath.Join(own.dir, socketName))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	if info, err = os.Stat(own.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %v, %v", info.Mode(), err)
	}
	c, _, err := dial(t.Context(), own.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if pid, err := checkPeer(c); err != nil || pid != os.Getpid() {
		t.Errorf("the peer is process %d, %v", pid, err)
	}
	if e, ok := errors.AsType[*PeerError](checkUser(uint32(os.Geteuid())+1, os.Geteuid())); !ok || int(e.UID) != os.Geteuid()+1 {
		t.Error("another user is not refused")
	}
}

// TestLongPath proves that a folder may have a longer name than the address of a socket.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 100), strings.Repeat("y", 100), "store")
	share(t, dir, Options{})
	user := share(t, dir, Options{})
	wantOwner(t, user, false)
	if err := user.PutMeta(map[string][]byte{"a": []byte("1")}); err != nil {
		t.Error(err)
	}
	t.Chdir(filepath.Dir(dir))
	relative := share(t, "store", Options{})
	wantOwner(t, relative, false)
}

// TestStaleSocket proves that what a killed owner leaves behind is replaced.
func TestStaleSocket(t *testing.T) {
	own, user := pair(t)
	for _, name := range []string{socketName, socketName + ".new"} {
		path := filepath.Join(own.dir, name)
		_ = os.Remove(path)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		_ = l.Close()
	}
	closeIt(t, user)
	own.server.dir = t.TempDir() // it leaves the socket
	closeIt(t, own)
	if _, err := os.Stat(filepath.Join(own.dir, socketName)); err != nil {
		t.Fatal(err)
	}
	reader, err := store.Open(own.dir, store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = reader.Close()
	wantOwner(t, share(t, own.dir, Options{}), true)
	wantOwner(t, share(t, own.dir, Options{}), false)
}

// TestOldReceipts proves that receipts of users that were killed do not stay forever, and that a
// receipt that is missing is made again.
func TestOldReceipts(t *testing.T) {
	own, user := pair(t)
	put := func(age time.Duration) string {
		x := receipt{name: receiptSpace + "someone/" + age.String()}
		v := x.next(written)
		copy(v[9:], make([]byte, 8))
		n := uint64(time.Now().Add(-age).Unix())
		for i := range 8 {
			v[9+i] = byte(n >> (56 - 8*i))
		}
		if err := own.PutMeta(map[string][]byte{x.name: v}); err != nil {
			t.Fatal(err)
		}
		return x.name
	}
	young, old := put(time.Hour), put(receiptAge+time.Hour)
	if err := user.PutMeta(map[string][]byte{"a": []byte("1")}); err != nil {
		t.Fatal(err)
	}
	for r := range own.AllMeta(receiptSpace + user.receipts.id) {
		if err := own.PutMeta(map[string][]byte{r.Name: nil}); err != nil {
			t.Fatal(err)
		}
	}
	if err := user.PutMeta(map[string][]byte{"a": []byte("2")}); err != nil {
		t.Errorf("PutMeta without its receipt: %v", err)
	}
	closeIt(t, own)
	if text(t, user, young) == "" || text(t, user, old) != "" || text(t, user, "a") != "2" {
		t.Error("the wrong receipts are left")
	}
}
