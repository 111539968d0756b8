package rowbatch

import (
	"slices"
	"strings"
	"sync"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// Input is one open file of an extract and the table it is read as. A file with rows of several
// tables is several inputs. It is safe for concurrent use once it has been placed.
type Input struct {
	Path    string
	Table   cpcds.Table
	File    pipeline.File
	Binding *layouts.Binding // how its columns are read; readers clone it

	index int // among the inputs of the run
	spans []pipeline.Span
	reads pipeline.Columns // columns of File as row batches have them
	order []int            // their fields
	raw   func() []RawColumn
}

// Place says which input of a run it is, and how its file is cut into lanes. It must be
// called once, before rows are read.
func (in *Input) Place(index int, spans []pipeline.Span) {
	in.index, in.spans = index, spans
	in.reads.Bound = in.Binding.Source()
	in.reads.Kept = kept(in.File.Fields(), in.reads.Bound)
	in.order = in.reads.All()
	in.raw = sync.OnceValue(in.rawColumns)
}

// Index is the number of the input among those of the run, as Place was told.
func (in *Input) Index() int { return in.index }

// Lanes returns the lanes of the input, as Place was told.
func (in *Input) Lanes() []Lane {
	lanes := make([]Lane, len(in.spans))
	for i, s := range in.spans {
		lanes[i] = Lane{in, s}
	}
	return lanes
}

// Lane is a span of an input, which is read from its first row to its last.
type Lane struct {
	Input *Input
	Span  pipeline.Span
}

// Columns returns the columns of row batches: those of the layout, and those kept with a reject so
// that it can be replayed with another layout.
func (in *Input) Columns() pipeline.Columns { return in.reads }

// Form is the form of the table that the input is read as, "" if it has no forms.
func (in *Input) Form() string {
	if in == nil || in.Binding == nil {
		return ""
	}
	return in.Binding.Table().Form
}

// ColumnsOf returns the names of the file's columns that an element is read from.
func (in *Input) ColumnsOf(e cpcds.Element) []string {
	if in == nil || in.Binding == nil || e == cpcds.NoElement {
		return nil
	}
	return in.Binding.Columns(e)
}

// kept returns the unbound columns that are worth keeping. Duplicate names are not: a reject could
// not tell them apart.
func kept(fields []cpcds.Field, bound []int) (columns []int) {
	names, unfolded := map[string]int{}, map[string]bool{"": true}
	for _, f := range fields {
		names[RawName(f)]++
	}
	for _, i := range bound {
		unfolded[fields[i].Group] = true
	}
	for i, f := range fields {
		if f.Fault == "" && !f.Bulk && unfolded[f.Group] && names[RawName(f)] == 1 && !slices.Contains(bound, i) {
			columns = append(columns, i)
		}
	}
	return columns
}

// RawColumn is a column of a row batch by the name that it has in rejects.
type RawColumn struct {
	Name   string
	column int // of the raw rows
}

// RawColumns returns the columns of the input's row batches, in order of their names.
func (in *Input) RawColumns() []RawColumn { return in.raw() }

func (in *Input) rawColumns() []RawColumn {
	fields := in.File.Fields()
	columns := slices.Clone(in.order)
	slices.SortFunc(columns, func(a, b int) int { return strings.Compare(RawName(fields[a]), RawName(fields[b])) })
	out := make([]RawColumn, len(columns))
	for i, f := range columns {
		out[i] = RawColumn{RawName(fields[f]), slices.Index(in.order, f)}
	}
	return out
}

// RawNames returns the names of the columns in the order in which row batches have them.
func (in *Input) RawNames() (names []string) {
	for _, c := range in.order {
		names = append(names, RawName(in.File.Fields()[c]))
	}
	return names
}

// RawName names a column with its list, so that it can be bound again.
func RawName(f cpcds.Field) string {
	if f.Group == "" {
		return f.Name
	}
	return f.Group + keySeparator + f.Name
}

// RawField is the field that has a raw name.
func RawField(name string) cpcds.Field {
	if group, name, ok := strings.Cut(name, keySeparator); ok {
		return cpcds.Field{Name: name, Group: group, Type: "string"}
	}
	return cpcds.Field{Name: name, Type: "string"}
}
