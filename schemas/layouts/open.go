package layouts

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml/ast"

	"cpcds2fhir/schemas/cpcds"
)

//go:embed builtin
var builtin embed.FS

// Builtins returns the built-in layouts, sorted by name. They are compiled once; the slice is the
// caller's.
func Builtins() []*Layout { return slices.Clone(builtins()) }

var builtins = sync.OnceValue(func() []*Layout {
	files, _ := fs.Glob(builtin, "builtin/*.yaml")
	out := make([]*Layout, len(files))
	var wait sync.WaitGroup // every start of the program waits for this
	for i, f := range files {
		wait.Go(func() {
			if l, findings := readBuiltin(f); len(findings) == 0 {
				out[i] = l
			}
		})
	}
	wait.Wait()
	return slices.DeleteFunc(out, func(l *Layout) bool { return l == nil })
})

func readBuiltin(file string) (*Layout, []Finding) {
	src, err := builtin.ReadFile(file)
	if err != nil {
		return nil, []Finding{{File: file, Message: err.Error()}}
	}
	return parse(file, src, func(name string) ([]byte, error) { return builtin.ReadFile(path.Join("builtin", name)) })
}

// Open returns the built-in layout of that name, or else compiles the YAML file at the path. The
// error is a *FileError if the file is at fault.
func Open(nameOrPath string) (*Layout, error) {
	var names []string
	for _, l := range builtins() {
		if l.Name == nameOrPath {
			return l, nil
		}
		names = append(names, l.Name)
	}
	isPath := strings.ContainsAny(nameOrPath, `/\`) || slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(nameOrPath))
	if !isPath {
		if _, err := os.Stat(nameOrPath); err != nil {
			hint := ""
			if n := Nearest(nameOrPath, names); n != "" {
				hint = fmt.Sprintf("; did you mean %q?", n)
			}
			return nil, fmt.Errorf("unknown layout %q; built-in layouts are %s, and files end in .yaml%s", nameOrPath, strings.Join(names, ", "), hint)
		}
	}
	l, findings := Check(nameOrPath)
	if l == nil {
		return nil, &FileError{faults(findings)}
	}
	return l, nil
}

// Check compiles the layout file at a path and returns all findings, in the order of the file. The
// layout is nil if any finding is not a warning.
func Check(file string) (*Layout, []Finding) {
	l, findings := read(file)
	if l == nil {
		return nil, findings
	}
	if len(faults(l.lacking)) > 0 {
		return nil, l.lacking
	}
	return l, l.lacking
}

// read compiles the layout file at a path.
func read(file string) (*Layout, []Finding) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, []Finding{{File: file, Message: fmt.Sprintf("read layout: %v", err)}}
	}
	// A code map is next to the layout, or built in.
	return parse(file, src, func(name string) ([]byte, error) {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(file), filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) {
			if own, e := builtin.ReadFile(path.Join("builtin", name)); e == nil {
				return own, nil
			}
		}
		return b, err
	})
}

// layoutParser reads one layout file.
type layoutParser struct {
	decoder
	layout   *Layout
	nulls    map[string]struct{}
	open     func(name string) ([]byte, error)
	codeMaps map[string]*codeMap // by name
	places   map[*Table]ast.Node // the keys of the tables and forms
	hash     []byte              // the SHA-256 sums of all files, one after the other
}

func parse(file string, src []byte, open func(string) ([]byte, error)) (*Layout, []Finding) {
	p := &layoutParser{
		decoder:  decoder{file: file, anchors: map[string]ast.Node{}},
		layout:   &Layout{CSV: CSVOptions{Quote: '"', Encoding: "utf-8"}},
		nulls:    map[string]struct{}{},
		open:     open,
		codeMaps: map[string]*codeMap{},
		places:   map[*Table]ast.Node{},
	}
	p.keep(filepath.Base(file), src)
	if body := p.document(src); body != nil {
		p.parse(body)
	}
	if len(p.findings) > 0 {
		p.sort()
		return nil, p.findings
	}
	p.lacks()
	p.anonymous()
	p.sort()
	p.layout.lacking = p.findings
	sum := sha256.Sum256(p.hash)
	p.layout.Hash = hex.EncodeToString(sum[:])
	return p.layout, nil
}

// sort sorts the findings in the order of the file, with those of code maps last.
func (p *layoutParser) sort() {
	slices.SortStableFunc(p.findings, func(a, b Finding) int {
		switch {
		case a.File != b.File && a.File == p.file:
			return -1
		case a.File != b.File && b.File == p.file:
			return 1
		}
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
}

// keep records a file of the layout.
func (p *layoutParser) keep(name string, src []byte) {
	s := sha256.Sum256(src)
	p.hash = append(p.hash, s[:]...)
	p.layout.sources = append(p.layout.sources, source{name, string(src)})
}

var layoutName = regexp.MustCompile(`^[a-z][a-z0-9]*([.-][a-z0-9]+)*$`)

func (p *layoutParser) parse(body ast.Node) {
	l := p.layout
	// Sentinels, code maps and the zone are read before any column, wherever they are in the file.
	for _, e := range p.entries(body, "the layout") {
		switch e.key {
		case "null":
			for _, s := range p.texts(e.val, "null") {
				p.nulls[s] = struct{}{}
			}
		case "code_maps":
			p.codeMapsBlock(e.val)
		case "time_zone":
			p.timeZone(e)
		}
	}
	p.fields(body, "the layout", map[string]func(entry){
		"layout": func(e entry) {
			if l.Name = p.text(e.val, "layout"); !layoutName.MatchString(l.Name) {
				p.at(e.val, "", "layout must be a name of lower-case letters, digits, hyphens and dots")
			}
		},
		"about":     func(e entry) { l.About = p.text(e.val, "about") },
		"source":    func(e entry) { l.Source = p.text(e.val, "source") },
		"systems":   func(e entry) { p.systems(e.val) },
		"csv":       func(e entry) { p.csv(e.val) },
		"null":      func(entry) {},
		"code_maps": func(entry) {},
		"time_zone": func(entry) {},
		"tables":    func(e entry) { p.tablesBlock(e.val) },
		"claims":    func(e entry) { p.claimRules(e.val, &l.Claims) },
		"constants": func(e entry) { p.constants(e.val) },
		"leave_out": func(e entry) { p.leaveOut(e.val) },
	})
	p.unusedCodeMaps()
	if l.Name == "" {
		p.at(body, "", `a layout needs a name: "layout: name"`)
	}
	if l.Source == "" {
		l.Source = l.Name
	}
	for _, t := range l.all() {
		t.layout = l.Name
	}
	l.CSV.NullMark = l.knowsNullMark()
	if len(l.all()) == 0 {
		p.at(body, "", "a layout needs tables")
	}
}

// knowsNullMark reports whether \N means no value in every column that is read from a file. In any
// other column it would become a value.
func (l *Layout) knowsNullMark() bool {
	known := false
	for _, t := range l.all() {
		for _, c := range t.columns {
			if len(c.headers) == 0 && (c.lenient == nil || len(c.lenient.headers) == 0) {
				continue
			}
			if _, known = c.nulls[`\N`]; !known {
				return false
			}
		}
	}
	return known
}

// timeZone reads a name of the time zone database.
func (p *layoutParser) timeZone(e entry) {
	name := p.text(e.val, e.key)
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		p.at(e.val, "", "%q is not a time zone; use one such as America/New_York or UTC", name)
		return
	}
	p.layout.Zone = zone
}

func (p *layoutParser) systems(n ast.Node) {
	s := &p.layout.Systems
	uri := func(to *string) func(entry) {
		return func(e entry) {
			*to = p.text(e.val, e.key)
			if strings.ContainsAny(*to, " \"\\<>") || !strings.Contains(*to, ":") {
				p.at(e.val, "", "%s must be a URI", e.key)
			}
		}
	}
	p.fields(n, "systems", map[string]func(entry){
		"claim": uri(&s.Claim), "member": uri(&s.Member), "unique_member": uri(&s.UniqueMember),
		"provider": uri(&s.Provider), "organization": uri(&s.Organization), "payer": uri(&s.Payer),
		"coverage": uri(&s.Coverage),
	})
}

// leaveOut reads patterns of names of files that hold no table, each with the reason.
func (p *layoutParser) leaveOut(n ast.Node) {
	for _, e := range p.entries(n, "leave_out") {
		reason := p.text(e.val, "leave_out")
		if reason == "" {
			p.at(e.node, "", "say why %q is left out", e.key)
		}
		if _, err := path.Match(e.key, ""); err != nil || e.key == "*" {
			p.at(e.node, "", "%q is not a pattern of file names", e.key)
		}
		p.layout.leftOut = append(p.layout.leftOut, leftOut{strings.ToLower(e.key), reason})
	}
}

func (p *layoutParser) constants(n ast.Node) {
	p.layout.Constants = map[cpcds.Table][]map[cpcds.Element]string{}
	for _, e := range p.entries(n, "constants") {
		t, ok := cpcds.ParseTable(e.key)
		if !ok || t == cpcds.Claims {
			p.unknown(e, "table", "constants", []string{"members", "coverages", "providers", "organizations"})
			continue
		}
		for _, item := range p.items(e.val) {
			row := map[cpcds.Element]string{}
			for _, x := range p.entries(item, "a row of "+e.key) {
				if el, ok := p.element(t, x); ok {
					row[el] = p.canonical(el, x.val)
				}
			}
			p.layout.Constants[t] = append(p.layout.Constants[t], row)
		}
	}
}
