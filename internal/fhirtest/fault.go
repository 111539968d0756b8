package fhirtest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// When chooses requests. It is called once for each request that arrives, under the lock of the server, and must
// not call the server. Of a request whose body is not to be read it knows no entries.
type When func(*Request) bool

// Fault is one thing that goes wrong.
type Fault struct {
	Name string

	unread  bool                     // deliver is called before the body is read
	before  func(*exchange) *answer  // instead of what the request asks for, unless it returns nil
	after   func(*exchange, *answer) // changes the answer
	deliver func(*exchange, *answer) // instead of sending the answer
}

// rule is a fault for the requests that it is for.
type rule struct {
	when  When
	fault Fault
}

// Inject makes faults happen to the requests that when chooses. Several rules may choose the same request; they act
// in the order of their injection. It returns a function that ends that.
func (s *Server) Inject(when When, faults ...Fault) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The condition may count: it is asked once, also for several faults.
	var mine []*rule
	var last *Request
	var hit bool
	once := func(r *Request) bool {
		if r != last {
			last, hit = r, when(r)
		}
		return hit
	}
	for _, f := range faults {
		mine = append(mine, &rule{once, f})
	}
	s.rules = append(s.rules, mine...)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, m := range mine {
			for i, r := range s.rules {
				if r == m {
					s.rules = append(s.rules[:i:i], s.rules[i+1:]...)
					break
				}
			}
		}
	}
}

// chosen are the faults of a request: those before its body is read, or the others.
func (s *Server) chosen(req *Request, unread bool) (out []Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if r.fault.unread == unread && r.when(req) {
			out = append(out, r.fault)
			req.Faults = append(req.Faults, r.fault.Name)
		}
	}
	return out
}

// Always chooses every request.
func Always(*Request) bool { return true }

// Bundles chooses batches and transactions.
func Bundles(r *Request) bool { return r.Method == http.MethodPost && r.Path == "" }

// Writes chooses what can change a resource: bundles with a write, PUT, POST and DELETE of resources.
func Writes(r *Request) bool {
	if r.Method == http.MethodGet || strings.HasSuffix(r.Path, "_search") || strings.HasPrefix(r.Path, "$") || Tokens(r) {
		return false
	}
	if r.Path != "" || r.Entries == nil {
		return true
	}
	for _, e := range r.Entries {
		if !strings.HasPrefix(e, http.MethodGet) {
			return true
		}
	}
	return false
}

// Reads chooses what cannot change a resource, without tokens and metadata.
func Reads(r *Request) bool {
	return !Writes(r) && !Tokens(r) && r.Path != "metadata" && !strings.HasPrefix(r.Path, ".well-known") && !strings.HasPrefix(r.Path, "$")
}

// Tokens chooses requests for a token.
func Tokens(r *Request) bool { return r.Path == tokenPath }

// Data chooses reads and writes: everything but metadata and tokens.
func Data(r *Request) bool { return Writes(r) || Reads(r) || strings.HasPrefix(r.Path, "$") }

// Path chooses requests of one path, such as $import.
func Path(path string) When { return func(r *Request) bool { return r.Path == path } }

// Nth chooses the nth request, from 1, of those that another condition chooses.
func Nth(n int, of When) When { return counted(of, func(i int) bool { return i == n }) }

// First chooses the first n requests of those that another condition chooses.
func First(n int, of When) When { return counted(of, func(i int) bool { return i <= n }) }

// Every chooses every nth request of those that another condition chooses.
func Every(n int, of When) When { return counted(of, func(i int) bool { return i%n == 0 }) }

func counted(of When, hit func(int) bool) When {
	i := 0
	return func(r *Request) bool {
		if !of(r) {
			return false
		}
		i++
		return hit(i)
	}
}

// Chance chooses requests with a probability; the same seed makes the same choices.
func Chance(p float64, seed uint64, of When) When {
	rng := rand.New(rand.NewPCG(seed, 0))
	return func(r *Request) bool { return of(r) && rng.Float64() < p }
}

// Latency lets a request wait before it is looked at.
func Latency(d time.Duration) Fault {
	return Fault{Name: "latency", before: func(x *exchange) *answer { x.s.pause(d); return nil }}
}

// Status answers without doing anything, with an OperationOutcome if the status is one of a FHIR server, and with
// HTML if it is a proxy's (502, 504).
func Status(status int) Fault {
	return Fault{Name: strconv.Itoa(status), before: func(x *exchange) *answer { return plain(x, status, "") }}
}

// Throttle answers 429 without doing anything. retryAfter is seconds or a date, "" is none.
func Throttle(retryAfter string) Fault {
	name := "429"
	if retryAfter != "" {
		name = "429 with Retry-After"
	}
	return Fault{Name: name, before: func(x *exchange) *answer { return plain(x, http.StatusTooManyRequests, retryAfter) }}
}

// ThrottleUntil answers 429, with a date as Retry-After: the next full second after a time from now.
func ThrottleUntil(d time.Duration) Fault {
	return Fault{Name: "429 with a date", before: func(x *exchange) *answer {
		return plain(x, http.StatusTooManyRequests, retryDate(time.Now(), d))
	}}
}

// StatusWith is Status with header fields, such as those in which a server says when to come again.
func StatusWith(status int, header http.Header) Fault {
	f := Status(status)
	return Fault{Name: f.Name + " with a header", before: func(x *exchange) *answer {
		a := f.before(x)
		for k, v := range header {
			a.header[http.CanonicalHeaderKey(k)] = v
		}
		return a
	}}
}

// Redirect sends the client somewhere else, where its credentials have no place.
func Redirect(to string) Fault {
	return Fault{Name: "redirect", before: func(*exchange) *answer {
		return &answer{status: http.StatusTemporaryRedirect, told: []int{http.StatusTemporaryRedirect}, header: http.Header{"Location": {to}}}
	}}
}

func plain(x *exchange, status int, retryAfter string) *answer {
	if status == http.StatusBadGateway || status == http.StatusGatewayTimeout {
		return &answer{status: status, told: []int{status}, header: http.Header{"Content-Type": {"text/html"}}, body: []byte("<html><body><h1>" + statusLine(status) + "</h1></body></html>")}
	}
	return x.failure(&failure{status: status, code: "transient", diagnostics: http.StatusText(status), retryAfter: retryAfter})
}

// ResetUnread cuts the connection before the body of the request is read.
func ResetUnread() Fault {
	return Fault{Name: "reset before reading", unread: true, deliver: func(x *exchange, _ *answer) { x.reset() }}
}

// ResetInBody does what is asked, and cuts the connection in the middle of the answer's body.
func ResetInBody() Fault {
	return Fault{Name: "reset in the body", deliver: func(x *exchange, a *answer) {
		x.raw(a, func(c net.Conn, message []byte) {
			_, _ = c.Write(message[:len(message)-len(a.body)/2])
			cut(c)
		})
	}}
}

// LoseAnswer does what is asked, and cuts the connection without an answer.
func LoseAnswer() Fault {
	return Fault{Name: "lost answer", deliver: func(x *exchange, _ *answer) { x.reset() }}
}

// LoseWithGateway does what is asked, and answers 504 like a proxy whose patience has ended.
func LoseWithGateway() Fault {
	return Fault{Name: "504 after the commit", after: func(x *exchange, a *answer) {
		x.s.really(x.req, a)
		*a = *plain(x, http.StatusGatewayTimeout, "")
	}}
}

// PartialBatch puts off every second entry of a batch, with a status such as 429 or 503. A transaction, which
// cannot be done in part, is answered with that status as a whole, and so is every other request.
func PartialBatch(status int) Fault {
	return putOff("batch with "+strconv.Itoa(status), status, func(i int) bool { return i%2 == 1 })
}

// PutOff is PartialBatch of all entries.
func PutOff(status int) Fault {
	return putOff("batch with only "+strconv.Itoa(status), status, func(int) bool { return true })
}

func putOff(name string, status int, entry func(i int) bool) Fault {
	return Fault{Name: name, before: func(x *exchange) *answer {
		x.s.mu.Lock()
		asBatch := x.s.o.TransactionAsBatch
		x.s.mu.Unlock()
		if x.req.Bundle != "batch" && !(asBatch && x.req.Bundle == "transaction") {
			return plain(x, status, "0")
		}
		x.putOff = func(i int) *failure {
			if !entry(i) {
				return nil
			}
			return &failure{status: status, code: "throttled", diagnostics: http.StatusText(status)}
		}
		return nil
	}}
}

// ShortAnswer does what is asked, and leaves the last n entries out of the answer.
func ShortAnswer(n int) Fault {
	return Fault{Name: "short answer", after: func(x *exchange, a *answer) {
		v, err := decode(a.body)
		b, _ := v.(map[string]any)
		list, _ := b["entry"].([]any)
		typ, _ := b["type"].(string)
		if err != nil || len(list) == 0 || !strings.HasSuffix(typ, "-response") {
			return
		}
		x.s.really(x.req, a)
		keep := max(len(list)-n, 0)
		b["entry"] = list[:keep]
		a.body, a.told = encode(b), a.told[:keep]
	}}
}

const page = "<html><head><title>Sign in</title></head><body>Please sign in.</body></html>"

// HTML answers 200 with a page of HTML, like a proxy that wants a login. Nothing is done.
func HTML() Fault {
	return Fault{Name: "HTML", before: func(*exchange) *answer {
		return &answer{status: http.StatusOK, header: http.Header{"Content-Type": {"text/html"}}, body: []byte(page)}
	}}
}

// HTMLAfter does what is asked, and answers 200 with a page of HTML.
func HTMLAfter() Fault {
	return Fault{Name: "HTML after the commit", after: func(x *exchange, a *answer) {
		x.s.really(x.req, a)
		*a = answer{status: http.StatusOK, header: http.Header{"Content-Type": {"text/html"}}, body: []byte(page)}
	}}
}

// Dribble does what is asked, and sends the answer in so many pieces, with a pause before each.
func Dribble(pieces int, pause time.Duration) Fault {
	return Fault{Name: "slow body", deliver: func(x *exchange, a *answer) {
		a.header.Set("Connection", "close")
		x.raw(a, func(c net.Conn, message []byte) {
			size := len(message)/pieces + 1
			for len(message) > 0 {
				x.s.pause(pause)
				n := min(size, len(message))
				if n == len(message) {
					x.s.told(x.req, a)
				}
				if _, err := c.Write(message[:n]); err != nil {
					break
				}
				message = message[n:]
			}
			_ = c.Close()
		})
	}}
}

// Hang does what is asked, and sends nothing until the client gives up.
func Hang() Fault {
	return Fault{Name: "hangs", deliver: func(x *exchange, _ *answer) {
		select {
		case <-x.r.Context().Done():
		case <-x.s.closing:
		}
		x.reset()
	}}
}

// ExpireTokens revokes all tokens that the server has given, so that the request is answered with 401. Without
// authentication it is answered so anyway.
func ExpireTokens() Fault {
	return Fault{Name: "expired token", before: func(x *exchange) *answer {
		x.s.ExpireTokens()
		return x.failure(&failure{status: http.StatusUnauthorized, code: "login", diagnostics: "The token has expired"})
	}}
}

// CloseIdle answers, says that the connection stays open, and closes it after a while: what clients meet whose
// connections stay idle for longer than a balancer allows.
func CloseIdle(after time.Duration) Fault {
	return Fault{Name: "closed when idle", deliver: func(x *exchange, a *answer) {
		x.raw(a, func(c net.Conn, message []byte) {
			x.s.told(x.req, a)
			_, _ = c.Write(message)
			x.s.pause(after)
			_ = c.Close()
		})
	}}
}

// really logs what an answer would have been that a fault changes.
func (s *Server) really(req *Request, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	req.Done = a.told
}

// told logs that an answer is about to reach the client after all.
func (s *Server) told(req *Request, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	req.Status, req.Told = a.status, a.told
}

// Faults are one fault of each kind that a client must survive, quick enough for a test that injects each of them
// into each of its requests.
func Faults() []Fault {
	return []Fault{
		Latency(20 * time.Millisecond), Throttle(""), Throttle("0"), ThrottleUntil(0), Status(http.StatusInternalServerError), Status(http.StatusBadGateway), Status(http.StatusServiceUnavailable),
		ResetUnread(), ResetInBody(), LoseAnswer(), LoseWithGateway(), PartialBatch(http.StatusTooManyRequests), PartialBatch(http.StatusServiceUnavailable), ShortAnswer(1), HTML(), HTMLAfter(),
		Dribble(20, 2*time.Millisecond), ExpireTokens(), CloseIdle(0),
	}
}

// reset cuts the connection, so that the client sees a reset and no orderly end.
func (x *exchange) reset() {
	if c, err := x.hijack(); err == nil {
		cut(c)
	}
}

func cut(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func (x *exchange) hijack() (net.Conn, error) {
	h, ok := x.w.(http.Hijacker)
	if !ok {
		return nil, errors.New("the connection cannot be taken over")
	}
	c, _, err := h.Hijack()
	return c, err
}

// raw gives the whole message of an answer to a function that sends it.
func (x *exchange) raw(a *answer, send func(c net.Conn, message []byte)) {
	c, err := x.hijack()
	if err != nil {
		return
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %s\r\n", statusLine(a.status))
	h := a.header.Clone()
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	_ = h.Write(&b)
	b.WriteString("\r\n")
	b.Write(a.body)
	send(c, b.Bytes())
}
