package api

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// pair is a parameter as a request has it.
type pair struct{ name, value string }

// parsePairs reads a query in its order. Unlike url.ParseQuery's map it keeps the order, and what it
// cannot read is an error and not left out: a filter that is dropped shows too much.
func parsePairs(query string) (list []pair, err error) {
	for query != "" {
		var part string
		part, query, _ = strings.Cut(query, "&")
		if part == "" {
			continue
		}
		if strings.Contains(part, ";") {
			return nil, invalid("", "a semicolon in the query must be written as %%3B")
		}
		name, value, _ := strings.Cut(part, "=")
		if name, err = url.QueryUnescape(name); err != nil {
			return nil, invalid("", "the query has a %% that is not followed by two hexadecimal digits")
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, invalid(clean(name), "its value has a %% that is not followed by two hexadecimal digits")
		}
		list = append(list, pair{name, value})
	}
	return list, nil
}

// clean is the name of a parameter as it may appear in an answer or a log: it could be a value that was
// written in the wrong place.
func clean(name string) string {
	if len(name) > 40 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-:.*") != "" {
		return "a parameter"
	}
	return name
}

// query is a search.
type query struct {
	*resourceType
	ids      []string // nil is no limit
	patients []string // nil is no limit
	filters  []filter
	sort     []sortKey
	count    int
	counts   bool   // only how many there are
	total    string // none, estimate or accurate; "" is as the server likes
	shape    shape
	includes []include
	reverses []include
	cursor   string
	kept     []pair // what the self link has
}

// filter is a store's filter and the parameter that it came from.
type filter struct {
	store.Filter
	param *param
}

type sortKey struct {
	param *param
	down  bool
}

// include is an _include or _revinclude.
type include struct {
	from    fhir.Type // the type that has the reference
	param   *param    // nil is all
	target  fhir.Type
	any     bool // of target
	iterate bool
}

const (
	cursorParam  = "_cursor"
	defaultCount = 50
	maxCount     = 500
	// maxValues bounds how many ids or patients a request can name, maxPairs how many parameters.
	maxValues = 500
	maxPairs  = 100
)

// pageSize reads the _count of a history or of $everything, which have no page without resources.
func pageSize(value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return 0, invalid("_count", "use a number from 1 to %d", maxCount)
	}
	return min(n, maxCount), nil
}

// parser reads queries.
type parser struct {
	base    string // URL of the server, of which references may begin
	lenient bool   // what is unknown is left out
}

// parse reads the parameters of a search.
func (p *parser) parse(t *resourceType, pairs []pair) (*query, error) {
	if len(pairs) > maxPairs {
		return nil, invalid("", "a search has at most %d parameters", maxPairs)
	}
	q := &query{resourceType: t, count: defaultCount}
	seen := map[string]bool{}
	for _, x := range pairs {
		if x.value == "" { // a server has left it out before
			return nil, invalid(clean(x.name), "it has no value")
		}
		if isControl(x.name) {
			if seen[x.name] && !strings.Contains(x.name, "include") {
				return nil, invalid(x.name, "it can be given once")
			}
			seen[x.name] = true
		}
		err := p.add(q, x)
		if e, ok := err.(*Error); ok && e.Code == "not-supported" && !e.always && p.lenient { //nolint:errorlint // of this package, never wrapped
			continue
		}
		if err != nil {
			return nil, err
		}
		if x.name != cursorParam && x.name != "_format" && x.name != "_pretty" {
			q.kept = append(q.kept, x)
		}
	}
	return q, nil
}

// add adds a parameter to the query.
func (p *parser) add(q *query, x pair) (err error) {
	switch x.name {
	case "_count":
		n, err := strconv.Atoi(x.value)
		if err != nil || n < 0 {
			return invalid(x.name, "use a number from 0 to %d", maxCount)
		}
		if q.count = min(n, maxCount); n == 0 {
			q.counts = true
		}
	case "_sort":
		q.sort, err = q.parseSort(x.value)
	case "_include", "_include:iterate", "_include:recurse":
		return p.include(q, x)
	case "_revinclude", "_revinclude:iterate", "_revinclude:recurse":
		return p.reverse(q, x)
	case "_summary":
		switch x.value {
		case "count":
			q.counts = true
		case "true", "text", "data":
			q.shape.summary = x.value
		case "false":
		default:
			return invalid(x.name, "use true, false, text, data or count")
		}
	case "_elements":
		q.shape.elements, err = parseElements(q.resourceType, x.value)
	case "_total":
		if !slices.Contains([]string{"none", "estimate", "accurate"}, x.value) {
			return invalid(x.name, "use none, estimate or accurate")
		}
		q.total = x.value
	case "_format", "_pretty":
	case cursorParam:
		q.cursor = x.value
	default:
		return p.filter(q, x)
	}
	return err
}

// filter adds a search parameter.
func (p *parser) filter(q *query, x pair) error {
	name, modifier, modified := strings.Cut(x.name, ":")
	if strings.Contains(name, ".") || strings.HasPrefix(name, "_has") {
		return unsupported(clean(x.name), "chained parameters are not supported")
	}
	s := q.param(name)
	if s == nil || !s.search {
		names := q.names(func(p *param) bool { return p.search })
		return unsupported(clean(name), "%s has no such parameter; it has %s", q.typ, strings.Join(names, ", "))
	}
	if modified {
		if t, ok := fhir.ParseType(modifier); !ok || s.kind != kindReference || !slices.Contains(s.targets, t) {
			// FHIR has servers refuse an unknown modifier in any case: without it the search is another one.
			e := unsupported(clean(x.name), "the modifier is not supported")
			e.always = true
			return e
		}
		if x.value = p.relative(x.value); !strings.Contains(x.value, "/") {
			x.value = modifier + "/" + strings.ReplaceAll(x.value, ",", ","+modifier+"/")
		}
	}
	if s.kind == kindReference {
		x.value = p.relative(x.value)
	}
	switch {
	case s.name == "_id":
		ids, err := values(s.name, x.value)
		if err != nil {
			return err
		}
		q.ids = among(q.ids, ids)
		return nil
	case s.index == fhir.ParamPatient && q.member == fhir.ParamPatient:
		refs, err := values(s.name, x.value)
		if err != nil {
			return err
		}
		patients := []string{}
		for _, r := range refs {
			r = strings.TrimPrefix(r, "Patient/")
			if !strings.Contains(r, "/") { // what refers elsewhere matches nothing
				patients = append(patients, r)
			}
		}
		q.patients = among(q.patients, patients)
		return nil
	}
	f, err := s.filter(x.value)
	if err != nil {
		return err
	}
	q.filters = append(q.filters, filter{f, s})
	return nil
}

// filter makes the store's filter of a value.
func (p param) filter(value string) (store.Filter, error) {
	if p.kind == kindDate {
		value = zone.ReplaceAllString(value, "$1+$2")
	}
	name := p.name
	if p.index != none {
		name = p.index.String()
	}
	f, err := store.ParseFilter(name, value)
	if err != nil {
		e := asError(err)
		e.Param = p.name
		return f, e
	}
	return f, nil
}

// zone finds a time zone whose plus was not encoded and so became a blank.
var zone = regexp.MustCompile(`(T[0-9:.]+) ([0-9]{2}:[0-9]{2})`)

// values splits a value at its commas.
func values(name, value string) ([]string, error) {
	list := strings.Split(value, ",")
	if len(list) > maxValues {
		return nil, invalid(name, "it can have at most %d values", maxValues)
	}
	return list, nil
}

// relative takes the URL of this server from references.
func (p *parser) relative(value string) string {
	if p.base == "" || !strings.Contains(value, p.base) {
		return value
	}
	refs := strings.Split(value, ",")
	for i := range refs {
		refs[i] = strings.TrimPrefix(refs[i], p.base+"/")
	}
	return strings.Join(refs, ",")
}

// among keeps of some values those that were there before: a parameter that is repeated must match each
// time.
func among(before, now []string) []string {
	if before == nil {
		return now
	}
	return slices.DeleteFunc(slices.Clone(before), func(s string) bool { return !slices.Contains(now, s) })
}

func (t *resourceType) parseSort(value string) (keys []sortKey, err error) {
	for name := range strings.SplitSeq(value, ",") {
		name, down := strings.CutPrefix(name, "-")
		s := t.param(name)
		if s == nil || !s.sort {
			names := t.names(func(p *param) bool { return p.sort })
			return nil, unsupported("_sort", "use %s, with - before it to descend", strings.Join(names, " or "))
		}
		keys = append(keys, sortKey{s, down})
	}
	return keys, nil
}

// include adds an _include.
func (p *parser) include(q *query, x pair) error {
	iterate := x.name != "_include"
	if x.value == "*" {
		q.includes = append(q.includes, include{from: q.typ, any: true, iterate: iterate})
		return nil
	}
	typ, rest, ok := strings.Cut(x.value, ":")
	t := typeNamed(typ)
	if !ok || t == nil {
		return unsupported(x.name, "use Type:parameter, such as ExplanationOfBenefit:insurer")
	}
	name, target, limited := strings.Cut(rest, ":")
	in := include{from: t.typ, any: true, iterate: iterate}
	if name != "*" {
		if in.param = t.param(name); in.param == nil || !in.param.include {
			names := t.names(func(p *param) bool { return p.include })
			return unsupported(x.name, "of %s it can follow %s", t.typ, strings.Join(append(names, "*"), ", "))
		}
	}
	if limited {
		var known bool
		if in.target, known = fhir.ParseType(target); !known {
			return unsupported(x.name, "the type of the target is unknown")
		}
		in.any = false
	}
	if t.typ != q.typ && !iterate {
		return unsupported(x.name, "to follow references of what was included, use _include:iterate")
	}
	q.includes = append(q.includes, in)
	return nil
}

// reverse adds a _revinclude.
func (p *parser) reverse(q *query, x pair) error {
	for _, r := range q.resourceType.reverse {
		typ, name, _ := strings.Cut(x.value, ":")
		name, _, _ = strings.Cut(name, ":")
		if typ == r.typ.String() && name == r.name {
			q.reverses = append(q.reverses, include{from: r.typ, param: tableOf(r.typ).param(r.name)})
			return nil
		}
	}
	var names []string
	for _, r := range q.resourceType.reverse {
		names = append(names, r.typ.String()+":"+r.name)
	}
	if len(names) == 0 {
		return unsupported(x.name, "%s has none", q.typ)
	}
	return unsupported(x.name, "use %s", strings.Join(names, " or "))
}

// indexed reports whether the search reads few resources: those with some ids, of some patients, or with
// an identifier.
func (q *query) indexed() bool {
	if q.ids != nil || q.patients != nil {
		return true
	}
	return slices.ContainsFunc(q.filters, func(f filter) bool { return f.Indexed() })
}

// since returns the instant from which on a search asks for what has changed, if it does: then the change
// feed answers it. What the source dates after its commit could be missing there, so only a bound
// that has passed counts.
func (q *query) since() (since int64, ok bool) {
	for _, f := range q.filters {
		if f.param.name != "_lastUpdated" {
			continue
		}
		_, value := f.Text()
		for _, prefix := range []string{"ge", "gt", "sa"} {
			rest, cut := strings.CutPrefix(value, prefix)
			if !cut || strings.Contains(rest, ",") {
				continue
			}
			if begin, _, known := store.Period(rest); known {
				return begin, true
			}
		}
	}
	return 0, false
}

// search is the query for the store.
func (q *query) search() *store.Query {
	s := &store.Query{Type: q.typ, IDs: q.ids, Patients: q.patients}
	for _, f := range q.filters {
		s.Filters = append(s.Filters, f.Filter)
	}
	return s
}
