package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"cpcds2fhir/internal/accounts"
)

// Finish takes the answer of the provider at RedirectURL. It returns who the person is, how well they are identified,
// when they authenticated (not before the instant that Begin was given), and the authorization request that Begin was given, which is known also if the person is
// refused, unless the code is CodeState. It fails with *RefusedError if the person cannot be signed in; other errors
// are faults, of which ErrAway is the provider's. The caller keeps the session, with a new id.
func (l *Login) Finish(w http.ResponseWriter, r *http.Request) (user *accounts.User, level string, authTime time.Time, request string, err error) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer") // the URL has a code
	user, level, authTime, request, err = l.finish(w, r)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return nil, "", time.Time{}, request, l.refuse(refused)
	}
	if err != nil {
		return nil, "", time.Time{}, request, err
	}
	if l.Events.SignedIn != nil {
		l.Events.SignedIn(user.ID, level)
	}
	return user, level, authTime, request, nil
}

func (l *Login) finish(w http.ResponseWriter, r *http.Request) (user *accounts.User, level string, authTime time.Time, request string, err error) {
	who, request, err := l.identified(w, r)
	if err != nil {
		return nil, "", time.Time{}, request, err
	}
	user, err = l.person(r.Context(), who)
	return user, who.level, who.authTime, request, err
}

// Subject is whom a provider has identified.
type Subject struct {
	Issuer, Subject string
	Email           string // "" if the provider does not say
	EmailVerified   bool   // by the provider
	Name            string // "" if the provider does not say
	Level           string // of the identification, by LevelClaim
	AuthTime        time.Time
}

// Identify takes the answer of the provider like Finish, for people who are no members: no rule is asked, and nothing is
// kept. It fails as Finish does.
func (l *Login) Identify(w http.ResponseWriter, r *http.Request) (s *Subject, request string, err error) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer") // the URL has a code
	who, request, err := l.identified(w, r)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return nil, request, l.refuse(refused)
	}
	if err != nil {
		return nil, request, err
	}
	c := who.claims
	return &Subject{Issuer: l.Issuer, Subject: who.subject, Email: c.text("email"), EmailVerified: c.text("email_verified") == "true",
		Name: c.text("name"), Level: who.level, AuthTime: who.authTime}, request, nil
}

// identified takes the answer of the provider, up to what it says of the person. The request is known also if it fails,
// unless the code is CodeState.
func (l *Login) identified(w http.ResponseWriter, r *http.Request) (who *identified, request string, err error) {
	q := r.URL.Query()
	state, ok := single(q, "state")
	if !ok || state == "" || len(state) > 200 || r.Method != http.MethodGet {
		return nil, "", &RefusedError{Code: CodeState}
	}
	at, err := l.recall(w, r, state)
	if err != nil {
		return nil, "", err
	}
	code, err := l.answer(r.Context(), q)
	if err != nil {
		return nil, at.Request, err
	}
	who, err = l.redeem(r.Context(), code, at)
	return who, at.Request, err
}

// answer reads the parameters of the provider's answer (OAuth 2.0, 4.1.2), and returns the code.
func (l *Login) answer(ctx context.Context, q map[string][]string) (code string, err error) {
	m, err := l.provider.discover(ctx)
	if err != nil {
		return "", err
	}
	one := func(name string) string {
		v, ok := single(q, name)
		if !ok && err == nil {
			err = &RefusedError{Code: CodeProvider}
		}
		return v
	}
	issuer, fault, code := one("iss"), one("error"), one("code")
	switch {
	case err != nil:
		return "", err
	case issuer != "" && issuer != l.Issuer, issuer == "" && m.NamesIssuer: // RFC 9207, 2.4
		return "", &RefusedError{Code: CodeIssuer}
	case fault == "access_denied":
		return "", &RefusedError{Code: CodeDenied}
	case fault == "server_error", fault == "temporarily_unavailable":
		return "", fmt.Errorf("%w: it says so", ErrAway)
	case fault == "unmet_authentication_requirements": // OpenID Connect: it cannot give what acr_values asks for
		return "", &RefusedError{Code: CodeLevel}
	case fault != "", code == "":
		return "", &RefusedError{Code: CodeProvider}
	}
	return code, nil
}

// identified is what a provider has said of a person.
type identified struct {
	subject  string
	level    string
	authTime time.Time
	claims   claims
}

// redeem gets the tokens of a code, and checks them.
func (l *Login) redeem(ctx context.Context, code string, at *attempt) (*identified, error) {
	m, err := l.provider.discover(ctx)
	if err != nil {
		return nil, err
	}
	secret, style, options, err := l.authenticate(m)
	if err != nil {
		return nil, err
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, l.client)
	t, err := l.oauth(m, secret, style).Exchange(ctx, code, append(options, oauth2.VerifierOption(at.Verifier))...)
	if err != nil {
		return nil, exchangeError(err)
	}
	raw, ok := t.Extra("id_token").(string)
	if !ok || raw == "" {
		return nil, &RefusedError{Code: CodeToken}
	}
	c, err := l.verify(ctx, raw, t.AccessToken, at.Nonce)
	if err != nil {
		return nil, err
	}
	if l.UserInfo {
		if err := l.userInfo(ctx, m, t.AccessToken, c); err != nil {
			return nil, err
		}
	}
	who := &identified{subject: c.subject(), claims: c}
	if who.authTime, err = l.authenticated(c, at); err != nil {
		return nil, err
	}
	if who.level, err = l.level(c); err != nil {
		return nil, err
	}
	return who, nil
}

// authenticate says how this server proves to the provider who it is. The method is chosen beforehand: to try one
// after the other would burn the code.
func (l *Login) authenticate(m *metadata) (secret string, style oauth2.AuthStyle, options []oauth2.AuthCodeOption, err error) {
	switch {
	case l.Key != nil:
		assertion, err := l.assertion(m.Token)
		if err != nil {
			return "", 0, nil, err
		}
		return "", oauth2.AuthStyleInParams, []oauth2.AuthCodeOption{
			oauth2.SetAuthURLParam("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
			oauth2.SetAuthURLParam("client_assertion", assertion)}, nil
	case l.Secret != nil:
		if secret, err = l.Secret(); err != nil {
			return "", 0, nil, fmt.Errorf("read the secret for the identity provider: %w", err)
		}
		if len(m.AuthMethods) == 0 || slices.Contains(m.AuthMethods, "client_secret_basic") || !slices.Contains(m.AuthMethods, "client_secret_post") {
			return secret, oauth2.AuthStyleInHeader, nil, nil
		}
	}
	return secret, oauth2.AuthStyleInParams, nil, nil
}

// exchangeError is why there are no tokens, without the answer, which may be anything.
func exchangeError(err error) error {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case !ok:
		return away(withoutText(err))
	case e.ErrorCode == "invalid_grant":
		return &RefusedError{Code: CodeGrant}
	case e.ErrorCode == "invalid_client" || e.Response != nil && e.Response.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w as is expected: it does not accept the client and its secret or key", ErrAway)
	case e.Response != nil:
		return fmt.Errorf("%w as is expected: its token endpoint says status %d", ErrAway, e.Response.StatusCode)
	}
	return fmt.Errorf("%w as is expected: its token endpoint gives no token", ErrAway)
}

// withoutText keeps of an error of the oauth2 module what is of the network: the rest may quote the answer.
func withoutText(err error) error {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.As(err, &timeout) && timeout.Timeout():
		return context.DeadlineExceeded
	}
	return errors.New("its token endpoint cannot be reached, or its answer is not as is expected")
}

// verify checks an ID token (OpenID Connect Core 1.0, 3.1.3.7). The signature comes first: nothing of a token that
// is not signed counts, and nothing of it is reported.
func (l *Login) verify(ctx context.Context, raw, access, nonce string) (claims, error) {
	list := make([]string, len(algorithms))
	for i, a := range algorithms {
		list[i] = string(a)
	}
	// The claims are checked below, each with a reason of its own, and with the same leeway for all times.
	v := oidc.NewVerifier(l.Issuer, &l.provider, &oidc.Config{SupportedSigningAlgs: list, SkipIssuerCheck: true, SkipClientIDCheck: true, SkipExpiryCheck: true})
	t, err := v.Verify(ctx, raw)
	if errors.Is(err, ErrAway) || ctx.Err() != nil {
		return nil, ErrAway
	}
	if err != nil {
		if cause := l.provider.unreached(); cause != nil { // the module does not wrap what a key set says
			return nil, cause
		}
		return nil, &RefusedError{Code: CodeToken}
	}
	c := claims{}
	var text rawClaims
	if t.Claims(&text) != nil || decode(text, &c) != nil || t.Subject == "" || len(t.Subject) > 255 || c.subject() != t.Subject {
		return nil, &RefusedError{Code: CodeToken}
	}
	now := l.Now()
	before, limited := c.time("nbf")
	azp := c.text("azp")
	switch {
	case t.Issuer != l.Issuer:
		return nil, &RefusedError{Code: CodeIssuer}
	case !slices.Contains(t.Audience, l.ClientID), azp != "" && azp != l.ClientID, azp == "" && len(t.Audience) > 1:
		return nil, &RefusedError{Code: CodeAudience}
	case t.Expiry.Before(now.Add(-leeway)), t.IssuedAt.IsZero(), t.IssuedAt.After(now.Add(leeway)), limited && before.After(now.Add(leeway)):
		return nil, &RefusedError{Code: CodeTime}
	case t.Nonce != nonce:
		return nil, &RefusedError{Code: CodeNonce}
	case t.AccessTokenHash != "" && t.VerifyAccessToken(access) != nil:
		return nil, &RefusedError{Code: CodeToken}
	}
	return c, nil
}

// authenticated is when the person authenticated: auth_time, or when the token was made. If it had to be after some
// instant, it is not before that: clocks differ, and auth_time has whole seconds.
func (l *Login) authenticated(c claims, a *attempt) (time.Time, error) {
	at, ok := c.time("auth_time")
	now := l.Now()
	if l.MaxAge > 0 && (!ok || at.Before(now.Add(-l.MaxAge-leeway))) {
		return at, &RefusedError{Code: CodeAge}
	}
	if !ok {
		at, _ = c.time("iat")
	}
	if at.After(now) {
		at = now
	}
	if a.After == 0 {
		return at, nil
	}
	after := time.UnixMilli(a.After)
	switch {
	case at.Before(after.Add(-leeway)): // the provider has answered by a session of its own
		return at, &RefusedError{Code: CodeAge}
	case at.Before(after):
		return after, nil
	}
	return at, nil
}

// level is how well the person is identified.
func (l *Login) level(c claims) (string, error) {
	have := c.texts(l.LevelClaim)
	for _, v := range have {
		if slices.Contains(l.Levels, v) {
			return v, nil
		}
	}
	if !l.AnyLevel {
		return "", &RefusedError{Code: CodeLevel}
	}
	if len(have) == 0 {
		return "", nil
	}
	return have[0], nil
}

// userInfo adds what the provider says at its userinfo endpoint (OpenID Connect Core 1.0, 5.3).
func (l *Login) userInfo(ctx context.Context, m *metadata, access string, c claims) error {
	more := claims{}
	if err := l.provider.get(ctx, m.UserInfo, access, &more); err != nil {
		return fmt.Errorf("ask for claims: %w", err)
	}
	if more.subject() != c.subject() { // 5.3.2: otherwise the claims may be of somebody else
		return &RefusedError{Code: CodeToken}
	}
	for name, v := range more {
		if _, ok := c[name]; !ok {
			c[name] = v
		}
	}
	return nil
}
