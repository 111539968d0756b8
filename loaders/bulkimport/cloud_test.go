package bulkimport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"

	"cpcds2fhir/internal/fhirtest"
)

// cloud is a FHIR server with an import of its own, beside object stores in a folder. It is written from
// the public documents of the import's API, and fails the test if a request is not as they say.
type cloud struct {
	t       *testing.T
	fhir    *fhirtest.Server
	http    *httptest.Server
	buckets string // folder of the object stores

	unlocked bool // requests are answered at the same time: the server asks itself

	mu       sync.Mutex
	requests []string // method and path, of the import
	jobs     map[string]*cloudJob
	refuse   func(ref string) string // why a resource is refused; nil refuses none

	// serve answers the requests of the import; false leaves them to the FHIR server.
	serve func(w http.ResponseWriter, r *http.Request, body []byte) bool
	// fault comes before; true means that it has answered.
	fault func(w http.ResponseWriter, r *http.Request, n int) bool
}

// cloudJob is an import that a cloud runs when it is asked about for the first time.
type cloudJob struct {
	id       string
	inputs   []cloudInput
	polls    int
	ran      bool
	imported int64
	failed   []cloudFailure
}

type cloudInput struct{ typ, url, bucket, key string }

type cloudFailure struct {
	input cloudInput
	line  int
	ref   string
	why   string
	json  string
}

func newCloud(t *testing.T, base string) *cloud {
	t.Helper()
	c := &cloud{t: t, buckets: t.TempDir(), jobs: map[string]*cloudJob{}}
	c.fhir = fhirtest.Start(t, &fhirtest.Options{Base: base, Import: fhirtest.Import{Off: true}})
	c.http = httptest.NewServer(c)
	t.Cleanup(c.http.Close)
	return c
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if !c.unlocked {
		c.mu.Lock()
		c.requests = append(c.requests, r.Method+" "+r.URL.Path)
	}
	done := c.fault != nil && c.fault(w, r, len(c.requests)) || c.serve(w, r, body)
	if !c.unlocked {
		c.mu.Unlock()
	}
	if !done {
		c.fhir.ServeHTTP(w, r)
	}
}

// get fetches a URL.
func get(ctx context.Context, at string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", res.StatusCode)
	}
	return text, err
}

// bed is a load into the cloud.
func (c *cloud) bed(kind, stage string, start map[string]string) *bed {
	c.t.Helper()
	at, err := url.Parse(c.fhir.URL)
	if err != nil {
		c.t.Fatal(err)
	}
	b := newBed(c.t, c.fhir, c.http.URL+at.Path)
	b.config.Profile = "generic"
	b.o.Stage, b.o.Start = stage, map[string]string{"kind": kind}
	for k, v := range start {
		b.o.Start[k] = v
	}
	b.around.buckets = c.open
	return b
}

// open opens a bucket of any store.
func (c *cloud) open(_ context.Context, at string) (*blob.Bucket, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	signed, err := url.Parse(c.http.URL + "/signed/" + u.Host)
	if err != nil {
		return nil, err
	}
	return fileblob.OpenBucket(filepath.Join(c.buckets, u.Scheme+"-"+u.Host), &fileblob.Options{
		CreateDir: true, URLSigner: fileblob.NewURLSignerHMAC(signed, []byte("secret")),
	})
}

// object is the content of an object.
func (c *cloud) object(scheme, bucket, key string) []byte {
	c.t.Helper()
	b, err := c.open(c.t.Context(), scheme+"://"+bucket)
	if err != nil {
		c.t.Error(err)
		return nil
	}
	defer b.Close()
	text, err := b.ReadAll(c.t.Context(), key)
	if err != nil {
		c.t.Errorf("the server reads %s: %v", key, err)
	}
	return text
}

// keys lists the objects of a folder, without what lies deeper.
func (c *cloud) keys(scheme, bucket, prefix string) (list []string) {
	c.t.Helper()
	b, err := c.open(c.t.Context(), scheme+"://"+bucket)
	if err != nil {
		c.t.Error(err)
		return nil
	}
	defer b.Close()
	for it := b.List(&blob.ListOptions{Prefix: prefix}); ; {
		o, err := it.Next(c.t.Context())
		if err != nil {
			return list
		}
		list = append(list, o.Key)
	}
}

// write makes an object.
func (c *cloud) write(scheme, bucket, key, text string) {
	c.t.Helper()
	b, err := c.open(c.t.Context(), scheme+"://"+bucket)
	if err == nil {
		err = b.WriteAll(c.t.Context(), key, []byte(text), nil)
		b.Close()
	}
	if err != nil {
		c.t.Error(err)
	}
}

// run imports the objects of a job, once.
func (c *cloud) run(j *cloudJob, read func(cloudInput) []byte) {
	if j.ran {
		return
	}
	j.ran = true
	seen := map[string]bool{}
	for _, in := range j.inputs {
		line := -1
		for text := range strings.Lines(string(read(in))) {
			line++
			var r struct{ ResourceType, ID string }
			if err := json.Unmarshal([]byte(text), &r); err != nil {
				c.t.Errorf("%s: %v", in.key, err)
				continue
			}
			ref := r.ResourceType + "/" + r.ID
			if r.ResourceType != in.typ {
				c.t.Errorf("%s has a %s", in.key, r.ResourceType) // one type a file
			}
			if seen[ref] {
				c.t.Errorf("%s is imported twice by one job", ref)
			}
			seen[ref] = true
			if c.refuse != nil {
				if why := c.refuse(ref); why != "" {
					j.failed = append(j.failed, cloudFailure{in, line, ref, why, strings.TrimSpace(text)})
					continue
				}
			}
			c.fhir.Put(text)
			j.imported++
		}
	}
}

// asked counts requests of the import that begin so.
func (c *cloud) asked(begin string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.requests {
		if strings.HasPrefix(r, begin) {
			n++
		}
	}
	return n
}

// wantJSON fails the test unless a request is exactly this JSON. "*" stands for any string.
func (c *cloud) wantJSON(body []byte, want string) {
	c.t.Helper()
	var a, b any
	if err := json.Unmarshal(body, &a); err != nil {
		c.t.Errorf("the request is no JSON: %s", body)
		return
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		c.t.Fatal(err)
	}
	if a = anyString(a, b); !reflect.DeepEqual(a, b) {
		c.t.Errorf("the request is\n%s\nwant\n%s", body, want)
	}
}

// anyString replaces strings by * where want has one.
func anyString(got, want any) any {
	switch w := want.(type) {
	case string:
		if s, ok := got.(string); ok && (w == "*" || strings.HasSuffix(w, "*") && strings.HasPrefix(s, w[:len(w)-1])) {
			return w
		}
	case []any:
		if g, ok := got.([]any); ok && len(g) == len(w) {
			for n := range g {
				g[n] = anyString(g[n], w[n])
			}
		}
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			for k := range g {
				g[k] = anyString(g[k], w[k])
			}
		}
	}
	return got
}

func (c *cloud) wantHeader(r *http.Request, pairs ...string) {
	c.t.Helper()
	for n := 0; n < len(pairs); n += 2 {
		if got := r.Header.Get(pairs[n]); got != pairs[n+1] {
			c.t.Errorf("%s %s: %s is %q, want %q", r.Method, r.URL.Path, pairs[n], got, pairs[n+1])
		}
	}
}

func reply(w http.ResponseWriter, status int, format string, args ...any) bool {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, format, args...)
	return true
}

func failing(w http.ResponseWriter, status int, text string) bool {
	return reply(w, status, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"processing","diagnostics":%q}]}`, text)
}

// cut ends a connection without an answer.
func cut(w http.ResponseWriter) bool {
	if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
		c.Close()
	}
	return true
}

// refuseSome refuses two resources, one of them for a reason that passes.
func refuseSome(ref string) string {
	switch ref {
	case "Patient/p00002":
		return "Value 'Jane Doe' is not allowed"
	case "Coverage/c00001":
		return "Timeout expired"
	}
	return ""
}
