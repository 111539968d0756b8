package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"cpcds2fhir/schemas/fhir"
)

// The keys of the store. The first byte is the key space; <type> is one byte
// (fhir.Type), <id> a FHIR id, "." stands for nothing and 00 for a zero byte.
//
//	h . <type> . <id>                          head: what the newest version is (type head)
//	b . <type> . <id> . 00 . <version, 4 BE>   body of one version (type body); never changes
//	p . <patient id> . 00 . <type> . <id>      row: the index entries of the newest version
//	i . <type> . <code> . 1f . <system> . 00 . <id>
//	                                           identifier, across patients; no value
//	c . <type> . <commit, 8 BE> . <id> . 00 . <version, 4 BE>
//	                                           change feed: each version in the order of commits; value: the run
//	                                           that made it
//	u . <type> . <id> . 00 . <version, 4 BE>   what this version replaced (type undo)
//	d . <type>                                 S2 dictionary of the bodies of a type
//	m . <name>                                 meta: ledgers and facts about the store
//
// Everything of a patient is one range of p. A row holds all index entries of its resource, and a
// search reads and compares the rows of the patient and type: a patient has hundreds of claims, not
// millions. One row of 400 bytes instead of a dozen keys of 100 makes loading much cheaper, lets an
// update simply overwrite the old entries, and makes every parameter searchable with every prefix.
// Resources without a patient (organizations, practitioners) also have rows, with an empty patient
// id.
//
// A deleted resource keeps its head and its bodies, the last of which marks the deletion, and loses
// its row and its identifiers.
const (
	headSpace       = 'h'
	bodySpace       = 'b'
	rowSpace        = 'p'
	identifierSpace = 'i'
	dictSpace       = 'd'
	metaSpace       = 'm'
	commitSpace     = 'c'
	undoSpace       = 'u'
)

const (
	maxID    = 64 // of FHIR
	tokenSep = 0x1f

	// maxIndexed is the longest part of an identifier that is stored in a key as it is. For a
	// longer one the key has the first half and a hash of the whole; searches compare the row,
	// which has all of it.
	maxIndexed = 64
)

func appendHeadKey(k []byte, t fhir.Type, id string) []byte {
	return append(append(k, headSpace, byte(t)), id...)
}

func appendBodyPrefix(k []byte, t fhir.Type, id string) []byte {
	return append(append(append(k, bodySpace, byte(t)), id...), 0)
}

func appendBodyKey(k []byte, t fhir.Type, id string, version uint32) []byte {
	return appendUint32(appendBodyPrefix(k, t, id), version)
}

func appendUndoPrefix(k []byte, t fhir.Type, id string) []byte {
	return append(append(append(k, undoSpace, byte(t)), id...), 0)
}

func appendUndoKey(k []byte, t fhir.Type, id string, version uint32) []byte {
	return appendUint32(appendUndoPrefix(k, t, id), version)
}

func appendRowPrefix(k []byte, patient string, t fhir.Type) []byte {
	return append(append(append(k, rowSpace), patient...), 0, byte(t))
}

func appendRowKey(k []byte, patient string, t fhir.Type, id string) []byte {
	return append(appendRowPrefix(k, patient, t), id...)
}

// appendIdentifierPrefix ends after the code; with a system it goes on to the
// byte before the resource id.
func appendIdentifierPrefix(k []byte, t fhir.Type, x token) []byte {
	k = appendIndexed(append(k, identifierSpace, byte(t)), x.code)
	k = append(k, tokenSep)
	if x.anySystem {
		return k
	}
	return append(appendIndexed(k, x.system), 0)
}

func appendIdentifierKey(k []byte, t fhir.Type, x token, id string) []byte {
	return append(appendIdentifierPrefix(k, t, x), id...)
}

func appendIndexed(k []byte, part string) []byte {
	if len(part) <= maxIndexed {
		return append(k, part...)
	}
	sum := sha256.Sum256([]byte(part))
	k = append(append(k, part[:maxIndexed/2]...), 1)
	return hex.AppendEncode(k, sum[:16])
}

func dictKey(t fhir.Type) []byte { return []byte{dictSpace, byte(t)} }

func metaKey(name string) []byte { return append([]byte{metaSpace}, name...) }

func appendUint32(k []byte, n uint32) []byte {
	return append(k, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// after is the first key that is greater than all keys with the prefix, none of
// which is made of 0xff alone.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	end[len(end)-1]++
	return end
}

// checkID reports whether an id can be part of a key: it must be a FHIR id, so that no byte of it
// can be taken for a separator.
func checkID(id string) error {
	if len(id) == 0 || len(id) > maxID {
		return fmt.Errorf("id has %d characters, but 1 to %d are allowed", len(id), maxID)
	}
	for i := range len(id) {
		c := id[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c == '-' || c == '.') {
			return fmt.Errorf("id has a character that FHIR does not allow in ids")
		}
	}
	return nil
}
