package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// schemaFile marks a folder as a store and says how its records are written. It
// is a file, not a key, so that a folder of somebody else's and a store of a
// newer program are refused before Pebble touches them.
const (
	schemaFile    = "SCHEMA"
	schemaPrefix  = "cpcds2fhir store schema "
	schemaVersion = 1
)

// checkSchema reads the schema version, and writes it into a new store.
func checkSchema(disk vfs.FS, dir string, readOnly bool) error {
	name := disk.PathJoin(dir, schemaFile)
	f, err := disk.Open(name)
	if errors.Is(err, fs.ErrNotExist) && !readOnly {
		return writeSchema(disk, dir)
	}
	if err != nil {
		return fmt.Errorf("open schema file: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 100))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read schema file: %w", err)
	}
	number, ok := strings.CutPrefix(strings.TrimSpace(string(text)), schemaPrefix)
	found, err := strconv.Atoi(number)
	switch {
	case !ok || err != nil || found < 1:
		return &NotStoreError{dir}
	case found > schemaVersion:
		return &VersionError{Dir: dir, Found: found, Known: schemaVersion}
	}
	return nil
}

func writeSchema(disk vfs.FS, dir string) error {
	name := disk.PathJoin(dir, schemaFile)
	f, err := disk.Create(name+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("create schema file: %w", err)
	}
	_, err = io.WriteString(f, schemaPrefix+strconv.Itoa(schemaVersion)+"\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write schema file: %w", err)
	}
	if err := disk.Rename(name+".new", name); err != nil {
		return fmt.Errorf("rename schema file: %w", err)
	}
	d, err := disk.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open store folder: %w", err)
	}
	if err = errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync store folder: %w", err)
	}
	return nil
}
