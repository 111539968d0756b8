package authserver

import (
	"errors"
	"net/http"
	"strings"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/smart"
)

// Authorizer checks the access tokens of this server for the API. Nothing is remembered between two requests: what a
// member or an operator has revoked counts at once, in all processes. It is safe for concurrent use.
type Authorizer struct {
	Accounts *accounts.Accounts

	// Others checks tokens that this server has not issued; nil refuses them.
	Others api.Authorizer

	// Refused is told of each token that is not valid; it may be nil.
	Refused func(request, reason string)
}

// Authorize implements api.Authorizer.
func (a *Authorizer) Authorize(r *http.Request) (*api.Access, error) {
	token, err := smart.Bearer(r)
	if err != nil {
		return nil, err
	}
	if a.Others != nil && !strings.HasPrefix(token, AccessPrefix) {
		return a.Others.Authorize(r)
	}
	t, err := a.Accounts.Access(r.Context(), token)
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		if a.Refused != nil {
			a.Refused(r.Header.Get("X-Request-Id"), "it is unknown, has expired, or was revoked")
		}
		refused := smart.InvalidToken("the token is not valid: it is unknown, has expired, or was revoked")
		if over, ok := errors.AsType[*accounts.OverError](err); ok {
			refused.Client = over.Client
		}
		return nil, refused
	case err != nil:
		return nil, errors.Join(&api.Error{Status: http.StatusServiceUnavailable, Code: "transient", Text: "tokens cannot be checked now; try again later", Retry: 5}, err)
	}
	access := &api.Access{Client: t.Client, User: t.User, Patient: t.Patient, Scopes: api.ParseScopes(strings.Join(t.Scopes, " "))}
	service := t.Patient == "" // never everything by mistake: a service sees what its system/ scopes name
	kept := access.Scopes[:0]
	for _, x := range access.Scopes {
		if (x.Context == "system") == service {
			kept = append(kept, x)
		}
	}
	access.Scopes = kept
	return access, nil
}
