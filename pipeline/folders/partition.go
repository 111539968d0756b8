package folders

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// FieldType is the type of the columns that WithKeys adds, for messages.
const FieldType = "partition"

// WithKeys adds partition keys to a file as columns after its own: each has one value in all rows,
// or none. A column that the file already has stays as it is.
func WithKeys(f pipeline.File, keys []Key) pipeline.File {
	own := f.Fields()
	p := &keyed{File: f, own: len(own), fields: slices.Clip(own)}
	for _, k := range keys {
		if !has(own, k) {
			p.fields = append(p.fields, cpcds.Field{Name: k.Name, Type: FieldType})
			p.keys = append(p.keys, k)
		}
	}
	if len(p.keys) == 0 {
		return f
	}
	return p
}

// Doubled returns the keys that a file also has as columns. If the two differ, it is unclear which
// is right.
func Doubled(f pipeline.File, keys []Key) (names []string) {
	for _, k := range keys {
		if has(f.Fields(), k) {
			names = append(names, k.Name)
		}
	}
	return names
}

func has(fields []cpcds.Field, k Key) bool {
	return slices.ContainsFunc(fields, func(x cpcds.Field) bool { return same(x.Name, k.Name) })
}

// keyed is a file with partition keys.
type keyed struct {
	pipeline.File
	own    int           // columns of the file
	fields []cpcds.Field // these and the keys
	keys   []Key
}

// Fields implements pipeline.File.
func (f *keyed) Fields() []cpcds.Field { return f.fields }

// lastDict numbers the values of keys. Readers number their dictionaries from 1; the highest bit
// keeps the two apart.
var lastDict atomic.Uint64

const dictBit = 1 << 63

// Open implements pipeline.File.
func (f *keyed) Open(ctx context.Context, from, to int64, columns pipeline.Columns) (pipeline.Source, error) {
	s := &keyedSource{}
	var own pipeline.Columns
	place := 0
	for _, of := range []struct{ all, own *[]int }{{&columns.Bound, &own.Bound}, {&columns.Kept, &own.Kept}} {
		for _, c := range *of.all {
			if c < f.own {
				*of.own = append(*of.own, c)
				s.places = append(s.places, place)
			} else {
				s.constants = append(s.constants, constantOf(place, f.keys[c-f.own]))
			}
			place++
		}
	}
	s.columns = place
	var err error
	s.Source, err = f.File.Open(ctx, from, to, own)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// keyedSource adds the constant columns to the rows of a source.
type keyedSource struct {
	pipeline.Source
	columns   int
	places    []int // of the columns of the source, in its order
	constants []constant
	rows      cpcds.Rows
}

// constant is the column of a key.
type constant struct {
	place  int
	entry  int32 // what every row has in its index
	values []string
	dict   uint64
}

func constantOf(place int, k Key) constant {
	if k.Absent {
		return constant{place: place, entry: -1}
	}
	return constant{place, 0, []string{strings.Clone(k.Value)}, dictBit | lastDict.Add(1)}
}

// Next implements pipeline.Source. The source fills the memory of r directly: it gets r's columns
// in its own order, and they are put back afterwards.
func (s *keyedSource) Next(ctx context.Context, r *cpcds.Rows) error {
	for len(r.Columns) < s.columns {
		r.Columns = append(r.Columns, cpcds.Column{})
	}
	r.Columns = r.Columns[:s.columns]
	in := &s.rows
	in.Columns = in.Columns[:0]
	for _, p := range s.places {
		in.Columns = append(in.Columns, r.Columns[p])
	}
	in.First, in.N, in.Whole, in.Numbers = r.First, r.N, r.Whole, r.Numbers
	err := s.Source.Next(ctx, in)
	r.First, r.N, r.Whole, r.Numbers = in.First, in.N, in.Whole, in.Numbers
	for i, p := range s.places[:min(len(s.places), len(in.Columns))] {
		r.Columns[p] = in.Columns[i]
	}
	if err != nil {
		return err
	}
	for i := range s.constants {
		s.constants[i].fill(&r.Columns[s.constants[i].place], r.N)
	}
	return nil
}

// fill makes the column of n rows.
func (c *constant) fill(col *cpcds.Column, n int) {
	index := slices.Grow(col.Index[:0], n)[:n]
	for i := range index {
		index[i] = c.entry
	}
	*col = cpcds.Column{Index: index, Values: c.values, Dict: c.dict}
}
