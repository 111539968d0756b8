package owner

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"cpcds2fhir/internal/store"
)

// epochName is the name of the meta record with the epoch of ownership: 8 bytes, big endian.
const epochName = "owner/epoch"

func jitter() float64 { return 0.5 + rand.Float64() }

func newConn(n *net.UnixConn, stall time.Duration, stalled func(int, time.Duration)) *conn {
	_ = n.SetWriteBuffer(1 << 20)
	c := &conn{net: n, stall: stall, stalled: stalled}
	c.r = bufio.NewReaderSize(c, 16<<10)
	return c
}

// backend returns the store, if this process owns it or now takes it over, or else a connection to
// its owner. It waits until there is one of them.
func (s *Shared) backend(ctx context.Context) (*store.Store, *conn, error) {
	if st, c := s.ready(); st != nil || c != nil {
		return st, c, nil
	}
	select { // one looks, the others wait for what it finds
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-s.closing:
		return nil, nil, store.ErrClosed
	}
	var reported time.Duration
	since := time.Now()
	for attempt := 1; ; attempt++ {
		if st, c := s.ready(); st != nil || c != nil {
			return st, c, nil
		}
		select {
		case <-s.closing: // it must not become the owner any more
			return nil, nil, store.ErrClosed
		default:
		}
		c, tryLock, err := s.connect(ctx)
		if err == nil && c != nil {
			return nil, c, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if tryLock {
			st, err := s.own()
			if err == nil {
				return st, nil, nil
			}
			if _, inUse := errors.AsType[*store.InUseError](err); !inUse {
				return nil, nil, err
			}
		}
		if silent := time.Since(since); silent-reported > s.limits.stall {
			reported = silent
			s.stalled(0, silent)
		}
		if err := s.pause(ctx, attempt); err != nil {
			return nil, nil, err
		}
	}
}

// ready returns the store or a connection if one is at hand.
func (s *Shared) ready() (*store.Store, *conn) {
	if st := s.local.Load(); st != nil {
		return st, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.idle); n > 0 {
		c := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return nil, c
	}
	return nil, nil
}

// connect connects to the owner. Without connection and error it may be tried again; tryLock says
// that there may be no owner.
func (s *Shared) connect(ctx context.Context) (c *conn, tryLock bool, err error) {
	n, absent, err := dial(ctx, s.dir)
	switch {
	case absent:
		return nil, true, nil
	case errors.Is(err, syscall.EAGAIN): // it has too many connections to accept
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("connect to the owner of store %s: %w", s.dir, err)
	}
	pid, err := checkPeer(n)
	if err != nil {
		return nil, false, errors.Join(err, n.Close())
	}
	if c, err = s.add(n); err != nil {
		return nil, false, err
	}
	c.pid = pid
	release := c.bind(ctx)
	defer release()
	err = c.greet(greeting{protocol: s.limits.protocol, program: s.o.Program}, s.dir)
	changed := false
	if err == nil {
		changed, err = s.seen(c.epoch)
	}
	if err != nil {
		s.drop(c)
		if _, broken := errors.AsType[*brokenError](err); broken {
			return nil, !errors.Is(err, errFull), ctx.Err()
		}
		return nil, false, err
	}
	if changed && s.o.Events.Joined != nil {
		s.o.Events.Joined(c.epoch, pid)
	}
	return c, false, nil
}

// own opens the store and serves it. It fails with *store.InUseError if another process has it.
func (s *Shared) own() (*store.Store, error) {
	st, err := store.Open(s.dir, s.store)
	if err != nil || s.readOnly {
		if err == nil {
			s.local.Store(st)
		}
		return st, err
	}
	epoch, err := s.raise(st)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	l, alone := listen(s.dir)
	if alone == nil {
		s.server = serve(st, l, s.dir, greeting{s.limits.protocol, s.o.Program, epoch}, &s.limits, s.o.Events.Refused)
	}
	s.local.Store(st)
	s.mu.Lock()
	for _, c := range s.idle {
		_ = c.net.Close() // of an owner that is no more
		delete(s.open, c)
	}
	s.idle = nil
	s.mu.Unlock()
	if s.o.Events.Owns != nil {
		s.o.Events.Owns(epoch, alone)
	}
	return st, nil
}

// raise raises the epoch of ownership in the store, and forgets receipts that nobody will ask for.
func (s *Shared) raise(st *store.Store) (epoch uint64, err error) {
	was, err := st.Meta(epochName)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return 0, err
	case len(was) != 8:
		return 0, &store.CorruptError{Dir: s.dir, What: "the epoch of ownership"}
	default:
		epoch = binary.BigEndian.Uint64(was)
	}
	if _, err := s.seen(epoch + 1); err != nil {
		return 0, err
	}
	records := map[string][]byte{epochName: binary.BigEndian.AppendUint64(nil, epoch+1)}
	if err := addOldReceipts(st, records, time.Now()); err != nil {
		return 0, err
	}
	return epoch + 1, st.PutMeta(records)
}
