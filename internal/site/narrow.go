package site

import (
	"net/url"
	"slices"
	"strings"

	"cpcds2fhir/internal/site/frame"
)

// kind is a kind of data that a member can share or keep: a checkbox.
type kind struct {
	name  string   // in forms
	types []string // of resources
	title string   // keys of texts
	text  string
	count string
}

var (
	personal  = &kind{"personal", []string{"Patient"}, "kind.personal", "kind.personal.text", "read.personal"}
	coverage  = &kind{"coverage", []string{"Coverage", "RelatedPerson"}, "kind.coverage", "kind.coverage.text", "read.coverage"}
	claims    = &kind{"claims", []string{"ExplanationOfBenefit"}, "kind.claims", "kind.claims.text", "read.claims"}
	providers = &kind{"providers", []string{"Organization", "Practitioner"}, "kind.providers", "kind.providers.text", "read.providers"}
)

// kinds are in the order in which pages show them.
var kinds = []*kind{personal, coverage, claims, providers}

// scope is a SMART scope about resources: context/type.rights?query.
type scope struct{ context, typ, rights, query string }

// parseScope reads a scope of SMART 1 (patient/*.read) or 2 (patient/*.rs) that lets an app read something of a
// member. ok is false for all others.
func parseScope(text string) (s scope, ok bool) {
	var rest string
	if s.context, rest, ok = strings.Cut(text, "/"); !ok || s.context != "patient" && s.context != "user" {
		return s, false
	}
	if s.typ, rest, ok = strings.Cut(rest, "."); !ok || s.typ != "*" && kindOf(s.typ) == nil {
		return s, false
	}
	s.rights, s.query, _ = strings.Cut(rest, "?")
	switch s.rights {
	case "read", "*":
		return s, true
	}
	return s, s.rights != "" && strings.Trim(s.rights, "cruds") == "" && strings.ContainsAny(s.rights, "rs")
}

func (s *scope) of(typ string) string {
	text := s.context + "/" + typ + "." + s.rights
	if s.query != "" {
		text += "?" + s.query
	}
	return text
}

func kindOf(typ string) *kind {
	i := slices.IndexFunc(kinds, func(k *kind) bool { return slices.Contains(k.types, typ) })
	if i < 0 {
		return nil
	}
	return kinds[i]
}

// asked is what scopes mean to a member.
type asked struct {
	scopes   []string
	kinds    []*kind            // that can be chosen
	parts    map[*kind][]string // queries of the scopes of a kind, if all of its scopes have one
	identity bool               // who signs in
	offline  bool               // access while the member is away
}

// about are scopes that say who signs in, or of whom the data is. They open no data.
var about = []string{"openid", "fhirUser", "profile", "launch", "launch/patient"}

// read finds what scopes mean. Organizations and practitioners come with the other kinds; they are a kind of their
// own only if nothing else is asked for.
func read(scopes []string) *asked {
	a := &asked{scopes: scopes, parts: map[*kind][]string{}}
	whole := map[*kind]bool{}
	some := map[*kind]bool{}
	for _, text := range scopes {
		switch text {
		case "offline_access":
			a.offline = true
		case "openid", "fhirUser", "profile":
			a.identity = true
		}
		s, ok := parseScope(text)
		if !ok {
			continue
		}
		for _, k := range kinds {
			if s.typ != "*" && kindOf(s.typ) != k {
				continue
			}
			some[k] = true
			if s.query == "" {
				whole[k] = true
			} else {
				a.parts[k] = append(a.parts[k], s.query)
			}
		}
	}
	for _, k := range kinds {
		if whole[k] {
			delete(a.parts, k)
		}
		if some[k] && (k != providers || len(a.kinds) == 0) {
			a.kinds = append(a.kinds, k)
		}
	}
	return a
}

// part is how the app has narrowed a kind itself, as a member can read it at least in part: name = value.
func (a *asked) part(k *kind) string {
	var list []string
	for _, q := range a.parts[k] {
		if text, err := url.QueryUnescape(q); err == nil {
			q = text
		}
		list = append(list, frame.Plain(strings.NewReplacer("=", " = ", "&", ", ").Replace(q), 120))
	}
	return strings.Join(list, "; ")
}

// narrow is what is granted if a member shares these kinds. Scopes stay as they were asked for; one for all types
// becomes one for each type that is shared, in the same grammar, unless all kinds are shared. What a page does not
// speak of is not granted.
func (a *asked) narrow(chosen []*kind, offline bool) (granted []string) {
	all := !slices.ContainsFunc(a.kinds, func(k *kind) bool { return !slices.Contains(chosen, k) })
	add := func(text string) {
		if !slices.Contains(granted, text) {
			granted = append(granted, text)
		}
	}
	shared := func(typ string) bool {
		k := kindOf(typ)
		return slices.Contains(chosen, k) || k == providers && len(chosen) > 0
	}
	for _, text := range a.scopes {
		if slices.Contains(about, text) || text == "offline_access" && offline {
			add(text)
			continue
		}
		s, ok := parseScope(text)
		switch {
		case !ok || len(chosen) == 0:
		case s.typ == "*" && all:
			add(text)
		case s.typ == "*":
			for _, k := range kinds {
				for _, typ := range k.types {
					if shared(typ) {
						add(s.of(typ))
					}
				}
			}
		case shared(s.typ):
			add(text)
		}
	}
	return granted
}
