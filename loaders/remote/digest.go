package remote

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
)

// Seeds of the hashes of what values consist of: a text is never taken for a number, nor a list for an
// object. To the seed of a member's value the hash of its name is added.
const (
	seedText = iota + 1
	seedScalar
	seedName
	seedObject
	seedItem
	seedList
)

// Elements that no digest counts, because servers change them by themselves, or because our id is not the
// server's.
var uncounted = []string{"id", "meta.versionId", "meta.lastUpdated", "meta.source"}

// trailingZeros stands among the ignored elements of a server that keeps decimals as binary numbers: 1.10
// comes back as 1.1 (V44).
const trailingZeros = "decimal.zeros"

// DigestOf digests a resource as the server or a batch has it. ignore are further elements that do not
// count, such as meta.tag. own translates the references of a server that gives ids: it returns our
// reference, or "" for one that is not ours; nil translates nothing.
//
// Neither the id counts nor the identifier that Identified adds: a server that gives ids has its own.
func DigestOf(resource []byte, ignore []string, own func(reference string) string) (Digest, error) {
	return newDigester(ignore).of(resource, own)
}

// digester digests resources of one server. It is safe for concurrent use.
type digester struct {
	left  *left
	short bool // decimals lose their trailing zeros
}

// left is a tree of the names of elements that are left out.
type left struct {
	names    []string
	children []*left // nil: the element itself is left out
}

func newDigester(ignore []string) *digester {
	root := &left{}
	for _, path := range slices.Concat(uncounted, ignore) {
		root.add(strings.Split(path, "."))
	}
	return &digester{root, slices.Contains(ignore, trailingZeros)}
}

func (l *left) add(path []string) {
	i := slices.Index(l.names, path[0])
	switch {
	case i < 0:
		i = len(l.names)
		l.names, l.children = append(l.names, path[0]), append(l.children, &left{})
	case l.children[i] == nil:
		return
	}
	if len(path) == 1 {
		l.children[i] = nil
		return
	}
	l.children[i].add(path[1:])
}

// find returns what is left out below a member; out: the member itself.
func (l *left) find(name []byte) (below *left, out bool) {
	if l == nil {
		return nil, false
	}
	for i, n := range l.names {
		if n == string(name) {
			return l.children[i], l.children[i] == nil
		}
	}
	return nil, false
}

func (d *digester) of(resource []byte, own func(string) string) (Digest, error) {
	h := hasher{scanner: scanner{text: resource}, own: own, short: d.short}
	sum, _, err := h.object(d.left, 0, 0)
	if err == nil {
		err = h.end()
	}
	if err != nil {
		return Digest{}, err
	}
	return Digest(sum.Bytes()), nil
}

// hasher digests one resource.
type hasher struct {
	scanner
	own   func(string) string
	short bool
}

// object digests an object: the sum of its members does not depend on their order.
func (h *hasher) object(out *left, depth int, seed uint64) (sum xxh3.Uint128, members int, err error) {
	if depth > maxDepth {
		return sum, 0, errJSON
	}
	more, err := h.open('{', '}')
	for ; more && err == nil; more, err = h.more('}') {
		var value xxh3.Uint128
		var counts bool
		if value, counts, err = h.member(out, depth); err != nil {
			return sum, 0, err
		}
		if counts {
			sum = add(sum, value)
			members++
		}
	}
	return join(seed+seedObject, sum, xxh3.Uint128{Lo: uint64(members)}), members, err
}

// member digests a member of an object; counts is false if it is left out.
func (h *hasher) member(out *left, depth int) (sum xxh3.Uint128, counts bool, err error) {
	name, err := h.string()
	if err != nil {
		return sum, false, err
	}
	seed := xxh3.HashSeed(name, seedName)
	below, drop := out.find(name)
	reference := string(name) == "reference"
	meta, identifier := depth == 0 && string(name) == "meta", depth == 0 && string(name) == "identifier"
	if err := h.take(':'); err != nil {
		return sum, false, err
	}
	n := 1
	switch c := h.next(); {
	case drop:
		return sum, false, h.skip(depth + 1)
	case reference && c == '"':
		sum, err = h.reference(seed)
	case meta && c == '{':
		sum, n, err = h.object(below, depth+1, seed)
	case identifier && c == '[':
		sum, n, err = h.array(below, depth+1, seed, true)
	default:
		sum, err = h.any(below, depth+1, seed)
	}
	return sum, n > 0, err
}

// array digests a list. Of identifiers, ours is left out.
func (h *hasher) array(out *left, depth int, seed uint64, identifiers bool) (sum xxh3.Uint128, items int, err error) {
	if depth > maxDepth {
		return sum, 0, errJSON
	}
	more, err := h.open('[', ']')
	for ; more && err == nil; more, err = h.more(']') {
		h.next()
		from := h.at
		var value xxh3.Uint128
		if value, err = h.any(out, depth+1, 0); err != nil {
			return sum, 0, err
		}
		if identifiers && isOurs(h.text[from:h.at]) {
			continue
		}
		sum = join(seedItem, sum, value)
		items++
	}
	return join(seed+seedList, sum, xxh3.Uint128{Lo: uint64(items)}), items, err
}

func (h *hasher) any(out *left, depth int, seed uint64) (sum xxh3.Uint128, err error) {
	switch h.next() {
	case '"':
		text, err := h.string()
		return xxh3.Hash128Seed(text, seed+seedText), err
	case '{':
		sum, _, err = h.object(out, depth, seed)
		return sum, err
	case '[':
		sum, _, err = h.array(out, depth, seed, false)
		return sum, err
	}
	text, err := h.scalar()
	if h.short && bytes.IndexByte(text, '.') > 0 && !bytes.ContainsAny(text, "eE") {
		text = bytes.TrimSuffix(bytes.TrimRight(text, "0"), []byte{'.'})
	}
	return xxh3.Hash128Seed(text, seed+seedScalar), err
}

// reference digests a reference as ours, if it is one.
func (h *hasher) reference(seed uint64) (xxh3.Uint128, error) {
	text, err := h.string()
	if err == nil && h.own != nil {
		if ours := h.own(string(text)); ours != "" {
			return xxh3.HashString128Seed(ours, seed+seedText), nil
		}
	}
	return xxh3.Hash128Seed(text, seed+seedText), err
}

func add(a, b xxh3.Uint128) xxh3.Uint128 {
	lo, carry := bits.Add64(a.Lo, b.Lo, 0)
	hi, _ := bits.Add64(a.Hi, b.Hi, carry)
	return xxh3.Uint128{Hi: hi, Lo: lo}
}

// join digests two digests, in order.
func join(seed uint64, a, b xxh3.Uint128) xxh3.Uint128 {
	var buf [32]byte
	binary.LittleEndian.PutUint64(buf[0:], a.Lo)
	binary.LittleEndian.PutUint64(buf[8:], a.Hi)
	binary.LittleEndian.PutUint64(buf[16:], b.Lo)
	binary.LittleEndian.PutUint64(buf[24:], b.Hi)
	return xxh3.Hash128Seed(buf[:], seed)
}
