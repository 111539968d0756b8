package rejects

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
)

// ReplayFile is the raw rows of rejects of one input, as a file to be read again. It is in memory:
// rejects are few, or the run should have been stopped.
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
func NewReplayFiles(rejects []*pipeline.Reject, tags []string) []*ReplayFile {
	type key struct{ path, table, form string }
	type tagged struct {
		row *pipeline.RejectRow
		tag string
	}
	grouped := map[key][]tagged{}
	for i, r := range rejects {
		for j := range r.Rows {
			k := key{r.Rows[j].Input, r.Table, r.Rows[j].Form}
			grouped[k] = append(grouped[k], tagged{&r.Rows[j], tags[i]})
		}
	}
	order := slices.SortedFunc(maps.Keys(grouped), func(a, b key) int {
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
		for _, x := range grouped[k] {
			for name := range x.row.Values {
				if name != pipeline.RejectField {
					columns[name] = 0
				}
			}
		}
		for i, n := range slices.Sorted(maps.Keys(columns)) {
			columns[n] = i
			f.fields = append(f.fields, rowbatch.RawField(n))
		}
		f.fields = append(f.fields, cpcds.Field{Name: pipeline.RejectField, Type: "string"})
		for _, x := range grouped[k] {
			row := replayRow{values: make([]string, len(f.fields)), number: x.row.Row - 1, begin: x.row.Begin}
			for name, v := range x.row.Values {
				if c, ok := columns[name]; ok {
					row.values[c] = v
				}
			}
			row.values[len(columns)] = x.tag
			f.rows = append(f.rows, row)
		}
		files = append(files, f)
	}
	return files
}

// Complete adds columns for which the rejects have no value.
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
func (f *ReplayFile) Spans(context.Context) ([]pipeline.Span, error) {
	return []pipeline.Span{{Rows: int64(f.begins())}}, nil
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
func (f *ReplayFile) Open(_ context.Context, from, to int64, columns pipeline.Columns) (pipeline.Source, error) {
	return &replaySource{f, from, to, columns.All()}, nil
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

// Tag is the tag of the reject that row i of a batch of a replayed file belongs to.
func Tag(b *rowbatch.Batch, i int) string {
	return strings.Clone(b.Field(len(b.Input.File.Fields())-1, i))
}

// Replayed records what a replay did with its rejects: those that were rejected again stay open,
// those for which the target has something newer become obsolete, all others are resolved. A reject
// without rows was not replayed and stays as it is. The rejects of the replay's own run are removed,
// because the ones they repeat still exist.
func Replayed(state, run string, tags []string, newer func(tag string) bool) (map[string]State, error) {
	again := map[string]bool{}
	paths, err := files(state, run)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, path := range paths {
		err := each(path, true, func(x *pipeline.Reject) error {
			for _, row := range x.Rows {
				again[row.Values[pipeline.RejectField]] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	rowless, err := withoutRows(state, tags)
	if err != nil {
		return nil, err
	}
	states := map[string]State{}
	for _, t := range tags {
		if newer(t) {
			states[t] = Obsolete
		} else if !again[t] && !rowless[t] {
			states[t] = Resolved
		}
	}
	return states, os.RemoveAll(Dir(state, run))
}

// withoutRows finds the tags of rejects that have no rows.
func withoutRows(state string, tags []string) (map[string]bool, error) {
	of := map[string]bool{}
	for _, t := range tags {
		run, _, _ := strings.Cut(t, "/")
		of[run] = true
	}
	found := map[string]bool{}
	s := &Store{state: state}
	for run := range of {
		err := s.Heads(run, func(r *pipeline.Reject) error {
			if r.RowCount == 0 {
				found[run+"/"+r.ID] = true
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return found, nil
}
