package fhirclient

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Do implements Server.
func (c *Client) Do(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, error) {
	u, err := c.resolve(path)
	if err != nil {
		return nil, &Error{Method: method, Path: "", Meaning: Refused, Err: err}
	}
	r := &request{
		method: method, label: c.label(u), url: u, header: header, body: body, plain: true,
		write: method != http.MethodGet && method != http.MethodHead,
		once:  once(ctx),
	}
	var res *http.Response
	err = c.try(ctx, r, func(ctx context.Context) (*reply, error) {
		var err error
		if res, err = c.open(ctx, r); err != nil { //nolint:bodyclose // the caller closes it, or what follows
			return nil, err
		}
		got := &reply{status: res.StatusCode, header: res.Header}
		if !r.passed(res.StatusCode) {
			got.body, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
			res.Body.Close()
		}
		return got, err
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// open sends a request once, and leaves its answer to be read. The time of a request is up when nothing
// arrives for that long: a file of results may take longer.
func (c *Client) open(ctx context.Context, r *request) (*http.Response, error) {
	if err := c.limiter.acquire(ctx); err != nil {
		return nil, err
	}
	defer c.limiter.release()
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(c.settings.Timeout, cancel)
	began := time.Now()
	res, err := c.send(ctx, r)
	if err != nil {
		timer.Stop()
		cancel()
		return nil, err
	}
	if c.events.Request != nil {
		c.events.Request(res.StatusCode, 0, len(r.body), time.Since(began))
	}
	res.Body = &watched{body: res.Body, timer: timer, pause: c.settings.Timeout, cancel: cancel}
	return res, nil
}

// watched is a body that must keep arriving.
type watched struct {
	body   io.ReadCloser
	timer  *time.Timer
	pause  time.Duration
	cancel context.CancelFunc
	once   sync.Once
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.pause)
	n, err := w.body.Read(p)
	if err != nil && err != io.EOF {
		err = plain(err)
	}
	return n, err
}

func (w *watched) Close() error {
	var err error
	w.once.Do(func() {
		// What little is left is drained, so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, w.body, 64<<10)
		err = w.body.Close()
		w.timer.Stop()
		w.cancel()
	})
	return err
}

// resolve makes a URL of a path below the base, or of a URL.
func (c *Client) resolve(path string) (*url.URL, error) {
	u, err := url.Parse(path)
	if err != nil {
		return nil, errAddress
	}
	if u.IsAbs() {
		if u.Scheme != "http" && u.Scheme != "https" {
			return nil, errAddress
		}
		return u, nil
	}
	return c.at(strings.TrimPrefix(u.Path, "/"), u.RawQuery), nil
}

// known is what a part of a path looks like that is nobody's id: a type, an operation, a known word.
var known = regexp.MustCompile(`^(\$[A-Za-z-]+|_[a-z]+|\.[a-z-]+|[A-Z][a-z]+([A-Z][a-z]+)*|metadata|fhir|r4|R4|async|load|operations)$`)

// label is the path of a URL for errors: without the base, a query, or anybody's id.
func (c *Client) label(u *url.URL) string {
	p := u.Path
	if sameHost(u, c.base) {
		p = strings.TrimPrefix(p, c.base.Path)
	}
	parts := strings.Split(strings.Trim(p, "/"), "/")
	for i, part := range parts {
		if part != "" && !known.MatchString(part) {
			parts[i] = "…"
		}
	}
	return strings.Join(parts, "/")
}
