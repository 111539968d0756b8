// Package publish turns an extract into messages: one for each record, as a source that publishes its
// claims would write them. A claim is one message with its lines, wherever its rows are in the
// extract. The small tables come first.
package publish

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/scattered"
	"cpcds2fhir/pipeline/tables"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// Extract is what is published.
type Extract struct {
	Inputs  []*rowbatch.Input // not yet placed
	Layout  *layouts.Layout
	Scratch string // an empty folder for temporary files
	Workers int

	// Lines publishes each row of the claims as a message of its own.
	Lines bool

	placed bool
}

// Message is one record of the extract. Its strings are views that hold during the call.
type Message struct {
	Table  cpcds.Table
	Key    string // of the record: the claim key, the member's id, …
	Member string // id of the member; "" in tables that have none
	Claims Links  // of a claim
	Count  int    // of the messages of the claim, with Extract.Lines

	// The values of the record, and the rows of its list of lines. A column of the header is among
	// the lines if its values differ.
	Fields []string
	Values []string
	Lines  []string
	Rows   [][]string
}

// Links names the claims that a claim replaces and is replaced by, "" if none.
type Links struct{ Key, From, To string }

// Each calls f for each record, first for those of the small tables, in the order in which they
// refer to each other, then for the claims. An error of f ends it.
func (x *Extract) Each(ctx context.Context, f func(*Message) error) error {
	if err := x.Place(ctx); err != nil {
		return err
	}
	for _, t := range tables.Order {
		for _, in := range x.Inputs {
			if in.Table == t {
				if err := x.table(ctx, in, f); err != nil {
					return err
				}
			}
		}
	}
	return x.claims(ctx, f)
}

// Place finds how the inputs are read, once; Each does it if it was not done.
func (x *Extract) Place(ctx context.Context) error {
	if x.placed {
		return nil
	}
	for i, in := range x.Inputs {
		spans, err := in.File.Spans(ctx)
		if err != nil {
			return err
		}
		in.Place(i, spans)
	}
	x.placed = true
	return nil
}

// table publishes the rows of a small table.
func (x *Extract) table(ctx context.Context, in *rowbatch.Input, f func(*Message) error) error {
	var end int64
	for _, l := range in.Lanes() {
		end = l.Span.First + l.Span.Rows
	}
	rows, err := in.Read(ctx, 0, end, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	w := newWriter(in.Table)
	for {
		b, err := rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range b.Len() {
			if !tables.IsRecord(b, i) {
				continue
			}
			if err := f(w.message([]rowbatch.Segment{{Batch: b, From: i, To: i + 1}})); err != nil {
				return err
			}
		}
	}
}

// claims publishes the claims: first those whose rows are together, then the others.
func (x *Extract) claims(ctx context.Context, f func(*Message) error) error {
	var lanes []rowbatch.Lane
	for _, in := range x.Inputs {
		if in.Table == cpcds.Claims {
			lanes = append(lanes, in.Lanes()...)
		}
	}
	if len(lanes) == 0 {
		return nil
	}
	w := newWriter(cpcds.Claims)
	take := func(rows []rowbatch.Segment) error { return f(w.message(rows)) }
	if x.Lines {
		take = func(rows []rowbatch.Segment) error {
			count := 0
			for _, s := range rows {
				count += s.To - s.From
			}
			for _, s := range rows {
				for i := s.From; i < s.To; i++ {
					m := w.message([]rowbatch.Segment{{Batch: s.Batch, From: i, To: i + 1}})
					m.Count = count
					if err := f(m); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	if err := os.MkdirAll(x.Scratch, 0o700); err != nil {
		return fmt.Errorf("make a folder for temporary files: %w", err)
	}
	keys, err := scattered.Scan(ctx, lanes, binary.BigEndian.Uint64([]byte("publish!")), x.Scratch, x.Workers)
	if err != nil {
		return err
	}
	var shuffle *scattered.Shuffle
	if keys.Any() {
		shuffle = scattered.NewShuffle(keys, x.Inputs, x.Scratch, x.Workers)
		defer shuffle.Remove()
	}
	if keys.All() {
		if err := shuffle.GatherAll(ctx, lanes); err != nil {
			return err
		}
	} else {
		for _, l := range lanes {
			if err := x.lane(ctx, l, keys, shuffle, take); err != nil {
				return err
			}
		}
	}
	if shuffle == nil {
		return nil
	}
	if err := shuffle.Seal(); err != nil {
		return err
	}
	for p := range shuffle.Partitions() {
		if err := shuffle.Claims(p, func(_ string, rows []rowbatch.Segment) error { return take(rows) }); err != nil {
			return err
		}
	}
	return nil
}

// lane publishes the claims of a lane that have no rows elsewhere.
func (x *Extract) lane(ctx context.Context, l rowbatch.Lane, keys *scattered.Keys, shuffle *scattered.Shuffle, take func([]rowbatch.Segment) error) (err error) {
	var writer *scattered.Writer
	if shuffle != nil {
		if writer, err = shuffle.Writer(); err != nil {
			return err
		}
		defer writer.Release()
	}
	rows, err := l.Input.Read(ctx, l.Span.First, l.Span.First+l.Span.Rows, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	one := func(s rowbatch.Segment) error {
		if key := s.Batch.Key(s.From); keys.Has(key) {
			return writer.Add(key, s)
		}
		return take([]rowbatch.Segment{s})
	}
	held := &rowbatch.Held{}
	for {
		b, err := rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			return held.Release(one)
		}
		if err == nil {
			err = held.Claims(b, one)
		}
		if err != nil {
			return err
		}
	}
}

// writer makes messages of the rows of one table. It keeps its memory.
type writer struct {
	table   cpcds.Table
	columns map[*rowbatch.Input][]column
	numbers map[string]int // of the names of columns
	fields  []int          // of each name: 1 + where it is among the fields of the message, 0 if it is not
	lines   []int          // and among its lines
	m       Message
}

// column is a column of an input.
type column struct {
	raw    rowbatch.RawColumn
	name   string // without the list that holds it
	number int    // of the name
	line   bool   // its values belong to lines
}

func newWriter(t cpcds.Table) *writer {
	return &writer{table: t, columns: map[*rowbatch.Input][]column{}, numbers: map[string]int{}}
}

// columnsOf lists the columns of an input.
func (w *writer) columnsOf(in *rowbatch.Input) []column {
	if c, ok := w.columns[in]; ok {
		return c
	}
	ofLine := map[string]bool{}
	for _, e := range in.Binding.Elements() {
		if w.table == cpcds.Claims && e.Info().Level != cpcds.HeaderLevel {
			for _, name := range in.ColumnsOf(e) {
				ofLine[name] = true
			}
		}
	}
	list := []column{}
	for _, raw := range in.RawColumns() {
		f := rowbatch.RawField(raw.Name)
		if f.Name == pipeline.RejectField {
			continue
		}
		number, ok := w.numbers[f.Name]
		if !ok {
			number = len(w.numbers)
			w.numbers[f.Name] = number
			w.fields, w.lines = append(w.fields, 0), append(w.lines, 0)
		}
		list = append(list, column{raw, f.Name, number, f.Group != "" || ofLine[f.Name]})
	}
	w.columns[in] = list
	return list
}

// message makes the message of the rows of a record.
func (w *writer) message(rows []rowbatch.Segment) *Message {
	m := &w.m
	*m = Message{Table: w.table, Fields: m.Fields[:0], Values: m.Values[:0], Lines: m.Lines[:0], Rows: m.Rows[:0]}
	clear(w.fields)
	clear(w.lines)
	first := rows[0]
	w.identify(m, first.Batch, first.From)
	var differ []column // of the header, with several values
	line := func(c *column) {
		if w.lines[c.number] == 0 {
			m.Lines = append(m.Lines, c.name)
			w.lines[c.number] = len(m.Lines)
		}
	}
	for _, s := range rows {
		for _, c := range w.columnsOf(s.Batch.Input) {
			if c.line {
				line(&c)
				continue
			}
			for i := s.From; i < s.To; i++ {
				v := s.Batch.Raw(c.raw, i)
				if at := w.fields[c.number]; at == 0 {
					m.Fields, m.Values = append(m.Fields, c.name), append(m.Values, v)
					w.fields[c.number] = len(m.Fields)
				} else if m.Values[at-1] != v && !slices.ContainsFunc(differ, func(d column) bool { return d.number == c.number }) {
					differ = append(differ, c)
				}
			}
		}
	}
	for _, c := range differ {
		at := slices.Index(m.Fields, c.name)
		m.Fields, m.Values = slices.Delete(m.Fields, at, at+1), slices.Delete(m.Values, at, at+1)
		line(&c)
	}
	if len(m.Lines) == 0 {
		return m
	}
	for _, s := range rows {
		for i := s.From; i < s.To; i++ {
			row := make([]string, len(m.Lines))
			for _, c := range w.columnsOf(s.Batch.Input) {
				if at := w.lines[c.number]; at > 0 {
					if v := s.Batch.Raw(c.raw, i); v != "" {
						row[at-1] = v
					}
				}
			}
			m.Rows = append(m.Rows, row)
		}
	}
	return m
}

// keys are the elements that identify the records of the small tables, the first that is filled.
var keys = [cpcds.NumTables][]cpcds.Element{
	cpcds.Members:       {cpcds.MembersMemberID},
	cpcds.Coverages:     {cpcds.CoveragesCoverageID},
	cpcds.Providers:     {cpcds.ProvidersProviderNPI, cpcds.ProvidersProviderID, cpcds.ProvidersProviderTaxID},
	cpcds.Organizations: {cpcds.OrganizationsOrganizationNPI, cpcds.OrganizationsOrganizationPayerIdentifier, cpcds.OrganizationsOrganizationID},
}

// identify finds the key of a record and its member.
func (w *writer) identify(m *Message, b *rowbatch.Batch, i int) {
	value := func(e cpcds.Element) string {
		if col := b.ColumnOf(e); col != nil {
			return col.Value(i)
		}
		return ""
	}
	switch w.table {
	case cpcds.Claims:
		m.Key, m.Member = b.Key(i), value(cpcds.MemberID)
		m.Claims = Links{m.Key, value(cpcds.ClaimAdjustedFromIdentifier), value(cpcds.ClaimAdjustedToIdentifier)}
		return
	case cpcds.Members:
		m.Member = value(cpcds.MembersMemberID)
	case cpcds.Coverages:
		m.Member = value(cpcds.CoveragesMemberID)
	}
	for _, e := range keys[w.table] {
		if m.Key = value(e); m.Key != "" {
			return
		}
	}
}

// Families finds which claims adjust each other, directly or through others. The zero value is ready
// to use.
type Families struct{ parent map[string]string }

// Add adds a claim.
func (f *Families) Add(l Links) {
	for _, other := range [2]string{l.From, l.To} {
		if other == "" || other == l.Key {
			continue
		}
		if f.parent == nil {
			f.parent = map[string]string{}
		}
		a, b := f.Of(l.Key), f.Of(other)
		if a != b { // the smaller one is the root, whatever the order of the claims
			f.parent[strings.Clone(max(a, b))] = strings.Clone(min(a, b))
		}
	}
}

// Of returns the claim that stands for the family of a claim.
func (f *Families) Of(key string) string {
	for {
		up, ok := f.parent[key]
		if !ok {
			return key
		}
		key = up
	}
}

// Columns lists the columns that the messages of a table can have: of the record, and of its lines.
// The inputs must have been placed, or Each been called.
func Columns(inputs []*rowbatch.Input, t cpcds.Table) (fields, lines []string) {
	w := newWriter(t)
	for _, in := range inputs {
		if in.Table != t {
			continue
		}
		for _, c := range w.columnsOf(in) {
			to := &fields
			if c.line {
				to = &lines
			}
			if !slices.Contains(*to, c.name) {
				*to = append(*to, c.name)
			}
		}
	}
	return fields, lines
}
