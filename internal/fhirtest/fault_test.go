package fhirtest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestConditionsOfFaults(t *testing.T) {
	r := func(method, path string, entries ...string) *Request {
		return &Request{Method: method, Path: path, Entries: entries}
	}
	for _, c := range []struct {
		req                        *Request
		bundle, write, read, token bool
	}{
		{r("POST", "", "PUT Patient/a"), true, true, false, false},
		{r("POST", "", "GET Patient/a"), true, false, true, false},
		{r("POST", "", "GET Patient/a", "DELETE Patient/a"), true, true, false, false},
		{r("PUT", "Patient/a"), false, true, false, false},
		{r("GET", "Patient/a"), false, false, true, false},
		{r("POST", "Patient/_search"), false, false, true, false},
		{r("POST", "$import"), false, false, false, false},
		{r("GET", "metadata"), false, false, false, false},
		{r("POST", tokenPath), false, false, false, true},
	} {
		if got := []bool{Bundles(c.req), Writes(c.req), Reads(c.req), Tokens(c.req)}; !slices.Equal(got, []bool{c.bundle, c.write, c.read, c.token}) {
			t.Errorf("%s %s %s: %v", c.req.Method, c.req.Path, c.req.Entries, got)
		}
	}
	hits := func(w When) (out string) {
		for i := range 6 {
			if w(r("GET", fmt.Sprint("Patient/", i))) {
				out += fmt.Sprint(i)
			}
			if w(r("GET", "metadata")) {
				t.Error("metadata is chosen")
			}
		}
		return out
	}
	for want, w := range map[string]When{"2": Nth(3, Reads), "01": First(2, Reads), "135": Every(2, Reads), "4": func(r *Request) bool { return Path("Patient/4")(r) }} {
		if got := hits(w); got != want {
			t.Errorf("chosen %s, want %s", got, want)
		}
	}
	if a, b := hits(Chance(0.5, 7, Reads)), hits(Chance(0.5, 7, Reads)); a != b || a == "" || a == "012345" {
		t.Errorf("a probability chooses %q, then %q", a, b)
	}
}

// tell sends one bundle of four writes to a server with a fault. It returns the answer, and what the server has.
func tell(t *testing.T, typ string, f Fault) (*Server, *reply, error) {
	t.Helper()
	s := Start(t, nil)
	s.Inject(Nth(1, Bundles), f)
	var entries []string
	for i := range 4 {
		id := fmt.Sprint("p", i)
		entries = append(entries, put("Patient/"+id, patient(id)))
	}
	r, err := ask(s, "POST", "", bundleOf(typ, entries...))
	if err == nil {
		log := s.Requests()[0]
		if len(log.Faults) != 1 || log.Faults[0] != f.Name {
			t.Errorf("%s: the log names %v", f.Name, log.Faults)
		}
	}
	return s, r, err
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		fault  Fault
		status int // 0: no answer
		stored int
		told   string
		text   string
		header string
	}{
		{Latency(time.Millisecond), 200, 4, "[201 201 201 201]", "batch-response", ""},
		{Throttle(""), 429, 0, "[429]", "OperationOutcome", ""},
		{Throttle("7"), 429, 0, "[429]", "OperationOutcome", "7"},
		{ThrottleUntil(0), 429, 0, "[429]", "OperationOutcome", "GMT"},
		{Status(500), 500, 0, "[500]", "OperationOutcome", ""},
		{Status(502), 502, 0, "[502]", "<html>", ""},
		{Status(503), 503, 0, "[503]", "OperationOutcome", ""},
		{ResetUnread(), 0, 0, "[]", "", ""},
		{ResetInBody(), 0, 4, "[]", "", ""},
		{LoseAnswer(), 0, 4, "[]", "", ""},
		{LoseWithGateway(), 504, 4, "[504]", "<html>", ""},
		{PartialBatch(429), 200, 2, "[201 429 201 429]", "throttled", ""},
		{PartialBatch(503), 200, 2, "[201 503 201 503]", "throttled", ""},
		{ShortAnswer(1), 200, 4, "[201 201 201]", "batch-response", ""},
		{HTML(), 200, 0, "[]", "<html>", ""},
		{HTMLAfter(), 200, 4, "[]", "<html>", ""},
		{Dribble(5, time.Millisecond), 200, 4, "[201 201 201 201]", "batch-response", ""},
		{ExpireTokens(), 401, 0, "[401]", "OperationOutcome", ""},
		{CloseIdle(0), 200, 4, "[201 201 201 201]", "batch-response", ""},
	} {
		t.Run(c.fault.Name, func(t *testing.T) {
			s, r, err := tell(t, "batch", c.fault)
			switch {
			case c.status == 0 && err == nil:
				t.Fatalf("there is an answer: %d", r.status)
			case c.status == 0:
				if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.EPIPE) {
					t.Errorf("the client sees %v", err)
				}
			case err != nil:
				t.Fatal(err)
			case r.status != c.status || !strings.Contains(r.text, c.text) || !strings.Contains(r.header.Get("Retry-After"), c.header):
				t.Errorf("answer %d %v %s", r.status, r.header, r.text)
			}
			if n := len(s.Resources()); n != c.stored {
				t.Errorf("%d resources are there, want %d", n, c.stored)
			}
			log := s.Requests()[0]
			if log.Status != c.status || fmt.Sprint(log.Told) != c.told {
				t.Errorf("the log says %d %v, want %d %s", log.Status, log.Told, c.status, c.told)
			}
			done := 0
			for _, status := range log.Done {
				if status == 201 {
					done++
				}
			}
			if done != c.stored {
				t.Errorf("the log says that %v was done, want %d", log.Done, c.stored)
			}
			// It happens once.
			s.Client().CloseIdleConnections()
			must(t, s, 200, "POST", "", bundleOf("batch", put("Patient/p0", patient("p0"))))
		})
	}
	if n := len(Faults()); n != 19 {
		t.Errorf("%d kinds of fault", n)
	}
}

func TestTransactionsAreNotDoneInPart(t *testing.T) {
	s, r, err := tell(t, "transaction", PartialBatch(503))
	if err != nil || r.status != 503 || len(s.Resources()) != 0 {
		t.Errorf("%v %v %v", r, err, s.Resources())
	}
}

func TestFaultsTogether(t *testing.T) {
	s := Start(t, nil)
	stop := s.Inject(Nth(2, Writes), Latency(time.Millisecond), LoseAnswer())
	must(t, s, 201, "PUT", "Patient/a", patient("a"))
	if _, err := ask(s, "PUT", "Patient/b", patient("b")); err == nil {
		t.Error("there is an answer")
	}
	if got := s.Requests()[1].Faults; len(got) != 2 {
		t.Errorf("faults %v", got)
	}
	stop()
	stop = s.Inject(Always, Status(503))
	must(t, s, 503, "GET", "metadata", "")
	stop()
	must(t, s, 200, "GET", "metadata", "")
}

func TestHang(t *testing.T) {
	s := Start(t, nil)
	s.Inject(Always, Hang())
	c := s.Client()
	c.Timeout = 50 * time.Millisecond
	if _, err := ask(s, "PUT", "Patient/a", patient("a")); err == nil {
		t.Error("there is an answer")
	}
	if len(s.Resources()) != 1 {
		t.Error("it was not done")
	}
}

func TestCloseWhileAClientWaits(t *testing.T) {
	s := Listen(nil)
	s.Inject(Always, Hang())
	done := make(chan error)
	go func() {
		_, err := ask(s, "GET", "metadata", "")
		done <- err
	}()
	for len(s.Requests()) == 0 {
		time.Sleep(time.Millisecond)
	}
	s.Close()
	if err := <-done; err == nil {
		t.Error("there is an answer")
	}
}

// A client that uses the connection again which the server has closed gets an error, or a new connection.
func TestCloseIdle(t *testing.T) {
	s := Start(t, nil)
	s.Inject(Nth(1, Always), CloseIdle(20*time.Millisecond))
	must(t, s, 200, "GET", "metadata", "")
	time.Sleep(40 * time.Millisecond)
	must(t, s, 200, "GET", "metadata", "")
}

func TestTLS(t *testing.T) {
	s := Start(t, &Options{TLS: &tls.Config{ClientAuth: tls.RequestClientCert}})
	must(t, s, 200, "GET", "metadata", "")
	if !strings.HasPrefix(s.URL, "https://127.0.0.1:") {
		t.Errorf("URL %s", s.URL)
	}
	s.Inject(Nth(1, Bundles), ResetInBody())
	if _, err := ask(s, "POST", "", bundleOf("batch", put("Patient/a", patient("a")))); err == nil {
		t.Error("there is an answer")
	}
	if r, err := http.Get(s.URL + "/metadata"); err == nil { //nolint:bodyclose // there is none
		t.Errorf("a stranger trusts the server: %d", r.StatusCode)
	}
}

func TestHeadersAndRedirects(t *testing.T) {
	s, other := Start(t, nil), Start(t, nil)
	s.Inject(Nth(1, Always), StatusWith(429, http.Header{"x-ms-retry-after-ms": {"40"}}))
	if r := must(t, s, 429, "GET", "metadata", ""); r.header.Get("x-ms-retry-after-ms") != "40" {
		t.Errorf("header %v", r.header)
	}
	s.Inject(Nth(1, Always), Redirect(other.URL+"/Patient/a"))
	must(t, s, 404, "GET", "Patient/a", "")
	if got := other.Requests(); len(got) != 1 || got[0].Path != "Patient/a" {
		t.Errorf("the other server was asked %v", got)
	}
}
