package fhirclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"
)

// fresh asks for what is stored, and not for what somebody remembers.
var fresh = http.Header{"Cache-Control": {"no-cache"}}

// Read implements Server.
func (c *Client) Read(ctx context.Context, refs []Reference) ([]Answer, error) {
	answers := make([]Answer, len(refs))
	if len(refs) == 1 {
		return answers, c.readEach(ctx, refs, answers)
	}
	from := 0
	for ; from < len(refs) && !c.batchReads.Load(); from += c.settings.Entries { // until one is answered
		if c.noBatchReads.Load() {
			return answers, c.readEach(ctx, refs[from:], answers[from:])
		}
		to := min(from+c.settings.Entries, len(refs))
		if err := c.readBatch(ctx, refs[from:to], answers[from:to]); err != nil {
			return nil, err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(c.settings.Concurrency, 1))
	for begin := from; begin < len(refs); begin += c.settings.Entries {
		end := min(begin+c.settings.Entries, len(refs))
		g.Go(func() error { return c.readBatch(ctx, refs[begin:end], answers[begin:end]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return answers, nil
}

// readBatch reads by a batch of GETs. What the batch does not answer is read alone, and all of it if the
// server refuses the batch.
func (c *Client) readBatch(ctx context.Context, refs []Reference, answers []Answer) error {
	got, err := c.exchange(ctx, &request{
		method: http.MethodPost, label: "batch", url: c.at("", ""), header: fresh, body: appendGets(nil, refs), entries: 0, bundle: true,
	})
	if e, ok := errors.AsType[*Error](err); ok && e.Status/100 == 4 && !e.Retriable && !errors.Is(e, ErrAuthentication) {
		// A server that has answered one before minds what is in this one, such as a type that it does not know.
		if !c.batchReads.Load() && (e.Meaning == Refused || e.Meaning == Absent) {
			c.noBatchReads.Store(true)
		}
		return c.readEach(ctx, refs, answers)
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Meaning == Split && len(refs) > 1 { // too much for the time of a gateway
		return c.readEach(ctx, refs, answers)
	}
	if err != nil {
		return err
	}
	c.batchReads.Store(true)
	var left []Reference
	var places []int
	for i := range refs {
		if i < len(got.bundle.Entry) {
			answers[i] = c.profile.answer(&got.bundle.Entry[i])
		}
		// What is not there does not say what it is: it counts only where no entry is missing.
		if !settles(&answers[i], refs[i]) || answers[i].JSON == nil && len(got.bundle.Entry) != len(refs) {
			left, places = append(left, refs[i]), append(places, i)
		}
	}
	rest := make([]Answer, len(left))
	if err := c.readEach(ctx, left, rest); err != nil {
		return err
	}
	for i, at := range places {
		answers[at] = rest[i]
	}
	return nil
}

// settles reports whether an answer says what is stored under a reference.
func settles(a *Answer, r Reference) bool {
	return a.Status == http.StatusNotFound || a.Status == http.StatusGone || a.Status == http.StatusOK && a.JSON != nil && a.Location == r
}

// readEach reads by one GET for each resource.
func (c *Client) readEach(ctx context.Context, refs []Reference, answers []Answer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	places := make(chan int)
	for range min(c.settings.Concurrency, len(refs)) {
		group.Go(func() {
			for i := range places {
				var err error
				if answers[i], err = c.readOne(ctx, refs[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range refs {
		places <- i
	}
	close(places)
	group.Wait()
	return context.Cause(ctx)
}

func (c *Client) readOne(ctx context.Context, r Reference) (Answer, error) {
	got, err := c.exchange(ctx, &request{method: http.MethodGet, label: r.Type, url: c.at(r.String(), ""), header: fresh})
	if e, ok := errors.AsType[*Error](err); ok && (e.Meaning == Absent || e.Status == http.StatusBadRequest || e.Status == http.StatusMethodNotAllowed) {
		return Answer{Status: e.Status, Outcome: e.Outcome, Meaning: e.Meaning}, nil
	}
	if err != nil {
		return Answer{}, err
	}
	m := readMeta(got.body)
	if m.ResourceType != r.Type || m.ID != r.ID {
		return Answer{}, &Error{Method: http.MethodGet, Path: r.Type, Meaning: Unclear, Err: errOtherResource}
	}
	a := Answer{Status: got.status, Location: r, Version: version(got.header.Get("ETag")), JSON: got.body}
	a.filled(m)
	return a, nil
}

var errOtherResource = errors.New("the server answers with something else than what was asked for")

// Find implements Server.
func (c *Client) Find(ctx context.Context, typ, query string) ([]Answer, error) {
	got, err := c.exchange(ctx, &request{method: http.MethodGet, label: typ, url: c.at(typ, query), header: fresh, bundle: true})
	if err != nil {
		return nil, err
	}
	var found []Answer
	for i := range got.bundle.Entry {
		if m, text, ok := match(&got.bundle.Entry[i], typ); ok {
			a := Answer{Status: http.StatusOK, JSON: text}
			a.filled(m)
			found = append(found, a)
		}
	}
	return found, nil
}

// match is a resource that a search has found; ok is false of what is only included.
func match(e *answeredEntry, typ string) (m meta, text json.RawMessage, ok bool) {
	if len(e.Resource) == 0 || e.Search.Mode != "" && e.Search.Mode != "match" {
		return m, nil, false
	}
	m = readMeta(e.Resource)
	return m, e.Resource, m.ResourceType == typ && m.ID != ""
}

// Count implements Server.
func (c *Client) Count(ctx context.Context, typ string) (int64, error) {
	for _, query := range []string{"_summary=count", "_total=accurate&_count=1"} {
		got, err := c.exchange(ctx, &request{method: http.MethodGet, label: typ, url: c.at(typ, query), header: fresh, bundle: true})
		if err != nil {
			return 0, err
		}
		if got.bundle.Total != nil {
			return *got.bundle.Total, nil
		}
	}
	return 0, &Error{Method: http.MethodGet, Path: typ, Meaning: Refused, Err: errNoTotal}
}

var errNoTotal = errors.New("the server does not say how many there are")

// listingRestarts is how often a listing begins again whose pages the server has forgotten.
const listingRestarts = 3

// Each implements Server.
func (c *Client) Each(ctx context.Context, typ string, only []string, f func(id, version string, resource json.RawMessage) error) error {
	seen := map[xxh3.Uint128]struct{}{}
	for restart := 0; ; restart++ {
		err := c.list(ctx, typ, only, seen, f)
		if e, ok := errors.AsType[*Error](err); ok && e.Path == typ+nextPage && (e.Meaning == Absent || e.Status == http.StatusBadRequest) && restart < listingRestarts {
			continue
		}
		return err
	}
}

// nextPage marks the requests for pages after the first.
const nextPage = " (next page)"

// list goes through the pages of a listing, and leaves out what was seen before.
func (c *Client) list(ctx context.Context, typ string, only []string, seen map[xxh3.Uint128]struct{}, f func(id, version string, resource json.RawMessage) error) error {
	q := "_count=" + strconv.Itoa(c.profile.Page) + "&_total=none"
	if len(only) > 0 {
		q += "&_elements=" + url.QueryEscape(strings.Join(slices.Concat([]string{"id", "meta"}, only), ","))
	}
	r := &request{method: http.MethodGet, label: typ, url: c.at(typ, q), header: fresh, bundle: true}
	visited := map[string]struct{}{}
	for {
		visited[r.url.String()] = struct{}{}
		got, err := c.exchange(ctx, r)
		if err != nil {
			return err
		}
		for i := range got.bundle.Entry {
			m, text, ok := match(&got.bundle.Entry[i], typ)
			if !ok {
				continue
			}
			key := xxh3.HashString128(m.ID)
			if _, ok := seen[key]; ok {
				continue
			}
			seen[key] = struct{}{}
			if err := f(m.ID, m.Version, text); err != nil {
				return err
			}
		}
		next, err := c.next(r.url, got.bundle)
		if err != nil {
			return &Error{Method: http.MethodGet, Path: typ, Meaning: Refused, Err: err}
		}
		if next == nil {
			return nil
		}
		if _, ok := visited[next.String()]; ok {
			return &Error{Method: http.MethodGet, Path: typ, Meaning: Refused, Err: errCircle}
		}
		r = &request{method: http.MethodGet, label: typ + nextPage, url: next, header: fresh, bundle: true}
	}
}

var (
	errAddress = errors.New("this is no address of the server")
	errCircle  = errors.New("the pages of the listing go in a circle")
)

// next is the address of the next page; nil if there is none. It must be one of this server: nobody else
// is asked, and told who the client is.
func (c *Client) next(from *url.URL, b *answered) (*url.URL, error) {
	for _, l := range b.Link {
		if l.Relation != "next" {
			continue
		}
		u, err := url.Parse(l.URL)
		if err != nil {
			return nil, errAddress
		}
		u = from.ResolveReference(u)
		if u.Host == c.base.Host && c.base.Scheme == "https" {
			u.Scheme = "https" // what ends TLS before the server is not known to it
		}
		if !sameHost(u, c.base) || !strings.HasPrefix(u.Path+"/", c.base.Path+"/") {
			return nil, fmt.Errorf("the next page of the listing is said to be at %s, which is not below %s: the server does not know its own address", u.Host, c.base.Host)
		}
		return u, nil
	}
	return nil, nil
}
