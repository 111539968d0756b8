package pipeline

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// rejectField is the column of a replayed file that says which reject a row is of.
// Layouts leave out columns they do not know, so it never becomes an element.
const rejectField = "_reject"

// ReplayFile is the raw rows of rejects of one input, as a file to be read again.
// It is in memory: rejects are few, or the run should not have gone so far.
type ReplayFile struct {
	Path   string // of the input that the rows came from
	Table  cpcds.Table
	Form   string // of the table
	fields []cpcds.Field
	rows   []replayRow
}

type replayRow struct {
	values []string // parallel to fields
	number int64
	begin  bool
}

// NewReplayFiles turns rejects into files, one per input, table and form. tags name the
// rejects, parallel to them.
func NewReplayFiles(rejects []*Reject, tags []string) []*ReplayFile {
	type key struct{ path, table, form string }
	grouped := map[key][]int{}
	var order []key
	for i, r := range rejects {
		k := key{r.Rows[0].Input, r.Table, r.Form}
		if grouped[k] == nil {
			order = append(order, k)
		}
		grouped[k] = append(grouped[k], i)
	}
	slices.SortFunc(order, func(a, b key) int {
		return cmp.Or(strings.Compare(a.table, b.table), strings.Compare(a.path, b.path), strings.Compare(a.form, b.form))
	})
	var files []*ReplayFile
	for _, k := range order {
		t, ok := cpcds.ParseTable(k.table)
		if !ok {
			continue
		}
		f := &ReplayFile{Path: k.path, Table: t, Form: k.form}
		columns := map[string]int{}
		var names []string
		for _, i := range grouped[k] {
			for _, row := range rejects[i].Rows {
				for name := range row.Values {
					if _, ok := columns[name]; !ok && name != rejectField {
						columns[name] = 0
						names = append(names, name)
					}
				}
			}
		}
		slices.Sort(names)
		for i, n := range names {
			columns[n] = i
			f.fields = append(f.fields, rawField(n))
		}
		f.fields = append(f.fields, cpcds.Field{Name: rejectField, Type: "string"})
		for _, i := range grouped[k] {
			for _, row := range rejects[i].Rows {
				x := replayRow{values: make([]string, len(f.fields)), number: row.Row - 1, begin: row.Begin}
				for name, v := range row.Values {
					if c, ok := columns[name]; ok {
						x.values[c] = v
					}
				}
				x.values[len(names)] = tags[i]
				f.rows = append(f.rows, x)
			}
		}
		files = append(files, f)
	}
	return files
}

// Complete adds columns of which the rejects have no value.
func (f *ReplayFile) Complete(columns []string) {
	last := len(f.fields) - 1 // the tag of the reject stays the last one
	for _, c := range columns {
		f.fields = slices.Insert(f.fields, last, cpcds.Field{Name: c, Type: "string"})
	}
	for i := range f.rows {
		f.rows[i].values = slices.Insert(f.rows[i].values, last, make([]string, len(columns))...)
	}
}

// Fields implements File.
func (f *ReplayFile) Fields() []cpcds.Field { return f.fields }

// Spans implements File: all rows are one lane.
func (f *ReplayFile) Spans(context.Context) ([]Span, error) {
	return []Span{{0, int64(f.begins())}}, nil
}

func (f *ReplayFile) begins() (n int) {
	for i := range f.rows {
		if i == 0 || f.rows[i].begin {
			n++
		}
	}
	return n
}

// Open implements File.
func (f *ReplayFile) Open(_ context.Context, from, to int64, columns []int) (Source, error) {
	if columns == nil {
		for i := range f.fields {
			columns = append(columns, i)
		}
	}
	return &replaySource{f, from, to, columns}, nil
}

// Close implements File.
func (f *ReplayFile) Close() error { return nil }

type replaySource struct {
	f        *ReplayFile
	from, to int64
	columns  []int
}

// Next gives all rows at once.
func (s *replaySource) Next(_ context.Context, r *cpcds.Rows) error {
	r.Reset()
	r.First = s.from
	for len(r.Columns) < len(s.columns) {
		r.Columns = append(r.Columns, cpcds.Column{})
	}
	at := int64(-1)
	for i := range s.f.rows {
		row := &s.f.rows[i]
		if i == 0 || row.begin {
			at++
		}
		if at < s.from || at >= s.to {
			continue
		}
		for c, n := range s.columns {
			r.Columns[c].AppendPlain(row.values[n])
		}
		r.Whole = append(r.Whole, i == 0 || row.begin)
		r.Numbers = append(r.Numbers, row.number)
		r.N++
	}
	if r.N == 0 {
		return io.EOF
	}
	s.from = s.to
	return nil
}

func (s *replaySource) Close() error { return nil }

// replayedReject is the tag of the reject that row i of a replayed slab is of.
func replayedReject(b *bound, i int) string {
	last := len(b.input.File.Fields()) - 1
	return strings.Clone(b.rows.Columns[slices.Index(b.input.order, last)].Value(i))
}

// Replayed says what a replay did to the rejects it was given: those that are
// rejected again stay open, those of which the target has something newer are
// obsolete, all others are resolved. The rejects of the replay's own run are
// removed: the ones they repeat are still there.
func (r *Run) Replayed(tags []string) (map[string]RejectState, error) {
	again := map[string]bool{}
	dir := rejectsDir(r.State, r.ID)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		err := eachReject(filepath.Join(dir, e.Name()), func(x *Reject) error {
			for _, row := range x.Rows {
				again[row.Values[rejectField]] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	states := map[string]RejectState{}
	for _, t := range tags {
		if _, ok := r.obsolete.Load(t); ok {
			states[t] = RejectObsolete
		} else if !again[t] {
			states[t] = RejectResolved
		}
	}
	return states, os.RemoveAll(dir)
}
