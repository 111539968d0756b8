package directory

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"

	"github.com/zeebo/xxh3"

	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/sorted"
	"cpcds2fhir/schemas/fhir"
)

// rawSize is the size in bytes of a keyed hash, by which everything is known.
const rawSize = len(fhir.Raw{})

// The records of the directory's tables. Of two records with one key the one with the greater stamp
// is kept, so that the order of rows does not matter.
var (
	memberRecords   = sorted.Format{Name: "members", Size: memberSize + stampSize, Key: rawSize, Merge: byStamp(memberSize)}
	coverageRecords = sorted.Format{Name: "coverages", Size: coverageSize + stampSize, Key: rawSize, Merge: byStamp(coverageSize)}
	providerRecords = sorted.Format{Name: "providers", Size: providerSize + stampSize, Key: rawSize, Memory: math.MaxInt, Merge: byStamp(providerSize)}
	periodRecords   = sorted.Format{Name: "periods", Size: periodSize + stampSize, Key: 2 * rawSize, Merge: byStamp(periodSize)}
)

// Sizes in bytes of records without their stamps.
const (
	memberSize   = rawSize
	coverageSize = 4*rawSize + 1 + 2*dateSize
	providerSize = 2*rawSize + 1
	periodSize   = 2 * rawSize
	dateSize     = 10 // YYYY-MM-DD
)

// Stamp says how new a row of a small table is: when it was updated and, because rows may be
// equally new, a digest of its content. The greater stamp wins.
type Stamp [len(fhir.InstantKey{}) + 16]byte

const stampSize = len(Stamp{})

// StampOf makes the stamp of row i of a batch, which was updated then.
func StampOf(updated string, b *rowbatch.Batch, i int) (st Stamp) {
	at, _ := fhir.ParseInstant(updated)
	var content []byte
	for c, e := range b.Elements() { // in a fixed order, whatever the columns of the file
		if v := b.Column(c).Value(i); v != "" {
			content = append(binary.BigEndian.AppendUint16(content, numberOf[e]), v...)
			content = append(content, 0)
		}
	}
	digest := xxh3.Hash128(content).Bytes()
	copy(st[copy(st[:], at[:]):], digest[:])
	return st
}

// byStamp merges records whose stamp is at a place.
func byStamp(at int) func(old, next []byte) {
	return func(old, next []byte) {
		if bytes.Compare(next[at:at+stampSize], old[at:at+stampSize]) > 0 {
			copy(old, next)
		}
	}
}

// Coverage is what claims need of a coverage.
type Coverage struct {
	ID      fhir.Raw
	Insurer fhir.Raw // Organization of the payer
	Member  fhir.Raw // Patient that is covered
	Skip    bool     // of a payer whose claims a layout rule skips

	never      bool // never in effect: cancelled without an end date, a draft or entered in error
	undated    bool // of an earlier release, which did not record the period
	start, end [dateSize]byte
	stamp      Stamp
}

// NewCoverage makes a coverage with its status, a code of FHIR. Its days are YYYY-MM-DD, "" if
// open.
func NewCoverage(id, insurer, member fhir.Raw, skip bool, status, start, end string, st Stamp) *Coverage {
	never := status == "draft" || status == "entered-in-error" || status == "cancelled" && end == ""
	return &Coverage{ID: id, Insurer: insurer, Member: member, Skip: skip, never: never, start: dateOf(start), end: dateOf(end), stamp: st}
}

const (
	coverageSkip    = 1
	coverageUndated = 2
	coverageNever   = 4
)

func (e *Coverage) record(key fhir.Raw) []byte {
	b := make([]byte, 0, coverageRecords.Size)
	for _, r := range []fhir.Raw{key, e.ID, e.Insurer, e.Member} {
		b = append(b, r[:]...)
	}
	b = append(b, flag(e.Skip)*coverageSkip|flag(e.undated)*coverageUndated|flag(e.never)*coverageNever)
	b = append(append(b, e.start[:]...), e.end[:]...)
	return append(b, e.stamp[:]...)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (e *Coverage) read(record []byte) {
	for i, to := range []*fhir.Raw{&e.ID, &e.Insurer, &e.Member} {
		*to = fhir.Raw(record[(i+1)*rawSize:])
	}
	record = record[4*rawSize:]
	e.Skip, e.undated = record[0]&coverageSkip != 0, record[0]&coverageUndated != 0
	e.never = record[0]&coverageNever != 0
	e.start, e.end = [dateSize]byte(record[1:]), [dateSize]byte(record[1+dateSize:])
	e.stamp = Stamp(record[1+2*dateSize:])
}

// InEffect reports whether the coverage is in effect on a day; an unknown day or period counts as
// in effect.
func (e *Coverage) InEffect(day string) bool {
	start, end := date(e.start), date(e.end)
	return day == "" || e.undated || !e.never && start <= day && (end == "" || day <= end)
}

// period says that a coverage is one of a member with a payer. It counts as long as the coverage
// has the same stamp: a newer row may differ.
type period struct {
	coverage fhir.Raw
	stamp    Stamp
}

func (p *period) record(memberPayer fhir.Raw) []byte {
	b := append(memberPayer[:], p.coverage[:]...)
	return append(b, p.stamp[:]...)
}

func (p *period) read(record []byte) {
	p.coverage, p.stamp = fhir.Raw(record[rawSize:]), Stamp(record[2*rawSize:])
}

// Provider is a practitioner or an organization.
type Provider struct {
	ID           fhir.Raw
	Practitioner bool
	Constant     int32 // of a row of the layout: its number from 1; else 0
	Stamp        Stamp
}

func (e *Provider) record(key fhir.Raw) []byte {
	return append(append(append(key[:], e.ID[:]...), flag(e.Practitioner)), e.Stamp[:]...)
}

func (e *Provider) read(record []byte) {
	e.ID, e.Practitioner, e.Stamp = fhir.Raw(record[rawSize:]), record[2*rawSize] != 0, Stamp(record[providerSize:])
}

// knownAs reports whether e takes precedence over another provider with the same key: rows of files
// come before those of the layout, then a provider whose own key it is, then the newer row.
func (e *Provider) knownAs(key fhir.Raw, other *Provider) bool {
	if (e.Constant == 0) != (other.Constant == 0) {
		return e.Constant == 0
	}
	if own := e.ID == key; own != (other.ID == key) {
		return own
	}
	return bytes.Compare(e.Stamp[:], other.Stamp[:]) > 0
}

// Reference refers to the resource.
func (e Provider) Reference() string {
	if e.Practitioner {
		return e.ID.Reference(fhir.Practitioner)
	}
	return e.ID.Reference(fhir.Organization)
}

// compareEnds compares the ends of two periods; an open end is the latest.
func compareEnds(a, b string) int {
	if (a == "") != (b == "") {
		return int(flag(a == "")) - int(flag(b == ""))
	}
	return strings.Compare(a, b)
}

func date(d [dateSize]byte) string {
	if d[0] == 0 {
		return ""
	}
	return string(d[:])
}

func dateOf(s string) (d [dateSize]byte) {
	if len(s) == dateSize {
		copy(d[:], s)
	}
	return d
}
