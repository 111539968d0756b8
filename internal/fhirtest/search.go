package fhirtest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// search is one that has been asked: its results stay, as HAPI keeps them for paging.
type search struct {
	id, typ, query string
	ids            []string
	elements       []string
	page           int
	at             time.Time
}

// referenceParams are search parameters that are references, by type: the path that they look at.
var referenceParams = map[string]map[string]string{
	"Coverage":             {"beneficiary": "Coverage.beneficiary", "patient": "Coverage.beneficiary", "payor": "Coverage.payor", "subscriber": "Coverage.subscriber", "policy-holder": "Coverage.policyHolder"},
	"RelatedPerson":        {"patient": "RelatedPerson.patient"},
	"Claim":                {"patient": "Claim.patient"},
	"Observation":          {"patient": "Observation.subject", "subject": "Observation.subject"},
	"ExplanationOfBenefit": {"patient": "ExplanationOfBenefit.patient", "coverage": "ExplanationOfBenefit.insurance.coverage", "provider": "ExplanationOfBenefit.provider", "insurer": "ExplanationOfBenefit.insurer", "care-team": "ExplanationOfBenefit.careTeam.provider", "payee": "ExplanationOfBenefit.payee.party"},
}

// controls are parameters that say how to answer, not what to find.
var controls = []string{"_count", "_elements", "_summary", "_total", "_sort", "_format", "_pretty"}

// match returns the ids of the resources that a query finds, in the order of their creation.
func (s *Server) match(typ, text string) ([]string, *failure) {
	q, names := query(text)
	var ids []string
	candidates := s.order[typ]
	if i := q.Get("identifier"); len(names) == 1 && strings.Count(i, "|") == 1 && !strings.ContainsAny(i, `,\\`) && i[0] != '|' && i[len(i)-1] != '|' {
		candidates = s.byIdentifier[typ+"?"+i] // the search of conditional updates
	}
	for _, id := range candidates {
		v := s.known[typ+"/"+id].there()
		if v == nil {
			continue
		}
		all := true
		for _, name := range names {
			if slices.Contains(controls, name) {
				continue
			}
			for _, value := range q[name] {
				ok, f := meets(typ, id, v, name, value)
				if f != nil {
					return nil, f
				}
				all = all && ok
			}
		}
		if all {
			ids = append(ids, id)
		}
	}
	for _, name := range names {
		if !slices.Contains(controls, name) && !knownParam(typ, name) {
			return nil, fail(http.StatusBadRequest, "HAPI-0524: Unknown search parameter \"%s\" for resource type \"%s\"", name, typ)
		}
	}
	return ids, nil
}

func knownParam(typ, name string) bool {
	return name == "_id" || name == "_lastUpdated" || name == "identifier" || referenceParams[typ][name] != ""
}

// meets reports whether a resource has one of the values of a parameter.
func meets(typ, id string, v *version, name, values string) (bool, *failure) {
	for value := range strings.SplitSeq(values, ",") {
		value = strings.ReplaceAll(value, `\|`, `|`)
		switch {
		case name == "_id":
			if id == value || typ+"/"+id == value {
				return true, nil
			}
		case name == "_lastUpdated":
			ok, f := updated(v, value)
			if ok || f != nil {
				return ok, f
			}
		case name == "identifier":
			if slices.ContainsFunc(v.identifiers, func(has string) bool { return hasToken(has, value) }) {
				return true, nil
			}
		case referenceParams[typ][name] != "":
			for _, ref := range v.indexed[referenceParams[typ][name]] {
				if ref == value || strings.HasSuffix(ref, "/"+value) {
					return true, nil
				}
			}
		default:
			return false, fail(http.StatusBadRequest, "HAPI-0524: Unknown search parameter \"%s\" for resource type \"%s\"", name, typ)
		}
	}
	return false, nil
}

// hasToken compares system|value with what was searched: system|value, |value, value or system|.
func hasToken(has, want string) bool {
	system, value, both := strings.Cut(want, "|")
	hasSystem, hasValue, _ := strings.Cut(has, "|")
	switch {
	case !both:
		return hasValue == want
	case value == "":
		return hasSystem == system
	}
	return has == want
}

func updated(v *version, value string) (bool, *failure) {
	op, at := "eq", value
	if len(value) > 2 && value[0] >= 'a' {
		op, at = value[:2], value[2:]
	}
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		t, err = time.Parse(time.DateOnly, at)
	}
	if err != nil {
		return false, fail(http.StatusBadRequest, "HAPI-1882: Invalid date/time format")
	}
	switch op {
	case "gt":
		return v.when.After(t), nil
	case "ge":
		return !v.when.Before(t), nil
	case "lt":
		return v.when.Before(t), nil
	case "le":
		return !v.when.After(t), nil
	}
	return v.when.Equal(t), nil
}

// matchesItself reports whether a resource that a conditional update would create is found by its own condition.
func (s *Server) matchesItself(typ, text string, body map[string]any) bool {
	q, names := query(text)
	has := identifiers(body)
	for _, name := range names {
		if name != "identifier" {
			continue
		}
		for _, value := range q[name] {
			if !slices.ContainsFunc(has, func(h string) bool { return hasToken(h, value) }) {
				return false
			}
		}
	}
	return true
}

// read does a GET: of a resource, a version, a history, or a search.
func (s *Server) read(op *operation) *result {
	if !s.o.stores(op.typ) {
		return failed(fail(http.StatusNotFound, "HAPI-0302: Unknown resource type '%s'", op.typ))
	}
	if op.id == "" {
		return s.searchType(op)
	}
	id, rest, history := strings.Cut(op.id, "/_history")
	r := s.known[op.typ+"/"+id]
	if history && r != nil {
		return s.history(r, strings.Trim(rest, "/"))
	}
	switch v := r.last(); {
	case v == nil:
		return failed(fail(http.StatusNotFound, "HAPI-2001: Resource %s/%s is not known", op.typ, id))
	case v.deleted:
		return failed(fail(http.StatusGone, "Resource was deleted at %s", instant(v.when)))
	default:
		return &result{status: http.StatusOK, ref: r.ref(), version: v, resource: elements(parsed(v), elementsOf(op.query))}
	}
}

func (s *Server) history(r *resource, number string) *result {
	if number == "" {
		var entries []any
		for _, v := range slices.Backward(r.versions) {
			e := map[string]any{"fullUrl": s.URL + "/" + r.ref(), "request": map[string]any{"method": "PUT", "url": r.ref() + "/_history/" + v.name()},
				"response": map[string]any{"status": "200 OK", "etag": `W/"` + v.name() + `"`}}
			if v.deleted {
				e["request"] = map[string]any{"method": "DELETE", "url": r.ref() + "/_history/" + v.name()}
			} else {
				e["resource"] = parsed(v)
			}
			entries = append(entries, e)
		}
		return &result{status: http.StatusOK, resource: map[string]any{"resourceType": "Bundle", "type": "history", "total": len(entries), "entry": entries}}
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(r.versions) {
		return failed(fail(http.StatusNotFound, "HAPI-0979: Version \"%s\" is not valid for resource %s", number, r.ref()))
	}
	v := r.versions[n-1]
	if v.deleted {
		return failed(fail(http.StatusGone, "Resource was deleted at %s", instant(v.when)))
	}
	return &result{status: http.StatusOK, ref: r.ref(), version: v, resource: parsed(v)}
}

// searchType finds resources of a type.
func (s *Server) searchType(op *operation) *result {
	q, _ := query(op.query)
	found, f := s.find(op, q)
	if f != nil {
		return failed(f)
	}
	if q.Get("_summary") == "count" || q.Get("_count") == "0" {
		b := s.searchset(found, s.URL+"/"+op.typ+"?"+op.query)
		delete(b, "link")
		b["total"] = len(found.ids)
		b["meta"].(map[string]any)["tag"] = subsetted
		return &result{status: http.StatusOK, resource: b}
	}
	return &result{status: http.StatusOK, resource: s.pageOf(found, 0)}
}

// find searches, or finds the same search that was asked before.
func (s *Server) find(op *operation, q url.Values) (*search, *failure) {
	key, now := op.typ+"?"+q.Encode(), s.o.Now()
	if old := s.cache[key]; old != nil && !op.noCache && now.Sub(old.at) < s.o.SearchCache {
		return old, nil
	}
	ids, f := s.match(op.typ, op.query)
	if f != nil {
		return nil, f
	}
	s.sort(op.typ, ids, q.Get("_sort"))
	found := &search{id: s.newID(), typ: op.typ, query: op.query, ids: ids, elements: elementsOf(op.query), page: s.o.PageSize, at: now}
	if n, err := strconv.Atoi(q.Get("_count")); err == nil && n > 0 {
		found.page = min(n, s.o.MaxPage)
	}
	s.searches[found.id], s.cache[key] = found, found
	return found, nil
}

func (s *Server) sort(typ string, ids []string, by string) {
	by, down := strings.CutPrefix(by, "-")
	at := func(id string) time.Time { return s.known[typ+"/"+id].last().when }
	switch by {
	case "_id":
		slices.Sort(ids)
	case "_lastUpdated":
		slices.SortStableFunc(ids, func(a, b string) int { return at(a).Compare(at(b)) })
	default:
		return
	}
	if down {
		slices.Reverse(ids)
	}
}

func elementsOf(text string) []string {
	q, _ := query(text)
	if v := q.Get("_elements"); v != "" {
		return strings.Split(v, ",")
	}
	return nil
}

// page answers a link to a further page.
func (s *Server) page(q url.Values) *result {
	found := s.searches[q.Get("_getpages")]
	if found == nil {
		return failed(fail(http.StatusGone, "HAPI-0417: Search ID \"%s\" does not exist and may have expired", q.Get("_getpages")))
	}
	offset, _ := strconv.Atoi(q.Get("_getpagesoffset"))
	return &result{status: http.StatusOK, resource: s.pageOf(found, min(max(offset, 0), len(found.ids)))}
}

// pageOf is one page of a search; its resources are as they are now.
func (s *Server) pageOf(found *search, from int) map[string]any {
	to := min(from+found.page, len(found.ids))
	self := s.URL + "/" + found.typ
	if found.query != "" {
		self += "?" + found.query
	}
	b := s.searchset(found, self)
	if to < len(found.ids) {
		next := fmt.Sprintf("%s?_getpages=%s&_getpagesoffset=%d&_count=%d&_bundletype=searchset", s.URL, found.id, to, found.page)
		b["link"] = append(b["link"].([]any), link("next", next))
	}
	if !s.o.NoTotal {
		b["total"] = len(found.ids) + s.o.WrongTotal
	}
	var entries []any
	for _, id := range found.ids[from:to] {
		if v := s.known[found.typ+"/"+id].there(); v != nil {
			entries = append(entries, map[string]any{"fullUrl": s.URL + "/" + found.typ + "/" + id, "resource": elements(parsed(v), found.elements), "search": map[string]any{"mode": "match"}})
		}
	}
	if entries != nil {
		b["entry"] = entries
	}
	return b
}

func (s *Server) searchset(found *search, self string) map[string]any {
	return map[string]any{"resourceType": "Bundle", "id": found.id, "type": "searchset", "link": []any{link("self", self)}, "meta": map[string]any{"lastUpdated": instant(s.o.Now())}}
}

var subsetted = []any{map[string]any{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED", "display": "Resource encoded in summary mode"}}

// elements leaves out all but some elements, and says so in a tag.
func elements(r map[string]any, only []string) map[string]any {
	if only == nil {
		return r
	}
	for name := range r {
		if name != "resourceType" && name != "id" && name != "meta" && !slices.Contains(only, name) {
			delete(r, name)
		}
	}
	meta := r["meta"].(map[string]any)
	tags, _ := meta["tag"].([]any)
	meta["tag"] = append(slices.Clip(tags), subsetted...)
	return r
}
