package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/csvio"
	"cpcds2fhir/pipeline/folders"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// extract is a set of open input files and the layout that reads them.
type extract struct {
	found  []folders.File
	sizes  []int64
	files  []pipeline.File
	layout *layouts.Layout
	why    string
	inputs []*rowbatch.Input
	of     []int // the file of each input: one file may be several tables

	room readerRoom

	leftOut []manifest.LeftOut

	unread   []*unreadColumn
	warnings []string // shown to the user before the load
}

func (x *extract) close() {
	for _, f := range x.files {
		f.Close()
	}
}

// openExtract finds and opens the files that args name, recognises or applies the
// layout, and binds every file to its table. kept is the layout itself, if it is not nil.
func openExtract(args []string, kept *layouts.Layout, layoutName string, lenient bool, noRepair map[string]bool, room readerRoom) (*extract, error) {
	x, err := findExtract(args)
	if err != nil {
		return nil, err
	}
	x.room, x.layout = room, kept
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
		// Read the headers as they are, to see which layout knows them.
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
		return usagef("layout %s leaves out every file", x.layout.Name)
	}
	for i, found := range x.found {
		p := found.Path
		for n, t := range places[i].Tables {
			b := x.boundAs(t, x.files[i].Fields())
			if b == nil {
				var err error
				if b, err = t.Bind(x.files[i].Fields(), layouts.Options{Lenient: lenient, NoRepair: noRepair}); err != nil {
					return fmt.Errorf("%s: %w", p, err)
				}
				x.noteZones(t, b, x.files[i].Fields())
			}
			if n == 0 {
				x.note(p, t, x.files[i].Fields())
			}
			x.inputs = append(x.inputs, &rowbatch.Input{Path: p, Table: t.Table, File: x.files[i], Binding: b})
			x.of = append(x.of, i)
		}
	}
	for _, u := range x.unread {
		x.warnings = append(x.warnings, u.warning(x.layout.Name))
	}
	return nil
}

// boundAs returns the binding of an earlier file with the same columns, or nil. An extract may have
// thousands of files, most of them alike.
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
	var found []folders.File
	var files []pipeline.File
	var sizes []int64
	for i, p := range places {
		if p.LeftOut != "" {
			x.files[i].Close()
			path := x.found[i].Path
			x.leftOut = append(x.leftOut, manifest.LeftOut{Path: path, Reason: p.LeftOut})
			x.warnings = append(x.warnings, fmt.Sprintf("%s is left out: %s", path, p.LeftOut))
			continue
		}
		found, files, sizes, kept = append(found, x.found[i]), append(files, x.files[i]), append(sizes, x.sizes[i]), append(kept, p)
	}
	x.found, x.files, x.sizes = found, files, sizes
	return kept
}

// openFiles opens all inputs. Text files are read with the options.
func (x *extract) openFiles(csv csvio.Options) error {
	x.files, x.sizes = nil, nil
	var last pipeline.File
	for _, found := range x.found {
		f, err := openerOf(found.Path)(found.Path, opening{csv: csv, like: last, room: x.room})
		if err != nil {
			return err
		}
		last = f
		x.noteDoubled(folders.Doubled(f, found.Keys))
		x.files = append(x.files, folders.WithKeys(f, found.Keys))
		info, err := os.Stat(found.Path)
		if err != nil {
			return err
		}
		x.sizes = append(x.sizes, info.Size())
	}
	return nil
}

// noteDoubled warns once of each partition key that files also have as a column.
func (x *extract) noteDoubled(names []string) {
	for _, n := range names {
		x.warnOnce(fmt.Sprintf("column %q is both in the files and in their folder names: the files' column is read, and the two are not compared", n))
	}
}

func (x *extract) headers() []layouts.File {
	files := make([]layouts.File, len(x.found))
	for i, found := range x.found {
		files[i] = layouts.File{Path: found.Path, Fields: x.files[i].Fields()}
	}
	return files
}

func csvOptions(l *layouts.Layout) csvio.Options {
	return csvio.Options{Delimiter: byte(l.CSV.Delimiter), Quote: byte(l.CSV.Quote), NoQuote: l.CSV.Quote == 0,
		Encoding: l.CSV.Encoding, ShortRows: l.CSV.ShortRows,
		Escape: byte(l.CSV.Escape), Trim: l.CSV.Trim, ExcelGuards: l.CSV.ExcelGuards, NullMark: l.CSV.NullMark}
}

// fingerprint identifies the inputs without reading them in full: by their names, sizes, first and
// last megabyte, and the partition keys, which are in no file. The manifest has the full digests.
func (x *extract) fingerprint() (string, error) {
	h := sha256.New()
	for i, found := range x.found {
		fmt.Fprintf(h, "%s\x00%d\x00", found.Name, x.sizes[i])
		for _, k := range found.Keys {
			fmt.Fprintf(h, "%q=%q,%t\x00", k.Name, k.Value, k.Absent)
		}
		f, err := os.Open(found.Path)
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
			return "", fmt.Errorf("read %s: %w", found.Path, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// heeded is a reader that stops when its context is done.
type heeded struct {
	ctx context.Context
	io.Reader
}

func (h heeded) Read(b []byte) (int, error) {
	if err := h.ctx.Err(); err != nil {
		return 0, err
	}
	return h.Reader.Read(b)
}

// digest is the SHA-256 of a whole file.
func digest(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	// A plain copy could read the whole file without checking the context.
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, heeded{ctx, f}, make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// expectClaims warns if no file of the extract has claims. If a folder was left out that may hold
// them, it is an error instead: a job whose folders moved must not end as a success every night.
func (x *extract) expectClaims() error {
	if slices.ContainsFunc(x.inputs, func(in *rowbatch.Input) bool { return in.Table == cpcds.Claims }) {
		return nil
	}
	for _, f := range x.leftOut {
		if f.Reason == folders.ReasonDeep {
			return fmt.Errorf("no claims file was given, and %s is %s: give its path, or use --allow-empty to load only the small tables", f.Path, f.Reason)
		}
	}
	x.warnings = append(x.warnings, "no claims file was given: only the small tables are loaded (use --allow-empty if this is intended)")
	return nil
}
