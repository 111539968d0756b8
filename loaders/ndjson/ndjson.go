// Package ndjson loads resources into files of newline-delimited JSON, one folder per resource
// type, with the manifest of a FHIR bulk export.
//
// A lane appends to its own part files. Load writes and syncs the parts, then appends one record to
// the lane's journal: the record is the commit. A part has a temporary name until a record says
// that it is complete. So a folder can always be restored to the last record of each lane, and the
// finished folder is the same byte for byte, wherever a run was interrupted.
package ndjson

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// Options are the settings of a load. Everything in them that shapes a byte of
// the output belongs into Run, too.
type Options struct {
	// Compress is "" for plain text, "zstd" or "gzip".
	Compress string

	// Run is the fingerprint of the inputs and settings of the load. A folder
	// belongs to one run.
	Run string

	// KeyFingerprint names the secret key behind the resource ids.
	KeyFingerprint string

	// State is the folder of the journals; "" means the target's name with ".state".
	State string

	// RollBytes is the number of uncompressed bytes after which a part is
	// complete; 0 means 200 MB.
	RollBytes int64

	// TransactionTime is the transactionTime of the manifest, a FHIR instant. It must be derived
	// from the inputs, not from a clock, if the manifest is to be the same after a resumed run.
	TransactionTime string

	// Request is the request of the manifest; "" means a URN made of Run.
	Request string

	// Part names a later load that adds parts to a finished folder, such as
	// "replay-0001". It comes before the lane in the names of these parts. ""
	// is the load that made the folder.
	Part string

	// Stages is where the time of compressing, writing and syncing is added up; nil
	// measures nothing.
	Stages *pipeline.Stages
}

const (
	defaultRollBytes = 200 << 20
	manifestName     = "manifest.json"
)

// Loader is a pipeline.Loader that writes NDJSON files. Different lanes may use it concurrently;
// Finish and Close may not run concurrently with anything.
type Loader struct {
	fs    filesystem
	dir   string
	state string // of this load: its journals
	opts  Options
	codec codec
	lock  io.Closer

	earlier  []*loadSummary  // the other finished loads of the folder
	taken    map[string]bool // the parts of earlier, below dir
	finished *loadSummary    // this load, if it is finished

	scratch sync.Pool // of *scratch

	mu    sync.Mutex
	lanes map[string]*lane
	temps map[string]map[string]bool // by lane: part files under a temporary name that an earlier process left
}

var _ pipeline.Loader = (*Loader)(nil)

// Summary is what a finished load left in the folder.
type Summary struct {
	Run     string
	Account pipeline.Account // as Finish was told
	Parts   []Part           // of this load and of those before it, as in the manifest
}

// Part is one complete file.
type Part struct {
	Type     fhir.Type
	Path     string // below the target folder, with slashes
	Lines    int64  // resources
	Bytes    int64  // size of the file
	RawBytes int64  // before compression, with newlines
	SHA256   string // of the file, in hex
}

// Open opens a target folder, and creates it if necessary. It fails with ErrLocked if another
// process has it open, with *OtherRunError or *KeyError if it holds another load's output, and with
// *AlteredError if the load is finished and a part is no longer as it was written.
func Open(dir string, opts Options) (*Loader, error) { return open(disk{}, dir, opts) }

// Check reports whether Open would take the folder for this load, and changes nothing.
func Check(dir string, opts Options) error {
	l, err := prepare(disk{}, dir, opts)
	if err != nil {
		return err
	}
	main, begun, output, err := l.survey()
	if err == nil && begun && output && opts.Part == "" && main.Run != opts.Run {
		err = &OtherRunError{l.dir, "inputs or settings"}
	}
	return err
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func open(fsys filesystem, dir string, opts Options) (*Loader, error) {
	l, err := prepare(fsys, dir, opts)
	if err != nil {
		return nil, err
	}
	// A refused folder is left unchanged.
	if _, _, _, err := l.survey(); err != nil {
		return nil, err
	}
	for _, folder := range []string{l.dir, l.opts.State} {
		if err := fsys.Mkdir(folder); err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
	}
	if l.lock, err = fsys.Lock(filepath.Join(l.opts.State, lockName)); err != nil {
		return nil, fmt.Errorf("open %s: %w", l.dir, err)
	}
	if err := l.takeOver(); err != nil {
		return nil, errors.Join(err, l.lock.Close())
	}
	return l, nil
}

// prepare makes a loader that has not looked at its folder yet.
func prepare(fsys filesystem, dir string, opts Options) (*Loader, error) {
	dir = filepath.Clean(dir)
	if opts.State == "" {
		opts.State = dir + ".state"
	}
	if opts.RollBytes == 0 {
		opts.RollBytes = defaultRollBytes
	}
	if opts.Request == "" {
		opts.Request = "urn:cpcds2fhir:run:" + opts.Run
	}
	if opts.Part != "" && !nameForm.MatchString(opts.Part) {
		return nil, fmt.Errorf("name load %q: use only letters, digits, '.', '_' and '-'", opts.Part)
	}
	codec, err := codecOf(opts.Compress)
	if err != nil {
		return nil, err
	}
	l := &Loader{
		fs: fsys, dir: dir, state: stateFolder(opts.State, opts.Part), opts: opts, codec: codec,
		taken: map[string]bool{}, lanes: map[string]*lane{}, temps: map[string]map[string]bool{},
	}
	l.scratch.New = func() any { return &scratch{compress: codec.compressor()} }
	return l, nil
}

// Finished returns what the load left behind if it is finished already. Nothing
// can be loaded then. Open has checked that the files are still there.
func (l *Loader) Finished() (*Summary, bool) {
	if l.finished == nil {
		return nil, false
	}
	return &Summary{Run: l.opts.Run, Account: l.finished.Account, Parts: partsOf(slices.Concat(l.earlier, []*loadSummary{l.finished}))}, true
}

// Resume implements pipeline.Loader. Lanes are named with letters, digits, '.',
// '_' and '-'.
func (l *Loader) Resume(ctx context.Context, name string) (pipeline.Checkpoint, error) {
	if err := ctx.Err(); err != nil {
		return pipeline.Checkpoint{}, err
	}
	ln, err := l.lane(name)
	if err != nil {
		return pipeline.Checkpoint{}, err
	}
	return ln.committed.Checkpoint, nil
}

// Load implements pipeline.Loader. Every Load costs a sync of each file it writes to and one of the
// journal, so batches should be several MB. A resource may come only once: Load does not look for
// it in the folder, and its outcome is always Created. Deletions are refused.
func (l *Loader) Load(ctx context.Context, name string, b *fhir.Batch, seal pipeline.Seal) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.finished != nil {
		return fmt.Errorf("load lane %s into %s: the load is already finished", name, l.dir)
	}
	ln, err := l.lane(name)
	if err != nil {
		return err
	}
	if err := ln.nameParts(); err != nil {
		return err
	}
	outcomes := make([]pipeline.Outcome, b.Len())
	for i := range outcomes {
		outcomes[i] = pipeline.Created
		if b.Deleted(i) { // files can only be added to
			outcomes[i] = pipeline.Refused
		}
	}
	cp, err := seal(outcomes, nil)
	if err != nil {
		return err
	}
	s := l.scratch.Get().(*scratch)
	defer l.scratch.Put(s)
	return ln.load(ctx, b, cp, s)
}

// lane returns a lane in its committed state.
func (l *Loader) lane(name string) (*lane, error) {
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("name lane %q: use only letters, digits, '.', '_' and '-'", name)
	}
	l.mu.Lock()
	ln := l.lanes[name]
	if ln == nil {
		ln = &lane{l: l, name: name, temps: l.temps[name]}
		if ln.temps == nil {
			ln.temps = map[string]bool{}
		}
		l.lanes[name] = ln
	}
	l.mu.Unlock()
	if err := ln.ready(); err != nil {
		return nil, err
	}
	return ln, nil
}

// Close implements pipeline.Loader.
func (l *Loader) Close() error {
	for _, ln := range l.lanes {
		ln.drop()
	}
	if l.lock == nil {
		return nil
	}
	err := l.lock.Close()
	l.lock = nil
	return err
}
