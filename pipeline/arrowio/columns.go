package arrowio

import (
	"slices"

	"cpcds2fhir/pipeline/arrowio/array"
	"cpcds2fhir/pipeline/columnar"
	"cpcds2fhir/schemas/cpcds"
)

// leaf is one column of values, or a column that cannot be converted to text.
type leaf struct {
	field cpcds.Field
	typ   *array.Type

	// The structs that contain the column, outermost first: outer down to the list that contains
	// the column, inner from the elements of the list.
	outer, inner []*array.Type
	list         *array.Type // the list that contains the column, or nil

	structs []string // the names of the structs that contain it, within its list
}

// schemaWalk collects the columns and lists of a schema.
type schemaWalk struct {
	leaves []leaf
	lists  []*array.Type
	lost   bool // a type is unknown, so the positions of the columns that follow are unknown
}

// leavesOf returns the columns and the lists of a schema. Columns that cannot be converted to text
// are included, with the reason.
func leavesOf(s *array.Schema) ([]leaf, []*array.Type) {
	var w schemaWalk
	for _, x := range s.Fields {
		w.node(x, x.Name, leaf{})
	}
	fields := make([]cpcds.Field, len(w.leaves))
	structs := make([][]string, len(w.leaves))
	for i := range w.leaves {
		fields[i], structs[i] = w.leaves[i].field, w.leaves[i].structs
	}
	columnar.SetNames(fields, structs) // columns that share a name cannot be bound
	for i := range w.leaves {
		w.leaves[i].field = fields[i]
	}
	return w.leaves, w.lists
}

// node walks a field. at is the leaf to add if the field is a column.
func (w *schemaWalk) node(x *array.Type, name string, at leaf) {
	plain := !w.lost && x.Extension == ""
	switch {
	case plain && x.IsStruct():
		at.structs = append(slices.Clip(at.structs), name)
		w.children(x, at)
		return
	case plain && x.IsList() && at.list == nil:
		at.list, at.field.Group, at.structs = x, name, nil
		w.lists = append(w.lists, x)
		element := x.Children[0]
		if element.IsStruct() && element.Extension == "" {
			w.children(element, at)
		} else {
			w.node(element, name, at)
		}
		return
	}
	of := x.Content()
	if of.IsList() && at.list == nil {
		at.field.Fault = "is of type list, which cannot be converted to text"
	} else {
		at.field.Fault = of.Fault()
	}
	at.typ, at.field.Name, at.field.Type = x, name, of.String()
	at.field.Bulk = of.IsBytes() && at.field.Fault == ""
	if w.lost {
		at.field.Fault = "follows a column of an unknown type, so its position in the file is unknown"
	}
	w.lost = w.lost || x.HasUnknown()
	w.leaves = append(w.leaves, at)
}

func (w *schemaWalk) children(x *array.Type, at leaf) {
	if at.list == nil {
		at.outer = append(slices.Clip(at.outer), x)
	} else {
		at.inner = append(slices.Clip(at.inner), x)
	}
	for _, c := range x.Children {
		w.node(c, c.Name, at)
	}
}
