package fhirclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"cpcds2fhir/internal/fhirclient/credentials"
)

// request is what is sent, as often as it needs.
type request struct {
	method  string
	label   string // for errors: the path without ids and query
	url     *url.URL
	header  http.Header
	body    []byte
	fill    func() []byte // makes body once the request may be sent, so that it does not wait as text in memory
	entries int           // of a bundle
	write   bool          // it changes something
	bundle  bool          // the answer must be one
	plain   bool          // any status is an answer; see Do
	once    bool          // it is not repeated; see Once
	hurry   time.Duration // patience of its own; 0 is that of the settings
	proof   string        // of the last attempt: the header Authorization
}

// reply is an answer that has arrived as a whole.
type reply struct {
	status int
	header http.Header
	body   []byte
	bundle *answered
}

// answerMost is how large an answer may be, in bytes.
const answerMost = 256 << 20

var errTooLarge = errors.New("the answer is too large")

// exchange sends a request until it is answered for good, and reads the answer. A status that means
// anything but success is an *Error.
func (c *Client) exchange(ctx context.Context, r *request) (*reply, error) {
	var got *reply
	err := c.try(ctx, r, func(ctx context.Context) (*reply, error) {
		var err error
		got, err = c.once(ctx, r)
		return got, err
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}

// try repeats one attempt of a request as the table of the profile says.
func (c *Client) try(ctx context.Context, r *request, attempt func(context.Context) (*reply, error)) error {
	tries := attempts{limit: c.settings.Patience, first: c.backoff}
	if r.hurry > 0 {
		tries.limit = min(tries.limit, r.hurry)
	}
	renewals, unknown := 0, false
	same := map[int]int{} // how often it has failed with a status: other failures say nothing about this one
	for {
		began := time.Now()
		got, err := attempt(ctx)
		if ctx.Err() != nil && err != nil {
			return &Error{Method: r.method, Path: r.label, Meaning: Unclear, Unknown: unknown || r.write && sent(err) && !errors.Is(err, errNotSent), Err: ctx.Err()}
		}
		e, asked, rule := c.judge(r, got, err, began)
		if e == nil {
			return nil
		}
		if r.write && (rule.Lost || e.Unknown) {
			unknown = true
		}
		e.Unknown = unknown
		if e.Status == http.StatusUnauthorized && renewals < c.renewals() && c.auth.Renew(r.proof) {
			renewals++
			continue
		}
		if !e.Retriable || r.once || r.write && e.Unknown && !c.repeatable(r) {
			return e
		}
		same[e.Status]++
		wait, ok := tries.next(asked)
		if rule.Attempts > 0 && same[e.Status] >= rule.Attempts && !r.single(rule) && c.alive(ctx, r, e) {
			if rule.Then != 0 {
				e.Meaning = Meaning(rule.Then)
			}
			e.Retriable = false
			return e
		}
		if !ok { // that says nothing of what was sent
			return e
		}
		if rule.Slower && asked > 0 {
			c.limiter.pause(wait)
		}
		if c.events.Backoff != nil {
			c.events.Backoff(e.Status, tries.n, wait)
		}
		if err := sleep(ctx, wait); err != nil {
			e.Err = err
			return e
		}
	}
}

// single reports whether a request reads one thing, and the server or a gateway fails: there is nothing to divide, so
// only patience helps.
func (r *request) single(rule answerRule) bool { return !r.write && !r.bundle && rule.Lost }

// repeatable reports whether a write may be sent again that may have been done: a bundle of PUTs where equal
// content makes no version, and never what starts something.
func (c *Client) repeatable(r *request) bool {
	return c.settings.SameVersion && (r.bundle || r.method == http.MethodPut || r.method == http.MethodDelete)
}

// alive reports whether a failure is that of a request, and not of the whole server: a server without its
// database answers 500 to everything, and that is no reason to give up what is sent.
func (c *Client) alive(ctx context.Context, r *request, e *Error) bool {
	if !r.write || e.Status != http.StatusInternalServerError {
		return true
	}
	got, err := c.once(ctx, &request{method: http.MethodGet, label: "Patient", url: c.at("Patient/cpcds2fhir-is-there-anybody", ""), header: fresh})
	return err == nil && got.status < 500
}

// renewals is how often a request may be sent with yet another proof: once, or more often if the
// credentials have worked before. A token may be revoked again before it was used.
func (c *Client) renewals() int {
	if c.known.Load() {
		return 5
	}
	return 1
}

// judge says what one attempt has come to: nil is success.
func (c *Client) judge(r *request, got *reply, err error, began time.Time) (e *Error, asked time.Duration, rule answerRule) {
	e = &Error{Method: r.method, Path: r.label}
	if err != nil {
		e.Meaning, e.Err = Unclear, err
		_, setting := errors.AsType[*credentials.SettingError](err)
		_, ours := errors.AsType[*ConfigError](err)
		e.Retriable = !setting && !ours && !settled(err) && !errors.Is(err, ErrAuthentication) && !errors.Is(err, errTooLarge)
		e.Unknown = r.write && sent(err) && !errors.Is(err, errNotSent)
		if errors.Is(err, errNoBundle) {
			rule.Attempts = 6 // some gateway may be in the way for a moment
		}
		return e, 0, rule
	}
	if got.status/100 == 2 || got.status == http.StatusNotModified {
		c.known.Store(true)
		return nil, 0, answerRule{}
	}
	e.Status = got.status
	e.Outcome = c.profile.outcome(got.body)
	rule = c.profile.rule(got.status, e.Outcome)
	e.Meaning = Meaning(rule.Means)
	e.Retriable = e.Meaning == Later
	if rule.Slower {
		c.limiter.slower(began)
	}
	switch {
	case r.plain && r.passed(got.status):
		return nil, 0, rule
	case got.status == http.StatusUnauthorized || got.status == http.StatusForbidden:
		e.Err = ErrAuthentication
	}
	return e, retryAfter(got.header, c.profile.RetryAfterMillis), rule
}

// passed reports whether Do returns an answer, whatever it means.
func (r *request) passed(status int) bool {
	if r.once {
		return status != http.StatusUnauthorized
	}
	return status < 500 && status != http.StatusUnauthorized && status != http.StatusTooManyRequests
}

// errNotSent marks what failed before a request was sent.
var errNotSent = errors.New("the request was not sent")

// once sends a request once and reads its answer.
func (c *Client) once(ctx context.Context, r *request) (*reply, error) {
	if err := c.limiter.acquire(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotSent, err)
	}
	if r.body == nil && r.fill != nil {
		r.body = r.fill()
	}
	ctx, cancel := context.WithTimeout(ctx, c.settings.Timeout)
	defer cancel()
	began := time.Now()
	got, err := c.read(ctx, r)
	if err == nil {
		took := time.Since(began)
		if got.status/100 == 2 && r.entries > 0 {
			c.limiter.good(len(r.body), began)
		}
		if c.events.Request != nil {
			c.events.Request(got.status, r.entries, len(r.body), took)
		}
	}
	c.limiter.release()
	return got, err
}

func (c *Client) read(ctx context.Context, r *request) (*reply, error) {
	res, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, answerMost+1))
	if err != nil {
		return nil, fmt.Errorf("the answer broke off: %w", plain(err))
	}
	if len(body) > answerMost {
		return nil, errTooLarge
	}
	got := &reply{status: res.StatusCode, header: res.Header, body: body}
	if r.bundle && got.status/100 == 2 {
		got.bundle, err = bundleOf(got, r.write)
	}
	return got, err
}

// send makes the HTTP request, and returns as soon as the answer begins.
func (c *Client) send(ctx context.Context, r *request) (*http.Response, error) {
	body := r.body
	req, err := http.NewRequestWithContext(ctx, r.method, r.url.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotSent, plain(err))
	}
	own := sameHost(r.url, c.base)
	req.Header.Set("Accept", "application/fhir+json")
	req.Header.Set("User-Agent", c.agent)
	if own {
		for name := range c.headers {
			value, err := c.header(name)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errNotSent, err)
			}
			req.Header.Set(name, value)
		}
	}
	for name, values := range r.header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if body != nil {
		if req.Header.Get("Content-Type") == "" {
			req.Header.Set("Content-Type", "application/fhir+json")
		}
		if c.gzip && own && len(body) > 2000 {
			req.Header.Set("Content-Encoding", "gzip")
			body = compress(body)
		}
		// With GetBody, so that a request can be sent anew on another connection.
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	if own {
		if err := c.auth.Authorize(ctx, req, body); err != nil {
			return nil, fmt.Errorf("%w: %w", errNotSent, err)
		}
		r.proof = req.Header.Get("Authorization")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no answer: %w", plain(err))
	}
	return res, nil
}

func compress(body []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed) // the level is known
	if _, err := w.Write(body); err != nil {
		return body // memory does not fail
	}
	if w.Close() != nil {
		return body
	}
	return out.Bytes()
}

// at is an address below the base.
func (c *Client) at(path, query string) *url.URL {
	u := *c.base
	if path != "" {
		u.Path += "/" + path
	}
	u.RawQuery = strings.ReplaceAll(query, "|", "%7C")
	return &u
}
