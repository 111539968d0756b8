package messages

import (
	"hash/maphash"
	"strings"
)

// tree lists the fields that messages can have. That of JSON grows with the messages and belongs to
// a collector; that of a schema is complete and never changes.
type tree struct {
	leaves []leaf
	lists  []list
}

// leaf is a field that has values, or one that cannot be read.
type leaf struct {
	name    string
	group   string   // the name of the list that contains it, "" at the top
	structs []string // the plain objects that contain it, within its list
	path    string   // all names
	list    int32    // the list that contains it, -1 at the top
	typ     string
	fault   string
	bulk    bool

	// For JSON. expected is the index of the expected field that it certainly is, -1 if there is
	// none. Otherwise plain means that its name does not depend on what else the message has.
	hash     uint64
	expected int32
	plain    bool
}

// fullName is the name with the plain objects.
func (l *leaf) fullName() string {
	if len(l.structs) == 0 {
		return l.name
	}
	return strings.Join(l.structs, ".") + "." + l.name
}

type list struct {
	name string
	path string
}

func (t *tree) addLeaf(l leaf) int32 {
	t.leaves = append(t.leaves, l)
	return int32(len(t.leaves) - 1)
}

func (t *tree) addList(l list) int32 {
	t.lists = append(t.lists, l)
	return int32(len(t.lists) - 1)
}

var hashSeed = maphash.MakeSeed()

// value is the value of a leaf in the element of its list.
type value struct {
	text    string
	leaf    int32
	element int32
}

// sink takes up one message.
type sink struct {
	limits Limits
	text   arena
	json   jsonTree

	tree     *tree
	values   []value
	elements int
	counts   []int32 // by list: its elements so far

	// For JSON: which leaves the message has.
	message uint64   // number of the message
	objects uint64   // JSON objects read so far
	seen    []uint64 // by leaf: the last message that had it
	touched []int32
	sum     uint64 // of the hashes of all touched leaves
	open    uint64 // of the hashes of those that are not expected
	opens   int
	bound   bool // whether a touched leaf has a name that depends on others
	nulls   bool // whether a null is a field
}

func (s *sink) begin() {
	s.message++
	s.tree, s.values, s.touched = nil, s.values[:0], s.touched[:0]
	s.sum, s.open, s.opens, s.bound, s.elements = 0, 0, 0, false, 0
}

// use says which tree the message belongs to. It is called before anything is put.
func (s *sink) use(t *tree) {
	s.tree = t
	clear(s.counts)
	s.grow()
}

// grow makes room for what was added to the tree.
func (s *sink) grow() {
	for len(s.counts) < len(s.tree.lists) {
		s.counts = append(s.counts, 0)
	}
	for len(s.seen) < len(s.tree.leaves) {
		s.seen = append(s.seen, 0)
	}
}

// element begins the next element of a list.
// It returns false if the message has too many.
func (s *sink) element(list int32) bool {
	s.elements++
	s.counts[list]++
	return s.elements <= s.limits.Rows
}

// put adds a value of a leaf, in the current element of its list. "" adds none.
func (s *sink) put(leaf int32, text string) {
	if text != "" {
		s.set(leaf, text)
	}
}

// set is put for messages in which the last value of a field counts, even if it is "".
func (s *sink) set(leaf int32, text string) {
	v := value{text: text, leaf: leaf}
	if l := s.tree.leaves[leaf].list; l >= 0 {
		v.element = s.counts[l] - 1
	}
	s.values = append(s.values, v)
}

// touch says that a message has a leaf. Only messages without a schema must say so. It returns
// false if the message has too many leaves.
func (s *sink) touch(leaf int32) bool {
	if s.seen[leaf] == s.message {
		return true
	}
	if len(s.touched) == s.limits.Fields {
		return false
	}
	s.seen[leaf] = s.message
	l := &s.tree.leaves[leaf]
	s.touched = append(s.touched, leaf)
	s.sum += l.hash
	if l.expected < 0 {
		s.open += l.hash
		s.opens++
		s.bound = s.bound || !l.plain
	}
	return true
}

// cut shortens a name for an error.
func cut(name string) string {
	const most = 120
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "..."
}
