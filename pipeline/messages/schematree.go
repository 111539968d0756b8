package messages

import (
	"errors"
	"slices"
)

const (
	maxSchemaFields = 4096
	maxSchemaDepth  = 32
)

var (
	errManyFields = errors.New("it has too many fields")
	errDeep       = errors.New("it is nested too deeply")
)

// place is where in a message a field stands.
type place struct {
	list    int32
	group   string
	structs []string
	path    string
	depth   int
}

// schemaTree makes the tree of a schema.
type schemaTree struct{ tree tree }

// top is the place of the fields of the message itself.
var top = place{list: -1}

// in returns the place of the fields of a plain object that is a field here.
func (at place) in(name string) place {
	at.structs, at.path = append(slices.Clip(at.structs), name), joined(at.path, name)
	at.depth++
	return at
}

// leaf adds a field that becomes text.
func (t *schemaTree) leaf(at place, name, typ string) (int32, error) {
	return t.add(at, leaf{name: name, typ: typ, path: joined(at.path, name)})
}

// element adds the elements of a list that are text.
func (t *schemaTree) element(at place, typ string) (int32, error) {
	return t.add(at, leaf{name: at.group, typ: typ, path: at.path})
}

// fault adds a field that cannot be read.
func (t *schemaTree) fault(at place, name, typ, why string) error {
	_, err := t.add(at, leaf{name: name, typ: typ, fault: why, path: joined(at.path, name), bulk: typ == "bytes"})
	return err
}

func (t *schemaTree) add(at place, l leaf) (int32, error) {
	if len(t.tree.leaves) == maxSchemaFields {
		return 0, errManyFields
	}
	l.group, l.structs, l.list, l.expected = at.group, at.structs, at.list, -1
	return t.tree.addLeaf(l), nil
}

// list adds a list and returns the place of its elements.
func (t *schemaTree) list(at place, name string) (place, error) {
	if len(t.tree.lists) == maxSchemaFields {
		return at, errManyFields
	}
	path := joined(at.path, name)
	return place{list: t.tree.addList(list{name, path}), group: name, path: path, depth: at.depth + 1}, nil
}

func unreadable(typ string) string {
	return "is of type " + typ + ", which cannot be converted to text"
}

// program decodes messages of one schema. It is safe for concurrent use.
type program interface {
	// decode decodes the message that begins at byte from.
	decode(b []byte, from int, s *sink) error
}
