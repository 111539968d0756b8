package accounts

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// errSeal is what somebody reads who has another key than the one of the database.
var errSeal = errors.New("accounts: the seal does not open what is sealed in the database")

// sum is how what is random is kept: who reads it cannot use it.
func sum(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:])
}

// mac is how what people type is kept: without the seal nobody can try what it may be.
func (a *Accounts) mac(purpose, value string) []byte {
	h := hmac.New(sha256.New, a.seal[:])
	h.Write([]byte(purpose + "\x00" + value))
	return h.Sum(nil)
}

// NewSecret makes what somebody else must not guess: a code, a token, the id of a session, the secret of a client. It is random,
// of 256 bits, in 43 characters that need no escaping anywhere.
func NewSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// random makes an id of 128 bits.
func random() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// aead is AES-256-GCM with a key.
func aead(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealWith seals a value for one place: it opens nowhere else.
func sealWith(key []byte, place string, value []byte) (string, error) {
	c, err := aead(key)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(c.Seal(nil, nil, value, []byte(place))), nil
}

// openWith opens a sealed value.
func openWith(key []byte, place, sealed string) ([]byte, error) {
	c, err := aead(key)
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return nil, errSeal
	}
	value, err := c.Open(nil, nil, b, []byte(place))
	if err != nil {
		return nil, errSeal
	}
	return value, nil
}

// encode writes what is kept as JSON.
func encode(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("accounts: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// decode reads what is kept as JSON.
func decode(text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("accounts: a record cannot be read: %w", err)
	}
	return nil
}
