package smart

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// claims are what a token says, or what the server says about it.
type claims map[string]any

// text is a claim that is a text, "" otherwise.
func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

func (c claims) first(names ...string) string {
	for _, n := range names {
		if s := c.text(n); s != "" {
			return s
		}
	}
	return ""
}

// list is a claim that is a text or a list of texts.
func (c claims) list(name string) (list []string) {
	switch v := c[name].(type) {
	case string:
		list = append(list, v)
	case []any:
		for _, x := range v {
			if s, ok := x.(string); ok {
				list = append(list, s)
			}
		}
	}
	return list
}

// scope is the scopes with spaces between them: servers write scope, or scp as a list.
func (c claims) scope() string {
	return strings.Join(append(c.list("scope"), c.list("scp")...), " ")
}

// instant is a claim in seconds since 1970. ok is false if it is there and no such number.
func (c claims) instant(name string) (at time.Time, there, ok bool) {
	v, there := c[name]
	if !there {
		return at, false, true
	}
	n, is := v.(json.Number)
	if !is {
		return at, true, false
	}
	f, err := n.Float64()
	if err != nil || math.Abs(f) > 1e11 {
		return at, true, false
	}
	return time.Unix(int64(f), 0), true, true
}

func (c claims) expires() time.Time {
	at, _, _ := c.instant("exp")
	return at
}

// current refuses tokens that have expired or are not valid yet.
func (c claims) current(now time.Time) error {
	exp, there, ok := c.instant("exp")
	switch {
	case !there || !ok:
		return &refusal{"it has no time of expiry"}
	case !now.Before(exp.Add(leeway)):
		return &refusal{"it has expired"}
	}
	if nbf, there, ok := c.instant("nbf"); !ok || there && now.Add(leeway).Before(nbf) {
		return &refusal{"it is not valid yet"}
	}
	if iat, there, ok := c.instant("iat"); !ok || there && now.Add(leeway).Before(iat) {
		return &refusal{"it was issued in the future"}
	}
	return nil
}

// signed are the algorithms that count. No secret is shared with an authorization server, so none with HMAC.
var signed = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512}

// verify checks a JWT: its signature, issuer, audience and times.
func (a *Authorizer) verify(ctx context.Context, token string) (claims, error) {
	t, err := jwt.ParseSigned(token, signed)
	if err != nil || len(t.Headers) != 1 {
		return nil, &refusal{"it is not a JWT that is signed with RSA or ECDSA"}
	}
	h := t.Headers[0]
	keys, err := a.issuer.keysFor(ctx, h.KeyID, a.now())
	if err != nil {
		return nil, err
	}
	var c claims
	for _, k := range keys {
		if k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != h.Algorithm || !k.IsPublic() {
			continue
		}
		var raw json.RawMessage
		if t.Claims(k.Key, &raw) == nil {
			if c, err = parseClaims(raw); err != nil {
				return nil, &refusal{"its claims are not an object"}
			}
			break
		}
	}
	switch {
	case c == nil:
		return nil, &refusal{"no key of the authorization server has signed it"}
	case c.text("iss") != a.Issuer:
		return nil, &refusal{"it is of another issuer"}
	case !a.meant(c):
		return nil, &refusal{"it is not for this API"}
	}
	return c, c.current(a.now())
}

// meant reports whether a token is for the API. A slash at the end makes no difference: apps send the base URL
// with one and without.
func (a *Authorizer) meant(c claims) bool {
	return slices.ContainsFunc(c.list("aud"), func(aud string) bool {
		return slices.ContainsFunc(a.Audience, func(own string) bool { return strings.TrimRight(aud, "/") == strings.TrimRight(own, "/") })
	})
}

func parseClaims(text []byte) (c claims, err error) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	err = d.Decode(&c)
	if err == nil && c == nil {
		c = claims{}
	}
	return c, err
}
