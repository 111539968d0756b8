package folders

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cpcds2fhir/pipeline"
)

// deltaLog is the folder that makes a folder a Delta table.
const deltaLog = "_delta_log"

// snapshot is the current version of a Delta table.
type snapshot struct {
	root  string
	files map[string][]Key // by path below the root
}

// snapshot reads the log of a Delta table, once.
func (f *finder) snapshot(root string) (*snapshot, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if s := f.tables[abs]; s != nil {
		return s, nil
	}
	state, err := readLog(root, f.o.Checkpoint)
	if err != nil {
		return nil, err
	}
	if err := state.readable(); err != nil {
		return nil, err
	}
	s := &snapshot{root: root}
	if s.files, err = state.files(); err != nil {
		return nil, err
	}
	f.tables[abs] = s
	return s, nil
}

// below returns the path of a file or folder of the table as seen from its root.
func (s *snapshot) below(path string) (string, error) {
	root, err := filepath.Abs(s.root)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	return filepath.Rel(root, path)
}

// deltaFile adds a named file of a Delta table.
func (f *finder) deltaFile(root, path string) error {
	s, err := f.snapshot(root)
	if err != nil {
		return err
	}
	name, err := s.below(path)
	if err != nil {
		return err
	}
	keys, ok := s.files[name]
	if !ok {
		return &RefusedError{path, "is not in the current version of the Delta table " + root, "name the table's folder to load that version"}
	}
	f.take(File{Path: path, Name: filepath.Base(path), Keys: keys})
	return nil
}

// deltaFolder adds the files of the current version of a Delta table that lie in a folder
// of it, or in its root.
func (f *finder) deltaFolder(root, dir string) error {
	s, err := f.snapshot(root)
	if err != nil {
		return err
	}
	from, err := s.below(dir)
	if err != nil {
		return err
	}
	var missing []string
	taken := 0
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		rel, err := filepath.Rel(from, name)
		if err != nil || !filepath.IsLocal(rel) {
			continue // of another folder
		}
		taken++
		path := filepath.Join(dir, rel)
		ok, err := exists(path)
		switch {
		case err != nil:
			return err
		case !ok:
			missing = append(missing, path)
		case !f.o.Known(path):
			return &RefusedError{path, "is a file of a Delta table whose name does not show its format", ""}
		}
		f.take(File{Path: path, Name: filepath.ToSlash(rel), Keys: s.files[name]})
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: the current version of the Delta table lacks %d of its %d files, the first is %s: %w; copy the whole folder",
			root, len(missing), taken, missing[0], fs.ErrNotExist)
	}
	if taken == 0 {
		f.leaveFolder(dir, ReasonNoFiles)
	}
	return f.stale(s, dir)
}

// stale lists the files in a folder of a Delta table that are not in its current version.
func (f *finder) stale(s *snapshot, dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := s.below(path)
		if err != nil {
			return err
		}
		if _, ok := s.files[name]; ok || name == deltaLog {
			return skipDir(e)
		}
		switch reason := skipped(e.Name()); {
		case reason != "" && e.IsDir() && !s.within(name):
			f.leaveFolder(path, reason)
			return fs.SkipDir
		case e.IsDir():
		case reason != "":
			f.leave(path, reason)
		case f.o.Known(path):
			f.leave(path, ReasonStale)
		default:
			f.leave(path, ReasonUnknown)
		}
		return nil
	})
}

func skipDir(e fs.DirEntry) error {
	if e.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// within reports whether the table has a file in a folder.
func (s *snapshot) within(dir string) bool {
	for name := range s.files {
		if strings.HasPrefix(name, dir+string(os.PathSeparator)) {
			return true
		}
	}
	return false
}

// tableState is what the actions of a log add up to.
type tableState struct {
	root     string
	adds     map[string]*addAction // by path below the root
	protocol *protocolAction
	metadata *metadataAction
	sidecars bool
}

// readerFeatures are those that do not matter when reading the files of the newest version. Column
// mapping is checked by the table's mode, and deletion vectors by file: most tables that could have
// them have none.
var readerFeatures = []string{"timestampNtz", "vacuumProtocolCheck", "columnMapping", "deletionVectors"}

// readable rejects what this reader would read wrongly.
func (t *tableState) readable() error {
	refuse := func(what, hint string) error { return &RefusedError{t.root, what, hint} }
	switch {
	case t.protocol == nil || t.metadata == nil:
		return &pipeline.FormatError{File: filepath.Join(t.root, deltaLog), What: "has no protocol or no metadata for the table",
			Hint: "copy the whole folder"}
	case t.sidecars:
		return refuse("is a Delta table with V2 checkpoints", exportSnapshot)
	case t.protocol.MinReaderVersion > 3:
		return refuse(fmt.Sprintf("is a Delta table for readers of version %d", t.protocol.MinReaderVersion), exportSnapshot)
	}
	for _, feature := range t.protocol.ReaderFeatures {
		if !slices.Contains(readerFeatures, feature) {
			return refuse(fmt.Sprintf("is a Delta table with the reader feature %q", feature), exportSnapshot+", or drop the feature")
		}
	}
	if mode := t.metadata.Configuration["delta.columnMapping.mode"]; mode != "" && mode != "none" {
		return refuse(fmt.Sprintf("is a Delta table with column mapping (delta.columnMapping.mode %q)", mode), exportSnapshot)
	}
	if p := t.metadata.Format.Provider; p != "" && p != "parquet" {
		return refuse(fmt.Sprintf("is a Delta table of %q files", p), exportSnapshot)
	}
	for _, a := range t.adds {
		if a.DeletionVector != nil {
			return refuse("is a Delta table with deletion vectors", exportSnapshot+`, or purge them with REORG TABLE ... APPLY (PURGE)`)
		}
	}
	return nil
}

// files returns the files of the table with their partition keys.
func (t *tableState) files() (map[string][]Key, error) {
	files := make(map[string][]Key, len(t.adds))
	for name, a := range t.adds {
		var keys []Key
		for _, c := range t.metadata.PartitionColumns {
			v, ok := a.PartitionValues[c]
			if !ok {
				return nil, &pipeline.FormatError{File: filepath.Join(t.root, name), Column: c, What: "the Delta log has no value for this partition column"}
			}
			k := Key{Name: c, Value: v, Absent: v == ""}
			if !k.text() {
				return nil, &pipeline.FormatError{File: filepath.Join(t.root, name), Column: c, What: "the Delta log has a value with a NUL"}
			}
			keys = append(keys, k)
		}
		files[name] = keys
	}
	return files, nil
}
