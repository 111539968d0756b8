// Package clientrules says what may be registered as a client, whoever registers it: the authorization server does (RFC
// 7591), the command line, and the developers' portal. It is a package of its own because the portal keeps clients and
// speaks no OAuth: it needs the rules of the authorization server, and not the server.
package clientrules

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"cpcds2fhir/internal/accounts"
)

// longest is the most bytes of a URI.
const longest = 2 << 10

// ErrRedirect is what errors about redirect URIs are, by errors.Is.
var ErrRedirect = errors.New("redirect_uris")

// Check checks what somebody wants to register. Its errors name the field.
func Check(c *accounts.Client) error {
	switch {
	case strings.TrimSpace(c.Name) == "" || len(c.Name) > 100 || strings.ContainsFunc(c.Name, hidden):
		return errors.New("client_name: say what members know the app by, in at most 100 characters")
	case c.Auth != "none" && c.Auth != "client_secret" && c.Auth != "private_key_jwt":
		return errors.New("auth: use none, client_secret or private_key_jwt")
	case c.IDTokenAlg != "" && c.IDTokenAlg != "RS256" && c.IDTokenAlg != "ES384":
		return errors.New("id_token_signed_response_alg: use RS256 or ES384")
	case c.Utah && c.Auth != "client_secret":
		return errors.New("utah: this dialect is for clients with a secret")
	case c.Auth == "private_key_jwt" && (c.JWKS == "") == (c.JWKSURI == ""):
		return errors.New("jwks: give the public keys of the client, or their URL as jwks_uri, one of both")
	case c.Auth != "private_key_jwt" && (c.JWKS != "" || c.JWKSURI != ""):
		return errors.New("jwks: only clients with private_key_jwt have keys")
	case len(c.RedirectURIs) > 50 || len(c.Contacts) > 20:
		return errors.New("there are too many redirect_uris or contacts")
	}
	for _, g := range c.Grants {
		if g != "authorization_code" && g != "refresh_token" && g != "client_credentials" {
			return errors.New("grant_types: use authorization_code, refresh_token or client_credentials")
		}
	}
	if slices.Contains(c.Grants, "client_credentials") && c.Auth != "private_key_jwt" {
		return errors.New("grant_types: client_credentials needs private_key_jwt")
	}
	if c.JWKS != "" {
		if err := CheckJWKS(c.JWKS); err != nil {
			return fmt.Errorf("jwks: %w", err)
		}
	}
	if c.JWKSURI != "" && !IsWeb(c.JWKSURI, false) {
		return errors.New("jwks_uri: use a URL with https")
	}
	for name, u := range map[string]string{"client_uri": c.Homepage, "logo_uri": c.Logo, "policy_uri": c.Policy, "tos_uri": c.Terms} {
		if u != "" && !IsWeb(u, true) {
			return errors.New(name + ": use a URL with https")
		}
	}
	for _, x := range c.Contacts {
		if len(x) > 200 || strings.ContainsFunc(x, hidden) {
			return errors.New("contacts: use addresses of at most 200 characters")
		}
	}
	if slices.Contains(c.Grants, "authorization_code") && len(c.RedirectURIs) == 0 {
		return redirectError("give at least one")
	}
	for _, u := range c.RedirectURIs {
		if err := CheckRedirect(u, c.Native); err != nil {
			return err
		}
	}
	return nil
}

func hidden(r rune) bool { return !unicode.IsPrint(r) }

func redirectError(text string) error { return &redirectURIError{text} }

type redirectURIError struct{ text string }

func (e *redirectURIError) Error() string        { return "redirect_uris: " + e.text }
func (e *redirectURIError) Is(target error) bool { return target == ErrRedirect }

// CheckRedirect checks a redirect URI that is to be registered: https, http on a loopback address, or for an app on a
// device a scheme of its own, which is named after a domain (RFC 8252, 7.1).
func CheckRedirect(uri string, native bool) error {
	u, err := url.Parse(uri)
	_, local := Loopback(uri)
	switch {
	case err != nil || len(uri) > longest || !u.IsAbs() || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' }):
		return redirectError("use absolute URIs of printable ASCII characters")
	case strings.Contains(uri, "#"):
		return redirectError("they must not have a fragment")
	case u.User != nil || strings.Contains(uri, "*"):
		return redirectError("they must not have a user or wildcards")
	case u.Query().Has("code") || u.Query().Has("state") || u.Query().Has("error") || u.Query().Has("iss"):
		return redirectError("they must not have parameters of the answer")
	case u.Scheme == "https" && u.Host != "" || local:
		return nil
	case u.Scheme == "http":
		return redirectError("use https; http is for loopback addresses")
	case native && strings.Contains(u.Scheme, "."):
		return nil
	case native:
		return redirectError("a scheme of your own is named after your domain, such as org.example.app:/callback")
	}
	return redirectError("use https")
}

// IsWeb reports whether a text is a URL of a page; http only on a loopback address, for sandboxes.
func IsWeb(text string, local bool) bool {
	u, err := url.Parse(text)
	_, own := Loopback(text)
	return err == nil && len(text) <= longest && u.Host != "" && u.User == nil && (u.Scheme == "https" || local && own)
}

// Loopback returns a URI of http on a loopback address without its port, and whether it is one.
func Loopback(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || !strings.HasPrefix(uri, "http://") || u.User != nil || u.Fragment != "" || strings.Contains(uri, "#") {
		return "", false
	}
	host := u.Hostname()
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", false
	}
	if p, err := strconv.Atoi(u.Port()); u.Port() != "" && (err != nil || p < 1 || p > 65535) {
		return "", false
	}
	_, rest, _ := strings.Cut(uri, "//")
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		return host + rest[i:], true
	}
	return host, true
}
