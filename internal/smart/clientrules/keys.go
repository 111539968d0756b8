package clientrules

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/go-jose/go-jose/v4"
)

// CheckJWKS checks a key set that is to be registered for a client: it has public keys of RSA or P-384 with a kid,
// and no private ones.
func CheckJWKS(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("the key set is empty")
	}
	keys, err := ReadKeys([]byte(text))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool { return k.KeyID != "" }) {
		return errors.New("no key of the set has a kid")
	}
	return nil
}

// ReadKeys reads public keys that may sign assertions. A key that is not understood does not hide the others; a
// private one refuses the set, because it is not secret any more.
func ReadKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct{ Keys []json.RawMessage }
	if json.Unmarshal(text, &set) != nil {
		return nil, errors.New("the key set is not JSON with keys")
	}
	var list []jose.JSONWebKey
	for _, x := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(x) != nil || !k.Valid() {
			continue
		}
		switch key := k.Key.(type) {
		case *rsa.PublicKey:
			if key.N.BitLen() >= 2048 {
				list = append(list, k)
			}
		case *ecdsa.PublicKey:
			if key.Curve == elliptic.P384() {
				list = append(list, k)
			}
		default:
			if !k.IsPublic() {
				return nil, errors.New("the key set has a private key; register the public keys only, and make new ones")
			}
		}
	}
	if len(list) == 0 {
		return nil, errors.New("the key set has no public key of RSA (2048 bits or more) or P-384")
	}
	return list, nil
}

// Thumbprints are those of the keys of a set (RFC 7638, SHA-256, base64url), by which equal keys are found.
func Thumbprints(jwks string) ([]string, error) {
	keys, err := ReadKeys([]byte(jwks))
	if err != nil {
		return nil, err
	}
	var list []string
	for i := range keys {
		sum, err := keys[i].Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
		list = append(list, base64.RawURLEncoding.EncodeToString(sum))
	}
	return list, nil
}

// Leeway of clocks, and the longest life of a proof.
const (
	proofLeeway = time.Minute
	proofLife   = time.Hour
)

// Proves fails unless a JWT was signed by a key of the set, is about the client and for the issuer, and is valid now: who
// registers a key has its private half. The JWT opens nothing, so it may be used again.
func Proves(jwks, proof, client, issuer string, now time.Time) error {
	keys, err := ReadKeys([]byte(jwks))
	if err != nil {
		return err
	}
	if len(proof) > 8<<10 {
		return errors.New("the proof is too long")
	}
	token, err := jwt.ParseSigned(proof, []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.PS256, jose.PS384, jose.ES384})
	if err != nil || len(token.Headers) != 1 {
		return errors.New("the proof is no signed JWT")
	}
	for i := range keys {
		k := &keys[i]
		if id := token.Headers[0].KeyID; id != "" && id != k.KeyID {
			continue
		}
		var c jwt.Claims
		if token.Claims(k.Key, &c) != nil {
			continue
		}
		switch {
		case c.Subject != client || !c.Audience.Contains(issuer):
			return errors.New("the proof is for another client or issuer")
		case c.Expiry == nil || !now.Before(c.Expiry.Time().Add(proofLeeway)) || c.Expiry.Time().After(now.Add(proofLife)):
			return errors.New("exp of the proof is over, or too far ahead")
		case c.NotBefore != nil && now.Add(proofLeeway).Before(c.NotBefore.Time()):
			return errors.New("the proof is not valid yet")
		}
		return nil
	}
	return errors.New("no key of the set has signed the proof")
}
