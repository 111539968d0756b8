package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cpcds2fhir/internal/accounts"

	"github.com/go-jose/go-jose/v4"
)

// claims are what a provider says of a person, as JSON.
type claims map[string]any

// rawClaims keeps the JSON of claims as it is.
type rawClaims []byte

func (r *rawClaims) UnmarshalJSON(text []byte) error {
	*r = append(rawClaims(nil), text...)
	return nil
}

// find returns a claim by its name, or by the path to it with dots: address.postal_code. Names may have dots
// themselves, as URLs do; a claim with exactly this name counts first.
func (c claims) find(name string) any {
	if v, ok := c[name]; ok {
		return v
	}
	first, rest, ok := strings.Cut(name, ".")
	if inner, isMap := c[first].(map[string]any); ok && isMap {
		return claims(inner).find(rest)
	}
	return nil
}

// valueMax is the length of the longest value that rules use, in bytes.
const valueMax = 256

// text returns a claim that is a text, a whole number or a truth; "" for others, and for what is no single line.
func (c claims) text(name string) string { return textOf(c.find(name)) }

func textOf(v any) string {
	text := ""
	switch v := v.(type) {
	case string:
		text = strings.TrimSpace(v)
	case json.Number:
		if text = v.String(); strings.ContainsAny(text, ".eE") {
			return ""
		}
	case bool:
		text = strconv.FormatBool(v)
	}
	if len(text) > valueMax || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
	}) {
		return ""
	}
	return text
}

// texts returns a claim that is a text or a list of them.
func (c claims) texts(name string) (list []string) {
	all, ok := c.find(name).([]any)
	if !ok {
		all = []any{c.find(name)}
	}
	for _, v := range all {
		if text := textOf(v); text != "" {
			list = append(list, text)
		}
	}
	return list
}

// subject is who the person is at the provider, exactly as it is written.
func (c claims) subject() string {
	text, _ := c["sub"].(string)
	return text
}

// time returns a claim that is a NumericDate (RFC 7519, 2).
func (c claims) time(name string) (time.Time, bool) {
	n, ok := c[name].(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := n.Float64()
	if err != nil || math.IsNaN(seconds) || math.Abs(seconds) > 1e11 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// assertion is the client's own token for private_key_jwt (OpenID Connect Core 1.0, 9).
func (l *Login) assertion(audience string) (string, error) {
	text, err := l.Key()
	if err != nil {
		return "", fmt.Errorf("read the key for the identity provider: %w", err)
	}
	key, alg, err := parseKey(text)
	if err != nil {
		return "", fmt.Errorf("read the key for the identity provider: %w", err)
	}
	o := (&jose.SignerOptions{}).WithType("JWT")
	if l.KeyID != "" {
		o = o.WithHeader("kid", l.KeyID)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		return "", errors.New("the key for the identity provider cannot sign")
	}
	now := l.Now().Unix()
	body, err := json.Marshal(map[string]any{"iss": l.ClientID, "sub": l.ClientID, "aud": audience, "jti": accounts.NewSecret(), "iat": now, "exp": now + 60})
	if err != nil {
		return "", fmt.Errorf("write an assertion: %w", err)
	}
	jws, err := s.Sign(body)
	if err != nil {
		return "", errors.New("the key for the identity provider cannot sign")
	}
	return jws.CompactSerialize()
}

// parseKey reads a private key in PEM. Its errors have nothing of it.
func parseKey(text []byte) (crypto.Signer, jose.SignatureAlgorithm, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, "", errors.New("it is not in PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, "", errors.New("it is not a private key in PEM")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, jose.RS256, nil
	case *ecdsa.PrivateKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return key, jose.ES256, nil
		case 384:
			return key, jose.ES384, nil
		}
	}
	return nil, "", errors.New("use RSA, P-256 or P-384")
}
