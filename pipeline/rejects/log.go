package rejects

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/statefile"
)

// Log writes the rejects of one lane. Except for Sync, it belongs to one goroutine.
type Log struct {
	*statefile.Log
	path     string
	lane     string
	n        int64                   // rejects in the file
	declared map[*rowbatch.Input]int // inputs whose columns the file has since the lane was opened
	line     []byte                  // scratch
}

// OpenLog opens the file of a lane, and cuts it to the length and the number of rejects that
// the checkpoint says.
func OpenLog(state, run, lane string, size, n int64) (*Log, error) {
	path := file(state, run, lane)
	f, err := statefile.OpenCompressed(path, size)
	if err != nil {
		return nil, err
	}
	return &Log{Log: f, path: path, lane: lane, n: n}, nil
}

// Rewind cuts the file to an earlier length and number of rejects. What was not flushed is forgotten.
func (l *Log) Rewind(size, n int64) error {
	l.Close()
	f, err := statefile.OpenCompressed(l.path, size)
	if err != nil {
		return err
	}
	l.Log, l.n, l.declared = f, n, nil
	return nil
}

// Count is the number of rejects in the file.
func (l *Log) Count() int64 { return l.n }

// Add writes a reject with its rows, and sets its id and the fields that describe the rows. What comes
// from no row of an input has none.
func (l *Log) Add(r *pipeline.Reject, rows ...rowbatch.Segment) {
	l.n++
	r.ID = fmt.Sprintf("%s-%06d", l.lane, l.n)
	if len(rows) > 0 {
		first := rows[0]
		r.Input, r.Row = first.Batch.Input.Path, first.Batch.InputRow(first.From)+1
	}
	for _, s := range rows {
		r.RowCount += s.To - s.From
		if path := s.Batch.Input.Path; (path != r.Input || len(r.Inputs) > 0) && !slices.Contains(r.Inputs, path) {
			if len(r.Inputs) == 0 {
				r.Inputs = append(r.Inputs, r.Input)
			}
			r.Inputs = append(r.Inputs, path)
		}
	}
	l.line = l.line[:0]
	for _, s := range rows {
		l.declare(s.Batch.Input)
	}
	head, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	l.line = append(append(l.line, head...), '\n', '[')
	before := map[*rowbatch.Input]rowbatch.Row{}
	for n, s := range rows {
		for i := s.From; i < s.To; i++ {
			if n > 0 || i > s.From {
				l.line = append(l.line, ',')
			}
			row := rowbatch.Row{Batch: s.Batch, Index: int32(i)}
			l.appendRow(row, before[s.Batch.Input])
			before[s.Batch.Input] = row
		}
	}
	l.line = append(l.line, ']', '\n')
	l.Write(l.line)
}

// declare writes the columns of an input, once.
func (l *Log) declare(in *rowbatch.Input) {
	if _, ok := l.declared[in]; ok {
		return
	}
	if l.declared == nil {
		l.declared = map[*rowbatch.Input]int{}
	}
	x := input{Input: len(l.declared), Path: in.Path, Form: in.Form()}
	for _, c := range in.RawColumns() {
		x.Columns = append(x.Columns, c.Name)
	}
	l.declared[in] = x.Input
	line, err := json.Marshal(&x)
	if err != nil {
		panic(err) // strings always marshal
	}
	l.line = append(append(l.line, line...), '\n')
}

// appendRow appends a raw row as JSON. before is the previous row of the same input, if there is
// one.
func (l *Log) appendRow(r, before rowbatch.Row) {
	b, i := r.Batch, int(r.Index)
	to := strconv.AppendInt(append(l.line, '['), int64(l.declared[b.Input]), 10)
	to = strconv.AppendInt(append(to, ','), b.InputRow(i)+1, 10)
	to = strconv.AppendBool(append(to, ','), b.Begins(i))
	for _, c := range b.Input.RawColumns() {
		to = append(to, ',')
		v := b.Raw(c, i)
		switch {
		case before.Batch != nil && before.Batch.Raw(c, int(before.Index)) == v:
			to = append(to, '0')
		case !utf8.ValidString(v):
			to = append(to, `{"base64":"`...)
			to = append(base64.StdEncoding.AppendEncode(to, []byte(v)), `"}`...)
		default:
			to = appendQuoted(to, v)
		}
	}
	l.line = append(to, ']')
}

// appendQuoted appends a text as JSON.
func appendQuoted(to []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // texts always marshal
			}
			return append(to, quoted...)
		}
	}
	to = append(to, '"')
	to = append(to, s...)
	return append(to, '"')
}
