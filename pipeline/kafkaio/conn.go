package kafkaio

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// api is a request of the protocol, with the versions that this package speaks. Kafka 4
// dropped what was older than 2.1; the upper ends are the last versions before the flexible encoding, except
// for Metadata, whose topic ids came later.
type api struct {
	key      int16
	name     string
	min, max int16
	flexible int16 // from this version on
}

const never = 1<<15 - 1

var (
	apiProduce          = api{0, "Produce", 3, 8, never}
	apiFetch            = api{1, "Fetch", 4, 11, never}
	apiListOffsets      = api{2, "ListOffsets", 2, 5, never}
	apiMetadata         = api{3, "Metadata", 4, 12, 9}
	apiOffsetFetch      = api{9, "OffsetFetch", 2, 5, never}
	apiFindCoordinator  = api{10, "FindCoordinator", 0, 2, never}
	apiSaslHandshake    = api{17, "SaslHandshake", 1, 1, never}
	apiVersions         = api{18, "ApiVersions", 0, 0, never}
	apiCreateTopics     = api{19, "CreateTopics", 2, 4, never}
	apiSaslAuthenticate = api{36, "SaslAuthenticate", 0, 1, never}

	apis = []api{apiProduce, apiFetch, apiListOffsets, apiMetadata, apiOffsetFetch, apiFindCoordinator, apiCreateTopics,
		apiSaslHandshake, apiSaslAuthenticate}
)

// VersionError says that a broker speaks no version of a request that this package speaks.
type VersionError struct {
	Broker  string
	Request string
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("broker %s speaks no version of %s that is known here; it is older than 0.11 or too new", e.Broker, e.Request)
}

// Retriable returns false.
func (e *VersionError) Retriable() bool { return false }

// conn is a connection to a broker, for one request at a time.
type conn struct {
	nc       net.Conn
	addr     string
	clientID string
	timeout  time.Duration
	versions map[int16]int16 // by key of the request; what is missing cannot be spoken
	serial   int32
	expires  time.Time // when the broker may end the SASL session; zero is never
	idle     time.Time // since when it is in the pool
	broken   bool      // requests and answers may be out of step: use it no more
}

// connect opens a connection, agrees on versions and authenticates.
func (c *Client) connect(ctx context.Context, addr string) (*conn, error) {
	nc, err := c.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	k := &conn{nc: nc, addr: addr, clientID: c.cfg.ClientID, timeout: c.cfg.Timeout}
	if err := k.negotiate(ctx); err != nil {
		k.close()
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	if c.cfg.SASL.Mechanism != "" {
		if err := k.authenticate(ctx, mechanism{c.cfg.SASL}); err != nil {
			k.close()
			return nil, &AuthenticationError{Broker: addr, Err: err}
		}
	}
	names := make(map[string]int16, len(apis))
	for _, a := range apis {
		if v, ok := k.versions[a.key]; ok {
			names[a.name] = v
		}
	}
	c.cfg.Events.connected(addr, names)
	return k, nil
}

func (k *conn) close() {
	k.broken = true
	_ = k.nc.Close()
}

// negotiate finds the highest common version of each request.
func (k *conn) negotiate(ctx context.Context) error {
	k.versions = map[int16]int16{apiVersions.key: 0}
	r, err := k.call(ctx, apiVersions, func(*encoder, int16) {})
	if err != nil {
		return err
	}
	if code := r.i16(); code != 0 {
		return &BrokerError{Code: code}
	}
	theirs := map[int16][2]int16{}
	for n := r.array(); n > 0; n-- {
		key := r.i16()
		theirs[key] = [2]int16{r.i16(), r.i16()}
	}
	if err := r.err(); err != nil {
		return fmt.Errorf("read versions: %w", err)
	}
	for _, a := range apis {
		if t, ok := theirs[a.key]; ok && min(a.max, t[1]) >= max(a.min, t[0]) {
			k.versions[a.key] = min(a.max, t[1])
		}
	}
	return nil
}

func (k *conn) authenticate(ctx context.Context, m mechanism) error {
	r, err := k.call(ctx, apiSaslHandshake, func(e *encoder, _ int16) { e.str(m.Name()) })
	if err != nil {
		return err
	}
	if code := r.i16(); code != 0 {
		return &BrokerError{Code: code}
	}
	session, state, err := m.Start(ctx)
	if err != nil {
		return err
	}
	for done := false; !done; {
		begun := time.Now()
		r, err := k.call(ctx, apiSaslAuthenticate, func(e *encoder, _ int16) {
			e.i32(int32(len(state)))
			e.b = append(e.b, state...)
		})
		if err != nil {
			return err
		}
		code := r.i16()
		r.str() // the message may repeat what was sent
		challenge := r.bytes()
		if code != 0 {
			return &BrokerError{Code: code}
		}
		var life int64
		if k.versions[apiSaslAuthenticate.key] >= 1 {
			life = r.i64()
		}
		if err := r.err(); err != nil {
			return err
		}
		if life > 0 {
			// Renewed before its end, a session never dies in the middle of an answer.
			k.expires = begun.Add(time.Duration(life) * time.Millisecond * 8 / 10)
		}
		if done, state, err = session.Next(ctx, challenge); err != nil {
			return err
		}
	}
	return nil
}

// stale reports whether the connection should be replaced before its next request.
func (k *conn) stale() bool {
	return k.broken || !k.expires.IsZero() && time.Now().After(k.expires)
}

// maxAnswer bounds the answers of all requests but Fetch. 100 bytes for each of a million
// partitions would fit.
const maxAnswer = 100 << 20

// call sends a request and returns its answer.
func (k *conn) call(ctx context.Context, a api, body func(e *encoder, version int16)) (*cursor, error) {
	r, _, err := k.exchange(ctx, a, body, 0, maxAnswer, nil)
	return r, err
}

// exchange is call for requests that the broker may hold for the time wait. The
// answer, of at most limit bytes, is read into buf if that is large enough; the buffer used is returned.
func (k *conn) exchange(ctx context.Context, a api, body func(e *encoder, version int16), wait time.Duration, limit int64, buf []byte) (*cursor, []byte, error) {
	version, ok := k.versions[a.key]
	if !ok {
		return nil, buf, &VersionError{Broker: k.addr, Request: a.name}
	}
	if k.broken {
		return nil, buf, net.ErrClosed
	}
	flexible := version >= a.flexible
	k.serial++
	e := encoder{b: make([]byte, 4, 256)}
	e.i16(a.key)
	e.i16(version)
	e.i32(k.serial)
	e.str(k.clientID)
	e.flexible = flexible
	e.tags()
	body(&e, version)
	binary.BigEndian.PutUint32(e.b, uint32(len(e.b)-4))

	// A cancelled context ends a pending read at once, by a deadline in the past.
	stop := context.AfterFunc(ctx, func() { _ = k.nc.SetDeadline(time.Unix(1, 0)) })
	b, err := k.transfer(ctx, e.b, wait, limit, buf)
	if !stop() {
		k.close() // its deadline is in the past, or will be in a moment
		return nil, buf, ctx.Err()
	}
	if err != nil {
		k.close()
		return nil, buf, fmt.Errorf("exchange %s with %s: %w", a.name, k.addr, err)
	}
	r := &cursor{b: b, flexible: flexible}
	if got := r.i32(); got != k.serial {
		k.close()
		return nil, buf, fmt.Errorf("exchange %s with %s: answer %d to request %d", a.name, k.addr, got, k.serial)
	}
	r.tags()
	return r, b, nil
}

// bound gives the next operation on the socket a deadline.
func (k *conn) bound(ctx context.Context, d time.Duration) error {
	if err := k.nc.SetDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	return ctx.Err() // cancelled before the deadline was set, its own deadline is gone
}

func (k *conn) transfer(ctx context.Context, request []byte, wait time.Duration, limit int64, buf []byte) ([]byte, error) {
	if err := k.bound(ctx, k.timeout); err != nil {
		return nil, err
	}
	if _, err := k.nc.Write(request); err != nil {
		return nil, err
	}
	if err := k.bound(ctx, wait+k.timeout); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(k.nc, head[:]); err != nil {
		return nil, err
	}
	size := int64(int32(binary.BigEndian.Uint32(head[:])))
	if size < 4 || size > limit {
		return nil, &answerSizeError{size, limit}
	}
	// Memory grows with what arrives, and every piece has the whole timeout: a slow link is no fault,
	// a silent one is.
	const piece = 1 << 20
	b := buf[:0]
	for int64(len(b)) < size {
		n := int(min(size-int64(len(b)), piece))
		if cap(b)-len(b) < n {
			b = append(make([]byte, 0, min(size, int64(max(2*cap(b), len(b)+n)))), b...)
		}
		if err := k.bound(ctx, k.timeout); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(k.nc, b[len(b):len(b)+n]); err != nil {
			return nil, err
		}
		b = b[:len(b)+n]
	}
	return b, nil
}

type answerSizeError struct{ size, limit int64 }

func (e *answerSizeError) Error() string {
	return fmt.Sprintf("answer of %d bytes is outside 4 to %d", e.size, e.limit)
}
