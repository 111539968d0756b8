package store

import (
	"encoding/binary"

	"cpcds2fhir/schemas/fhir"
)

// hash is the content of a version: the 128-bit XXH3 of its JSON. It distinguishes versions of one
// resource, all of them ours, so collisions are no security risk; SHA-256 took a third of the time
// of a load that changes nothing.
type hash [16]byte

const (
	flagDeleted    = 1 // the head and the body of a tombstone
	flagDictionary = 2 // a body whose block needs the dictionary of its type
	flagCommit     = 4 // a body that has the instant of its commit

	// rowCommit stands before the commit in a row, where otherwise the first entry begins: it is no
	// parameter.
	rowCommit = 0xff
)

// head is what the store knows about a resource apart from its body. Strings of a decoded head are
// views into the value it was read from.
//
//	flags, hash, version (uvarint), last updated, source version, patient, commit (uvarint)
//
// where a text is its length (uvarint) and its bytes. Heads of schema 4 have no commit.
type head struct {
	deleted       bool
	hash          hash
	version       uint32 // 1 is the first
	lastUpdated   []byte
	sourceVersion []byte
	patient       []byte // id of the patient whose range holds the row
	commit        int64  // instant of the newest version; 0 if it is from before there were any
}

func (h *head) append(b []byte) []byte {
	b = append(b, flag(h.deleted, flagDeleted))
	b = append(b, h.hash[:]...)
	b = binary.AppendUvarint(b, uint64(h.version))
	b = appendText(b, h.lastUpdated)
	b = appendText(b, h.sourceVersion)
	b = appendText(b, h.patient)
	if h.commit == 0 {
		return b
	}
	return binary.AppendUvarint(b, uint64(h.commit))
}

func (h *head) decode(b []byte) bool {
	if len(b) < 1+len(h.hash) {
		return false
	}
	h.deleted = b[0]&flagDeleted != 0
	copy(h.hash[:], b[1:])
	r := reader{b: b[1+len(h.hash):]}
	h.version = uint32(r.number())
	h.lastUpdated, h.sourceVersion, h.patient, h.commit = r.text(), r.text(), r.text(), 0
	if len(r.b) > 0 {
		h.commit = int64(r.number())
	}
	return r.ended()
}

// body is one version of a resource.
//
//	flags, last updated, commit (uvarint), S2 block
//
// A tombstone has no block. Bodies of schema 4 have no commit.
type body struct {
	deleted, withDictionary bool
	lastUpdated             string
	commit                  int64
	block                   []byte // a view
}

// append appends all but the block.
func (v *body) append(b []byte) []byte {
	b = appendText(append(b, flag(v.deleted, flagDeleted)|flag(v.withDictionary, flagDictionary)|flag(v.commit != 0, flagCommit)), v.lastUpdated)
	if v.commit == 0 {
		return b
	}
	return binary.AppendUvarint(b, uint64(v.commit))
}

func (v *body) decode(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	v.deleted, v.withDictionary = b[0]&flagDeleted != 0, b[0]&flagDictionary != 0
	r := reader{b: b[1:]}
	v.lastUpdated, v.commit = string(r.text()), 0
	if b[0]&flagCommit != 0 {
		v.commit = int64(r.number())
	}
	v.block = r.b
	return !r.bad
}

// row holds the index entries of the newest version, and a copy of its last update time.
//
//	last updated, 0xff and the commit (uvarint), then for each entry: parameter (one byte), value
//
// Rows of schema 4 have no commit.
type row struct {
	lastUpdated []byte
	commit      int64
	entries     []byte // encoded
}

func appendRow(b []byte, r *fhir.Resource, commit int64) []byte {
	b = appendText(b, r.LastUpdated)
	b = binary.AppendUvarint(append(b, rowCommit), uint64(commit))
	for _, k := range r.Keys {
		b = append(b, byte(k.Param))
		b = appendText(b, k.Value)
	}
	return b
}

func (r *row) decode(b []byte) bool {
	d := reader{b: b}
	r.lastUpdated, r.commit = d.text(), 0
	if len(d.b) > 0 && d.b[0] == rowCommit {
		d.b = d.b[1:]
		r.commit = int64(d.number())
	}
	r.entries = d.b
	for len(d.b) > 0 {
		d.entry()
	}
	return d.ended()
}

// each calls yield with the entries of a decoded row until it returns false. The
// values are views.
func (r *row) each(yield func(p fhir.Param, value []byte) bool) {
	for d := (reader{b: r.entries}); len(d.b) > 0; {
		if !yield(d.entry()) {
			return
		}
	}
}

// undo is what a version replaced, apart from the body, which stays.
//
//	source version, row
//
// The row is empty if the version before was a deletion. First versions have no undo, nor have versions
// from before schema 6.
type undo struct {
	sourceVersion []byte
	row           []byte
}

func (u *undo) append(b []byte) []byte { return append(appendText(b, u.sourceVersion), u.row...) }

func (u *undo) decode(b []byte) bool {
	r := reader{b: b}
	u.sourceVersion = r.text()
	u.row = r.b
	return !r.bad
}

// patient is the id of the patient whose range has the row of a resource, "" if there is none.
func (r *row) patient(t fhir.Type, id string) (patient string) {
	if t == fhir.Patient {
		return id
	}
	r.each(func(p fhir.Param, value []byte) bool {
		if p == fhir.ParamPatient {
			patient = patientNamed(string(value))
		}
		return patient == ""
	})
	return patient
}

func flag(is bool, f byte) byte {
	if is {
		return f
	}
	return 0
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader reads values from the front of b; bad says that something was missing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) text() []byte {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) entry() (fhir.Param, []byte) {
	p := fhir.Param(r.b[0])
	r.b = r.b[1:]
	r.bad = r.bad || p >= fhir.NumParams
	return p, r.text()
}

func (r *reader) ended() bool { return !r.bad && len(r.b) == 0 }
