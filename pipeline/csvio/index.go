package csvio

import (
	"context"
	"io"
	"sort"

	"cpcds2fhir/pipeline"
)

// A span is cut at the first record that begins spanBytes or more after the span;
// there is a mark for each span and at every markRows rows.
const (
	spanBytes = 32 << 20
	markRows  = 4096
)

// index is what the scan of a file found.
type index struct {
	spans []pipeline.Span
	marks []mark // by row; empty if lanes cannot begin in the middle
	rows  int64
}

// before returns the last mark at or before a row.
func (x *index) before(row int64, first mark) mark {
	i := sort.Search(len(x.marks), func(i int) bool { return x.marks[i].row > row })
	if i == 0 {
		return first
	}
	return x.marks[i-1]
}

// buildIndex reads the whole file and checks the form of every record.
func (f *file) buildIndex(ctx context.Context) (*index, error) {
	s, err := f.rows()
	if err != nil {
		return nil, err
	}
	defer s.close()
	s.countOnly = true
	x := &index{}
	var span mark // where the open span begins
	for {
		rec, err := s.next(true)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := s.check(&rec); err != nil {
			return nil, err
		}
		m := s.at()
		m.offset -= int64(rec.size)
		if x.rows == 0 {
			span = m
		}
		cut := f.hasIndex && m.offset-span.offset >= spanBytes
		if cut {
			x.spans = append(x.spans, pipeline.Span{First: span.row, Rows: m.row - span.row})
			span = m
		}
		if f.hasIndex && (cut || m.row%markRows == 0) {
			x.marks = append(x.marks, m)
		}
		if m.row%markRows == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		s.passed(&rec)
		x.rows++
	}
	if x.rows > 0 {
		x.spans = append(x.spans, pipeline.Span{First: span.row, Rows: x.rows - span.row})
	}
	return x, nil
}
