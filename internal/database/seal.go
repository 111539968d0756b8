package database

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrSeal is what somebody reads who has another key than the one that a value was sealed with.
var ErrSeal = errors.New("database: the seal does not open what is sealed in the database")

// Key is a key of 256 bits.
type Key [32]byte

// aead is AES-256-GCM with the key.
func (k Key) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	c, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return c, nil
}

// Seal seals a value for one place (AES-256-GCM, base64): it opens nowhere else.
func (k Key) Seal(place string, value []byte) (string, error) {
	c, err := k.aead()
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(c.Seal(nil, nil, value, []byte(place))), nil
}

// Open opens a sealed value. It fails with ErrSeal if the key or the place is another.
func (k Key) Open(place, sealed string) ([]byte, error) {
	c, err := k.aead()
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return nil, ErrSeal
	}
	value, err := c.Open(nil, nil, b, []byte(place))
	if err != nil {
		return nil, ErrSeal
	}
	return value, nil
}

// MAC is a key that is derived for a purpose and a value (HMAC-SHA-256). It is also how what people type is kept:
// without the key nobody can try what it may be.
func (k Key) MAC(purpose, value string) Key {
	h := hmac.New(sha256.New, k[:])
	h.Write([]byte(purpose + "\x00" + value))
	return Key(h.Sum(nil))
}

// Seal seals a value for one place with the seal of the database: it opens nowhere else.
func (d *DB) Seal(place string, value []byte) (string, error) { return d.seal.Seal(place, value) }

// Open opens a value that was sealed for a place. It fails with ErrSeal.
func (d *DB) Open(place, sealed string) ([]byte, error) { return d.seal.Open(place, sealed) }

// MAC is a key that is derived from the seal of the database; see Key.MAC.
func (d *DB) MAC(purpose, value string) Key { return d.seal.MAC(purpose, value) }

// Sum is how what is random is kept (SHA-256, hexadecimal): who reads it cannot use it.
func Sum(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:])
}

// NewSecret makes what somebody else must not guess: a code, a token, the id of a session, the secret of a client. It is random,
// of 256 bits, in 43 characters that need no escaping anywhere.
func NewSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// Random makes an id of 128 bits, in 32 characters.
func Random() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}
