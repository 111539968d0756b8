// Package rejects keeps what could not become valid resources, with its rows, in files of the state
// folder. It reads rejects, keeps their states, removes them, and presents their rows as files for
// a replay. It knows where rejects are and what rows look like, but not why they were rejected.
package rejects

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"cpcds2fhir/pipeline"
)

// A file of rejects is lines of JSON in zstd frames. A line is one of
//
//	{"input":0,"path":…,"form":…,"columns":[…]}   an input and its columns, before its first row
//	{"id":…,"problems":[…],…}                      a pipeline.Reject without its rows, and behind it
//	[[0,17,true,"value",0,…],…]                    its rows: input, number, whether it begins an input row, values
//
// A 0 means the same value as in the row before of the same input; bytes that are not text are an
// object with their base64. A reader that only needs what was rejected and why skips the rows,
// which are most of the file, and each row is stored once.
const suffix = ".jsonl.zst"

// inputLine begins the line of an input.
var inputLine = []byte(`{"input":`)

// input is the line of an input.
type input struct {
	Input   int      `json:"input"`
	Path    string   `json:"path"`
	Form    string   `json:"form,omitempty"`
	Columns []string `json:"columns"`
}

// each calls f for the rejects of a file, in order, with their rows if rows is set. The Reject is
// f's own.
func each(path string, rows bool, f func(*pipeline.Reject) error) error {
	from, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read rejects: %w", err)
	}
	defer from.Close()
	if !strings.HasSuffix(path, suffix) {
		return eachOld(from, path, f)
	}
	z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return fmt.Errorf("read rejects: %w", err)
	}
	defer z.Close()
	damaged := fmt.Errorf("read %s: the file is damaged", path)
	lines := bufio.NewReaderSize(z, 1<<16)
	var inputs map[int]*input
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil {
			return damaged
		}
		if bytes.HasPrefix(line, inputLine) {
			in := new(input)
			if json.Unmarshal(line, in) != nil {
				return damaged
			}
			if in.Input == 0 { // the lane was reopened
				inputs = map[int]*input{}
			}
			inputs[in.Input] = in
			continue
		}
		r := new(pipeline.Reject)
		if json.Unmarshal(line, r) != nil || readRows(lines, inputs, r, rows) != nil {
			return damaged
		}
		if err := f(r); err != nil {
			return err
		}
	}
}

// readRows reads the line of rows after a reject.
func readRows(lines *bufio.Reader, inputs map[int]*input, r *pipeline.Reject, wanted bool) error {
	if !wanted {
		for {
			if _, err := lines.ReadSlice('\n'); err != bufio.ErrBufferFull {
				return err
			}
		}
	}
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var rows [][]any
	if err := json.Unmarshal(line, &rows); err != nil {
		return err
	}
	before := map[int][]string{}
	for _, row := range rows {
		if err := addRow(r, row, inputs, before); err != nil {
			return err
		}
	}
	return nil
}

var errRow = errors.New("no row of a reject")

func addRow(r *pipeline.Reject, row []any, inputs map[int]*input, before map[int][]string) error {
	if len(row) < 3 {
		return errRow
	}
	n, ok1 := row[0].(float64)
	number, ok2 := row[1].(float64)
	begin, ok3 := row[2].(bool)
	in := inputs[int(n)]
	if !ok1 || !ok2 || !ok3 || in == nil || len(row) != len(in.Columns)+3 {
		return errRow
	}
	values, last := make([]string, len(in.Columns)), before[in.Input]
	x := pipeline.RejectRow{Input: in.Path, Form: in.Form, Row: int64(number), Begin: begin, Values: map[string]string{}}
	for c := range values {
		switch v := row[c+3].(type) {
		case string:
			values[c] = v
		case float64:
			if last == nil {
				return errRow
			}
			values[c] = last[c]
		case map[string]any:
			text, _ := v["base64"].(string)
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return errRow
			}
			values[c] = string(b)
		default:
			return errRow
		}
		if values[c] != "" {
			x.Values[in.Columns[c]] = values[c]
		}
	}
	before[in.Input] = values
	r.Rows = append(r.Rows, x)
	return nil
}

// oldReject has the fields that rejects of earlier releases have elsewhere.
type oldReject struct {
	Resource string `json:"resource"`
	Form     string `json:"form"`
}

func (o *oldReject) complete(r *pipeline.Reject) {
	if o.Resource != "" {
		r.Resources = append(r.Resources, o.Resource)
	}
	for i := range r.Rows {
		if r.Rows[i].Form == "" {
			r.Rows[i].Form = o.Form
		}
	}
	if len(r.Rows) > 0 {
		r.Input, r.Row, r.RowCount = r.Rows[0].Input, r.Rows[0].Row, len(r.Rows)
	}
}

// eachOld reads the rejects of a file of an earlier release, which is uncompressed and has one line
// per reject.
func eachOld(file io.Reader, path string, f func(*pipeline.Reject) error) error {
	d := json.NewDecoder(bufio.NewReaderSize(file, 1<<16))
	for {
		var r struct {
			pipeline.Reject
			oldReject
		}
		if err := d.Decode(&r); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read %s: the file is damaged", path)
		}
		r.complete(&r.Reject)
		if err := f(&r.Reject); err != nil {
			return err
		}
	}
}

// file is the file of a lane's rejects.
func file(state, run, lane string) string {
	return filepath.Join(Dir(state, run), lane+suffix)
}

// files lists the files of a run's rejects.
func files(state, run string) (paths []string, err error) {
	dir := Dir(state, run)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list rejects of run %s: %w", run, err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) || strings.HasSuffix(e.Name(), ".ndjson") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}
