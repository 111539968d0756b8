package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/arrowio"
	"cpcds2fhir/pipeline/csvio"
	"cpcds2fhir/pipeline/parquetio"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// extract is a set of opened input files and the layout that reads them.
type extract struct {
	paths  []string
	sizes  []int64
	files  []pipeline.File
	layout *layouts.Layout
	why    string
	inputs []*pipeline.Input
	of     []int // the file of each input: one file may be several tables

	leftOut []pipeline.ManifestLeftOut

	warnings []string // what the user should know before the load
}

func (x *extract) close() {
	for _, f := range x.files {
		f.Close()
	}
}

// formats by the end of a file's name.
var formats = []struct {
	suffix string
	open   opener
}{
	{".parquet", openParquet}, {".pq", openParquet},
	{".arrow", openArrow}, {".arrows", openArrow}, {".feather", openArrow}, {".ipc", openArrow},
	{".csv", openCSV}, {".csv.gz", openCSV}, {".csv.zst", openCSV},
	{".tsv", openCSV}, {".tsv.gz", openCSV}, {".tsv.zst", openCSV},
	{".txt", openCSV}, {".txt.gz", openCSV}, {".txt.zst", openCSV},
}

// opener opens a file; text is read with the options, and like is a file that was opened
// before, or nil.
type opener func(path string, csv csvio.Options, like pipeline.File) (pipeline.File, error)

func openCSV(path string, csv csvio.Options, _ pipeline.File) (pipeline.File, error) {
	return csvio.Open(path, csv)
}

func openParquet(path string, _ csvio.Options, like pipeline.File) (pipeline.File, error) {
	return parquetio.Open(path, parquetio.Options{Like: like})
}

func openArrow(path string, _ csvio.Options, _ pipeline.File) (pipeline.File, error) {
	return arrowio.Open(path, arrowio.Options{})
}

func openerOf(path string) opener {
	lower := strings.ToLower(path)
	for _, f := range formats {
		if strings.HasSuffix(lower, f.suffix) {
			return f.open
		}
	}
	return nil
}

// openExtract finds and opens the files that args name, recognises or applies the
// layout, and binds every file to its table.
func openExtract(args []string, layoutName string, lenient bool, noRepair map[string]bool) (*extract, error) {
	paths, err := expand(args)
	if err != nil {
		return nil, err
	}
	x := &extract{paths: paths}
	if layoutName != "" {
		if x.layout, err = openLayout(layoutName); err != nil {
			return nil, err
		}
	}
	if err := x.open(lenient, noRepair); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *extract) open(lenient bool, noRepair map[string]bool) error {
	if x.layout == nil {
		// Read headers as they come, to see which layout knows them.
		if err := x.openFiles(csvio.Options{}); err != nil {
			return err
		}
		rec, err := layouts.Recognise(layouts.Builtins(), x.headers())
		if err != nil {
			return usagef("%s\nName a layout with --layout, or propose one with 'cpcds2fhir layout infer'.", err)
		}
		x.layout, x.why = rec.Layout, rec.Why
		x.close()
	}
	if err := x.openFiles(csvOptions(x.layout)); err != nil {
		return err
	}
	places, err := x.layout.Assign(x.headers())
	if err != nil {
		return usageError{err}
	}
	places = x.leave(places)
	if len(places) == 0 {
		return usagef("layout %s leaves out all files", x.layout.Name)
	}
	for i, p := range x.paths {
		for n, t := range places[i].Tables {
			b := x.boundAs(t, x.files[i].Fields())
			if b == nil {
				var err error
				if b, err = t.Bind(x.files[i].Fields(), layouts.Options{Lenient: lenient, NoRepair: noRepair}); err != nil {
					return fmt.Errorf("%s: %w", p, err)
				}
			}
			if n == 0 {
				x.unknown(p, t, x.files[i].Fields())
			}
			x.inputs = append(x.inputs, &pipeline.Input{Path: p, Table: t.Table, File: x.files[i], Binding: b})
			x.of = append(x.of, i)
		}
	}
	return nil
}

// boundAs returns the binding of an earlier file with the same columns, nil if there is
// none: most of the thousands of files that an extract may have are alike.
func (x *extract) boundAs(t *layouts.Table, fields []cpcds.Field) *layouts.Binding {
	for n := len(x.inputs) - 1; n >= 0; n-- {
		in := x.inputs[n]
		if in.Binding.Table() == t {
			if slices.Equal(in.File.Fields(), fields) {
				return in.Binding
			}
			return nil
		}
	}
	return nil
}

// leave drops the files that the layout leaves out and returns the places of the others.
func (x *extract) leave(places []layouts.Placement) (kept []layouts.Placement) {
	var paths []string
	var files []pipeline.File
	var sizes []int64
	for i, p := range places {
		if p.LeftOut != "" {
			x.files[i].Close()
			x.leftOut = append(x.leftOut, pipeline.ManifestLeftOut{Path: x.paths[i], Reason: p.LeftOut})
			x.warnings = append(x.warnings, fmt.Sprintf("%s is left out: %s", x.paths[i], p.LeftOut))
			continue
		}
		paths, files, sizes, kept = append(paths, x.paths[i]), append(files, x.files[i]), append(sizes, x.sizes[i]), append(kept, p)
	}
	x.paths, x.files, x.sizes = paths, files, sizes
	return kept
}

// unknown notes the columns of a file that the layout does not know.
func (x *extract) unknown(path string, t *layouts.Table, fields []cpcds.Field) {
	for _, header := range t.Match(path, fields).Unknown {
		w := fmt.Sprintf("%s: layout %s leaves out the column %q, which table %s does not have", path, x.layout.Name, header, t)
		if n := t.Nearest(header); n != "" {
			w += fmt.Sprintf(" (did you mean %q?)", n)
		}
		x.warnings = append(x.warnings, w)
	}
}

// openFiles opens all inputs. Text files are read with the options.
func (x *extract) openFiles(csv csvio.Options) error {
	x.files, x.sizes = nil, nil
	var last pipeline.File
	for _, p := range x.paths {
		f, err := openerOf(p)(p, csv, last)
		if err != nil {
			return err
		}
		last = f
		x.files = append(x.files, f)
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		x.sizes = append(x.sizes, info.Size())
	}
	return nil
}

func (x *extract) headers() []layouts.File {
	files := make([]layouts.File, len(x.paths))
	for i, p := range x.paths {
		files[i] = layouts.File{Path: p, Fields: x.files[i].Fields()}
	}
	return files
}

func csvOptions(l *layouts.Layout) csvio.Options {
	return csvio.Options{Delimiter: byte(l.CSV.Delimiter), Quote: byte(l.CSV.Quote), NoQuote: l.CSV.Quote == 0,
		Encoding: l.CSV.Encoding, ShortRows: l.CSV.ShortRows}
}

// expand turns files, folders and globs into files, sorted and each once.
func expand(args []string) ([]string, error) {
	var paths []string
	for _, a := range args {
		matches := []string{a}
		info, err := os.Stat(a)
		if err != nil && strings.ContainsAny(a, "*?[") {
			if matches, err = filepath.Glob(a); err != nil || len(matches) == 0 {
				return nil, environmentf("%s: no file matches", a)
			}
		} else if err != nil {
			return nil, err
		} else if info.IsDir() {
			matches = nil
			entries, err := os.ReadDir(a)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if p := filepath.Join(a, e.Name()); !e.IsDir() && openerOf(p) != nil {
					matches = append(matches, p)
				}
			}
			if len(matches) == 0 {
				return nil, environmentf("%s: the folder has no Parquet, CSV or Arrow files", a)
			}
		}
		for _, p := range matches {
			if openerOf(p) == nil {
				return nil, usagef("%s: the name does not tell the format: use .parquet, .csv (.gz, .zst), .tsv, .txt, .arrow or .feather", p)
			}
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

// fingerprint names the content of the inputs without reading them whole: names,
// sizes, and the first and last megabyte. The manifest has the full digests.
func (x *extract) fingerprint() (string, error) {
	h := sha256.New()
	for i, p := range x.paths {
		fmt.Fprintf(h, "%s\x00%d\x00", filepath.Base(p), x.sizes[i])
		f, err := os.Open(p)
		if err != nil {
			return "", err
		}
		const edge = 1 << 20
		_, err = io.Copy(h, io.LimitReader(f, edge))
		if err == nil && x.sizes[i] > edge {
			if _, err = f.Seek(-min(edge, x.sizes[i]-edge), io.SeekEnd); err == nil {
				_, err = io.Copy(h, f)
			}
		}
		f.Close()
		if err != nil {
			return "", fmt.Errorf("read %s: %w", p, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// digest is the SHA-256 of a whole file.
func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
