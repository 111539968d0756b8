package parquetio

import (
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/columnar"
	"cpcds2fhir/schemas/cpcds"
)

// leaf is one column of values: a leaf of the schema's tree.
type leaf struct {
	field cpcds.Field
	chunk int // which column chunk of a row group
	cell  cell

	// list is the number of the list that holds the column, -1 at the top. An
	// element of the list is there if its definition level is at least element; a
	// value is there if it is present.
	list    int
	element byte
	present byte
}

// schemaWalk collects the leaves of a schema. The tree of the library and the
// list of schema elements in the footer are in the same order; the list has the
// annotations that the tree has forgotten.
type schemaWalk struct {
	elements []format.SchemaElement
	leaves   []leaf
	structs  [][]string // by leaf: the plain groups around it, within its list
	lists    int
}

// place is where in the tree the walk is.
type place struct {
	list    int
	group   string
	element byte
	structs []string
}

func leavesOf(f *parquet.File) ([]leaf, int, error) {
	w := &schemaWalk{elements: f.Metadata().Schema[1:]}
	for _, c := range f.Root().Columns() {
		if err := w.node(c, place{list: -1}); err != nil {
			return nil, 0, err
		}
	}
	return w.leaves, w.lists, w.name()
}

func unsupported(c *parquet.Column, what string) error {
	return &pipeline.FormatError{Column: strings.Join(c.Path(), "."), What: what,
		Hint: "leave the column out of the extract or write it as text"}
}

// next returns the footer's description of the node that the walk comes to.
func (w *schemaWalk) next() *format.SchemaElement {
	e := &w.elements[0]
	w.elements = w.elements[1:]
	return e
}

func (w *schemaWalk) node(c *parquet.Column, at place) error {
	e := w.next()
	if c.Leaf() {
		if c.Repeated() {
			var err error
			if at, err = w.enter(c, c, at); err != nil {
				return err
			}
		}
		return w.leaf(c, e, at, c.Name())
	}
	switch annotation(e) {
	case mapGroup:
		return unsupported(c, "is a map")
	case variantGroup:
		return unsupported(c, "is a variant")
	case listGroup:
		return w.listGroup(c, at)
	}
	if c.Repeated() {
		at, err := w.enter(c, c, at)
		if err != nil {
			return err
		}
		return w.children(c, at)
	}
	at.structs = append(slices.Clip(at.structs), c.Name())
	return w.children(c, at)
}

func (w *schemaWalk) children(c *parquet.Column, at place) error {
	for _, child := range c.Columns() {
		if err := w.node(child, at); err != nil {
			return err
		}
	}
	return nil
}

// enter goes into a list, of which repeated is the node that repeats.
func (w *schemaWalk) enter(list, repeated *parquet.Column, at place) (place, error) {
	if at.list >= 0 {
		return at, unsupported(list, "is a list within a list")
	}
	w.lists++
	return place{list: w.lists - 1, group: list.Name(), element: byte(repeated.MaxDefinitionLevel())}, nil
}

// listGroup walks a group that is annotated as a list. It has one child that
// repeats. That child is the element itself, as old writers have it, or a mere
// wrapper around the element.
func (w *schemaWalk) listGroup(c *parquet.Column, at place) error {
	if len(c.Columns()) != 1 || !c.Columns()[0].Repeated() {
		return unsupported(c, "is a list of an unknown form")
	}
	repeated := c.Columns()[0]
	e := w.next()
	at, err := w.enter(c, repeated, at)
	if err != nil {
		return err
	}
	if repeated.Leaf() {
		return w.leaf(repeated, e, at, c.Name())
	}
	wrapper := len(repeated.Columns()) == 1 && repeated.Name() != "array" && repeated.Name() != c.Name()+"_tuple"
	if !wrapper {
		return w.children(repeated, at)
	}
	element := repeated.Columns()[0]
	e = w.next()
	switch {
	case element.Leaf():
		return w.leaf(element, e, at, c.Name())
	case element.Repeated(), annotation(e) == listGroup:
		return unsupported(c, "is a list within a list")
	case annotation(e) != structGroup:
		return unsupported(c, "is a list of maps or variants")
	}
	return w.children(element, at)
}

func (w *schemaWalk) leaf(c *parquet.Column, e *format.SchemaElement, at place, name string) error {
	cell, typ := cellOf(e)
	if cell.kind == noKind {
		return unsupported(c, "is of type "+typ+", which cannot become text")
	}
	w.leaves = append(w.leaves, leaf{
		field: cpcds.Field{Name: name, Group: at.group, Type: typ},
		chunk: c.Index(), cell: cell,
		list: at.list, element: at.element, present: byte(c.MaxDefinitionLevel()),
	})
	w.structs = append(w.structs, at.structs)
	return nil
}

// name sets the names of all columns.
func (w *schemaWalk) name() error {
	fields := make([]cpcds.Field, len(w.leaves))
	for i := range w.leaves {
		fields[i] = w.leaves[i].field
	}
	if i := columnar.SetNames(fields, w.structs); i >= 0 {
		return &pipeline.FormatError{Column: fields[i].Name, What: "is the name of more than one column"}
	}
	for i, f := range fields {
		// The names in the footer are pieces of it, and would keep all of it in memory.
		w.leaves[i].field = cpcds.Field{Name: strings.Clone(f.Name), Group: strings.Clone(f.Group), Type: strings.Clone(f.Type)}
	}
	return nil
}

type groupKind uint8

const (
	structGroup groupKind = iota
	listGroup
	mapGroup
	variantGroup
)

// annotation says what a group stands for. Old writers have only the converted
// type.
func annotation(e *format.SchemaElement) groupKind {
	switch e.LogicalType.Value.(type) {
	case *format.ListType:
		return listGroup
	case *format.MapType:
		return mapGroup
	case *format.VariantType:
		return variantGroup
	}
	if e.ConvertedType.Valid {
		switch e.ConvertedType.V {
		case deprecated.List:
			return listGroup
		case deprecated.Map, deprecated.MapKeyValue:
			return mapGroup
		}
	}
	return structGroup
}
