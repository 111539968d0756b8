// Package folders finds which files of a folder belong to the extract, and what their paths say.
// Other tools leave more than data in a folder: markers, checksums, files that a table no longer
// has. It knows names and the logs of table formats, but not the content of data files.
package folders

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options tell Find about formats.
type Options struct {
	// Known reports whether the name of a file shows a known format.
	Known func(name string) bool

	// Endings lists the known suffixes, for messages.
	Endings string

	// Refuse says why a file that is not Known stops the load, "" if it is not data. It is a
	// clause, as in a RefusedError, and so is the hint.
	Refuse func(name string) (what, hint string)

	// Checkpoint calls action for each action in a checkpoint of a Delta log, a Parquet file, as
	// the JSON of a commit. It may leave out what a reader does not need.
	Checkpoint func(path string, action func(json []byte) error) error
}

// File is a file of an extract.
type File struct {
	Path string
	Name string // its path below the named folder, or the last element of Path
	Keys []Key  // what its folders, or the log of its table, say about all its rows
}

// Key is a partition key: a column whose value is not in the rows.
type Key struct {
	Name   string
	Value  string
	Absent bool // the rows have no value
}

// LeftOut is a file that does not belong to the extract, or a folder that was not entered: then its
// path ends in a separator.
type LeftOut struct{ Path, Reason string }

// Why files are left out.
const (
	ReasonMarked    = "hidden or marked as not data"
	ReasonTemporary = "unfinished, judging by its name"
	ReasonUnknown   = "not a known format, judging by its name"
	ReasonPacked    = "in an unsupported compression, and also there uncompressed"
	ReasonStale     = "not in the current version of the Delta table"
	ReasonNoFiles   = "the current version of the Delta table has no files in it"
	ReasonDeep      = "a folder too deep to be a table of the extract"
	ReasonBare      = "a folder without files of the extract"
	ReasonSame      = "the same file as another"
)

// Listing is what Find found.
type Listing struct {
	Files   []File    // by path
	LeftOut []LeftOut // by path

	// Entered are folders without partition keys that are next to files of the extract and were
	// read too.
	Entered []string
}

// RefusedError is about files that are not read because they would be read wrongly.
type RefusedError struct {
	Path string
	What string // a clause: "is an Apache Iceberg table"
	Hint string // what to do, "" if there is nothing to say
}

func (e *RefusedError) Error() string {
	if e.Hint == "" {
		return e.Path + ": " + e.What
	}
	return e.Path + ": " + e.What + "; " + e.Hint
}

// exportSnapshot is the remedy if the current files of a table cannot be told from those of earlier
// versions.
const exportSnapshot = "export a snapshot of it as Parquet"

// EmptyError is about a folder or a pattern that has no files of an extract.
type EmptyError struct{ Path, What string }

func (e *EmptyError) Error() string { return e.Path + ": " + e.What }

// Find turns files, folders and patterns into the files of an extract, each once and sorted by
// path. A named file is taken or refused, never left out.
func Find(args []string, o Options) (*Listing, error) {
	f := &finder{o: o, tables: map[string]*snapshot{}}
	for _, a := range args {
		if err := f.argument(a); err != nil {
			return nil, err
		}
	}
	l, err := f.listing()
	if err == nil && len(l.Files) == 0 {
		return nil, &EmptyError{args[0], "there are no files to read; " + describe(l.LeftOut, "")}
	}
	return l, err
}

// finder gathers what the arguments name.
type finder struct {
	o       Options
	files   []File
	leftOut []LeftOut
	entered []string
	tables  map[string]*snapshot // by absolute path of a Delta table
}

func (f *finder) argument(a string) error {
	a = filepath.Clean(a)
	info, err := os.Stat(a)
	switch {
	case err == nil:
		return f.named(a, info)
	case !strings.ContainsAny(a, "*?["):
		return err
	}
	matches, err := filepath.Glob(a)
	if err != nil || len(matches) == 0 {
		return &EmptyError{a, "no file matches"}
	}
	taken := false
	for _, m := range matches {
		if reason := skippedMatch(a, m); reason != "" {
			f.leave(m, reason)
			continue
		}
		info, err := os.Stat(m)
		if err != nil {
			return err
		}
		if err := f.named(m, info); err != nil {
			return err
		}
		taken = true
	}
	if !taken {
		return &EmptyError{a, "no file matches except those that are " + ReasonMarked}
	}
	return nil
}

// skippedMatch returns why a match of a pattern is left out: like a folder, a wildcard does not
// include names that begin with a dot or an underscore.
func skippedMatch(pattern, match string) string {
	wild := strings.Split(filepath.ToSlash(filepath.Clean(pattern)), "/")
	for i, name := range strings.Split(filepath.ToSlash(filepath.Clean(match)), "/") {
		if i < len(wild) && strings.ContainsAny(wild[i], "*?[") && wild[i][0] != name[0] {
			if reason := skipped(name); reason != "" {
				return reason
			}
		}
	}
	return ""
}

// named adds what one path names.
func (f *finder) named(path string, info fs.FileInfo) error {
	root, kind, err := tableOf(path, info.IsDir())
	if err != nil {
		return err
	}
	if err := kind.refused(root); err != nil {
		return err
	}
	switch {
	case kind == delta && info.IsDir():
		return f.deltaFolder(root, path)
	case kind == delta:
		return f.deltaFile(root, path)
	case info.IsDir():
		return f.folder(path)
	}
	if !f.o.Known(path) {
		what, hint := f.o.Refuse(path)
		if what == "" {
			what, hint = "the name does not show the format", "use "+f.o.Endings
		}
		return &RefusedError{path, what, hint}
	}
	keys, err := keysAbove(path)
	if err != nil {
		return err
	}
	f.take(File{Path: path, Name: filepath.Base(path), Keys: keys})
	return nil
}

func (f *finder) take(x File) { f.files = append(f.files, x) }

func (f *finder) leave(path, reason string) { f.leftOut = append(f.leftOut, LeftOut{path, reason}) }

// leaveFolder notes a folder that is not entered.
func (f *finder) leaveFolder(path, reason string) {
	f.leave(path+string(filepath.Separator), reason)
}

// listing sorts what was found and drops duplicates.
func (f *finder) listing() (*Listing, error) {
	at := map[string]int{} // by absolute path: place in once
	var once []File
	for _, x := range f.files {
		abs, err := filepath.Abs(x.Path)
		if err != nil {
			return nil, err
		}
		i, twice := at[abs]
		switch {
		case !twice:
			at[abs] = len(once)
			once = append(once, x)
		case len(x.Name) > len(once[i].Name): // seen from a folder further up
			once[i] = x
		}
	}
	slices.SortFunc(once, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(f.entered)
	l := &Listing{Entered: slices.Compact(f.entered)}
	links := map[string]bool{}
	for _, x := range once {
		plain, err := filepath.EvalSymlinks(x.Path)
		if err == nil {
			plain, err = filepath.Abs(plain)
		}
		switch {
		case err != nil:
			return nil, err
		case links[plain]:
			l.LeftOut = append(l.LeftOut, LeftOut{x.Path, ReasonSame})
		default:
			l.Files = append(l.Files, x)
		}
		links[plain] = true
	}
	left := map[string]bool{}
	for _, x := range f.leftOut {
		abs, err := filepath.Abs(x.Path)
		if err != nil {
			return nil, err
		}
		if _, taken := at[abs]; !taken && !left[abs] {
			l.LeftOut = append(l.LeftOut, x)
		}
		left[abs] = true
	}
	slices.SortFunc(l.LeftOut, func(a, b LeftOut) int { return strings.Compare(a.Path, b.Path) })
	return l, nil
}

// Summary describes what was left out: each file by name if there are few, otherwise the number for
// each reason.
func Summary(list []LeftOut) (lines []string) {
	const few = 3
	var reasons []string
	by := map[string][]string{}
	for _, x := range list {
		if by[x.Reason] == nil {
			reasons = append(reasons, x.Reason)
		}
		by[x.Reason] = append(by[x.Reason], x.Path)
	}
	for _, r := range reasons {
		paths := by[r]
		if len(paths) <= few {
			for _, p := range paths {
				lines = append(lines, fmt.Sprintf("%s is left out: %s", p, r))
			}
			continue
		}
		dirs := 0
		for _, p := range paths {
			if os.IsPathSeparator(p[len(p)-1]) {
				dirs++
			}
		}
		lines = append(lines, fmt.Sprintf("%s left out: %s (first: %s)", counted(len(paths)-dirs, dirs), r, paths[0]))
	}
	return lines
}

// counted says how many files and folders there are.
func counted(files, dirs int) string {
	noun := func(n int, s string) string {
		if n == 1 {
			return "1 " + s
		}
		return fmt.Sprintf("%d %ss", n, s)
	}
	switch {
	case dirs == 0:
		return noun(files, "file")
	case files == 0:
		return noun(dirs, "folder")
	}
	return noun(files, "file") + " and " + noun(dirs, "folder")
}

// isDir reports whether an entry is a folder, or a link to one. A broken link is an error.
func isDir(dir string, e fs.DirEntry) (bool, error) {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir(), nil
	}
	info, err := os.Stat(filepath.Join(dir, e.Name()))
	if err != nil {
		return false, err
	}
	return info.IsDir(), nil
}

// exists reports whether there is a file or folder of this name.
func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
