package owner

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// server serves a store to other processes. Each connection has a goroutine, which holds no lock of
// the store while it waits for the other side: one that is slow, stopped or dead costs its
// connection, a share of memory and, in a long read, a snapshot, until its time is up.
type server struct {
	st      *store.Store
	dir     string
	socket  *net.UnixListener
	self    greeting
	limits  *limits
	refused func(pid int, err error)

	ctx     context.Context // ends with stop
	cancel  context.CancelFunc
	memory  *semaphore.Weighted // of batches
	commits *semaphore.Weighted // of large commits; apart, because a batch holds its share meanwhile
	loads   chan *load          // working memory that is kept

	mu    sync.Mutex
	conns map[*session]struct{}
	wait  sync.WaitGroup
}

// load is the working memory of a batch.
type load struct {
	body  []byte
	batch fhir.Batch
}

// Memory for some batches is kept, unlike that of a sync.Pool also when garbage is collected: to grow
// it again costs as much as a quarter of an Apply.
const (
	keptLoads = 8
	largeLoad = 16 << 20 // of a batch for which it is not kept
)

func (s *server) takeLoad() *load {
	select {
	case w := <-s.loads:
		return w
	default:
		return new(load)
	}
}

func (s *server) giveBack(w *load) {
	if cap(w.body) > largeLoad {
		return
	}
	select {
	case s.loads <- w:
	default:
	}
}

// serve begins to serve a store, whose lock is held.
func serve(st *store.Store, socket *net.UnixListener, dir string, self greeting, l *limits, refused func(int, error)) *server {
	s := &server{
		st: st, dir: dir, socket: socket, self: self, limits: l, refused: refused,
		memory: semaphore.NewWeighted(l.memory), commits: semaphore.NewWeighted(l.memory), conns: map[*session]struct{}{},
		loads: make(chan *load, keptLoads),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wait.Go(s.accept)
	return s
}

// stop ends all connections, after the writes under way, and removes the socket. Users then look
// for the next owner.
func (s *server) stop() error {
	s.cancel()
	err := errors.Join(unlisten(s.dir), s.socket.Close())
	s.mu.Lock()
	for c := range s.conns {
		_ = c.net.SetReadDeadline(time.Unix(1, 0)) // fails only if it is closed
		_ = c.net.SetWriteDeadline(time.Now().Add(endWrite))
	}
	s.mu.Unlock()
	s.wait.Wait()
	return err
}

// endWrite is how long an answer may take when the owner ends.
const endWrite = 2 * time.Second

func (s *server) accept() {
	for {
		n, err := s.socket.AcceptUnix()
		if s.ctx.Err() != nil {
			if err == nil {
				_ = n.Close() // it finds the next owner
			}
			return
		}
		if err != nil {
			// For example, there are too many open files.
			s.refuse(0, err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-s.ctx.Done():
			}
			continue
		}
		c := &session{server: s, net: n, r: bufio.NewReaderSize(n, 16<<10)}
		c.beats = time.AfterFunc(time.Hour, c.beat)
		c.beats.Stop()
		s.mu.Lock()
		full := len(s.conns) >= s.limits.conns
		if !full {
			s.conns[c] = struct{}{}
		}
		s.mu.Unlock()
		if full {
			c.enc.begin(sayFull)
			_ = c.send() // it hears the same when the connection is closed
			_ = n.Close()
			s.refuse(0, errFull)
			continue
		}
		s.wait.Go(func() { s.attend(c) })
	}
}

// attend serves a connection until it ends.
func (s *server) attend(c *session) {
	err := c.converse()
	_ = c.net.Close() // what was not answered is in doubt anyway
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	if err != nil && s.ctx.Err() == nil {
		s.refuse(c.pid, err)
	}
}

func (s *server) refuse(pid int, err error) {
	if s.refused != nil {
		s.refused(pid, err)
	}
}
