package arrowio

import (
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/columnar"
	"cpcds2fhir/schemas/cpcds"
)

// leaf is one column of values.
type leaf struct {
	field cpcds.Field

	// The way to the column: places of a child within a record or struct. In a
	// list, outer leads to the list and inner from its elements on.
	outer, inner []int
	list         int // number of the list, -1 at the top

	structs []string // the structs around it, within its list
}

type schemaWalk struct {
	leaves []leaf
	lists  int
}

func leavesOf(schema *arrow.Schema) ([]leaf, int, error) {
	var w schemaWalk
	for i, x := range schema.Fields() {
		at := leaf{list: -1, outer: []int{i}}
		if err := w.node(x, at, []string{x.Name}); err != nil {
			return nil, 0, err
		}
	}
	fields := make([]cpcds.Field, len(w.leaves))
	structs := make([][]string, len(w.leaves))
	for i := range w.leaves {
		fields[i], structs[i] = w.leaves[i].field, w.leaves[i].structs
	}
	if i := columnar.SetNames(fields, structs); i >= 0 {
		return nil, 0, &pipeline.FormatError{Column: fields[i].Name, What: "is the name of more than one column"}
	}
	for i := range w.leaves {
		w.leaves[i].field = fields[i]
	}
	return w.leaves, w.lists, nil
}

// node walks a field. at is the leaf that it would be.
func (w *schemaWalk) node(x arrow.Field, at leaf, path []string) error {
	unsupported := func(what string) error {
		return &pipeline.FormatError{Column: strings.Join(path, "."), What: what,
			Hint: "leave the column out of the extract or write it as text"}
	}
	switch t := x.Type.(type) {
	case *arrow.StructType:
		at.structs = append(slices.Clip(at.structs), x.Name)
		return w.children(t, at, path)
	case *arrow.MapType:
		return unsupported("is a map")
	case *arrow.ListType, *arrow.LargeListType, *arrow.FixedSizeListType:
		if at.list >= 0 {
			return unsupported("is a list within a list")
		}
		at = leaf{list: w.lists, outer: at.outer, field: cpcds.Field{Group: x.Name}}
		w.lists++
		element := t.(arrow.ListLikeType).ElemField()
		if s, ok := element.Type.(*arrow.StructType); ok {
			return w.children(s, at, path)
		}
		element.Name = x.Name
		return w.node(element, at, path)
	case *arrow.DictionaryType:
		if !supported(t.ValueType) {
			return unsupported("is a dictionary of type " + t.ValueType.Name() + ", which cannot become text")
		}
		at.field.Type = typeName(t.ValueType)
	default:
		if !supported(t) {
			return unsupported("is of type " + t.Name() + ", which cannot become text")
		}
		at.field.Type = typeName(t)
	}
	at.field.Name = x.Name
	w.leaves = append(w.leaves, at)
	return nil
}

func (w *schemaWalk) children(t *arrow.StructType, at leaf, path []string) error {
	for i, child := range t.Fields() {
		next := at
		if at.list < 0 {
			next.outer = append(slices.Clip(at.outer), i)
		} else {
			next.inner = append(slices.Clip(at.inner), i)
		}
		if err := w.node(child, next, append(slices.Clip(path), child.Name)); err != nil {
			return err
		}
	}
	return nil
}

// typeName is the type for people.
func typeName(t arrow.DataType) string {
	switch t := t.(type) {
	case *arrow.StringType, *arrow.LargeStringType, *arrow.StringViewType,
		*arrow.BinaryType, *arrow.LargeBinaryType, *arrow.BinaryViewType, *arrow.FixedSizeBinaryType:
		return "string"
	case *arrow.Decimal128Type, *arrow.Decimal256Type:
		return strings.ReplaceAll(strings.NewReplacer("decimal128", "decimal", "decimal256", "decimal").Replace(t.(interface{ String() string }).String()), " ", "")
	case *arrow.Date32Type, *arrow.Date64Type:
		return "date"
	case *arrow.Time32Type, *arrow.Time64Type:
		return "time"
	case *arrow.TimestampType:
		return "timestamp"
	case *arrow.BooleanType:
		return "boolean"
	}
	return t.Name()
}
