package messages

import (
	"hash/maphash"
	"slices"
	"strings"
)

const (
	jsonType   = "string"
	nestedList = "is a list within a list"
)

// jsonTree has the fields of the JSON messages that a collector has read. A node is found without a
// search if the fields of a message are in the same order as those of the message before.
type jsonTree struct {
	tree
	root     *jsonObject
	nodes    int
	expected map[name]int32
	taken    map[int32]bool // expected fields that a leaf is known to be
}

// jsonObject is what objects at a certain place in a message have in common.
type jsonObject struct {
	fields  map[string]*jsonField
	first   *jsonField // the first field of the last such object
	group   string
	list    int32
	structs []string
	path    string
}

// jsonField is a field of objects. Its value may be of a different kind in each message.
type jsonField struct {
	name   string
	simple bool       // the name is written in JSON as it is
	next   *jsonField // what came after it the last time
	object uint64     // number of the last object that had it
	path   string

	text   int32 // its leaf for text, -1 if there was none yet
	nested int32 // its leaf for a list within a list, likewise
	fields *jsonObject
	list   *jsonList
}

// jsonList is what lists at a certain place in a message have in common.
type jsonList struct {
	list   int32
	text   int32 // the leaf of elements that are text, -1 if there was none yet
	nested int32 // the leaf of elements that are lists, likewise
	fields *jsonObject
}

func (t *jsonTree) reset() {
	*t = jsonTree{expected: t.expected, taken: map[int32]bool{}}
	t.root = &jsonObject{fields: map[string]*jsonField{}, list: -1}
}

// field returns the field of an object, which has it from now on.
func (t *jsonTree) field(o *jsonObject, key string) *jsonField {
	if f := o.fields[key]; f != nil {
		return f
	}
	key = strings.Clone(key)
	f := &jsonField{name: key, simple: isSimple(key), path: joined(o.path, key), text: -1, nested: -1}
	o.fields[key] = f
	t.nodes++
	return f
}

func joined(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func isSimple(key string) bool {
	for i := range len(key) {
		if c := key[i]; c < ' ' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// textOf returns the leaf for a field's text.
func (t *jsonTree) textOf(o *jsonObject, f *jsonField) int32 {
	if f.text < 0 {
		f.text = t.add(o, f.name, f.path, "")
	}
	return f.text
}

// nestedOf returns the leaf for a list within a list.
func (t *jsonTree) nestedOf(o *jsonObject, f *jsonField) int32 {
	if f.nested < 0 {
		f.nested = t.add(o, f.name, f.path, nestedList)
	}
	return f.nested
}

// fieldsOf returns the object that is the value of a field.
func (t *jsonTree) fieldsOf(o *jsonObject, f *jsonField) *jsonObject {
	if f.fields == nil {
		f.fields = &jsonObject{
			fields: map[string]*jsonField{}, group: o.group, list: o.list, path: f.path,
			structs: append(slices.Clip(o.structs), f.name),
		}
		t.nodes++
	}
	return f.fields
}

// listOf returns the list that is the value of a field.
func (t *jsonTree) listOf(f *jsonField) *jsonList {
	if f.list == nil {
		l := t.addList(list{name: f.name, path: f.path})
		f.list = &jsonList{list: l, text: -1, nested: -1}
		f.list.fields = &jsonObject{fields: map[string]*jsonField{}, group: f.name, list: l, path: f.path}
		t.nodes++
	}
	return f.list
}

// elementOf returns the leaf for elements of a list that are text. It has the name of the list.
func (t *jsonTree) elementOf(l *jsonList) int32 {
	if l.text < 0 {
		l.text = t.add(l.fields, l.fields.group, l.fields.path, "")
	}
	return l.text
}

// nestedIn returns the leaf for elements of a list that are lists.
func (t *jsonTree) nestedIn(l *jsonList) int32 {
	if l.nested < 0 {
		l.nested = t.add(l.fields, l.fields.group, l.fields.path, nestedList)
	}
	return l.nested
}

func (t *jsonTree) add(o *jsonObject, label, path, fault string) int32 {
	l := leaf{
		name: label, group: o.group, structs: o.structs, path: path, list: o.list, typ: jsonType, fault: fault,
		expected: -1, plain: len(o.structs) == 0 && fault == "",
		hash: maphash.String(hashSeed, fault+"\x00"+path) + uint64(len(t.leaves)),
	}
	if fault != "" {
		l.typ = "list"
	} else if e, ok := t.expected[name{l.group, l.fullName()}]; ok {
		if l.plain = false; !t.taken[e] {
			t.taken[e], l.expected = true, e
		}
	}
	t.nodes++
	return t.addLeaf(l)
}
