package fhirtest

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// bundle is a batch or a transaction as it came.
type bundle struct {
	transaction bool // as processed
	entries     []*entry
}

type entry struct {
	operation
	fullURL   string
	requested string // method and URL, for the log
	fail      *failure
}

// parseBundle reads a bundle. Failures of it are of the bundle as a whole.
func (s *Server) parseBundle(body []byte) (*bundle, *failure) {
	v, f := parseResource(body, "Bundle")
	if f != nil {
		return nil, f
	}
	b := &bundle{}
	switch v["type"] {
	case "transaction":
		if s.o.NoTransaction {
			return nil, &failure{status: http.StatusBadRequest, code: "not-supported", diagnostics: "Transactions are not supported"}
		}
		b.transaction = !s.o.TransactionAsBatch
	case "batch":
	default:
		return nil, fail(http.StatusBadRequest, "HAPI-0527: Unable to process transaction where incoming Bundle.type = %v", v["type"])
	}
	list, _ := v["entry"].([]any)
	if s.o.MaxEntries > 0 && len(list) > s.o.MaxEntries {
		return nil, &failure{status: http.StatusRequestEntityTooLarge, code: "too-long", diagnostics: "The bundle has too many entries"}
	}
	for _, x := range list {
		e, f := s.parseEntry(x)
		if f != nil {
			return nil, f
		}
		b.entries = append(b.entries, e)
	}
	return b, nil
}

// parseEntry reads one entry. What a parser cannot read fails the bundle.
func (s *Server) parseEntry(x any) (*entry, *failure) {
	m, _ := x.(map[string]any)
	request, _ := m["request"].(map[string]any)
	text := func(name string) string { v, _ := request[name].(string); return v }
	e := &entry{operation: operation{method: text("method"), ifMatch: text("ifMatch"), ifNoneExist: text("ifNoneExist"), inBundle: true}}
	e.fullURL, _ = m["fullUrl"].(string)
	e.requested = e.method + " " + text("url")
	if e.method == "" {
		return nil, fail(http.StatusInternalServerError, "HAPI-0389: Failed to call access method: java.lang.NullPointerException")
	}
	e.typ, e.id, e.query = splitURL(strings.TrimPrefix(text("url"), s.URL+"/"))
	if e.typ != "" && !s.o.stores(e.typ) {
		return nil, fail(http.StatusBadRequest, "HAPI-1684: Unknown resource name \"%s\"", e.typ)
	}
	e.body, _ = m["resource"].(map[string]any)
	if e.body != nil {
		if f := parses("", e.body); f != nil {
			return nil, f
		}
	}
	if (e.method == http.MethodPut || e.method == http.MethodPost) && e.body == nil {
		return nil, fail(http.StatusBadRequest, "HAPI-0533: Missing required resource in Bundle.entry for operation %s", e.method)
	}
	return e, nil
}

// splitURL splits Type/id?query.
func splitURL(u string) (typ, id, query string) {
	path, query, _ := strings.Cut(u, "?")
	typ, id, _ = strings.Cut(strings.Trim(path, "/"), "/")
	return typ, id, query
}

// parseResource reads a body as a resource of a type; "" is any.
func parseResource(body []byte, typ string) (map[string]any, *failure) {
	const prefix = "HAPI-0450: Failed to parse request body as JSON resource. Error was: "
	v, err := decode(body)
	m, ok := v.(map[string]any)
	switch {
	case len(body) == 0:
		return nil, fail(http.StatusBadRequest, prefix+"HAPI-1861: Failed to parse JSON encoded FHIR content: HAPI-1857: Did not find any content to parse")
	case err != nil || !ok:
		return nil, fail(http.StatusBadRequest, prefix+"HAPI-1861: Failed to parse JSON encoded FHIR content")
	case m["resourceType"] == nil:
		return nil, fail(http.StatusBadRequest, prefix+"HAPI-1838: Invalid JSON content detected, missing required element: 'resourceType'")
	case typ != "" && m["resourceType"] != typ:
		return nil, fail(http.StatusBadRequest, prefix+"HAPI-1814: Incorrect resource type found, expected %q but found %q", typ, m["resourceType"])
	}
	return m, nil
}

// process does what a bundle asks for. A failure is of the bundle as a whole, and nothing of it was done. putOff
// says which entries of a batch are not looked at, and the status that they get.
func (s *Server) process(request int, b *bundle, source string, putOff func(i int) *failure) ([]*result, *failure) {
	if b.transaction {
		return s.transact(request, b, source)
	}
	all := &work{request: request}
	results := make([]*result, len(b.entries))
	for i, e := range b.entries {
		f := e.fail
		if f == nil && putOff != nil {
			f = putOff(i)
		}
		switch {
		case f != nil:
			results[i] = failed(f)
		case e.method == http.MethodGet:
			results[i] = s.read(&e.operation)
		case s.o.BatchFailsWhole:
			results[i] = s.write(all, &e.operation, source)
			if f := s.checkIntegrity(all.checks); f != nil && results[i].fail == nil {
				results[i] = failed(f)
			}
		default:
			results[i] = s.alone(request, &e.operation, source)
		}
		if f := results[i].fail; f != nil && (f.whole || s.o.BatchFailsWhole && e.method != http.MethodGet) {
			all.rollback()
			return nil, f
		}
	}
	s.commit(all)
	return results, nil
}

// transact does all of a bundle or nothing.
func (s *Server) transact(request int, b *bundle, source string) ([]*result, *failure) {
	w := &work{request: request}
	results := make([]*result, len(b.entries))
	fatal := func(f *failure) ([]*result, *failure) {
		w.rollback()
		return nil, f
	}
	twice, f := s.name(b)
	if f != nil {
		return fatal(f)
	}
	for _, method := range []string{http.MethodDelete, http.MethodPost, http.MethodPut, http.MethodGet} {
		for i, e := range b.entries {
			if e.method != method || twice[i] != nil {
				continue
			}
			if e.fail != nil {
				return fatal(e.fail)
			}
			if method == http.MethodGet {
				results[i] = s.read(&e.operation)
				continue
			}
			if r := s.known[e.typ+"/"+e.id]; s.o.RecreateAlone && method != http.MethodDelete && len(b.entries) > 1 && r != nil && r.there() == nil {
				return fatal(fail(http.StatusConflict, "HAPI-0550: HAPI-0826: The operation has failed with a unique index constraint failure."))
			}
			if results[i] = s.write(w, &e.operation, source); results[i].fail != nil {
				return fatal(results[i].fail)
			}
		}
	}
	if f := s.checkIntegrity(w.checks); f != nil {
		return fatal(f)
	}
	for i, first := range twice {
		results[i] = results[*first]
	}
	s.commit(w)
	return results, nil
}

// name gives the entries of a transaction their ids, and rewrites references to entries and searches. It returns
// the entries that HAPI drops without a word, because an earlier one has the same condition.
func (s *Server) name(b *bundle) (twice map[int]*int, f *failure) {
	ids, conditions, twice := map[string]bool{}, map[string]int{}, map[int]*int{}
	urns := map[string]string{}
	for i, e := range b.entries {
		if e.method != http.MethodPut && e.method != http.MethodPost {
			continue
		}
		condition := e.ifNoneExist + e.query
		if first, ok := conditions[e.typ+"?"+condition]; ok && condition != "" {
			twice[i] = &first
			urns[e.fullURL] = b.entries[first].typ + "/" + b.entries[first].id
			continue
		}
		if e.id, f = s.resolve(&e.operation); f != nil {
			return nil, f
		}
		e.named = true
		if condition != "" {
			conditions[e.typ+"?"+condition] = i
		}
		ref := e.typ + "/" + e.id
		if ids[ref] {
			return nil, fail(http.StatusBadRequest, "HAPI-0535: Transaction bundle contains multiple resources with ID: %s", ref)
		}
		ids[ref] = true
		urns[e.fullURL] = ref
	}
	delete(urns, "")
	for _, e := range b.entries {
		if f := replaceReferences(e.body, func(ref string) (string, *failure) { return s.target(ref, urns) }); f != nil {
			return nil, f
		}
	}
	return twice, nil
}

// target is what a reference of a transaction stands for.
func (s *Server) target(ref string, urns map[string]string) (string, *failure) {
	if to, ok := urns[ref]; ok {
		return to, nil
	}
	typ, query, ok := strings.Cut(ref, "?")
	if !ok || !s.o.stores(typ) {
		return ref, nil
	}
	ids, f := s.match(typ, query)
	if f == nil && len(ids) != 1 {
		f = fail(http.StatusNotFound, "HAPI-1091: Invalid match URL \"%s\" - %d resources match this search", ref, len(ids))
	}
	if f != nil {
		return "", f
	}
	return typ + "/" + ids[0], nil
}

// response is the bundle that answers a bundle.
func (s *Server) response(b *bundle, results []*result, representation bool) map[string]any {
	typ := "batch-response"
	if b.transaction {
		typ = "transaction-response"
	}
	out := map[string]any{"resourceType": "Bundle", "id": s.newID(), "type": typ, "link": []any{link("self", s.URL)}}
	var entries []any
	for _, r := range results {
		response := map[string]any{"status": statusLine(r.status)}
		e := map[string]any{"response": response}
		switch {
		case r.fail != nil:
			response["outcome"] = r.fail.outcome("exception")
		case r.resource != nil:
			e["resource"] = r.resource
		default:
			response["outcome"] = r.information()
			if r.version != nil {
				response["location"] = r.ref + "/_history/" + r.version.name()
				response["etag"] = r.version.name()
			}
			if r.version != nil && !r.version.deleted {
				response["lastModified"] = instant(r.version.when)
				if representation {
					e["resource"] = parsed(r.version)
				}
			}
		}
		entries = append(entries, e)
	}
	if entries != nil {
		out["entry"] = entries
	}
	return out
}

func (r *result) information() map[string]any {
	coding := map[string]any{"system": "https://hapifhir.io/fhir/CodeSystem/hapi-fhir-storage-response-code", "code": r.code}
	issue := map[string]any{"severity": "information", "code": "informational", "details": map[string]any{"coding": []any{coding}}}
	if r.text != "" {
		issue["diagnostics"] = r.text
	}
	return map[string]any{"resourceType": "OperationOutcome", "issue": []any{issue}}
}

func link(relation, to string) map[string]any { return map[string]any{"relation": relation, "url": to} }

func parsed(v *version) map[string]any {
	m, err := decode(v.json)
	if err != nil {
		panic(err)
	}
	return m.(map[string]any)
}

// claimAll takes the resources that a bundle writes, for as long as a write takes. Those that somebody else is
// writing are conflicts; with wait it waits for them. It is called with the lock, and gives it up meanwhile.
func (s *Server) claimAll(b *bundle, wait bool) (release func()) {
	if s.o.WriteTime == 0 {
		return func() {}
	}
	mine := map[string]chan struct{}{}
	for _, e := range b.entries {
		ref := e.typ + "/" + e.id
		if e.query != "" {
			ref = e.typ + "?" + e.query
		}
		if e.method == http.MethodGet || e.method == http.MethodPost || mine[ref] != nil {
			continue
		}
		for wait && s.busy[ref] != nil {
			other := s.busy[ref]
			s.mu.Unlock()
			<-other
			s.mu.Lock()
		}
		if s.busy[ref] != nil {
			code := "HAPI-0825"
			if s.known[ref] != nil {
				code = "HAPI-0823"
			}
			e.fail = fail(http.StatusConflict, "HAPI-0550: %s: The operation has failed with a version constraint failure.", code)
			continue
		}
		mine[ref] = make(chan struct{})
		s.busy[ref] = mine[ref]
	}
	d := s.o.WriteTime
	s.mu.Unlock()
	s.pause(d)
	s.mu.Lock()
	return func() {
		for ref, done := range maps.All(mine) {
			delete(s.busy, ref)
			close(done)
		}
	}
}

// pause waits, or until the server is closed.
func (s *Server) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.closing:
	}
}

// query parses a query, and gives its values in order of their names.
func query(text string) (url.Values, []string) {
	q, _ := url.ParseQuery(text)
	return q, slices.Sorted(maps.Keys(q))
}
