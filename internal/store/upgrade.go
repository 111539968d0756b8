package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"cpcds2fhir/schemas/fhir"
)

// A store of an earlier release is upgraded when it is opened for writing: each step can be
// repeated, and the schema file is replaced last, so an interrupted upgrade starts again. Opened
// for reading, it stays as it is.
//
//	3 to 4: the meta record of numbers is written
//	4 to 5: the change feed begins: the newest version of each resource is put into its index, under
//	        the instant of the upgrade. Records stay as they are; what has no commit has that instant
//	5 to 6: nothing: versions that are made from now on say which run made them and what they replaced

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
	if from < 5 {
		if err := s.beginFeed(); err != nil {
			return err
		}
	}
	if err := writeNewSchema(disk, s.dir); err != nil {
		return err
	}
	return endCreation(disk, s.dir)
}

// beginFeed makes the change feed of a store that had none. The instant is durable first, so whoever
// goes on with an interrupted upgrade puts the same keys.
func (s *Store) beginFeed() error {
	began := time.Now().UnixMilli()
	err := view(s.db, metaKey(feedBeganName), func(v []byte) error {
		if len(v) != 8 {
			return &CorruptError{s.dir, "the beginning of the change feed"}
		}
		began = int64(binary.BigEndian.Uint64(v))
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		value := binary.BigEndian.AppendUint64(nil, uint64(began))
		err = s.fault.guard(func() error { return s.db.Set(metaKey(feedBeganName), value, pebble.Sync) })
	}
	if err != nil {
		return fmt.Errorf("begin the change feed: %w", err)
	}
	for t := range fhir.NumTypes {
		if err := s.indexCommits(t, began); err != nil {
			return fmt.Errorf("begin the change feed: %w", err)
		}
	}
	return nil
}

// upgradeBatch is how many keys of an upgrade become durable together.
const upgradeBatch = 20_000

// indexCommits puts the newest versions of a type into the index of commits. It goes on after the last
// one that is there.
func (s *Store) indexCommits(t fhir.Type, began int64) error {
	from := ""
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: appendCommitPrefix(nil, t, began), UpperBound: appendCommitPrefix(nil, t, began+1)})
	if err != nil {
		return err
	}
	if it.Last() {
		if c, ok := decodeCommitKey(it.Key()); ok {
			from = c.ID
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return err
	}
	batch := s.db.NewBatch()
	flush := func() error {
		n := batch
		batch = s.db.NewBatch()
		return s.fault.guard(func() error { return errors.Join(n.Commit(pebble.Sync), n.Close()) })
	}
	for h, err := range s.heads(context.Background(), s.db, t, from) {
		if err != nil {
			return err
		}
		if h.commit != 0 {
			continue
		}
		if err := batch.Set(appendCommitKey(nil, t, h.id, h.version, began), nil, nil); err != nil {
			return err
		}
		if batch.Count() >= upgradeBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return errors.Join(flush(), batch.Close())
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
