package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config says where a registry is and how to log in. Basic and Bearer are called for each request,
// possibly in parallel, so that secrets can be rotated; at most one of them may be set. Their
// errors must not contain a secret.
type Config struct {
	URL    string                 // "https://registry.example:8081", with the path before "/schemas"
	Basic  func() (string, error) // returns "user:password"
	Bearer func() (string, error) // returns a token
	TLS    *tls.Config            // nil for the defaults

	Timeout    time.Duration // of one request; 10 s if 0
	UnknownTTL time.Duration // how long an unknown id is not asked for again; 30 s if 0
	MaxBytes   int64         // of a response; 8 MiB if 0
}

// Client is a client of one registry. It is safe for concurrent use.
type Client struct {
	config Config
	base   string
	http   *http.Client
	byID   cache
}

// New returns a client. It sends no request. A URL must not contain a user or a query.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, errors.New("schema registry: the URL cannot be parsed") // it may contain a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("schema registry: the URL must begin with http:// or https:// and have a host")
	case u.User != nil:
		return nil, errors.New("schema registry: the URL must not contain a user")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("schema registry: the URL must not contain a query or a fragment")
	case c.Basic != nil && c.Bearer != nil:
		return nil, errors.New("schema registry: use either a password or a token")
	}
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.UnknownTTL = cmp.Or(c.UnknownTTL, 30*time.Second)
	c.MaxBytes = cmp.Or(c.MaxBytes, 8<<20)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if c.TLS != nil {
		transport.TLSClientConfig = c.TLS.Clone()
	}
	client := &Client{config: c, base: strings.TrimRight(c.URL, "/")}
	client.http = &http.Client{
		Transport: transport,
		Timeout:   c.Timeout,
		// A redirect could send the password elsewhere, or be the login page of a proxy.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client.byID.init(c.UnknownTTL)
	return client, nil
}

// Schema returns the schema with an id, and all the schemas that it refers to. It remembers schemas
// for ever, and for a short time that an id is unknown. Calls for the same id at the same time
// share one request. An error is an *Error, or the error of ctx.
func (c *Client) Schema(ctx context.Context, id int32) (*Schema, error) {
	return c.byID.get(ctx, id, func(ctx context.Context) (*Schema, error) {
		op := "schema " + strconv.Itoa(int(id))
		var r schemaResponse
		if err := c.call(ctx, op, http.MethodGet, "/schemas/ids/"+strconv.Itoa(int(id)), nil, &r); err != nil {
			var e *Error
			if errors.As(err, &e) {
				e.Unknown = e.Unknown && e.Code == codeSchemaUnknown
			}
			return nil, err
		}
		s, err := c.complete(ctx, op, &r)
		if err == nil {
			s.ID = id
		}
		return s, err
	})
}

// Latest returns the latest schema of a subject, with all the schemas that it refers to, and its
// version.
func (c *Client) Latest(ctx context.Context, subject string) (s *Schema, version int, err error) {
	return c.version(ctx, subject, "latest")
}

func (c *Client) version(ctx context.Context, subject, version string) (*Schema, int, error) {
	op := fmt.Sprintf("subject %q, version %s", subject, version)
	var r schemaResponse
	if err := c.call(ctx, op, http.MethodGet, "/subjects/"+url.PathEscape(subject)+"/versions/"+version, nil, &r); err != nil {
		return nil, 0, err
	}
	s, err := c.complete(ctx, op, &r)
	return s, r.Version, err
}

// Register registers a schema under a subject and returns its id. Registering the same schema
// again returns the same id.
func (c *Client) Register(ctx context.Context, subject string, s Schema) (int32, error) {
	body := registration{Schema: s.Text}
	if s.Type != Avro { // old registries only know Avro, and no types
		body.Type = s.Type
	}
	for _, r := range s.References {
		body.References = append(body.References, reference{r.Name, r.Subject, r.Version})
	}
	op := fmt.Sprintf("register under subject %q", subject)
	var r struct {
		ID *int32 `json:"id"`
	}
	if err := c.call(ctx, op, http.MethodPost, "/subjects/"+url.PathEscape(subject)+"/versions", body, &r); err != nil {
		return 0, err
	}
	if r.ID == nil {
		return 0, &Error{Op: op, Status: http.StatusOK, Err: errors.New("the response has no id")}
	}
	return *r.ID, nil
}

type registration struct {
	Schema     string      `json:"schema"`
	Type       string      `json:"schemaType,omitempty"`
	References []reference `json:"references,omitempty"`
}

type reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

type schemaResponse struct {
	ID         int32       `json:"id"`
	Version    int         `json:"version"`
	Schema     *string     `json:"schema"`
	Type       string      `json:"schemaType"`
	References []reference `json:"references"`
}

const maxReferences = 256 // schemas that a schema refers to, also indirectly

// resolver fetches the schemas that a schema refers to, each of them once.
type resolver struct {
	client *Client
	seen   map[reference]*Schema // without Name; nil while it is being fetched
}

// complete returns the schema in a response, with all the schemas that it refers to.
func (c *Client) complete(ctx context.Context, op string, r *schemaResponse) (*Schema, error) {
	v := resolver{c, map[reference]*Schema{}}
	return v.complete(ctx, op, r)
}

func (v *resolver) complete(ctx context.Context, op string, r *schemaResponse) (*Schema, error) {
	if r.Schema == nil {
		return nil, &Error{Op: op, Status: http.StatusOK, Err: errors.New("the response has no schema")}
	}
	s := &Schema{ID: r.ID, Type: cmp.Or(r.Type, Avro), Text: *r.Schema}
	for _, x := range r.References {
		one, err := v.get(ctx, op, x)
		if err != nil {
			return nil, err
		}
		s.References = append(s.References, Reference{x.Name, x.Subject, x.Version, one})
	}
	return s, nil
}

func (v *resolver) get(ctx context.Context, op string, x reference) (*Schema, error) {
	x.Name = ""
	if s, ok := v.seen[x]; ok {
		if s == nil {
			return nil, &Error{Op: op, Err: errors.New("its references form a circle")}
		}
		return s, nil
	}
	if len(v.seen) == maxReferences {
		return nil, &Error{Op: op, Err: errors.New("it has too many references")}
	}
	v.seen[x] = nil
	op = fmt.Sprintf("subject %q, version %d", x.Subject, x.Version)
	var r schemaResponse
	path := "/subjects/" + url.PathEscape(x.Subject) + "/versions/" + strconv.Itoa(x.Version)
	if err := v.client.call(ctx, op, http.MethodGet, path, nil, &r); err != nil {
		// The schema itself exists, so an unknown reference is the registry's trouble, not the
		// message's.
		var e *Error
		if errors.As(err, &e) {
			e.Unknown = false
		}
		return nil, err
	}
	s, err := v.complete(ctx, op, &r)
	v.seen[x] = s
	return s, err
}

const contentType = "application/vnd.schemaregistry.v1+json"

// call sends a request and decodes the response.
func (c *Client) call(ctx context.Context, op, method, path string, body, result any) error {
	err := c.exchange(ctx, op, method, path, body, result)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (c *Client) exchange(ctx context.Context, op, method, path string, body, result any) error {
	fail := func(err error) error { return &Error{Op: op, Err: err} }
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fail(err)
		}
		content = strings.NewReader(string(b))
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return fail(errors.New("the request cannot be built"))
	}
	r.Header.Set("Accept", contentType+", application/json")
	if body != nil {
		r.Header.Set("Content-Type", contentType)
	}
	if err := c.logIn(r); err != nil {
		return fail(fmt.Errorf("get the secret: %w", err))
	}
	response, err := c.http.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL
		}
		return fail(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(io.LimitReader(response.Body, c.config.MaxBytes+1))
	switch {
	case err != nil:
		return &Error{Op: op, Status: response.StatusCode, Err: err}
	case int64(len(b)) > c.config.MaxBytes:
		return &Error{Op: op, Status: response.StatusCode, Err: errors.New("the response is too long")}
	case response.StatusCode != http.StatusOK:
		return failure(op, response.StatusCode, b)
	}
	if json.Unmarshal(b, result) != nil {
		return &Error{Op: op, Status: response.StatusCode, Err: errors.New("the response is not the expected JSON")}
	}
	return nil
}

// Codes of a registry that confirm something.
const (
	codeSubjectUnknown = 40401
	codeVersionUnknown = 40402
	codeSchemaUnknown  = 40403
)

func failure(op string, status int, body []byte) *Error {
	var r struct {
		Code int `json:"error_code"`
	}
	e := &Error{Op: op, Status: status}
	if json.Unmarshal(body, &r) == nil {
		e.Code = r.Code
	}
	confirmed := []int{codeSubjectUnknown, codeVersionUnknown, codeSchemaUnknown}
	e.Unknown = status == http.StatusNotFound && slices.Contains(confirmed, e.Code)
	// 409: the schema is not compatible with an earlier one. 422: it is not a schema.
	e.Refused = e.Code != 0 && (status == http.StatusConflict || status == http.StatusUnprocessableEntity)
	return e
}

func (c *Client) logIn(r *http.Request) error {
	switch {
	case c.config.Basic != nil:
		secret, err := c.config.Basic()
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(secret)))
	case c.config.Bearer != nil:
		token, err := c.config.Bearer()
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return nil
}
