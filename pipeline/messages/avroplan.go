package messages

import (
	"errors"
	"slices"

	"cpcds2fhir/pipeline/messages/registry"
)

// avroNode is a type at a certain place in a message.
type avroNode struct {
	typ  *avroType
	null int // which branch of the union around the type is null, -1 if none
	wrap int // how many branches that union has, 0 if there is none
	path string

	skip   bool // the values cannot become text
	leaf   int32
	list   int32
	fields []avroNode // of a record
	item   *avroNode  // of an array
}

type avroProgram struct {
	tree tree
	root avroNode
}

// newAvro returns the program for messages with a schema.
func newAvroProgram(s *registry.Schema) (program, error) {
	t, err := parseAvro(s)
	if err != nil {
		return nil, err
	}
	if t.kind != avroRecord {
		return nil, unsupported{errors.New("its type is not a record")}
	}
	var b avroBuilder
	root, err := b.record(t, top)
	if err != nil {
		return nil, unsupported{err}
	}
	return &avroProgram{b.out.tree, root}, nil
}

// unsupported is an error of a schema that is valid but cannot be read.
type unsupported struct{ error }

type avroBuilder struct {
	out    schemaTree
	inside []*avroType // the records around the current place
}

func (b *avroBuilder) record(t *avroType, at place) (avroNode, error) {
	n := avroNode{typ: t, null: -1, leaf: -1, path: at.path}
	if at.depth > maxSchemaDepth {
		return n, errDeep
	}
	b.inside = append(b.inside, t)
	defer func() { b.inside = b.inside[:len(b.inside)-1] }()
	for _, f := range t.fields {
		field, err := b.field(f.typ, f.name, at)
		if err != nil {
			return n, err
		}
		n.fields = append(n.fields, field)
	}
	return n, nil
}

// optional returns the type in a union of one type and null. ok is false if there are several.
func optional(t *avroType) (inner *avroType, null int, ok bool) {
	null = slices.IndexFunc(t.of, func(b *avroType) bool { return b.kind == avroNull })
	switch {
	case len(t.of) == 1:
		return t.of[0], null, true
	case len(t.of) == 2 && null >= 0:
		return t.of[1-null], null, true
	}
	return t, null, false
}

// field returns the node of a field.
func (b *avroBuilder) field(t *avroType, name string, at place) (n avroNode, err error) {
	n = avroNode{typ: t, null: -1, leaf: -1, path: joined(at.path, name)}
	fault := func(why string) (avroNode, error) {
		return avroNode{typ: n.typ, null: n.null, wrap: n.wrap, leaf: -1, path: n.path, skip: true}, b.out.fault(at, name, n.typ.name, why)
	}
	if t.kind == avroUnion {
		inner, null, ok := optional(t)
		if !ok {
			return fault("is a union of several types")
		}
		n.typ, n.null, n.wrap = inner, null, len(t.of)
	}
	switch n.typ.kind {
	case avroRecord:
		if slices.Contains(b.inside, n.typ) {
			return fault("contains itself")
		}
		inner, err := b.record(n.typ, at.in(name))
		n.fields = inner.fields
		return n, err
	case avroArray:
		if at.list >= 0 {
			return fault(nestedList)
		}
		return b.array(n, name, at)
	case avroMap:
		return fault("is a map")
	}
	if !n.typ.readable() {
		return fault(unreadable(n.typ.name))
	}
	n.leaf, err = b.out.leaf(at, name, n.typ.name)
	return n, err
}

func (t *avroType) readable() bool {
	return t.kind != avroBytes && t.kind != avroFixed || t.logical != ""
}

func (b *avroBuilder) array(n avroNode, name string, at place) (avroNode, error) {
	item := avroNode{typ: n.typ.of[0], null: -1, leaf: -1, path: n.path}
	one := item.typ
	if one.kind == avroUnion {
		inner, null, ok := optional(one)
		if ok {
			item.wrap = len(one.of)
			one, item.typ, item.null = inner, inner, null
		}
	}
	why := ""
	switch {
	case one.kind == avroUnion:
		why = "is a list whose elements have several types"
	case one.kind == avroArray:
		why = nestedList
	case one.kind == avroMap:
		why = "is a list of maps"
	case one.kind == avroRecord && slices.Contains(b.inside, one):
		why = "contains itself"
	case one.kind != avroRecord && !one.readable():
		why = unreadable(one.name)
	}
	if why != "" {
		n.skip = true
		return n, b.out.fault(at, name, "list", why)
	}
	in, err := b.out.list(at, name)
	if err != nil {
		return n, err
	}
	n.list, n.item = in.list, &item
	if one.kind == avroRecord {
		inner, err := b.record(one, in)
		item.fields = inner.fields
		return n, err
	}
	item.leaf, err = b.out.element(in, one.name)
	return n, err
}
