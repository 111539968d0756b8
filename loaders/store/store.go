// Package store loads resources into the embedded store. A checkpoint is one more record of the
// batch it belongs to, so that both become durable atomically and nothing has to be undone.
package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/internal/store/owner"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// Options configure Open.
type Options struct {
	// Run names the run whose checkpoints Resume finds and Load writes. It must
	// not be empty.
	Run string

	// KeyFingerprint is fhir.Identity.Fingerprint of the key that makes the ids. The store keeps
	// the first one that is not empty and refuses any other: with another key every resource would
	// get a second id.
	KeyFingerprint string

	// Memory is what memtables and cache of the store may take, in bytes; 0 means the
	// constant Memory.
	Memory int64

	// Stages is where the time of comparing, compressing, writing and syncing is
	// added up; nil measures nothing. While this process owns the store, it includes what other
	// processes do.
	Stages *pipeline.Stages

	// Owner says how the store is shared with other processes; the zero value is usable.
	Owner owner.Options

	// Alone says that no other process works with the store while it is open here: each fails with
	// *store.InUseError.
	Alone bool

	fs vfs.FS // for fault tests; nil is the disk
}

// On returns the options of a store on another file system than the disk, for fault tests.
func (o Options) On(disk vfs.FS) Options {
	o.fs = disk
	return o
}

// The default of Options.Memory, and whether that memory is outside Go's heap.
const (
	Memory      = store.Memory
	OutsideHeap = store.OutsideHeap
)

// Loader is the pipeline.Loader of the embedded store.
type Loader struct {
	store    store.Handle
	dir      string
	run      string
	identity string
	fresh    bool
	lanes    sync.Map // of the lanes that this loader knows: their checkpoints, as the store has them
}

var (
	_ pipeline.Loader = (*Loader)(nil)
	_ pipeline.Target = (*Loader)(nil)
	_ pipeline.Voider = (*Loader)(nil)
)

// KeyError says that a store was loaded with another id key.
type KeyError struct {
	Dir         string
	Have, Given string // fingerprints
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("store %s was loaded with id key %s, but this run has %s; use the same key, or load into a new store", e.Dir, e.Have, e.Given)
}

// Open opens the store in dir for loading, and creates it if it is missing. Several processes of one
// user may load into it at once, different lanes or runs: one of them owns the store, the others work
// through it. It fails with *KeyError, or as owner.Open does.
func Open(dir string, o Options) (*Loader, error) {
	if o.Run == "" {
		return nil, errors.New("open loader: the run has no name")
	}
	s, err := OpenHandle(dir, &o)
	if err != nil {
		return nil, err
	}
	l := &Loader{store: s, dir: dir, run: o.Run}
	err = l.checkKey(o.KeyFingerprint)
	if err == nil {
		err = l.readIdentity()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return l, nil
}

// OpenHandle opens the store in dir as Open does, for whoever does not load into it but may be its owner
// while others do.
func OpenHandle(dir string, o *Options) (store.Handle, error) {
	so := store.Options{FS: o.fs, Memory: o.Memory, Observe: observer(o.Stages)}
	for _, space := range pipeline.SparseRecords {
		so.Sparse = append(so.Sparse, streamSpace+space)
	}
	if o.fs != nil || o.Alone { // it has no sockets
		return store.Open(dir, so)
	}
	return owner.Open(dir, so, o.Owner)
}

// readIdentity reads the identity of the store, and gives it one if it has none.
func (l *Loader) readIdentity() error {
	have, _, err := l.putFirst(context.Background(), store.MetaIdentity, rand.Text())
	l.identity = have
	return err
}

// putFirst puts a record, unless there is one already, also of a process that opens the store at
// the same time. It returns what the store has then.
func (l *Loader) putFirst(ctx context.Context, name, value string) (have string, put bool, err error) {
	for {
		was, err := l.store.Meta(name)
		if !errors.Is(err, store.ErrNotFound) {
			return string(was), false, err
		}
		err = l.store.Apply(ctx, &fhir.Batch{}, func([]store.Outcome) (store.Commit, error) {
			return store.Commit{Put: []store.MetaRecord{{Name: name, Value: []byte(value)}}, Guards: []store.MetaRecord{{Name: name}}}, nil
		})
		if !errors.Is(err, store.ErrChanged) {
			return value, err == nil, err
		}
	}
}

// Identity distinguishes this store from all others, including one that replaces it.
func (l *Loader) Identity() string { return l.identity }

// Fresh reports whether nothing had been loaded into the store when it was opened.
func (l *Loader) Fresh() bool { return l.fresh }

// Begun reports whether the store has checkpoints, of whatever run.
func (l *Loader) Begun() (bool, error) {
	for _, err := range l.store.AllMeta(ledgerSpace) {
		if err != nil {
			return false, fmt.Errorf("read checkpoints: %w", err)
		}
		return true, nil
	}
	return false, nil
}

// observer adds what a store measures to the stages.
func observer(s *pipeline.Stages) func(store.Step, time.Duration) {
	if s == nil {
		return nil
	}
	return func(p store.Step, took time.Duration) {
		s.Add(stageOf[p], took)
		if p == store.Compressing { // it is part of writing
			s.Add(pipeline.StageWrite, -took)
		}
	}
}

var stageOf = [...]pipeline.Stage{
	store.Comparing:   pipeline.StageCompare,
	store.Compressing: pipeline.StageCompress,
	store.Writing:     pipeline.StageWrite,
	store.Syncing:     pipeline.StageSync,
}

func (l *Loader) checkKey(given string) error {
	have, err := l.store.Meta(store.MetaIDKey)
	text := string(have)
	if errors.Is(err, store.ErrNotFound) {
		if given == "" {
			return nil
		}
		text, l.fresh, err = l.putFirst(context.Background(), store.MetaIDKey, given)
	}
	if err == nil && text != given {
		return &KeyError{Dir: l.dir, Have: text, Given: given}
	}
	return err
}

// Resume returns the checkpoint of the lane. There is nothing to undo: the store holds exactly what
// its checkpoints account for.
func (l *Loader) Resume(ctx context.Context, lane string) (pipeline.Checkpoint, error) {
	var cp pipeline.Checkpoint
	if err := ctx.Err(); err != nil {
		return cp, err
	}
	value, err := l.store.Meta(ledger(l.run) + lane)
	if errors.Is(err, store.ErrNotFound) {
		l.lanes.Store(lane, []byte(nil))
		return cp, nil
	}
	if err != nil {
		return cp, fmt.Errorf("read checkpoint: %w", err)
	}
	l.lanes.Store(lane, value)
	if err := json.Unmarshal(value, &cp); err != nil {
		return pipeline.Checkpoint{}, fmt.Errorf("read checkpoint: %w", err)
	}
	return cp, nil
}

// Load applies the batch and the checkpoint atomically. It fails with store.ErrChanged and writes
// nothing if the lane has another checkpoint than Resume returned or the last Load wrote: another
// process loads it too. If it fails with *store.UnknownError, Resume tells whether it has written.
func (l *Loader) Load(ctx context.Context, lane string, b *fhir.Batch, seal pipeline.Seal) error {
	return l.LoadWith(ctx, lane, b, func(got []store.Outcome) (pipeline.Checkpoint, []store.MetaRecord, error) {
		cp, err := seal(outcomesOf(got), nil)
		return cp, nil, err
	})
}

// LoadWith is Load with records that become durable with the checkpoint, in the same act. It is for
// whoever keeps more in a store than the resources, under names of its own.
func (l *Loader) LoadWith(ctx context.Context, lane string, b *fhir.Batch, seal func([]store.Outcome) (pipeline.Checkpoint, []store.MetaRecord, error)) error {
	name := ledger(l.run) + lane
	before, known := l.lanes.Load(lane)
	var value []byte
	err := l.store.Apply(ctx, b, func(got []store.Outcome) (store.Commit, error) {
		cp, put, err := seal(got)
		if err != nil {
			return store.Commit{}, err
		}
		if value, err = json.Marshal(&cp); err != nil {
			return store.Commit{}, fmt.Errorf("write checkpoint: %w", err)
		}
		c := store.Commit{Put: append(put, store.MetaRecord{Name: name, Value: value}), Origin: l.run}
		if known {
			c.Guards = []store.MetaRecord{{Name: name, Value: before.([]byte)}}
		}
		return c, nil
	})
	switch _, unknown := errors.AsType[*store.UnknownError](err); {
	case err == nil:
		l.lanes.Store(lane, value)
	case errors.Is(err, store.ErrChanged):
		return fmt.Errorf("lane %s is loaded by another process too: %w", lane, err)
	case unknown:
		l.lanes.Delete(lane)
	}
	return err
}

func outcomesOf(got []store.Outcome) []pipeline.Outcome {
	outcomes := make([]pipeline.Outcome, len(got))
	for i, o := range got {
		outcomes[i] = outcomeOf[o]
	}
	return outcomes
}

// Compare returns what Load would do with each resource of b.
func (l *Loader) Compare(ctx context.Context, b *fhir.Batch) ([]pipeline.Outcome, error) {
	got, err := l.store.Compare(ctx, b)
	return outcomesOf(got), err
}

// Store is what the loader loads into.
func (l *Loader) Store() store.Handle { return l.store }

// outcomeOf translates outcomes. A store refuses nothing and can delete.
var outcomeOf = [...]pipeline.Outcome{
	store.Created:   pipeline.Created,
	store.Updated:   pipeline.Updated,
	store.Unchanged: pipeline.Unchanged,
	store.Stale:     pipeline.Stale,
	store.Unordered: pipeline.Unordered,
	store.Deleted:   pipeline.Deleted,
}

// Summary is the store's record of the last finished run.
type Summary struct {
	Run      string           `json:"run"`
	Finished time.Time        `json:"finished"`
	Lanes    int              `json:"lanes"`
	Account  pipeline.Account `json:"account"` // of all lanes
}

// Finish writes the summary of the run, from the checkpoints of its lanes.
// Finishing twice is harmless.
func (l *Loader) Finish(ctx context.Context, _ *pipeline.Account) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := Summary{Run: l.run, Finished: time.Now().UTC().Truncate(time.Second)}
	err := eachCheckpoint(l.store, ledger(l.run), func(_ string, cp *pipeline.Checkpoint) {
		s.Account.Add(&cp.Account)
		s.Lanes++
	})
	if err != nil {
		return fmt.Errorf("sum up run: %w", err)
	}
	value, err := json.Marshal(&s)
	if err != nil {
		return fmt.Errorf("sum up run: %w", err)
	}
	return l.store.PutMeta(map[string][]byte{store.MetaLastRun: value})
}

// SourceVersion implements pipeline.Target.
func (l *Loader) SourceVersion(ctx context.Context, resource string) (version string, ok bool, err error) {
	name, id, _ := strings.Cut(resource, "/")
	t, known := fhir.ParseType(name)
	if !known {
		return "", false, fmt.Errorf("%s: no such type of resource", name)
	}
	version, err = l.store.SourceVersion(ctx, t, id)
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	return version, err == nil, err
}

// Close flushes and releases the store.
func (l *Loader) Close() error { return l.store.Close() }

// Secret returns a random text that the store keeps under a name, the same for all processes. It is made
// when it is asked for first.
func Secret(ctx context.Context, s store.Handle, name string) ([]byte, error) {
	l := &Loader{store: s}
	have, _, err := l.putFirst(ctx, name, rand.Text()+rand.Text())
	return []byte(have), err
}
