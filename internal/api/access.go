package api

import (
	"net/http"
	"slices"
	"strings"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// Authorizer decides what a request may see. It returns an *Error if it may see nothing: 401 if it has no
// valid credentials, 403 if these do not suffice. It is safe for concurrent use.
type Authorizer interface {
	Authorize(r *http.Request) (*Access, error)
}

// Access is what a request may see.
type Access struct {
	Client string // the app; "" if unknown
	User   string // who uses it; "" if unknown

	// Patient is the id of the member whose compartment is all that can be seen, besides the
	// organizations and practitioners that it refers to. "" is an operator, who sees everything.
	Patient string

	// Scopes say which types can be read and searched; nil is all of them.
	Scopes Scopes
}

// Open is an Authorizer that lets everybody see everything. It is for a server that nobody else can
// reach.
type Open struct{}

// Authorize implements Authorizer.
func (Open) Authorize(*http.Request) (*Access, error) { return &Access{}, nil }

// Scopes are the SMART scopes of a token that are about resources.
type Scopes []Scope

// Scope is one of them.
type Scope struct {
	Context      string // patient, user or system
	Type         string // "*" is any
	Read, Search bool
	Filters      []store.Filter // what it is narrowed to: all must hold
}

// ParseScopes reads the scopes of a token, of SMART 1 (patient/*.read) and 2 (patient/Coverage.rs?…). It
// leaves out what is not about reading resources. A scope that is narrowed by a parameter that the
// server does not know grants nothing.
func ParseScopes(text string) Scopes {
	scopes := Scopes{}
	for s := range strings.FieldsSeq(text) {
		context, rest, ok := strings.Cut(s, "/")
		if !ok || context != "patient" && context != "user" && context != "system" {
			continue
		}
		typ, rights, ok := strings.Cut(rest, ".")
		if !ok || typ != "*" && typeNamed(typ) == nil {
			continue
		}
		rights, query, narrowed := strings.Cut(rights, "?")
		sc := Scope{Context: context, Type: typ}
		switch rights {
		case "read", "*":
			sc.Read, sc.Search = true, true
		default:
			if rights == "" || strings.Trim(rights, "cruds") != "" {
				continue
			}
			sc.Read, sc.Search = strings.Contains(rights, "r"), strings.Contains(rights, "s")
		}
		if narrowed && !sc.narrow(query) {
			continue
		}
		if sc.Read || sc.Search {
			scopes = append(scopes, sc)
		}
	}
	return scopes
}

// narrow reads the query of a scope.
func (s *Scope) narrow(query string) bool {
	t := typeNamed(s.Type)
	pairs, err := parsePairs(query)
	if t == nil || err != nil || len(pairs) == 0 {
		return false
	}
	for _, x := range pairs {
		p := t.param(x.name)
		if p == nil || !p.search || p.name == "_id" {
			return false
		}
		f, err := p.filter(x.value)
		if err != nil {
			return false
		}
		s.Filters = append(s.Filters, f)
	}
	return true
}

// right is read or search.
type right func(*Scope) bool

func mayRead(s *Scope) bool   { return s.Read }
func maySearch(s *Scope) bool { return s.Search }

// may reports whether any resource of a type may be seen.
func (a *Access) may(t fhir.Type, r right) bool {
	return a.Scopes == nil || slices.ContainsFunc(a.Scopes, func(s Scope) bool { return s.grants(t) && r(&s) })
}

func (s *Scope) grants(t fhir.Type) bool { return s.Type == "*" || s.Type == t.String() }

// sees reports whether a resource, found with its keys, may be seen.
func (a *Access) sees(e *store.Entry, r right) bool {
	if a.Patient != "" && !a.owns(e) {
		return false
	}
	if a.Scopes == nil {
		return true
	}
	return slices.ContainsFunc(a.Scopes, func(s Scope) bool {
		if !s.grants(e.Type) || !r(&s) {
			return false
		}
		for i := range s.Filters {
			if !s.Filters[i].Matches(e) {
				return false
			}
		}
		return true
	})
}

// owns reports whether a resource is in the member's compartment, or nobody's.
func (a *Access) owns(e *store.Entry) bool {
	t := tableOf(e.Type)
	switch {
	case e.Type == fhir.Patient:
		return e.ID == a.Patient
	case t.member == none:
		return true
	}
	return slices.ContainsFunc(e.Keys, func(k fhir.Key) bool { return k.Param == t.member && k.Value == "Patient/"+a.Patient })
}
