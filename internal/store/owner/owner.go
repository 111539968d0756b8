// Package owner lets several processes of one user use one store at once. Whoever has the store
// open for writing is its owner and listens on a Unix socket in the store's folder; the others work
// through it, with the same contracts. When the owner ends, one of the others takes over.
//
// The lock of the store decides who owns it. It is flock(2) on a file of the store, which the kernel
// gives back when the owner ends, however it ends, and not before: an owner that is stopped keeps it,
// and users wait. So there is never a former owner that still writes. What wakes up late can only be
// a user, and the leases of package store keep it from writing: their epochs are in the store, so
// they outlive owners. The epoch of ownership, also in the store, shows users that the owner has
// changed, and that the store was not replaced by an older one under them.
//
// wire.go and codec.go have the protocol, conn.go and write.go the user's side of it, server.go and
// session.go the owner's.
package owner

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"cpcds2fhir/internal/store"
)

// Options configure Open. The zero value is usable.
type Options struct {
	// Program is the version of this program, for messages.
	Program string

	Events Events

	// Wait is how long Open waits for a process that has the store but does not answer, for
	// example because it reads the store by itself or compacts it; 0 means 10 seconds. Then Open
	// fails with *store.InUseError.
	Wait time.Duration

	limits limits // for tests; the zero value means the defaults
}

// Events report what becomes of the ownership of a store. Every field may be nil. The functions may
// be called from several goroutines at once and must be fast.
type Events struct {
	// Owns says that this process has become the owner. If alone is not nil, it could not open the
	// socket, so other processes cannot use the store.
	Owns func(epoch uint64, alone error)
	// Joined says that this process works through an owner, at the beginning and whenever the owner
	// has changed. pid is 0 if the system does not tell.
	Joined func(epoch uint64, pid int)
	// Lost says that a connection to the owner broke.
	Lost func(err error)
	// Stalled says that the owner, or whoever else has the lock of the store, has not answered for
	// some time; it is called again while that lasts. pid is 0 if it is not known.
	Stalled func(pid int, silent time.Duration)
	// Refused says that this owner has closed a connection: of another user, of another protocol,
	// of a user that was too slow, or one too many.
	Refused func(pid int, err error)
}

// limits bound what a peer can cost.
type limits struct {
	protocol  uint32
	greet     time.Duration // for the first message
	idle      time.Duration // between requests
	read      time.Duration // for each piece of a message
	seal      time.Duration // between outcomes and commit
	write     time.Duration // for each message
	beat      time.Duration // between signs of life
	stall     time.Duration // of silence until Stalled
	closing   time.Duration // that Close waits for what depends on another process
	conns     int           // to the owner
	memory    int64         // of large requests under way
	keepConns int           // of a user, between requests
	attempts  int           // of an operation, each with another connection
}

var defaults = limits{
	protocol: protocolVersion, greet: 5 * time.Second, idle: 5 * time.Minute, read: 30 * time.Second, seal: time.Minute,
	write: time.Minute, beat: time.Second, stall: 4 * time.Second, closing: 5 * time.Second,
	conns: 256, memory: 2 * maxMessage, keepConns: 16, attempts: 100,
}

// ErrReplaced says that the store in the folder is older than it was: it was replaced under this
// process. Nothing that the process knows of it holds any more.
var ErrReplaced = errors.New("the store was replaced by an older one")

// Shared is a store that this process owns or works in through its owner. It may change from one to
// the other between two operations, and within one. Its methods are safe for concurrent use; they
// keep the contracts of store.Handle, and besides:
//
// Apply may call seal more than once, the last call counts. Apply and PutMeta take effect exactly
// once, even if the owner is lost meanwhile: the next owner is asked whether it has what was sent.
// They fail with *store.UnknownError only if ctx or Close ends them before that is known.
//
// A read is repeated if the owner is lost, unless a part of it was yielded: then it ends with
// *LostError.
//
// If the owner does not answer, because it is stopped, operations wait until it does or their context
// ends. Those without a context end with Close.
type Shared struct {
	dir      string
	readOnly bool
	store    store.Options
	o        Options
	limits   limits

	local   atomic.Pointer[store.Store] // unless another process has the store
	epoch   atomic.Uint64               // of the owner that was last known
	turn    chan struct{}               // held while looking for the owner
	closing chan struct{}
	receipts

	mu     sync.Mutex
	server *server
	idle   []*conn
	open   map[*conn]struct{} // all connections
	cut    bool               // no connection may be made
	users  int
	closed bool
	done   chan struct{} // closed when closed and users is 0
}

var _ store.Handle = (*Shared)(nil)

// Open opens the store in dir and serves it to other processes; if another process does so already,
// it works through that one. It fails as store.Open does, and with *ProtocolError or *PeerError. A
// process that has the store without serving it leads to *store.InUseError.
//
// While this process owns the store, so.Observe also gets what other processes do.
func Open(dir string, so store.Options, o Options) (*Shared, error) {
	so.ReadOnly = false
	return open(dir, so, o)
}

// OpenReader opens the store in dir for reading: by itself if no process has it open for writing,
// else through that process. It never becomes the owner, and what would write fails with
// store.ErrReadOnly. It fails as Open does.
//
// As long as it reads by itself no process can write the store, so a process that lives long should
// use Open.
func OpenReader(dir string, so store.Options, o Options) (*Shared, error) {
	so.ReadOnly = true
	return open(dir, so, o)
}

func open(dir string, so store.Options, o Options) (*Shared, error) {
	s := &Shared{
		dir: dir, readOnly: so.ReadOnly, store: so, o: o, limits: o.limits, open: map[*conn]struct{}{},
		turn: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}),
	}
	s.receipts.id = rand.Text()
	if s.limits == (limits{}) {
		s.limits = defaults
	}
	if o.Wait == 0 {
		o.Wait = 10 * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), o.Wait, &store.InUseError{Dir: dir})
	defer cancel()
	_, c, err := s.backend(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	if c != nil {
		s.keep(c)
	}
	return s, nil
}

// Owner returns the epoch of the owner, and whether that is this process. A Shared of OpenReader that
// reads the store by itself has epoch 0.
func (s *Shared) Owner() (epoch uint64, own bool) {
	return s.epoch.Load(), s.local.Load() != nil && !s.readOnly
}

// Close waits for operations in progress and releases the store. If this process owns it, one of the
// others takes over. Operations that wait for an owner end with store.ErrClosed; those that an owner
// does not answer are cut off after some seconds. Further calls do nothing.
func (s *Shared) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	if s.users == 0 {
		close(s.done)
	}
	s.mu.Unlock()
	for waiting := true; waiting; {
		select {
		case <-s.done:
			waiting = false
		case <-time.After(s.limits.closing / 4):
			s.cutSilent()
		}
	}
	s.dropReceipts()
	s.cutOff()
	st := s.local.Load()
	if st == nil {
		return nil
	}
	var err error
	if s.server != nil {
		err = s.server.stop()
	}
	return errors.Join(err, st.Close())
}

// cutOff closes all connections to the owner.
func (s *Shared) cutOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = true
	for c := range s.open {
		_ = c.net.Close() // nothing is lost: the owner has what it has answered
	}
	s.idle = nil
}

// cutSilent closes the connections that the owner has not answered for long.
func (s *Shared) cutSilent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		if since := c.waits.Load(); since != 0 && time.Since(time.Unix(0, since)) > s.limits.closing {
			_ = c.net.Close() // as in cutOff
		}
	}
}

// enter starts an operation, so that Close waits for it; leave ends it.
func (s *Shared) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	s.users++
	return nil
}

func (s *Shared) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.closed && s.users == 0 {
		close(s.done)
	}
}

// run does an operation with the store or, if another process owns it, with a connection to that
// one. If the connection breaks, it is done again.
func (s *Shared) run(ctx context.Context, local func(st *store.Store) error, remote func(c *conn) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	for attempt := 1; ; {
		st, c, err := s.backend(ctx)
		if err != nil {
			return err
		}
		if st != nil {
			return local(st)
		}
		kept := c.kept
		err = s.use(ctx, c, remote)
		broken, ok := errors.AsType[*brokenError](err)
		if !ok {
			return err
		}
		if errors.Is(err, errMessage) {
			return fmt.Errorf("use store %s: %w", s.dir, errMessage)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if kept {
			continue // closed by the owner between two requests, or by its end
		}
		if s.o.Events.Lost != nil {
			s.o.Events.Lost(broken)
		}
		if attempt++; attempt > s.limits.attempts {
			return fmt.Errorf("use store %s: %w", s.dir, broken.err)
		}
		if err := s.pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// use does a request with a connection, and keeps the connection if it can be used again.
func (s *Shared) use(ctx context.Context, c *conn, request func(c *conn) error) error {
	release := c.bind(ctx)
	good := false
	defer func() { // also if the caller's function ends the goroutine
		release()
		if good && !c.pending && ctx.Err() == nil {
			s.keep(c)
		} else {
			s.drop(c)
		}
	}()
	err := request(c)
	_, broken := errors.AsType[*brokenError](err)
	good = !broken
	return err
}

func (s *Shared) keep(c *conn) {
	s.mu.Lock()
	if len(s.idle) < s.limits.keepConns && !s.cut && s.local.Load() == nil {
		c.kept, c.ctx = true, nil
		if cap(c.body) > 1<<20 {
			c.body = nil
		}
		if cap(c.enc.buf) > 1<<20 {
			c.enc.buf = nil
		}
		s.idle = append(s.idle, c)
		c = nil
	}
	s.mu.Unlock()
	if c != nil {
		s.drop(c)
	}
}

func (s *Shared) drop(c *conn) {
	_ = c.net.Close() // nothing is lost: the owner has what it has answered
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// add takes a new connection into account. It fails once Close cuts connections off.
func (s *Shared) add(n *net.UnixConn) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut {
		return nil, errors.Join(store.ErrClosed, n.Close())
	}
	c := newConn(n, s.limits.stall, s.stalled)
	s.open[c] = struct{}{}
	return c, nil
}

func (s *Shared) stalled(pid int, silent time.Duration) {
	if s.o.Events.Stalled != nil {
		s.o.Events.Stalled(pid, silent)
	}
}

// seen notes the epoch of an owner, and whether it is another one than before.
func (s *Shared) seen(epoch uint64) (changed bool, err error) {
	for {
		last := s.epoch.Load()
		if epoch < last {
			return false, ErrReplaced
		}
		if s.epoch.CompareAndSwap(last, epoch) {
			return epoch != last, nil
		}
	}
}

// pause waits a little before the next attempt, longer each time and never as long as others do.
func (s *Shared) pause(ctx context.Context, attempt int) error {
	d := float64(2*time.Millisecond) * math.Pow(1.6, float64(min(attempt, 10)))
	t := time.NewTimer(time.Duration(d * jitter()))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return store.ErrClosed
	}
}
