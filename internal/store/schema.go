package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// schemaFile marks a folder as a store and says how its records are written. It is a file, not a
// key, so that foreign folders and stores of newer programs are refused before Pebble touches them.
//
// A store is created in three steps, each synced before the next: newSchemaFile says that what
// follows is ours, Pebble makes its files, and the file gets its final name. If there is only
// newSchemaFile, the creation was interrupted and nothing was ever stored, so Pebble's files are
// removed and made again: Pebble cannot open every state in which a power failure leaves a
// half-made database.
const (
	schemaFile    = "SCHEMA"
	newSchemaFile = schemaFile + ".new"
	lockName      = "LOCK"
	schemaPrefix  = "cpcds2fhir store schema "
	schemaVersion = 6 // 1 had SHA-256 as the hash of content, 2 had bodies of zstd, 3 had no record of numbers, 4 no commits, 5 no undo
	oldestSchema  = 3 // the oldest that can be upgraded
)

// prepare rejects a folder that is not a store, before anything is written into it, and makes the
// folder of a new one.
func prepare(disk vfs.FS, dir string, readOnly bool) error {
	names, err := disk.List(dir)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return fmt.Errorf("list store %s: %w", dir, err)
	case slices.Contains(names, schemaFile):
		return nil
	case readOnly:
		return &NotStoreError{dir}
	case missing:
		return makeFolder(disk, dir)
	case slices.ContainsFunc(names, func(name string) bool { return name != lockName && name != newSchemaFile }) &&
		!slices.Contains(names, newSchemaFile):
		return &NotStoreError{dir}
	}
	return nil
}

// makeFolder makes dir and its missing parents, and syncs their parent folders. Pebble syncs only
// dir's own parent.
func makeFolder(disk vfs.FS, dir string) error {
	var parents []string
	for at := dir; ; at = disk.PathDir(at) {
		if _, err := disk.Stat(at); err == nil || disk.PathDir(at) == at {
			break
		}
		parents = append(parents, disk.PathDir(at))
	}
	if err := disk.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create store %s: %w", dir, err)
	}
	for _, parent := range parents {
		if err := syncFolder(disk, parent); err != nil {
			return err
		}
	}
	return nil
}

// checkSchema reads the schema version. If there is none yet, it starts creating the store and
// reports that endCreation must follow. The lock must be held.
func checkSchema(disk vfs.FS, dir string, readOnly bool) (version int, creating bool, err error) {
	version, err = readSchema(disk, dir, schemaFile)
	if readOnly || !errors.Is(err, fs.ErrNotExist) {
		return version, false, err
	}
	return schemaVersion, true, beginCreation(disk, dir)
}

// readSchema reads a schema file. It fails with fs.ErrNotExist, *NotStoreError or
// *VersionError where these apply.
func readSchema(disk vfs.FS, dir, name string) (version int, err error) {
	f, err := disk.Open(disk.PathJoin(dir, name))
	if err != nil {
		return 0, fmt.Errorf("open schema file: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 100))
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("read schema file: %w", err)
	}
	number, ok := strings.CutPrefix(string(text), schemaPrefix)
	number, ended := strings.CutSuffix(number, "\n")
	found, err := strconv.Atoi(number)
	switch {
	case !ok || !ended || err != nil || found < 1:
		return 0, &NotStoreError{dir}
	case found < oldestSchema || found > schemaVersion:
		return 0, &VersionError{Dir: dir, Found: found, Known: schemaVersion}
	}
	return found, nil
}

func beginCreation(disk vfs.FS, dir string) error {
	names, err := disk.List(dir)
	if err != nil {
		return fmt.Errorf("list store %s: %w", dir, err)
	}
	// Only a complete file says that Pebble's files are ours.
	_, unfinished := readSchema(disk, dir, newSchemaFile)
	ours := unfinished == nil
	for _, name := range names {
		switch {
		case name == lockName || name == newSchemaFile:
		case !ours || !ofPebble(name):
			return &NotStoreError{dir}
		default:
			if err := disk.Remove(disk.PathJoin(dir, name)); err != nil {
				return fmt.Errorf("remove unfinished store: %w", err)
			}
		}
	}
	return writeNewSchema(disk, dir)
}

// writeNewSchema writes the version of this program under the temporary name.
func writeNewSchema(disk vfs.FS, dir string) error {
	f, err := disk.Create(disk.PathJoin(dir, newSchemaFile), vfs.WriteCategoryUnspecified)
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
	return syncFolder(disk, dir)
}

// ofPebble reports whether a file name is one of Pebble's.
func ofPebble(name string) bool {
	for _, prefix := range []string{"MANIFEST-", "OPTIONS-", "marker.", "temporary."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch filepath.Ext(name) {
	case ".log", ".sst", ".blob", ".dbtmp":
		return true
	}
	return false
}

// endCreation completes the store, after Pebble has made its files.
func endCreation(disk vfs.FS, dir string) error {
	if err := disk.Rename(disk.PathJoin(dir, newSchemaFile), disk.PathJoin(dir, schemaFile)); err != nil {
		return fmt.Errorf("rename schema file: %w", err)
	}
	return syncFolder(disk, dir)
}

func syncFolder(disk vfs.FS, dir string) error {
	d, err := disk.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
