package fhirtest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Stored is a resource as the server has it.
type Stored struct {
	Type, ID string
	Version  string
	JSON     string // as served; "" of one that is deleted
	Deleted  bool
	At       time.Time
	Order    int // among all versions of all resources: later ones have higher numbers
}

// Ref is Type/id.
func (s *Stored) Ref() string { return s.Type + "/" + s.ID }

// Write is one change of the server's state: a new version of a resource.
type Write struct {
	Request  int // number of the request that asked for it; 0 is the test itself, or a bulk import
	Type, ID string
	Version  string
	Deleted  bool
	At       time.Time
}

// Request is one request, and what its sender was told. It lists what happened, not what should have.
type Request struct {
	N           int // from 1, in order of arrival
	Method      string
	Path, Query string // below the base; no slash before it
	Header      http.Header
	Bytes       int      // of the body, unpacked
	Bundle      string   // type of the bundle
	Entries     []string // of a bundle: method and URL, such as "PUT Patient/a"
	IfMatch     []string // of the entries
	At          time.Time

	Status int      // that was answered; 0 if there was no answer, or only a part
	Told   []int    // statuses of the entries, as the sender was told; nil if it was not told
	Done   []int    // and as they really were
	Faults []string // that were injected
}

// Resources are all resources that exist, by Type/id.
func (s *Server) Resources() map[string]Stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]Stored{}
	for ref, r := range s.known {
		if v := r.there(); v != nil {
			out[ref] = r.stored(v)
		}
	}
	return out
}

func (r *resource) stored(v *version) Stored {
	return Stored{r.typ, r.id, v.name(), string(v.json), v.deleted, v.when, v.order}
}

// Versions are all versions of a resource, also of one that is deleted, from the first on.
func (s *Server) Versions(ref string) (out []Stored) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.known[ref]; r != nil {
		for _, v := range r.versions {
			out = append(out, r.stored(v))
		}
	}
	return out
}

// Names are all resources that ever were, Type/id, sorted.
func (s *Server) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sortedKeys(s.known)
}

// Find returns the resources of a type that have an identifier now, in the order in which they got it.
func (s *Server) Find(typ, system, value string) (out []Stored) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.byIdentifier[typ+"?"+system+"|"+value] {
		r := s.known[typ+"/"+id]
		if v := r.there(); v != nil && slices.Contains(v.identifiers, system+"|"+value) {
			out = append(out, r.stored(v))
		}
	}
	return out
}

// Writes are all changes, in order.
func (s *Server) Writes() []Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

// Requests are all requests so far, in order of arrival, also those that are not answered yet.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Request, len(s.requests))
	for i, r := range s.requests {
		out[i] = *r
	}
	return out
}

// Forget empties the lists of writes and requests. The numbers of requests go on.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serialRequests += len(s.requests)
	s.writes, s.requests = nil, nil
}

// Put stores a resource as somebody else would, without faults and refusals: its JSON has type and id. It returns
// the version.
func (s *Server) Put(json string) string {
	body, f := parseResource([]byte(json), "")
	if f != nil {
		panic("fhirtest: Put: " + f.diagnostics)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	typ, _ := body["resourceType"].(string)
	id, _ := body["id"].(string)
	r := s.known[typ+"/"+id]
	number := 1
	if last := r.last(); last != nil {
		number = last.number + 1
	}
	w := &work{}
	v := s.newVersion(typ, id, body, r.there(), number, "test")
	s.add(w, typ, id, v)
	s.commit(w)
	return v.name()
}

// Edit changes a resource as somebody else would, and returns its new version. It panics if it is not there.
func (s *Server) Edit(ref string, change func(resource map[string]any)) string {
	s.mu.Lock()
	v := s.known[ref].there()
	s.mu.Unlock()
	if v == nil {
		panic("fhirtest: Edit: " + ref + " is not there")
	}
	body := parsed(v)
	change(body)
	return s.Put(string(encode(body)))
}

// Delete deletes a resource as somebody else would.
func (s *Server) Delete(ref string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	typ, id, _ := strings.Cut(ref, "/")
	w := &work{}
	if r := s.remove(w, &operation{typ: typ, id: id}); r.fail != nil {
		panic("fhirtest: Delete: " + r.fail.diagnostics)
	}
	s.commit(w)
}

// begin logs a request that arrives.
func (s *Server) begin(x *exchange) *Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Request{N: s.serialRequests + len(s.requests) + 1, Method: x.r.Method, Path: x.path, Query: x.r.URL.RawQuery, Header: x.r.Header.Clone(), At: s.o.Now()}
	s.requests = append(s.requests, r)
	return r
}

// note logs the body of a request.
func (s *Server) note(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.req.Bytes = len(x.body)
	if x.req.Method != http.MethodPost || x.req.Path != "" {
		return
	}
	v, f := parseResource(x.body, "Bundle")
	if f != nil {
		return
	}
	x.req.Bundle, _ = v["type"].(string)
	list, _ := v["entry"].([]any)
	for _, e := range list {
		m, _ := e.(map[string]any)
		request, _ := m["request"].(map[string]any)
		method, _ := request["method"].(string)
		to, _ := request["url"].(string)
		match, _ := request["ifMatch"].(string)
		x.req.Entries = append(x.req.Entries, method+" "+to)
		x.req.IfMatch = append(x.req.IfMatch, match)
	}
}

// done logs what was answered.
func (s *Server) done(req *Request, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if req.Done == nil {
		req.Done = a.told
	}
	if a.deliver == nil {
		req.Status, req.Told = a.status, a.told
	}
}
