package authserver

import (
	"slices"
	"strings"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/api"
)

const (
	scopeMax  = 4 << 10 // bytes of all scopes of a request
	scopesMax = 100
)

// launchScopes are those that are not about resources. Others, such as profile or launch, are left out: the
// server has nothing for them.
var launchScopes = []string{"launch/patient", "openid", "fhirUser", "offline_access"}

// defaultScopes are what a client may ask for unless it is registered with others, and what Utah's dialect, which
// names none, gets.
var defaultScopes = []string{"launch/patient", "openid", "fhirUser", "offline_access", "patient/*.read", "patient/*.rs", "user/*.read", "user/*.rs"}

// parseScopes reads a scope parameter (RFC 6749, 3.3): which ones it has, each once, in the order they came.
func parseScopes(text string) ([]string, error) {
	if len(text) > scopeMax {
		return nil, invalid("invalid_scope", "the scopes are too long")
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return nil, invalid("invalid_scope", "the scopes have characters that scopes cannot have")
	}
	var list []string
	for s := range strings.FieldsSeq(text) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	if len(list) > scopesMax {
		return nil, invalid("invalid_scope", "there are too many scopes")
	}
	return list, nil
}

// known leaves of the scopes that were asked for those that mean something here and that the client may have, as
// they are written. Scopes that grant nothing (patient/*.write, or a type that the API does not serve) are left out,
// as SMART wants it.
func known(c *accounts.Client, asked []string, service bool) (list []string) {
	allowed := c.Scopes
	if allowed == nil && !service {
		allowed = defaultScopes
	}
	for _, s := range asked {
		s = reading(s)
		switch {
		case slices.Contains(list, s):
			continue
		case slices.Contains(launchScopes, s):
			if service || !slices.Contains(allowed, s) || s == "offline_access" && !slices.Contains(c.Grants, "refresh_token") {
				continue
			}
		case strings.HasPrefix(s, "system/") != service || !covered(allowed, s):
			continue
		}
		list = append(list, s)
	}
	if !slices.Contains(list, "openid") { // fhirUser is a claim of the ID token
		list = slices.DeleteFunc(list, func(s string) bool { return s == "fhirUser" })
	}
	return list
}

// reading leaves of a scope what it grants about reading: the API is not written to, and what is granted should not say
// that it is.
func reading(scope string) string {
	head, filter, narrowed := strings.Cut(scope, "?")
	i := strings.LastIndexByte(head, '.')
	if i < 0 || !strings.Contains(head, "/") || !ordered(head[i+1:]) {
		return scope
	}
	rights := head[i+1:]
	switch {
	case rights == "*":
		rights = "read"
	case rights != "read":
		rights = strings.NewReplacer("c", "", "u", "", "d", "").Replace(rights)
	}
	if head = head[:i+1] + rights; narrowed {
		head += "?" + filter
	}
	return head
}

// covered reports whether a scope about resources grants nothing beyond what one of allowed grants.
func covered(allowed []string, scope string) bool {
	asked := api.ParseScopes(scope)
	head, filter, _ := strings.Cut(scope, "?")
	if len(asked) != 1 || !ordered(head[strings.LastIndexByte(head, '.')+1:]) {
		return false
	}
	return slices.ContainsFunc(allowed, func(a string) bool {
		may := api.ParseScopes(a)
		if len(may) != 1 {
			return false
		}
		_, narrowed, _ := strings.Cut(a, "?")
		x, y := may[0], asked[0]
		return x.Context == y.Context && (x.Type == "*" || x.Type == y.Type) && (x.Read || !y.Read) && (x.Search || !y.Search) &&
			(narrowed == "" || narrowed == filter)
	})
}

// within reports whether each of some scopes is one of those that were granted, or less than one of them.
func within(granted, some []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(granted, s) && !covered(granted, s) })
}

// ordered reports whether the rights of a scope are of SMART 1, or letters of SMART 2 in their order, each once.
func ordered(rights string) bool {
	if rights == "read" || rights == "*" {
		return true
	}
	at := -1
	for _, letter := range rights {
		i := strings.IndexRune("cruds", letter)
		if i <= at {
			return false
		}
		at = i
	}
	return true
}
