package layouts

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// codeTable reads a table of codes: a CSV file with the columns from and to; other
// columns are for people. Findings carry the line of the file.
func codeTable(name string, src []byte) (map[string]string, []Finding) {
	var findings []Finding
	add := func(line int, format string, args ...any) {
		findings = append(findings, Finding{File: name, Line: line, Message: fmt.Sprintf(format, args...)})
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(src, []byte("\ufeff"))))
	r.Comment = '#'
	header, err := r.Read()
	if err != nil {
		add(1, "read header: %v", err)
		return nil, findings
	}
	from, to := -1, -1
	for i, h := range header {
		switch fold(h) {
		case "from":
			from = i
		case "to":
			to = i
		}
	}
	if from < 0 || to < 0 {
		add(1, "a code table needs the columns from and to")
		return nil, findings
	}
	table, lines := map[string]string{}, map[string]int{}
	for {
		row, err := r.Read()
		if err == io.EOF {
			return table, findings
		}
		if err != nil {
			if p, ok := errors.AsType[*csv.ParseError](err); ok {
				add(p.Line, "%v", p.Err)
			} else {
				add(0, "%v", err)
			}
			return table, findings
		}
		line, _ := r.FieldPos(0)
		key := strings.TrimSpace(row[from])
		switch before, ok := lines[key]; {
		case key == "":
			add(line, "the column from is empty")
		case ok:
			add(line, "the code stands in line %d already", before)
		default:
			lines[key], table[key] = line, strings.TrimSpace(row[to])
		}
	}
}
