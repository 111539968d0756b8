package folders

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// level is where in an extract a folder is.
type level uint8

const (
	top       level = iota // it was named
	table                  // below one that was named
	partition              // key=value
)

// folder adds the files of a folder that was named.
func (f *finder) folder(dir string) error {
	before, leftBefore := len(f.files), len(f.leftOut)
	if err := f.walk(dir, dir, top); err != nil {
		return err
	}
	if len(f.files) > before {
		return nil
	}
	what := "the folder has no Parquet, CSV or Arrow files"
	if left := f.leftOut[leftBefore:]; len(left) > 0 {
		what += "; it has " + describe(left, dir+string(filepath.Separator))
	}
	return &EmptyError{dir, what}
}

// describe names some of what was left out, as seen from a folder.
func describe(left []LeftOut, dir string) string {
	const few = 3
	var there []string
	for _, x := range left[:min(few, len(left))] {
		there = append(there, fmt.Sprintf("%s (%s)", strings.TrimPrefix(x.Path, dir), x.Reason))
	}
	if more := len(left) - len(there); more > 0 {
		there = append(there, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(there, ", ")
}

// walk adds the files of a folder and of the folders below it that belong to its table. root is the
// named folder.
func (f *finder) walk(root, dir string, at level) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var plain, keyed []string
	files := 0
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if reason := skipped(e.Name()); reason != "" {
			if e.IsDir() {
				f.leaveFolder(path, reason)
			} else {
				f.leave(path, reason)
			}
			continue
		}
		folder, err := isDir(dir, e)
		switch {
		case err != nil:
			return err
		case folder && isKey(e.Name()):
			keyed = append(keyed, path)
		case folder:
			plain = append(plain, path)
		case f.o.Known(e.Name()):
			if err := f.takeFrom(root, path); err != nil {
				return err
			}
			files++
		default:
			if err := f.unknown(path); err != nil {
				return err
			}
		}
	}
	for _, d := range keyed {
		kind, err := readableKind(d)
		switch {
		case err != nil:
			return err
		case kind == delta:
			return &RefusedError{d, "is a Delta table in a partition folder", "name the table itself"}
		}
		if err := f.walk(root, d, partition); err != nil {
			return err
		}
	}
	return f.below(root, plain, at, files > 0)
}

// unknown handles a file of no known format. If it is data all the same it is refused, because the
// extract would be incomplete without it.
func (f *finder) unknown(path string) error {
	what, hint := f.o.Refuse(filepath.Base(path))
	if what == "" {
		f.leave(path, ReasonUnknown)
		return nil
	}
	ok, err := exists(strings.TrimSuffix(path, filepath.Ext(path)))
	switch {
	case err != nil:
		return err
	case !ok:
		return &RefusedError{path, what, hint}
	}
	f.leave(path, ReasonPacked)
	return nil
}

// below handles the folders without partition keys in a folder. beside says that the folder itself
// has files of the extract.
func (f *finder) below(root string, dirs []string, at level, beside bool) error {
	for _, d := range dirs {
		kind, err := readableKind(d)
		switch {
		case err != nil:
			return err
		case at != top:
			f.leaveFolder(d, ReasonDeep)
			continue
		}
		before, leftBefore := len(f.files), len(f.leftOut)
		if kind == delta {
			err = f.deltaFolder(d, d)
			f.rename(root, f.files[before:])
		} else {
			err = f.walk(root, d, table)
		}
		switch {
		case err != nil:
			return err
		case len(f.files) > before && beside:
			f.entered = append(f.entered, d)
		case len(f.files) == before && kind != delta && !slices.ContainsFunc(f.leftOut[leftBefore:], deep):
			// Nothing in it belongs to the extract, so its name is enough.
			f.leftOut = slices.Delete(f.leftOut, leftBefore, len(f.leftOut))
			f.leaveFolder(d, ReasonBare)
		}
	}
	return nil
}

func deep(x LeftOut) bool { return x.Reason == ReasonDeep }

// takeFrom adds a file below a named folder.
func (f *finder) takeFrom(root, path string) error {
	keys, err := keysAbove(path)
	if err != nil {
		return err
	}
	f.take(File{Path: path, Keys: keys})
	f.rename(root, f.files[len(f.files)-1:])
	return nil
}

// rename makes the names of files relative to a folder.
func (f *finder) rename(root string, files []File) {
	for i := range files {
		files[i].Name = filepath.Base(files[i].Path)
		if rel, err := filepath.Rel(root, files[i].Path); err == nil {
			files[i].Name = filepath.ToSlash(rel)
		}
	}
}
