package fhirtest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// operation is one interaction: a request, or an entry of a bundle.
type operation struct {
	method      string
	typ, id     string
	query       string
	ifMatch     string
	ifNoneExist string
	body        map[string]any
	inBundle    bool
	named       bool // a transaction has found its id already
	noCache     bool
}

// result is what became of an operation.
type result struct {
	status   int
	ref      string // Type/id
	version  *version
	code     string         // of HAPI's storage response
	resource map[string]any // of a read or search
	text     string
	fail     *failure
}

func failed(f *failure) *result { return &result{status: f.status, fail: f} }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// write does a PUT, POST or DELETE. References are not looked at before all of w is done.
func (s *Server) write(w *work, op *operation, source string) *result {
	if !s.o.stores(op.typ) {
		status := http.StatusNotFound
		if op.inBundle {
			status = http.StatusBadRequest
		}
		f := fail(status, "HAPI-1684: Unknown resource name \"%s\"", op.typ)
		f.whole = true
		return failed(f)
	}
	if op.method == http.MethodDelete {
		return s.remove(w, op)
	}
	id, f := s.resolve(op)
	if f == nil {
		f = s.checkBody(op, id)
	}
	if f != nil {
		return failed(f)
	}
	return s.put(w, op, id, source)
}

// resolve finds out which id a resource is to have.
func (s *Server) resolve(op *operation) (id string, f *failure) {
	if op.named {
		return op.id, nil
	}
	query := op.query
	if op.method == http.MethodPost {
		query = op.ifNoneExist
	}
	if query != "" {
		ids, f := s.match(op.typ, query)
		switch {
		case f != nil:
			return "", f
		case len(ids) > 1:
			return "", fail(http.StatusPreconditionFailed, "HAPI-0988: Failed to UPDATE %s with match URL \"%s?%s\" because this search matched %d resources", op.typ, op.typ, query, len(ids))
		case len(ids) == 1:
			return ids[0], nil
		case op.method == http.MethodPut && !s.matchesItself(op.typ, query, op.body):
			return "", fail(http.StatusBadRequest, "HAPI-0929: Failed to process conditional create. The supplied resource %s?%s of type %s did not satisfy the conditional URL.", op.typ, query, op.typ)
		}
		return s.newID(), nil
	}
	if op.method == http.MethodPost {
		return s.newID(), nil
	}
	if op.id == "" {
		return "", fail(http.StatusBadRequest, "HAPI-0418: Can not update resource, request URL must contain an ID element for update (PUT) operation")
	}
	return op.id, nil
}

// checkBody checks what can be checked without a look at other resources.
func (s *Server) checkBody(op *operation, id string) *failure {
	typ, _ := op.body["resourceType"].(string)
	if typ != op.typ {
		f := fail(http.StatusBadRequest, "HAPI-0450: Failed to parse request body as JSON resource. Error was: HAPI-1814: Incorrect resource type found, expected %q but found %q", op.typ, typ)
		f.whole = true
		return f
	}
	if f := parses("", op.body); f != nil {
		return f
	}
	own, _ := op.body["id"].(string)
	if op.method == http.MethodPut && op.query == "" && !op.inBundle {
		switch {
		case own == "":
			return fail(http.StatusBadRequest, "HAPI-0419: Can not update resource, resource body must contain an ID element for update (PUT) operation")
		case own != id:
			return fail(http.StatusBadRequest, "HAPI-0420: Can not update resource, resource body must contain an ID element which matches the request URL for update (PUT) operation - Resource body ID of \"%s\" does not match URL ID of \"%s\"", own, id)
		}
	}
	if op.method == http.MethodPut && op.query == "" {
		if f := s.checkID(op.typ, id); f != nil {
			return f
		}
		if (s.o.AssignIDs || s.o.AssignAlone && !op.inBundle) && s.known[op.typ+"/"+id].there() == nil {
			return &failure{status: http.StatusNotFound, code: "not-found", diagnostics: "Not found"}
		}
	}
	if s.o.MaxResource > 0 && len(encode(op.body)) > s.o.MaxResource {
		status := http.StatusRequestEntityTooLarge
		if op.inBundle {
			status = http.StatusUnprocessableEntity
		}
		return &failure{status: status, code: "too-long", diagnostics: "The resource is too large"}
	}
	return s.refused(op.typ, id, op.body)
}

// put stores a resource, if its content is new.
func (s *Server) put(w *work, op *operation, id, source string) *result {
	ref := op.typ + "/" + id
	r := s.known[ref]
	now := r.there()
	if op.method == http.MethodPost && now != nil {
		return &result{status: http.StatusOK, ref: ref, version: now, code: "SUCCESSFUL_CREATE_WITH_CONDITIONAL_MATCH"}
	}
	last := r.last()
	if f := s.checkMatch(op, ref, last); f != nil {
		return failed(f)
	}
	number := 1
	if last != nil {
		number = last.number + 1
	}
	v := s.newVersion(op.typ, id, op.body, now, number, source)
	if f := checkTargets(v); f != nil {
		return failed(f)
	}
	if now != nil && now.content == v.content && !s.o.EqualMakesVersion {
		return &result{status: http.StatusOK, ref: ref, version: now, code: "SUCCESSFUL_UPDATE_NO_CHANGE"}
	}
	s.add(w, op.typ, id, v)
	w.checks = append(w.checks, check{ref, v})
	out := &result{status: http.StatusCreated, ref: ref, version: v, code: "SUCCESSFUL_UPDATE_AS_CREATE"}
	switch {
	case op.method == http.MethodPost:
		out.code = "SUCCESSFUL_CREATE"
	case op.query != "" && now == nil:
		out.code = "SUCCESSFUL_UPDATE_NO_CONDITIONAL_MATCH"
	case now != nil:
		out.status, out.code = http.StatusOK, "SUCCESSFUL_UPDATE"
	}
	return out
}

// checkMatch compares If-Match with the last version, which may be a deletion; of what was never there HAPI
// takes any.
func (s *Server) checkMatch(op *operation, ref string, last *version) *failure {
	want := bareVersion(op.ifMatch)
	if want == "" || last == nil || want == last.name() || op.inBundle && s.o.IgnoreIfMatch {
		return nil
	}
	if s.o.Stale412 {
		return &failure{status: http.StatusPreconditionFailed, code: "conflict", diagnostics: "The version is not the current one"}
	}
	return fail(http.StatusConflict, "HAPI-0550: HAPI-0989: Trying to update %s/_history/%s but this is not the current version", ref, want)
}

// bareVersion is a version without W/ and quotes.
func bareVersion(etag string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(etag), "W/"), `"`)
}

// remove deletes a resource; repeated, that does nothing.
func (s *Server) remove(w *work, op *operation) *result {
	id := op.id
	if op.query != "" {
		ids, f := s.match(op.typ, op.query)
		if f != nil {
			return failed(f)
		}
		if len(ids) > 1 {
			return failed(fail(http.StatusPreconditionFailed, "HAPI-0962: Failed to DELETE %s with match URL because this search matched %d resources", op.typ, len(ids)))
		}
		id = strings.Join(ids, "")
	}
	ref := op.typ + "/" + id
	r := s.known[ref]
	done := http.StatusOK
	if op.inBundle {
		done = http.StatusNoContent
	}
	now := r.there()
	if now == nil {
		if s.o.DeleteAgain != 0 {
			return failed(fail(s.o.DeleteAgain, "%s is not there", ref))
		}
		if r != nil {
			return &result{status: done, ref: ref, code: "SUCCESSFUL_DELETE_ALREADY_DELETED", text: "Not deleted, resource " + ref + " was already deleted."}
		}
		return &result{status: done, ref: ref, code: "SUCCESSFUL_DELETE_NOT_FOUND", text: "Not deleted, resource " + ref + " does not exist."}
	}
	if s.o.DeleteIfMatch {
		if f := s.checkMatch(op, ref, now); f != nil {
			return failed(f)
		}
	}
	v := &version{number: now.number + 1, deleted: true, when: s.o.Now().UTC().Truncate(time.Millisecond)}
	s.add(w, op.typ, id, v)
	w.checks = append(w.checks, check{ref, v})
	return &result{status: done, ref: ref, version: v, code: "SUCCESSFUL_DELETE", text: "Successfully deleted 1 resource(s)."}
}

// alone does an operation that is its own unit: a request, or an entry of a batch.
func (s *Server) alone(request int, op *operation, source string) *result {
	w := &work{request: request}
	r := s.write(w, op, source)
	if r.fail == nil {
		if f := s.checkIntegrity(w.checks); f != nil {
			r = failed(f)
		}
	}
	if r.fail != nil {
		w.rollback()
		return r
	}
	s.commit(w)
	return r
}
