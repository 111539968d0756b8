package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// place is where a page begins: after a resource, in the order of the search.
type place struct {
	keys []int64 // what is sorted by
	id   string
}

// cursors write and read places. A cursor holds no state on the server: it is the last resource of the
// page before, and a signature over that, the search and the member. So it stays right while loads
// run, after a restart, and with another token; and it is nothing without its search.
type cursors struct{ key []byte }

// signed is what a cursor is good for: the parameters of the search and the member who sees it.
func (q *query) signed(patient string) string {
	var b strings.Builder
	b.WriteString(patient + "\x00" + q.typ.String())
	for _, p := range q.kept {
		if p.name != "_count" && p.name != "_total" {
			b.WriteString("\x00" + p.name + "\x00" + p.value)
		}
	}
	return b.String()
}

// of reads the cursor of a search, nil if it has none.
func (c *cursors) of(q *query, patient string) (*place, error) {
	if q.cursor == "" {
		return nil, nil //nolint:nilnil // no place is the first page
	}
	return c.read(q.cursor, q.signed(patient))
}

const signatureBytes = 12

func (c *cursors) sign(text string, of string) []byte {
	h := hmac.New(sha256.New, c.key)
	_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(text)))) // a hash never fails
	_, _ = h.Write([]byte(text + of))
	return h.Sum(nil)[:signatureBytes]
}

// write makes the cursor of a place in a search.
func (c *cursors) write(at *place, of string) string {
	b := []byte{1, byte(len(at.keys))}
	for _, k := range at.keys {
		b = binary.BigEndian.AppendUint64(b, uint64(k))
	}
	b = append(b, at.id...)
	return base64.RawURLEncoding.EncodeToString(append(b, c.sign(string(b), of)...))
}

// read reads the cursor of a search.
func (c *cursors) read(text, of string) (*place, error) {
	bad := invalid(cursorParam, "it is not of this search; follow the links of the Bundle, or start again without it")
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 2+signatureBytes {
		return nil, bad
	}
	body, signature := b[:len(b)-signatureBytes], b[len(b)-signatureBytes:]
	if !hmac.Equal(signature, c.sign(string(body), of)) || body[0] != 1 || len(body) < 2+8*int(body[1]) {
		return nil, bad
	}
	at := &place{}
	n := int(body[1])
	for body = body[2:]; n > 0; n-- {
		at.keys = append(at.keys, int64(binary.BigEndian.Uint64(body)))
		body = body[8:]
	}
	at.id = string(body)
	return at, nil
}
