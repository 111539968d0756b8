// Package bulkimport loads through the bulk import of a FHIR server: NDJSON files are staged where the
// server can fetch them, a job is started, and its report says what became of each resource.
//
// A load has three steps. Staging is a pass over the extract that writes what the server does not have yet
// into files. Run starts the jobs, type by type, and waits for them; it goes on with a job that an earlier
// process started. Then the load itself runs, with the Sender: it finds what was imported, and sends what
// was not by REST, which says why.
//
// Only what the server does not have is staged. Several servers overwrite without a history, keep the
// older of two versions, or fail when they import what is there: changes and deletions go by REST.
package bulkimport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/loaders/ndjson"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/schemas/fhir"
)

// Options configure Open. State, Run, Stage and Server are required.
type Options struct {
	State          string // folder of the journal of the jobs and, without a file: stage, of the files until they are uploaded
	Run            string
	KeyFingerprint string // of the key that makes the ids
	Stage          string // URL of where the files are staged: file:///folder, s3://bucket/path, gs://…, azblob://…
	Listen         string // address where a local server offers the files of a file: stage; "" is 127.0.0.1:0
	Server         fhirclient.Server
	Events         Events

	// TransactionTime is when what is staged was made; zero is when it is opened first.
	TransactionTime time.Time

	// RollBytes is the size of a staged file; 0 is 200 MB.
	RollBytes int64

	// Start overrides what the kick-off of the server needs beside the files, such as a data access role.
	// StartSettings lists them.
	Start map[string]string
}

// Events tell how an import goes on. Any of them may be nil.
type Events struct {
	Staged   func(typ string, files int, resources, bytes int64)
	Started  func(job, typ string)
	Progress func(job, what string)
	Ended    func(job string, resources, failed int64, took time.Duration) // failed is -1 if the server does not say
}

// SettingError is a setting of an import that is wrong or missing.
type SettingError struct{ Setting, What string }

func (e *SettingError) Error() string { return e.Setting + " " + e.What }

// OtherRunError says that a state folder has what another import has begun, that it cannot be ended, and that
// what it has staged is still there.
type OtherRunError struct {
	State, Stage string
	Err          error
}

func (e *OtherRunError) Error() string {
	return fmt.Sprintf("%s has an import of another load, whose jobs have not ended or whose files are still at %s, and it cannot be ended: %v; finish that load, or use another state folder", e.State, e.Stage, e.Err)
}

func (e *OtherRunError) Unwrap() error { return e.Err }

// Import is one import. Its methods are for one goroutine, except those of what Staging and Sender
// return.
type Import struct {
	state   string
	server  fhirclient.Server
	events  Events
	start   map[string]string
	kind    kind
	stage   stage
	files   *ndjson.Loader // nil if others write the files
	journal *journal
	pace    pace
	lock    io.Closer // nil of jobs of a stream, whose folders have names of their own
}

// surroundings are what tests replace.
type surroundings struct {
	buckets bucketOpener
	pace    *pace // nil is the kind's own
}

// Open opens the import of a run, and finds what an earlier process has staged and started.
func Open(ctx context.Context, o *Options) (*Import, error) {
	return open(ctx, o, surroundings{buckets: openBucket})
}

func open(ctx context.Context, o *Options, s surroundings) (*Import, error) {
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(o.State)), 0o700); err != nil {
		return nil, fmt.Errorf("open import: %w", err)
	}
	lock, err := lockState(o.State)
	if err != nil {
		return nil, err
	}
	i, err := prepare(ctx, o, s)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	i.lock = lock
	i.files, err = ndjson.Open(i.stage.folder(), ndjson.Options{
		Run: o.Run, KeyFingerprint: o.KeyFingerprint, State: filepath.Join(o.State, "ndjson"), RollBytes: o.RollBytes,
		TransactionTime: i.journal.Time,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the staged files: %w", err), i.Close())
	}
	return i, nil
}

// prepare opens everything but the files.
func prepare(ctx context.Context, o *Options, s surroundings) (*Import, error) {
	settings := o.Server.Settings()
	if settings.IDs == "conditional" {
		return nil, &SettingError{"ids", "must be client in an import: the server must accept ours"}
	}
	k, err := newKind(o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.State, 0o700); err != nil {
		return nil, fmt.Errorf("open import: %w", err)
	}
	if err := takeOver(ctx, o, k.traits().name, s); err != nil {
		return nil, err
	}
	j, err := openJournal(o, k.traits().name)
	if err != nil {
		return nil, err
	}
	i, err := assemble(ctx, o, k, j, s)
	if err != nil {
		return nil, err
	}
	return i, j.save()
}

// assemble opens the stage of an import with a journal.
func assemble(ctx context.Context, o *Options, k kind, j *journal, s surroundings) (*Import, error) {
	settings := o.Server.Settings()
	i := &Import{journal: j, state: o.State, server: o.Server, events: o.Events, start: maps.Clone(o.Start), kind: k, pace: k.traits().pace}
	if i.pace.patience == 0 {
		i.pace.patience = max(settings.Patience, 10*time.Minute)
	}
	if s.pace != nil {
		i.pace = *s.pace
	}
	var err error
	if i.stage, err = openStage(ctx, o, i.journal, k.traits(), s.buckets); err != nil {
		return nil, err
	}
	k.use(i)
	return i, nil
}

// Staged reports whether the staging pass is complete.
func (i *Import) Staged() bool { return i.journal.Phase != phaseStaging }

// Files returns how many files are staged.
func (i *Import) Files() int { return len(i.journal.Files) }

// Imported reports whether all jobs have ended.
func (i *Import) Imported() bool { return i.journal.Phase == phaseImported }

// Close releases what is open. Jobs go on, but a server that fetches files from here cannot.
func (i *Import) Close() error {
	var err error
	if i.files != nil {
		err = i.files.Close()
	}
	err = errors.Join(err, i.stage.close())
	if i.lock != nil {
		err = errors.Join(err, i.lock.Close())
	}
	return err
}

// Remove removes the staged files and the journal. The import is closed then.
func (i *Import) Remove(ctx context.Context) error {
	if i.files != nil {
		if err := i.files.Close(); err != nil {
			return fmt.Errorf("remove staged files: %w", err)
		}
		i.files = nil
	}
	err := i.stage.remove(ctx, i.journal.names())
	if err == nil {
		err = os.RemoveAll(i.state)
	}
	if err != nil {
		return fmt.Errorf("remove staged files: %w", plain(err))
	}
	return i.Close()
}

// staged takes over the files that the staging pass has completed.
func (i *Import) staged(parts []ndjson.Part) error {
	i.journal.Files = nil
	for _, p := range parts {
		i.journal.Files = append(i.journal.Files, file{Type: p.Type.String(), Name: p.Path, Lines: p.Lines, Bytes: p.Bytes, SHA256: p.SHA256})
	}
	i.journal.Phase = phaseStaged
	if err := i.journal.save(); err != nil {
		return err
	}
	for _, typ := range i.journal.types() {
		var lines, bytes int64
		files := i.journal.filesOf(typ)
		for _, f := range files {
			lines, bytes = lines+f.Lines, bytes+f.Bytes
		}
		if i.events.Staged != nil {
			i.events.Staged(typ, len(files), lines, bytes)
		}
	}
	return nil
}

// types of the staged files, in the order in which they must be loaded.
func (j *journal) types() []string {
	var types []string
	for t := range fhir.NumTypes {
		if slices.ContainsFunc(j.Files, func(f file) bool { return f.Type == t.String() }) {
			types = append(types, t.String())
		}
	}
	return types
}

func (j *journal) filesOf(typ string) (files []*file) {
	for n := range j.Files {
		if j.Files[n].Type == typ {
			files = append(files, &j.Files[n])
		}
	}
	return files
}

// names of all that was put into the stage.
func (j *journal) names() []string {
	var names []string
	for _, f := range j.Files {
		names = append(names, f.Name)
	}
	return append(names, j.Extra...)
}

// local is where the file of a staged file is.
func (i *Import) local(f *file) string {
	return filepath.Join(i.stage.folder(), filepath.FromSlash(path.Clean(f.Name)))
}

var _ Comparer = (*remote.Loader)(nil)
