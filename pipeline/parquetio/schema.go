package parquetio

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/pipeline/columnar"
	"cpcds2fhir/pipeline/parquetio/cell"
	"cpcds2fhir/schemas/cpcds"
)

// leaf is one column of values: a leaf of the schema tree, or a subtree that cannot be read.
type leaf struct {
	field cpcds.Field // Fault is the reason why the column cannot be read
	chunk int         // index of the column chunk within a row group
	cell  cell.Type

	// list is the number of the list that contains the column, or -1 if there is none. An element
	// of the list exists if its definition level is at least element; a value exists if its
	// definition level equals present. repeated is the maximum repetition level.
	list     int
	element  byte
	present  byte
	repeated byte
}

// isText reports whether a value is text. If the schema does not declare the bytes of a column as
// text, values with a NUL are not text; they are most likely numbers.
func (l *leaf) isText(s string) bool {
	return columnar.IsText(s) && !(l.field.Bulk && strings.IndexByte(s, 0) >= 0)
}

// schemaWalk collects the leaves of a schema from its elements, which are stored in depth-first
// order with parents first.
type schemaWalk struct {
	elements []format.SchemaElement
	zones    func(path []string) (name string, zone *time.Location) // of UTC timestamps
	int96    *time.Location
	leaves   []leaf
	structs  [][]string // by leaf: the plain groups that contain it, within its list
	lists    int
	chunks   int // leaves visited so far
}

// place is a position in the schema tree.
type place struct {
	list                       int
	group                      string
	element, present, repeated byte
	structs                    []string
	path                       []string // without the levels that a list adds
	depth                      int
}

const maxDepth = 64 // maximum nesting depth of groups

// leavesOf returns the columns of a file and the number of its lists.
func leavesOf(p *footer) ([]leaf, int, error) {
	if len(p.Schema) == 0 {
		return nil, 0, parquet.ErrCorrupted
	}
	w := &schemaWalk{elements: p.Schema[1:], zones: zonesOf(p), int96: int96Zone(p)}
	for range p.Schema[0].NumChildren.V {
		if err := w.node(place{list: -1}); err != nil {
			return nil, 0, err
		}
	}
	for g := range p.Groups.list {
		if len(p.Groups.list[g].chunks) != w.chunks {
			return nil, 0, parquet.ErrCorrupted
		}
	}
	w.name()
	return w.leaves, w.lists, nil
}

// next returns the next schema element and the position within it.
func (w *schemaWalk) next(at place) (*format.SchemaElement, place, error) {
	if len(w.elements) == 0 || at.depth == maxDepth {
		return nil, at, parquet.ErrCorrupted
	}
	e := &w.elements[0]
	w.elements = w.elements[1:]
	at.path, at.depth = append(slices.Clip(at.path), e.Name), at.depth+1
	switch e.RepetitionType.V {
	case format.Optional:
		at.present++
	case format.Repeated:
		at.present++
		at.repeated++
	}
	return e, at, nil
}

func isLeaf(e *format.SchemaElement) bool { return e.NumChildren.V <= 0 && e.Type.Valid }

func repeats(e *format.SchemaElement) bool { return e.RepetitionType.V == format.Repeated }

func (w *schemaWalk) node(at place) error {
	e, at, err := w.next(at)
	if err != nil {
		return err
	}
	return w.element(e, at)
}

// element walks the node described by e.
func (w *schemaWalk) element(e *format.SchemaElement, at place) error {
	if isLeaf(e) {
		if repeats(e) && !w.enter(e.Name, &at) {
			return w.unreadable(e, at, "list", "is a list within a list")
		}
		w.leaf(e, at, e.Name)
		return nil
	}
	switch annotation(e) {
	case mapGroup:
		return w.unreadable(e, at, "map", "is a map")
	case variantGroup:
		return w.unreadable(e, at, "variant", "is a variant")
	case listGroup:
		return w.listGroup(e, at)
	}
	if repeats(e) {
		if !w.enter(e.Name, &at) {
			return w.unreadable(e, at, "list", "is a list within a list")
		}
		return w.children(e, at)
	}
	at.structs = append(slices.Clip(at.structs), e.Name)
	return w.children(e, at)
}

func (w *schemaWalk) children(e *format.SchemaElement, at place) error {
	for range e.NumChildren.V {
		if err := w.node(at); err != nil {
			return err
		}
	}
	return nil
}

// enter enters a list. It returns false if it is already inside a list.
func (w *schemaWalk) enter(name string, at *place) bool {
	if at.list >= 0 {
		return false
	}
	at.list, at.group, at.element, at.structs = w.lists, name, at.present, nil
	w.lists++
	return true
}

// listGroup walks a group that is annotated as a list. The group has one repeated child, which is
// either the element itself, as written by old writers, or just a wrapper around the element.
func (w *schemaWalk) listGroup(e *format.SchemaElement, at place) error {
	if e.NumChildren.V != 1 || len(w.elements) == 0 || !repeats(&w.elements[0]) {
		return w.unreadable(e, at, "list", "is a list with an unsupported structure")
	}
	if at.list >= 0 || !plainList(e, w.elements) {
		return w.unreadable(e, at, "list", "is a list within a list, or a list of maps")
	}
	path := at.path
	repeated, at, err := w.next(at)
	if err != nil {
		return err
	}
	at.path = path
	w.enter(e.Name, &at)
	if isLeaf(repeated) {
		w.leaf(repeated, at, e.Name)
		return nil
	}
	if !wraps(e, repeated) {
		return w.children(repeated, at)
	}
	element, at, err := w.next(at)
	if err != nil {
		return err
	}
	at.path = path
	if isLeaf(element) {
		w.leaf(element, at, e.Name)
		return nil
	}
	return w.children(element, at)
}

// wraps reports whether the repeated child of a list is a wrapper around the element, not the
// element itself.
func wraps(list, repeated *format.SchemaElement) bool {
	return repeated.NumChildren.V == 1 && repeated.Name != "array" && repeated.Name != list.Name+"_tuple"
}

// plainList reports whether the elements of a list are values or plain groups. The first element
// of below is the repeated child of the list.
func plainList(list *format.SchemaElement, below []format.SchemaElement) bool {
	if isLeaf(&below[0]) || !wraps(list, &below[0]) || len(below) < 2 {
		return true
	}
	return isLeaf(&below[1]) && !repeats(&below[1]) || !isLeaf(&below[1]) && !repeats(&below[1]) && annotation(&below[1]) == structGroup
}

// unreadable adds a single column that represents a subtree, and skips the subtree.
func (w *schemaWalk) unreadable(e *format.SchemaElement, at place, typ, why string) error {
	w.leaves = append(w.leaves, leaf{
		field: cpcds.Field{Name: e.Name, Group: at.group, Type: typ, Fault: why},
		chunk: w.chunks, list: at.list,
	})
	w.structs = append(w.structs, at.structs)
	return w.skip(e, at)
}

// skip skips everything below a node.
func (w *schemaWalk) skip(e *format.SchemaElement, at place) error {
	if isLeaf(e) {
		w.chunks++
		return nil
	}
	for range e.NumChildren.V {
		child, below, err := w.next(at)
		if err != nil {
			return err
		}
		if err := w.skip(child, below); err != nil {
			return err
		}
	}
	return nil
}

func (w *schemaWalk) leaf(e *format.SchemaElement, at place, name string) {
	l := leaf{
		field: cpcds.Field{Name: name, Group: at.group}, chunk: w.chunks,
		list: at.list, element: at.element, present: at.present, repeated: at.repeated,
	}
	w.chunks++
	l.cell, l.field.Type = cell.Of(e)
	switch {
	case l.cell.Kind == cell.None:
		l.field.Fault = "is of type " + l.field.Type + ", which cannot be converted to text"
	case l.cell.Kind == cell.Timestamp && l.cell.Zone != nil:
		switch name, zone := w.zones(at.path); {
		case zone != nil:
			l.cell.Zone, l.field.Type = zone, "timestamp["+name+"]"
		case name != "":
			l.field.Fault = "is a timestamp in the unknown time zone " + strconv.Quote(name)
		}
	case l.cell.Kind == cell.Int96 && w.int96 != nil:
		l.cell.Zone, l.field.Type = w.int96, "timestamp[UTC]"
	}
	l.field.Bulk = isBytes(e)
	w.leaves = append(w.leaves, l)
	w.structs = append(w.structs, at.structs)
}

// isBytes reports whether a column contains bytes that the schema does not declare as text.
func isBytes(e *format.SchemaElement) bool {
	bytes := e.Type.V == format.ByteArray || e.Type.V == format.FixedLenByteArray
	return bytes && e.LogicalType.Value == nil && !e.ConvertedType.Valid
}

// name sets the names of all columns. Two columns may have the same name; the code that reads them
// must handle this.
func (w *schemaWalk) name() {
	fields := make([]cpcds.Field, len(w.leaves))
	for i := range w.leaves {
		fields[i] = w.leaves[i].field
	}
	columnar.SetNames(fields, w.structs)
	for i, f := range fields {
		// The strings point into the footer and would keep all of it in memory.
		f.Name, f.Group, f.Type, f.Fault = strings.Clone(f.Name), strings.Clone(f.Group), strings.Clone(f.Type), strings.Clone(f.Fault)
		w.leaves[i].field = f
	}
}

type groupKind uint8

const (
	structGroup groupKind = iota
	listGroup
	mapGroup
	variantGroup
)

// annotation returns the kind of a group. Old writers set only the converted type.
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
