package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/smart/clientrules"
)

const (
	yearOfSeconds = 366 * 24 * 3600

	stateMax    = 2 << 10 // bytes of state and of nonce: they are kept until the request is decided
	redirectMax = 2 << 10
)

// authorize answers authorization requests (RFC 6749, 4.1.1; SMART App Launch, Obtain authorization code), by GET and
// POST. A request without a known client and one of its redirect URIs is explained to the person; all other errors
// go to the app. The POST needs no token against forgery: it decides nothing, the page that follows does.
func (s *Server) authorize(utah bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := url.ParseQuery(r.URL.RawQuery)
		if err == nil && r.Method == http.MethodPost {
			if err = r.ParseForm(); err == nil {
				if len(v) > 0 && len(r.PostForm) > 0 {
					err = errors.New("parameters in both places")
				} else if len(r.PostForm) > 0 {
					v = r.PostForm
				}
			}
		}
		if err != nil {
			s.explain(w, r, &fault{status: http.StatusBadRequest, code: "invalid_request", text: "the parameters cannot be read"})
			return
		}
		client, to, refused := s.requester(r.Context(), v)
		if refused != nil {
			s.explain(w, r, refused)
			return
		}
		if err := take(s.limits.requests, client.ID); err != nil {
			f := asFault(err)
			f.client = client.ID
			s.explain(w, r, f)
			return
		}
		request, err := s.request(r.Context(), client, to, v, utah)
		if err != nil {
			f := asFault(err)
			f.client = client.ID
			s.note(r.URL.Path, f)
			code := f.code
			if f.cause != nil {
				code = "server_error" // temporarily_unavailable is no answer of this endpoint that apps know well
			}
			s.back(w, r, to, url.Values{"error": {code}, "error_description": {f.text}, "state": v["state"]})
			return
		}
		http.Redirect(w, r, s.SignIn+"?request="+request, http.StatusSeeOther)
	}
}

// explain shows a person why a request has no answer, and reports it once: as a refusal, or as a fault.
func (s *Server) explain(w http.ResponseWriter, r *http.Request, f *fault) {
	s.note(r.URL.Path, f)
	s.Explain(w, r, f.status, f.code)
}

// requester finds who asks and where the answer goes. Nothing may be sent to a redirect URI before it is known to
// be the client's.
func (s *Server) requester(ctx context.Context, v url.Values) (*accounts.Client, string, *fault) {
	for _, name := range []string{"client_id", "redirect_uri"} {
		if len(v[name]) > 1 {
			return nil, "", &fault{status: http.StatusBadRequest, code: "invalid_request", text: name + " comes more than once"}
		}
	}
	id := v.Get("client_id")
	c, err := s.known(ctx, id)
	switch {
	case id == "" || errors.Is(err, accounts.ErrNotFound):
		return nil, "", &fault{status: http.StatusBadRequest, code: "unknown_client", text: "no client is registered with this client_id"}
	case err != nil:
		return nil, "", broken(err)
	case c.Status == accounts.Held:
		return nil, "", &fault{status: http.StatusForbidden, code: "held_client", text: "the client is not approved yet", client: id}
	case c.Status != accounts.Active || !slices.Contains(c.Grants, "authorization_code"):
		return nil, "", &fault{status: http.StatusForbidden, code: "unauthorized_client", text: "the client may not ask for authorization", client: id}
	}
	to := v.Get("redirect_uri")
	if !redirectsTo(c, to) {
		return nil, "", &fault{status: http.StatusBadRequest, code: "redirect_mismatch", text: "redirect_uri is none of those that are registered for the client", client: id}
	}
	return c, to, nil
}

// redirectsTo reports whether a URI is registered for a client. Strings are compared, nothing is normalised
// (RFC 9700, 2.1). Only the port of a loopback address may differ, for an app on the device itself (RFC 8252, 7.3).
func redirectsTo(c *accounts.Client, uri string) bool {
	if uri == "" || len(uri) > redirectMax {
		return false
	}
	if slices.Contains(c.RedirectURIs, uri) {
		return true
	}
	asked, ok := clientrules.Loopback(uri)
	return c.Native && ok && slices.ContainsFunc(c.RedirectURIs, func(registered string) bool {
		r, ok := clientrules.Loopback(registered)
		return ok && r == asked
	})
}

// request checks what a client asks for, and keeps it. It returns the id that the pages go by.
func (s *Server) request(ctx context.Context, c *accounts.Client, to string, v url.Values, alias bool) (string, error) {
	prompt := strings.Fields(v.Get("prompt"))
	age, err := strconv.Atoi(v.Get("max_age"))
	switch name := repeated(v); {
	case name != "":
		return "", invalid("invalid_request", "the parameter "+name+" comes more than once")
	case v.Has("request"):
		return "", invalid("request_not_supported", "request objects are not supported")
	case v.Has("request_uri"):
		return "", invalid("request_uri_not_supported", "request objects are not supported")
	case v.Get("response_type") == "":
		return "", invalid("invalid_request", "response_type is missing; use code")
	case v.Get("response_type") != "code":
		return "", invalid("unsupported_response_type", "response_type must be code")
	case v.Has("response_mode") && v.Get("response_mode") != "query":
		return "", invalid("invalid_request", "response_mode must be query")
	case len(v.Get("state")) > stateMax || len(v.Get("nonce")) > stateMax:
		return "", invalid("invalid_request", "state or nonce is too long")
	case len(prompt) > 1 && slices.Contains(prompt, "none"):
		return "", invalid("invalid_request", "prompt=none stands alone")
	case slices.Contains(prompt, "none"):
		return "", invalid("interaction_required", "members decide each time; prompt=none cannot be answered")
	case v.Has("max_age") && (err != nil || age < 0):
		return "", invalid("invalid_request", "max_age must be a number of seconds")
	case v.Get("launch") != "":
		return "", invalid("invalid_request", "this server has standalone launches only; leave launch out")
	case alias && !dialect(c):
		return "", invalid("unauthorized_client", "this address is for clients that are registered for its dialect; use "+AuthorizePath)
	}
	// Utah's apps send client_id, redirect_uri and response_type, and nothing else.
	short := dialect(c) && !v.Has("scope") && !v.Has("code_challenge") && !v.Has("aud")
	now := s.Now()
	request := &accounts.Request{
		ID: accounts.NewSecret(), Client: c.ID, RedirectURI: to, State: v.Get("state"), Nonce: v.Get("nonce"), Challenge: v.Get("code_challenge"),
		Utah: short, Audience: v.Get("aud"), Created: now, Expires: now.Add(s.RequestFor),
	}
	switch {
	case slices.Contains(prompt, "login"):
		request.AuthAfter = now
	case v.Has("max_age"):
		request.AuthAfter = now.Add(-time.Duration(min(age, yearOfSeconds)) * time.Second)
	}
	if err := s.checkChallenge(v, short); err != nil {
		return "", err
	}
	if err := s.checkAudience(v, short); err != nil {
		return "", err
	}
	asked := c.Scopes
	if !short {
		if asked, err = parseScopes(v.Get("scope")); err != nil {
			return "", err
		}
	} else if asked == nil {
		asked = defaultScopes
	}
	if request.Scopes = known(c, asked, false); len(request.Scopes) == 0 {
		return "", invalid("invalid_scope", "none of the scopes can be granted; ask for such as launch/patient patient/*.rs")
	}
	return request.ID, s.Accounts.AddRequest(ctx, request)
}

// dialect reports whether a client may use Utah's: confidential clients that are marked.
func dialect(c *accounts.Client) bool { return c.Utah && c.Auth == "client_secret" }

// checkChallenge checks PKCE (RFC 7636), which SMART App Launch 2 demands of all apps. A challenge without a method means
// plain there, and plain protects nothing: it is refused.
func (s *Server) checkChallenge(v url.Values, short bool) error {
	challenge, method := v.Get("code_challenge"), v.Get("code_challenge_method")
	switch {
	case short:
		return nil
	case challenge == "" && method == "":
		return invalid("invalid_request", "code_challenge is missing: PKCE with S256 is required")
	case method != "S256":
		return invalid("invalid_request", "code_challenge_method must be S256")
	case !isVerifier(challenge, 43, 43):
		return invalid("invalid_request", "code_challenge is not a SHA-256 in base64url without padding")
	}
	return nil
}

// isVerifier reports whether a text has the unreserved characters of RFC 7636, 4.1, and so many of them.
func isVerifier(text string, least, most int) bool {
	return len(text) >= least && len(text) <= most && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~", r)
	})
}

// checkAudience checks that the app knows which API it will send the token to. Apps write the base URL with a slash
// at the end and without.
func (s *Server) checkAudience(v url.Values, short bool) error {
	aud := v.Get("aud")
	switch {
	case aud == "" && (short || s.MissingAudience):
		return nil
	case aud == "":
		return invalid("invalid_request", "aud is missing: it must be the base URL of the API")
	case strings.TrimSuffix(aud, "/") != strings.TrimSuffix(s.FHIRBase, "/"):
		return invalid("invalid_request", "aud is not the base URL of this API")
	}
	return nil
}

// back sends the browser to the app. The parameters are added to those that the redirect URI has.
func (s *Server) back(w http.ResponseWriter, r *http.Request, to string, v url.Values) {
	w.Header().Set("Location", s.answerTo(to, v))
	w.WriteHeader(http.StatusSeeOther) // not 307: a POST must not be repeated at the app
}

// answerTo is a redirect URI with an answer: with the state as it came, and with the issuer (RFC 9207), so that an
// app that uses several servers knows which one has answered.
func (s *Server) answerTo(to string, v url.Values) string {
	if len(v["state"]) != 1 || v.Get("state") == "" {
		v.Del("state")
	}
	v.Set("iss", s.Issuer)
	joint := "?"
	if strings.Contains(to, "?") {
		joint = "&"
	}
	// A space is %20 and not +, which some apps do not decode.
	return to + joint + strings.ReplaceAll(v.Encode(), "+", "%20")
}

// Pending implements Pages.
func (s *Server) Pending(ctx context.Context, request string) (*Pending, error) {
	r, err := s.Accounts.Request(ctx, request)
	if err != nil {
		return nil, err
	}
	c, err := s.known(ctx, r.Client)
	if err != nil {
		return nil, err
	}
	if c.Status != accounts.Active {
		return nil, accounts.ErrNotFound
	}
	return &Pending{Request: request, Client: c, User: r.User, Scopes: r.Scopes, Utah: r.Utah, RedirectURI: r.RedirectURI, AuthAfter: r.AuthAfter, Expires: r.Expires}, nil
}

// Assign implements Pages.
func (s *Server) Assign(ctx context.Context, request, user string) error {
	return s.Accounts.AssignRequest(ctx, request, user)
}

// Allow implements Pages. It holds by itself that the user may speak for the member and that no more is given than
// was asked for, whatever a page sent.
func (s *Server) Allow(ctx context.Context, request string, d *Decision) (string, error) {
	r, err := s.Accounts.Request(ctx, request)
	if err != nil {
		return "", err
	}
	links, err := s.Accounts.Links(ctx, d.User, d.Patient)
	if err != nil {
		return "", err
	}
	now := s.Now()
	switch {
	case r.User != "" && r.User != d.User:
		return "", accounts.ErrUsed
	case d.User == "" || d.Patient == "" || len(links) == 0:
		return "", errors.New("the user may not speak for the member")
	case !within(r.Scopes, d.Scopes):
		return "", errors.New("more was granted than was asked for")
	case d.AuthTime.Before(r.AuthAfter):
		return "", errors.New("the user must sign in again first")
	case !d.Until.After(now):
		return "", errors.New("the grant would have ended before it began")
	}
	scopes := slices.Clone(d.Scopes)
	if links[0].Role != "self" || !slices.Contains(scopes, "openid") {
		// There is no resource about a representative that the token could read, and the member is somebody else.
		scopes = slices.DeleteFunc(scopes, func(x string) bool { return x == "fhirUser" })
	}
	g := &accounts.Grant{
		ID: accounts.NewSecret(), Client: r.Client, User: d.User, Patient: d.Patient, Scopes: scopes, Offline: slices.Contains(scopes, "offline_access"),
		AuthTime: d.AuthTime, Created: now, Expires: d.Until,
	}
	if d.Told != nil {
		g.Receipt = &accounts.Receipt{Statement: *d.Told, Role: links[0].Role, Requested: r.Scopes}
	}
	code := &accounts.Code{
		Secret: accounts.NewSecret(), Grant: g.ID, Client: r.Client, RedirectURI: r.RedirectURI, Challenge: r.Challenge, Nonce: r.Nonce, Utah: r.Utah,
		Expires: now.Add(s.CodeFor),
	}
	if err := s.Accounts.Approve(ctx, request, g, code); err != nil {
		return "", err
	}
	// What has changed meanwhile counts: a link that was ended before the grant was kept has not revoked it. And what cannot be
	// recorded does not count. Nobody has the code yet.
	err = s.stillMay(ctx, d, r.Client)
	if err == nil {
		err = s.happened(&Event{Action: "authorize", Client: r.Client, User: d.User, Patient: d.Patient, Grant: g.ID, Scopes: scopes, Utah: r.Utah})
	}
	if err != nil {
		return "", errors.Join(err, s.Accounts.RevokeGrant(context.WithoutCancel(ctx), g.ID))
	}
	return s.answerTo(r.RedirectURI, url.Values{"code": {code.Secret}, "state": {r.State}}), nil
}

// stillMay fails if the user does not speak for the member any more, or the client was stopped.
func (s *Server) stillMay(ctx context.Context, d *Decision, client string) error {
	links, err := s.Accounts.Links(ctx, d.User, d.Patient)
	if err != nil {
		return err
	}
	c, err := s.known(ctx, client)
	if err != nil {
		return err
	}
	if len(links) == 0 || c.Status != accounts.Active {
		return accounts.ErrNotFound
	}
	return nil
}

// Deny implements Pages.
func (s *Server) Deny(ctx context.Context, request string) (string, error) {
	r, err := s.Accounts.Request(ctx, request)
	if err != nil {
		return "", err
	}
	if err := s.Accounts.Deny(ctx, request); err != nil {
		return "", err
	}
	if err := s.happened(&Event{Action: "deny", Client: r.Client, User: r.User, Utah: r.Utah}); err != nil {
		return "", err
	}
	return s.answerTo(r.RedirectURI, url.Values{"error": {"access_denied"}, "error_description": {"the member has not allowed it"}, "state": {r.State}}), nil
}

// life is how long something lasts from now, in whole seconds, as answers have it.
func (s *Server) life(until time.Time) int {
	return int(until.Sub(s.Now()).Round(time.Second).Seconds())
}
