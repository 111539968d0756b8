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
	want := "store " + dir + " is in use by a program with store protocol 7 (version v9.1), but this program has 3 (version v1.0); run the same version, or stop the other program"
	if e, ok := errors.AsType[*ProtocolError](err); !ok || err.Error() != want || e.Own != 3 || e.Owner != 7 {
		t.Errorf("Open: %v\nwant %s", err, want)
	}
	if err := <-refused; !strings.Contains(err.Error(), "version v1.0") {
		t.Errorf("the owner's event: %v", err)
	}
}

// TestSocketIsPrivate looks at the mode of the socket.
func TestSocketIsPrivate(t *testing.T) {
	own, _ := pair(t)
	info, err := os.Stat(filepath.Join(own.dir, socketName))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	if info, err = os.Stat(own.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %v, %v", info.Mode(), err)
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
