package fhirclient

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted is a server whose answers a test chooses. It says that it is the software that it is given,
// and keeps what it was asked.
type scripted struct {
	*httptest.Server
	software string

	mu     sync.Mutex
	asked  []asked
	answer func(w http.ResponseWriter, r *http.Request, n int) // of the n-th request, from 1
}

type asked struct {
	method, path, query, body string
	header                    http.Header
}

func script(t *testing.T, software string, answer func(w http.ResponseWriter, r *http.Request, n int)) *scripted {
	t.Helper()
	s := &scripted{software: software, answer: answer}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what arrives counts
	if r.URL.Path == "/fhir/metadata" {
		w.Header().Set("Content-Type", "application/fhir+json")
		fmt.Fprintf(w, statementText, s.software)
		return
	}
	s.mu.Lock()
	s.asked = append(s.asked, asked{r.Method, r.URL.Path, r.URL.RawQuery, string(body), r.Header.Clone()})
	n := len(s.asked)
	s.mu.Unlock()
	s.answer(w, r, n)
}

func (s *scripted) requests() []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]asked(nil), s.asked...)
}

const statementText = `{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","software":{"name":%q,"version":"1"},"rest":[{"mode":"server",
"interaction":[{"code":"transaction"},{"code":"batch"}],"resource":[
{"type":"Organization","interaction":[{"code":"update"}],"updateCreate":true},{"type":"Practitioner","interaction":[{"code":"update"}]},
{"type":"Patient","interaction":[{"code":"read"},{"code":"update"},{"code":"delete"}],"versioning":"versioned-update","updateCreate":true,"conditionalUpdate":true},
{"type":"RelatedPerson","interaction":[{"code":"update"}]},{"type":"Coverage","interaction":[{"code":"update"}]},
{"type":"ExplanationOfBenefit","interaction":[{"code":"update"}]},{"type":"Observation","interaction":[{"code":"update"}]}]}]}`

// open connects to a scripted server, and makes back-offs short.
func open(t *testing.T, s *scripted, conf *Config) *Client {
	t.Helper()
	c, _, err := connect(t.Context(), s.URL+"/fhir/", conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.backoff = 2 * time.Millisecond
	return c
}

const (
	sameVersion = "HAPI FHIR Server" // equal content makes no version
	newVersion  = "Some Server"
)

func patients(n int) []Write {
	list := make([]Write, n)
	for i := range list {
		id := fmt.Sprintf("p%d", i)
		list[i] = Write{Reference: Reference{"Patient", id}, JSON: fmt.Appendf(nil, `{"resourceType":"Patient","id":%q}`, id)}
	}
	return list
}

// respond answers a bundle with an entry of a status for each of its entries.
func respond(w http.ResponseWriter, statuses ...string) {
	w.Header().Set("Content-Type", "application/fhir+json")
	entries := make([]string, len(statuses))
	for i, s := range statuses {
		entries[i] = fmt.Sprintf(`{"response":{"status":%q,"etag":"W/\"1\""}}`, s)
	}
	fmt.Fprintf(w, `{"resourceType":"Bundle","type":"batch-response","entry":[%s]}`, strings.Join(entries, ","))
}

// ids are those that a bundle writes or reads.
func ids(t *testing.T, body string) []string {
	t.Helper()
	var b struct {
		Entry []struct {
			Request struct{ URL string }
		}
	}
	if err := json.Unmarshal([]byte(body), &b); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	var list []string
	for _, e := range b.Entry {
		list = append(list, e.Request.URL)
	}
	return list
}

// hangUp closes a connection, after it has written some text.
func hangUp(t *testing.T, w http.ResponseWriter, text string) {
	t.Helper()
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = io.WriteString(conn, text) // the client may be gone
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a reset, not an end
	}
	conn.Close()
}

func refuse(w http.ResponseWriter, status int) { w.WriteHeader(status) }
