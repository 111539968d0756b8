package fhir

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"hash"
)

// IDLen is the length of the ids that Identity makes.
const IDLen = 27

// letters begin an id, so that a log shows what it names.
var letters = [NumTypes]byte{'o', 'r', 'p', 'x', 'c', 'e'}

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Identity turns source keys into resource ids: a type letter and 26 characters of base32 of
// HMAC-SHA256(key, type, parts). Ids reach audit logs and URLs, so they must not contain an
// identifier, and without the key it must be impossible to test whether an id belongs to a known
// identifier. An Identity is not safe for concurrent use; Clone it per goroutine.
type Identity struct {
	key []byte
	mac hash.Hash
	sum []byte
	in  []byte
}

// NewIdentity returns an Identity with the secret key, which it copies.
func NewIdentity(key []byte) *Identity {
	k := append([]byte(nil), key...)
	return &Identity{key: k, mac: hmac.New(sha256.New, k)}
}

// Clone returns an Identity with the same key for another goroutine.
func (d *Identity) Clone() *Identity { return NewIdentity(d.key) }

// Fingerprint identifies the key without revealing it: the first 16 hex digits of an HMAC of a
// constant.
func (d *Identity) Fingerprint() string {
	m := hmac.New(sha256.New, d.key)
	m.Write([]byte("cpcds2fhir id key fingerprint"))
	return hex.EncodeToString(m.Sum(nil)[:8])
}

// Raw is an id before encoding.
type Raw [16]byte

// Raw returns the raw id of a resource: t and the parts of its source key, of
// which none may contain the byte 0x1f.
func (d *Identity) Raw(t Type, parts ...string) Raw {
	d.in = append(d.in[:0], letters[t])
	for _, p := range parts {
		d.in = append(d.in, 0x1f)
		d.in = append(d.in, p...)
	}
	d.mac.Reset()
	d.mac.Write(d.in)
	d.sum = d.mac.Sum(d.sum[:0])
	return Raw(d.sum[:16])
}

// ID encodes a raw id of type t.
func (r Raw) ID(t Type) string {
	var out [IDLen]byte
	out[0] = letters[t]
	base32Lower.Encode(out[1:], r[:])
	return string(out[:])
}

// ParseID decodes an id that Raw.ID has made.
func ParseID(id string) (Raw, bool) {
	if len(id) != IDLen {
		return Raw{}, false
	}
	b, err := base32Lower.DecodeString(id[1:])
	if err != nil || len(b) != len(Raw{}) {
		return Raw{}, false
	}
	return Raw(b), true
}

// Reference encodes a raw id as "Type/id".
func (r Raw) Reference(t Type) string {
	n := len(typeNames[t])
	out := make([]byte, n+1+IDLen)
	copy(out, typeNames[t])
	out[n], out[n+1] = '/', letters[t]
	base32Lower.Encode(out[n+2:], r[:])
	return view(out)
}
