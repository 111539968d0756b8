package fhirclient

import (
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"cpcds2fhir/internal/fhirclient/credentials"
)

// Client is a Server over HTTP.
type Client struct {
	base     *url.URL // without a slash at the end
	profile  *profile
	settings Settings
	headers  map[string]string        // of every request; a secret is named
	lookup   func(name string) string // of the environment
	agent    string
	http     *http.Client
	limiter  *limiter
	auth     credentials.Source
	events   Events
	gzip     bool
	backoff  time.Duration // the longest first pause before a request is sent again

	known        atomic.Bool // the server has accepted the credentials before
	batchReads   atomic.Bool // the server has answered a batch of GETs
	noBatchReads atomic.Bool // the server answers no batch of GETs
}

var _ Server = (*Client)(nil)

// Settings implements Server.
func (c *Client) Settings() Settings { return c.settings }

// URL implements Server.
func (c *Client) URL() string { return c.base.String() }
