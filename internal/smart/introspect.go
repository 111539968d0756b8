package smart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// introspect asks the authorization server about a token (RFC 7662).
func (a *Authorizer) introspect(ctx context.Context, token string) (claims, error) {
	how := a.Introspection
	at := how.URL
	if at == "" {
		m, err := a.Metadata(ctx)
		if err != nil {
			return nil, err
		}
		if at = m.IntrospectionEndpoint; at == "" {
			return nil, errors.New("the metadata of the authorization server names no introspection")
		}
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("the URL of introspection is not one")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if how.Client != "" {
		secret, err := how.Secret()
		if err != nil {
			return nil, fmt.Errorf("read the secret for introspection: %w", err)
		}
		r.SetBasicAuth(url.QueryEscape(how.Client), url.QueryEscape(secret)) // RFC 6749, 2.3.1
	}
	select {
	case a.asking <- struct{}{}:
		defer func() { <-a.asking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var text json.RawMessage
	if err := do(a.HTTP, r, &text); err != nil {
		return nil, fmt.Errorf("ask the authorization server about a token: %w", err)
	}
	c, err := parseClaims(text)
	if err != nil {
		return nil, errors.New("the authorization server did not answer with an object")
	}
	switch active, _ := c["active"].(bool); {
	case !active:
		return nil, &refusal{"the authorization server says so"}
	case !isAccess(c):
		return nil, &refusal{"it is no access token"}
	case c.text("iss") != "" && c.text("iss") != a.Issuer:
		return nil, &refusal{"it is of another issuer"}
	case !a.meant(c) && (len(c.list("aud")) > 0 || !how.AssumeAudience):
		return nil, &refusal{"it is not for this API"}
	}
	if _, there := c["exp"]; !there { // the server has said that it is valid now
		return c, nil
	}
	return c, c.current(a.now())
}

// isAccess reports whether what a server says of a token may be about an access token: refresh tokens and ID tokens
// are active too.
func isAccess(c claims) bool {
	kind := c.text("token_type")
	if kind != "" && !strings.EqualFold(kind, "Bearer") && !strings.EqualFold(kind, "access_token") {
		return false
	}
	switch strings.ToLower(c.text("typ")) { // as Keycloak says it
	case "refresh", "offline", "id":
		return false
	}
	return true
}
