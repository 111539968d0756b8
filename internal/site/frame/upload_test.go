package frame

import (
	"bytes"
	"context"
	"errors"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// upload is a form with a document.
func (w *world) upload(t *testing.T, token string, size int) *http.Request {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	_ = m.WriteField("token", token)
	part, err := m.CreateFormFile("doc", "policy.pdf")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(bytes.Repeat([]byte("x"), size))
	_ = m.Close()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/apply", &b)
	r.Header.Set("Content-Type", m.FormDataContentType())
	return r
}

// TestTemporaryFiles proves that what a form does not hold in memory is in files that go with the request, also if a
// handler works with a copy of the request, and if the form is refused.
func TestTemporaryFiles(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	files := func() int {
		list, err := os.ReadDir(os.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	w := newWorld(t, func(c *Config) {
		c.Before = func(v *Visit) error {
			v.R = v.R.WithContext(context.WithValue(v.R.Context(), copied{}, true))
			return nil
		}
	})
	page := w.get("/apply")
	good, cookies := w.token(page), page.Result().Cookies()
	during := 0
	w.during = func() { during = files() }
	for _, c := range []struct {
		token        string
		size         int
		want, during int
	}{{good, 100 << 10, http.StatusSeeOther, 0}, {good, 3 << 20, http.StatusSeeOther, 1}, {"", 3 << 20, http.StatusForbidden, 0}, {good, 5 << 20, http.StatusRequestEntityTooLarge, 0}} {
		during = 0
		w.want(w.do(w.upload(t, c.token, c.size), cookies...), c.want)
		if during != c.during || files() != 0 {
			t.Errorf("%d bytes (%d): %d files, want %d, and %d afterwards", c.size, c.want, during, c.during, files())
		}
		if c.want == http.StatusSeeOther && (w.uploaded.Size != int64(c.size) || len(w.content) != c.size) {
			t.Errorf("%d bytes are %d, %d", c.size, w.uploaded.Size, len(w.content))
		}
	}
}

type copied struct{}

// TestFull proves that so many forms with documents are taken at a time and no more, and that each gives its place back.
func TestFull(t *testing.T) {
	w := newWorld(t)
	page := w.get("/apply")
	good, cookies := w.token(page), page.Result().Cookies()
	// Forms of others come in slowly: the pipe has not given all of it yet.
	var wait sync.WaitGroup
	hold := make(chan struct{})
	for range uploadsMost {
		r := w.upload(t, good, 10)
		body := &slow{Reader: r.Body, hold: hold}
		r.Body = body
		wait.Go(func() { w.do(r, cookies...) })
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		w.frame.uploads.mu.Lock()
		n := w.frame.uploads.all
		w.frame.uploads.mu.Unlock()
		if n == uploadsMost {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d forms are being taken", n)
		}
	}
	rec := w.do(w.upload(t, good, 10), cookies...)
	w.want(rec, http.StatusServiceUnavailable, "Too many files at once")
	if rec.Header().Get("Retry-After") == "" {
		t.Error("it does not say when to try again")
	}
	close(hold)
	wait.Wait()
	w.want(w.do(w.upload(t, good, 10), cookies...), http.StatusSeeOther)
	if w.frame.uploads.all != 0 || len(w.frame.uploads.each) != 0 {
		t.Errorf("%d places are not given back: %v", w.frame.uploads.all, w.frame.uploads.each)
	}
}

// slow is a body whose end does not come before hold is closed.
type slow struct {
	Reader interface{ Read([]byte) (int, error) }
	hold   chan struct{}
}

func (s *slow) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b[:min(len(b), 64)])
	if err != nil || strings.Contains(string(b[:n]), "xxxx") {
		<-s.hold
	}
	return n, err
}

func (s *slow) Close() error { return nil }

// TestUploadsEach keeps one session from taking the places of all.
func TestUploadsEach(t *testing.T) {
	u := &uploads{}
	for i := range uploadsEach {
		if !u.take("a") {
			t.Fatalf("there is no room for %d", i)
		}
	}
	if u.take("a") || !u.take("b") {
		t.Error("one session has the places of others")
	}
	u.end("a")
	if !u.take("a") {
		t.Error("a place is not given back")
	}
}

// TestReadFields reads what was typed of a form, and nothing of its documents or of other forms.
func TestReadFields(t *testing.T) {
	w := newWorld(t)
	session := NewID()
	v := &Visit{f: w.frame, Session: session}
	good := v.Token()
	read := func(most int64, header string, fields ...string) (string, error) {
		var b bytes.Buffer
		m := multipart.NewWriter(&b)
		for i := 0; i < len(fields); i += 2 {
			if fields[i] == "doc" {
				part, err := m.CreateFormFile("doc", "policy.pdf")
				if err != nil {
					t.Fatal(err)
				}
				_, _ = part.Write(bytes.Repeat([]byte("x"), 2<<20))
				continue
			}
			_ = m.WriteField(fields[i], fields[i+1])
		}
		_ = m.Close()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/apply", &b)
		r.Header.Set("Content-Type", m.FormDataContentType())
		if header != "" {
			r.Header.Set("Sec-Fetch-Site", header)
		}
		values, err := (&Visit{f: w.frame, R: r}).ReadFields(most, session)
		return values.Encode(), err
	}
	if got, err := read(1000, "", "token", good, "doc", "", "email", "a b", "doc", "", "use", "x"); err != nil || got != "email=a+b&token="+good+"&use=x" {
		t.Errorf("it has read %q, %v", got, err)
	}
	for what, c := range map[string]struct {
		most   int64
		header string
		fields []string
		want   error
	}{
		"another site":             {1000, "cross-site", []string{"token", good}, ErrForm},
		"no token":                 {1000, "", []string{"email", "x"}, ErrForm},
		"another token":            {1000, "", []string{"token", strings.Repeat("A", 59), "email", "x"}, ErrForm},
		"a document before it":     {1000, "", []string{"doc", "", "token", good}, ErrForm},
		"too much in a field":      {1000, "", []string{"token", good, "email", strings.Repeat("x", 1001)}, ErrTooLarge},
		"too much in many of them": {1000, "", []string{"token", good, "a", strings.Repeat("x", 600), "b", strings.Repeat("x", 600)}, ErrTooLarge},
	} {
		if got, err := read(c.most, c.header, c.fields...); !errors.Is(err, c.want) || got != "" {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
}
