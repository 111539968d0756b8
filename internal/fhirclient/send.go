package fhirclient

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// Send implements Server.
func (c *Client) Send(ctx context.Context, bundle string, writes []Write) ([]Answer, error) {
	if len(writes) == 0 {
		return nil, nil
	}
	if bundle == "" {
		bundle = c.settings.Bundle
	}
	answers := make([]Answer, len(writes))
	open := make([]int, len(writes)) // the writes that are not answered for good
	for i := range open {
		open[i] = i
	}
	tries := attempts{limit: c.settings.Patience, first: c.backoff}
	for {
		rest := make([]Write, len(open))
		for i, at := range open {
			rest[i] = writes[at]
		}
		began := time.Now()
		got, header, err := c.sendOnce(ctx, bundle, rest)
		if err != nil && len(open) < len(writes) {
			got, err = c.sendAlone(ctx, bundle, rest, err)
			header = nil
		}
		if err != nil {
			return nil, err
		}
		for i, at := range open {
			answers[at] = got[i]
		}
		again, slower := c.again(answers, open, tries.n+1)
		if slower {
			c.limiter.slower(began)
		}
		if len(again) == 0 {
			return answers, nil
		}
		wait, ok := tries.next(retryAfter(header, c.profile.RetryAfterMillis))
		if !ok {
			return answers, nil
		}
		if c.events.Backoff != nil {
			c.events.Backoff(answers[again[0]].Status, tries.n, wait)
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, &Error{Method: http.MethodPost, Path: bundle, Meaning: Unclear, Unknown: true, Err: err}
		}
		open = again
	}
}

// sendOnce sends a bundle until it is answered as a whole.
func (c *Client) sendOnce(ctx context.Context, bundle string, writes []Write) ([]Answer, http.Header, error) {
	r := &request{
		method: http.MethodPost, label: bundle, url: c.at("", ""), header: http.Header{"Prefer": {"return=minimal"}},
		fill: func() []byte {
			return appendWrites(make([]byte, 0, sizeOf(writes)), bundle, writes, c.settings.IfMatch)
		},
		entries: len(writes), write: true, bundle: true,
	}
	got, err := c.exchange(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	answers := make([]Answer, len(writes))
	for i := range answers {
		answers[i].Meaning = Unclear
		if i < len(got.bundle.Entry) {
			answers[i] = c.profile.answer(&got.bundle.Entry[i])
		}
	}
	return answers, got.header, nil
}

// sendAlone sends the rest of a bundle, of which the others are answered already, one by one, after the
// server has refused it as a whole.
func (c *Client) sendAlone(ctx context.Context, bundle string, rest []Write, refused error) ([]Answer, error) {
	answers := make([]Answer, len(rest))
	for i := range rest {
		err := refused
		if len(rest) > 1 {
			var got []Answer
			if got, _, err = c.sendOnce(ctx, bundle, rest[i:i+1]); err == nil {
				answers[i] = got[0]
				continue
			}
		}
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return nil, err
		}
		if e.Status == 0 || e.Unknown || e.Retriable || errors.Is(e, ErrAuthentication) {
			e.Unknown = true // of the whole bundle, some of it was done
			return nil, e
		}
		answers[i] = Answer{Status: e.Status, Outcome: e.Outcome, Meaning: e.Meaning}
	}
	return answers, nil
}

// again lists which of the open writes are to be sent again, after so many attempts. slower is whether
// the server has put any of them off because it has too much to do.
func (c *Client) again(answers []Answer, open []int, tried int) (list []int, slower bool) {
	for _, at := range open {
		a := &answers[at]
		rule := c.profile.rule(a.Status, a.Outcome)
		slower = slower || rule.Slower
		switch {
		case a.Status == 0 && (tried >= 6 || !c.settings.SameVersion):
		case a.Status == 0:
			list = append(list, at)
		case Meaning(rule.Means) != Later:
		case rule.Lost && !c.settings.SameVersion || rule.Attempts > 0 && tried >= rule.Attempts:
			a.Meaning = Meaning(rule.Then)
			if rule.Then == 0 {
				a.Meaning = Unclear
			}
		default:
			list = append(list, at)
		}
	}
	return list, slower
}

// bundleOf reads an answer that must be a bundle. What does not even say that it is JSON says nothing of
// a write.
func bundleOf(got *reply, write bool) (*answered, error) {
	if !write {
		return readBundle(got.body)
	}
	if kind := got.header.Get("Content-Type"); kind != "" && !strings.Contains(kind, "json") {
		return nil, errNoBundle
	}
	return readBundle(got.body)
}
