package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"cpcds2fhir/schemas/fhir"
)

// A store of an earlier release is upgraded when it is opened for writing: each step can be
// repeated, and the schema file is replaced last, so an interrupted upgrade starts again. Opened
// for reading, it stays as it is.
//
//	3 to 4: the meta record of numbers is written

// numbersName is the meta record that maps the names of types and parameters to their numbers in
// keys and rows. It is checked whenever the store is opened.
const numbersName = "numbers"

type numbers struct {
	Types  map[string]int `json:"types"`
	Params map[string]int `json:"params"`
}

func ownNumbers() numbers {
	n := numbers{map[string]int{}, map[string]int{}}
	for t := range fhir.NumTypes {
		n.Types[t.String()] = int(t)
	}
	for p := range fhir.NumParams {
		n.Params[p.String()] = int(p)
	}
	return n
}

// upgrade upgrades the store to this release.
func (s *Store) upgrade(disk vfs.FS, from int) error {
	if from == schemaVersion || s.readOnly {
		return nil
	}
	if err := s.putNumbers(); err != nil {
		return err
	}
	if err := writeNewSchema(disk, s.dir); err != nil {
		return err
	}
	return endCreation(disk, s.dir)
}

func (s *Store) putNumbers() error {
	text, err := json.Marshal(ownNumbers())
	if err != nil {
		return err
	}
	return s.fault.guard(func() error { return s.db.Set(metaKey(numbersName), text, pebble.Sync) })
}

// checkNumbers compares the numbers of the store with those of the program, which may have more.
// Different numbers would turn one type into another.
func (s *Store) checkNumbers(version int) error {
	if version < 4 {
		return nil
	}
	var text []byte
	err := view(s.db, metaKey(numbersName), func(v []byte) error {
		text = bytes.Clone(v)
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return &CorruptError{s.dir, "the record of numbers"}
	}
	if err != nil {
		return fmt.Errorf("read numbers: %w", err)
	}
	var found numbers
	if json.Unmarshal(text, &found) != nil {
		return &CorruptError{s.dir, "the record of numbers"}
	}
	own := ownNumbers()
	if !contains(own.Types, found.Types) || !contains(own.Params, found.Params) {
		return &VersionError{Dir: s.dir, Found: version, Known: schemaVersion}
	}
	return nil
}

func contains(all, some map[string]int) bool {
	for name, n := range maps.All(some) {
		if own, ok := all[name]; !ok || own != n {
			return false
		}
	}
	return true
}
