package layouts

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"cpcds2fhir/schemas/cpcds"
)

// codeMap is a code map of a layout: it maps codes of the source to canonical ones.
type codeMap struct {
	declared entry
	codes    map[string]string
	used     bool
}

// codeMapsBlock reads the code_maps block: the names of the layout's code maps and
// the files that hold them.
func (p *layoutParser) codeMapsBlock(n ast.Node) {
	for _, e := range p.entries(n, "code_maps") {
		if _, ok := p.codeMaps[e.key]; ok {
			p.at(e.node, "", "%s is duplicated", e.key)
			continue
		}
		m := &codeMap{declared: e}
		p.codeMaps[e.key] = m
		name := p.text(e.val, "code_maps")
		src, err := p.open(name)
		if err != nil {
			p.at(e.val, "", "open code map: %v", err)
			continue
		}
		p.keep(name, src)
		var findings []Finding
		m.codes, findings = readCodeMap(path.Join(path.Dir(filepath.ToSlash(p.file)), name), src)
		p.findings = append(p.findings, findings...)
	}
}

// codeMap returns the codes of the code map that the column of an element names.
func (p *layoutParser) codeMap(n ast.Node, el cpcds.Element) map[string]string {
	name := p.text(n, "code_map")
	m, ok := p.codeMaps[name]
	if !ok {
		p.unknown(entry{key: name, node: n}, "code map", "the layout; declare it with its file under code_maps", slices.Sorted(maps.Keys(p.codeMaps)))
		return nil
	}
	m.used = true
	for _, from := range slices.Sorted(maps.Keys(m.codes)) {
		if foreign(el, m.codes[from]) != "" {
			p.closed(el, n, m.codes[from])
			break
		}
	}
	return m.codes
}

// unusedCodeMaps finds code maps that no column uses.
func (p *layoutParser) unusedCodeMaps() {
	for _, name := range slices.Sorted(maps.Keys(p.codeMaps)) {
		if m := p.codeMaps[name]; !m.used {
			p.at(m.declared.node, "", "no column uses code map %s", name)
		}
	}
}

// readCodeMap reads a code map: a CSV file with the columns from and to; other columns are
// comments. Findings have the line of the file.
func readCodeMap(name string, src []byte) (map[string]string, []Finding) {
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
		switch cpcds.FoldHeader(h) {
		case "from":
			from = i
		case "to":
			to = i
		}
	}
	if from < 0 || to < 0 {
		add(1, "a code map needs the columns from and to")
		return nil, findings
	}
	codes, lines := map[string]string{}, map[string]int{}
	for {
		row, err := r.Read()
		if err == io.EOF {
			return codes, findings
		}
		if err != nil {
			if p, ok := errors.AsType[*csv.ParseError](err); ok {
				add(p.Line, "%v", p.Err)
			} else {
				add(0, "%v", err)
			}
			return codes, findings
		}
		line, _ := r.FieldPos(0)
		key := strings.TrimSpace(row[from])
		switch before, ok := lines[key]; {
		case key == "":
			add(line, "column from is empty")
		case ok:
			add(line, "the code is already in line %d", before)
		default:
			lines[key], codes[key] = line, strings.TrimSpace(row[to])
		}
	}
}
