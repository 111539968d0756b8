package credentials

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// backend is SMART Backend Services: the client signs an assertion with a private key.
type backend struct {
	config  *Config
	options *Options
	desk    desk
}

// assertionLife is at most five minutes.
const assertionLife = 4 * time.Minute

func (b *backend) fetch(ctx context.Context) (token, error) {
	address := b.config.TokenURL
	var found *configuration
	if address == "" {
		var err error
		if found, err = b.desk.discover(ctx); err != nil {
			return token{}, err
		}
		address = found.TokenEndpoint
	}
	assertion, err := b.assertion(address)
	if err != nil {
		return token{}, err
	}
	return b.desk.redeem(ctx, address, url.Values{
		"grant_type":            {"client_credentials"},
		"scope":                 {b.config.scope(found)},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {assertion},
	}, nil)
}

func (b *backend) assertion(address string) (string, error) {
	key, err := b.key()
	if err != nil {
		return "", err
	}
	alg, err := b.algorithm(key)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key.Key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", key.KeyID))
	if err != nil {
		return "", &SettingError{"key", "cannot sign"}
	}
	audience := b.config.Audience
	if audience == "" {
		audience = address
	}
	now := time.Now()
	text, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: b.config.ClientID, Subject: b.config.ClientID, Audience: jwt.Audience{audience}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(assertionLife)),
	}).Serialize()
	if err != nil {
		return "", &SettingError{"key", "cannot sign"}
	}
	return text, nil
}

// algorithm is what SMART prescribes for a key.
func (b *backend) algorithm(key *jose.JSONWebKey) (jose.SignatureAlgorithm, error) {
	var alg jose.SignatureAlgorithm
	switch k := key.Key.(type) {
	case *rsa.PrivateKey:
		alg = jose.RS384
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P384() {
			return "", &SettingError{"key", "is on another curve than P-384, which ES384 needs"}
		}
		alg = jose.ES384
	default:
		return "", &SettingError{"key", "is no private key of RSA or of the curve P-384"}
	}
	if b.config.Alg != "" && b.config.Alg != string(alg) {
		return "", &SettingError{"algorithm", "does not fit the key, which makes " + string(alg)}
	}
	return alg, nil
}

// key reads the private key. It is read for each token, so that it can be rotated.
func (b *backend) key() (*jose.JSONWebKey, error) {
	text, err := os.ReadFile(b.config.Key)
	if err != nil {
		return nil, &SettingError{"key", "names a file that cannot be read: " + reason(err)}
	}
	list, err := privateKeys(text)
	if err != nil {
		return nil, &SettingError{"key", err.Error()}
	}
	if id := b.config.KeyID; id != "" {
		if len(list) == 1 && list[0].KeyID == "" {
			list[0].KeyID = id
		}
		list = slices.DeleteFunc(list, func(k jose.JSONWebKey) bool { return k.KeyID != id })
		if len(list) == 0 {
			return nil, &SettingError{"key_id", "names none of the keys in the file"}
		}
	}
	key := list[0]
	if key.KeyID == "" {
		// Whoever registers a PEM key publishes it with its thumbprint.
		sum, err := key.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, &SettingError{"key", "has no thumbprint"}
		}
		key.KeyID = encoded(sum)
	}
	if _, err := b.algorithm(&key); err != nil {
		return nil, err
	}
	return &key, nil
}

var errNoKey = errors.New("names a file without a private key: it must hold a JWK, a JWK set or a PEM key")

// privateKeys reads the private keys of a file.
func privateKeys(text []byte) ([]jose.JSONWebKey, error) {
	text = bytes.TrimSpace(text)
	if len(text) > 0 && text[0] == '{' {
		return jwks(text)
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, errNoKey
		}
		for _, parse := range []func([]byte) (any, error){
			x509.ParsePKCS8PrivateKey,
			func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
			func(der []byte) (any, error) { return x509.ParseECPrivateKey(der) },
		} {
			if key, err := parse(block.Bytes); err == nil {
				return []jose.JSONWebKey{{Key: key}}, nil
			}
		}
	}
}

func jwks(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(text, &set) != nil {
		return nil, errNoKey
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{text}
	}
	var list []jose.JSONWebKey
	for _, one := range set.Keys {
		var key jose.JSONWebKey
		// What else is in a set, such as keys for encryption, is not ours.
		if json.Unmarshal(one, &key) == nil && !key.IsPublic() && key.Valid() && key.Use != "enc" {
			list = append(list, key)
		}
	}
	if len(list) == 0 {
		return nil, errNoKey
	}
	return list, nil
}

// secret is the client credentials grant with a secret.
type secret struct {
	config  *Config
	options *Options
	desk    desk

	// fetch is called by one goroutine at a time.
	tried bool
	post  bool // the secret goes into the form
}

func (s *secret) fetch(ctx context.Context) (token, error) {
	text, err := s.config.Secret.Read("secret", s.options.Environment)
	if err != nil {
		return token{}, err
	}
	address := s.config.TokenURL
	var found *configuration
	if address == "" {
		if found, err = s.desk.discover(ctx); err != nil {
			return token{}, err
		}
		address = found.TokenEndpoint
		if !s.tried {
			s.post = slices.Contains(found.Methods, "client_secret_post") && !slices.Contains(found.Methods, "client_secret_basic")
		}
	}
	s.tried = true
	t, err := s.redeem(ctx, address, found, text)
	if errors.Is(err, ErrRefused) {
		// Servers read the secret from the header, or from the form, and not all say which.
		s.post = !s.post
		other, second := s.redeem(ctx, address, found, text)
		if second == nil {
			return other, nil
		}
		s.post = !s.post
	}
	return t, err
}

func (s *secret) redeem(ctx context.Context, address string, found *configuration, text string) (token, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if found != nil || len(s.config.Scopes) > 0 {
		form.Set("scope", s.config.scope(found))
	}
	if s.config.Audience != "" {
		form.Set("audience", s.config.Audience)
	}
	if s.post {
		form.Set("client_id", s.config.ClientID)
		form.Set("client_secret", text)
		return s.desk.redeem(ctx, address, form, nil)
	}
	return s.desk.redeem(ctx, address, form, func(r *http.Request) {
		r.SetBasicAuth(url.QueryEscape(s.config.ClientID), url.QueryEscape(text))
	})
}

func encoded(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum) }
