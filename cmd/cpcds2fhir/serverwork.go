package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/loaders/bulkimport"
	"cpcds2fhir/loaders/bundle"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/schemas/fhir"
)

// serverWork is what a command does with a FHIR server: it connects once, and opens the index of the server
// in the state folder.
type serverWork struct {
	target      serverTarget
	state       string
	config      *fhirclient.Config
	flags       *serverFlags
	fingerprint string // of the id key
	memory      int64  // of the index
	log         *zap.Logger
	quiet       bool

	meter    serverMeter
	server   *serverConnection  // nil until connect
	sender   remote.Sender      // nil is by bundles
	imported *bulkimport.Import // what bulk import has brought, until endImport
	notes    []string           // what a user should know

	arguments []string // what an export has read, for its account
}

// connect connects to the server, once.
func (w *serverWork) connect(ctx context.Context) (*serverConnection, error) {
	if w.server != nil {
		return w.server, nil
	}
	var err error
	if w.server, err = connectServer(ctx, w.target.url, w.config, &w.meter, w.log); err != nil {
		return nil, err
	}
	w.notes = append(w.notes, w.server.probe.Notes...)
	return w.server, nil
}

// takeNotes returns what a user should know and has not been told yet.
func (w *serverWork) takeNotes() []string {
	notes := w.notes
	w.notes = nil
	return notes
}

// say tells a person who waits what a long step is about.
func (w *serverWork) say(text string) {
	w.log.Info(text)
	if !w.quiet {
		fmt.Fprintln(os.Stderr, text)
	}
}

// index opens the index of the server for a run. It makes one if there is none.
func (w *serverWork) index(ctx context.Context, run string, stages *pipeline.Stages) (*remote.Loader, error) {
	if err := w.claimState(); err != nil {
		return nil, err
	}
	server, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	sender := w.sender
	if sender == nil {
		sender = bundle.New(server)
	}
	if w.imported != nil {
		sender = w.imported.Sender(sender)
	}
	l, err := w.openIndex(ctx, w.state, run, sender, stages)
	if err != nil {
		return nil, err
	}
	_, finished, err := manifest.KnowsRuns(w.state)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if finished && l.Fresh() {
		w.notes = append(w.notes, fmt.Sprintf("the index of the server in %s was lost: what the server has is read and compared before anything is sent", w.state))
	}
	return l, nil
}

func (w *serverWork) openIndex(ctx context.Context, state, run string, sender remote.Sender, stages *pipeline.Stages) (*remote.Loader, error) {
	events := w.meter.index(w.log)
	var fewer []string
	events.Fewer = func(t fhir.Type, there, known int64) {
		w.log.Warn("the server has fewer than were loaded into it", zap.Stringer("type", t), zap.Int64("server", there), zap.Int64("index", known))
		fewer = append(fewer, fmt.Sprintf("%s %s of %s", t, comma(there), comma(known)))
	}
	var landed func(fhir.Type, string) bool
	if w.imported != nil {
		landed = w.imported.Landed()
	}
	l, err := remote.Open(ctx, &remote.Options{
		State: state, URL: w.server.URL(), Run: run, KeyFingerprint: w.fingerprint, Memory: w.memory,
		Server: w.server, Sender: sender, Stages: stages, Events: events, Landed: landed,
	})
	if len(fewer) > 0 {
		w.notes = append(w.notes, fmt.Sprintf("the server has fewer resources than were loaded into it (%s): it was emptied or restored, or others delete there. "+
			"What is loaded now is compared with the server, and written again where it is missing. What else is missing: cpcds2fhir reconcile --to fhir:%s", strings.Join(fewer, ", "), w.target.url))
	}
	return l, err
}

// comparer opens the index to compare with, and asks the server about what it does not know. Nothing is sent,
// and no index is made.
func (w *serverWork) comparer(ctx context.Context, run string) (*indexComparer, error) {
	if _, err := os.Stat(w.target.storeOfStreams(w.state)); !errors.Is(err, fs.ErrNotExist) {
		l, err := w.index(ctx, run, nil)
		return &indexComparer{l, ""}, err
	}
	server, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "cpcds2fhir-")
	if err != nil {
		return nil, fmt.Errorf("create a folder to compare with the server: %w", err)
	}
	l, err := w.openIndex(ctx, scratch, run, bundle.New(server), nil)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(scratch))
	}
	return &indexComparer{l, scratch}, nil
}

// claimState makes the state folder that of the server. A state folder that belongs to another target
// would mix up two accounts. The index in it need not be the one that was there before: it is made
// again from what the server has.
func (w *serverWork) claimState() error {
	note, err := readTargetNote(w.state)
	if err != nil {
		return err
	}
	if note == nil {
		return (&targetNote{w.target.String(), w.target.url}).write(w.state)
	}
	if note.Identity != w.target.url {
		return strangerTo(w.target, fmt.Sprintf("the state folder %s belongs to %s, not to %s", w.state, note.Target, w.target))
	}
	return nil
}

// importFolder is where the state folder keeps what belongs to bulk imports.
const importFolder = "import"

// stageFolder is where the state folder has the files that a server fetches, if no other place is named.
const stageFolder = "import-stage"

func (w *serverWork) importOptions(run string, server fhirclient.Server) (*bulkimport.Options, error) {
	o := &bulkimport.Options{
		State: filepath.Join(w.state, importFolder), Run: run, KeyFingerprint: w.fingerprint, Stage: w.flags.stage, Listen: w.flags.listen,
		Server: server, Start: w.flags.start, Events: w.importEvents(),
	}
	if o.Stage == "" {
		dir, err := filepath.Abs(filepath.Join(w.state, stageFolder))
		if err != nil {
			return nil, fmt.Errorf("find the folder of the stage: %w", err)
		}
		o.Stage = (&url.URL{Scheme: "file", Path: dir}).String()
	}
	return o, nil
}

// importFirst brings what is to be written to the server by its bulk import: stage stages what the index
// does not have, and jobs of the server import it. Then the loader of the load itself finds out what has
// arrived, and sends the rest.
func (w *serverWork) importFirst(ctx context.Context, run string, stage func(staging pipeline.Loader, voider pipeline.Voider) error) (err error) {
	if err := w.claimState(); err != nil {
		return err
	}
	server, err := w.connect(ctx)
	if err != nil {
		return err
	}
	o, err := w.importOptions(run, server)
	if err != nil {
		return err
	}
	imp, err := bulkimport.Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = resumable{errors.Join(err, imp.Close())}
		}
	}()
	if !imp.Staged() {
		w.say("Staging what the server does not have yet")
		index, err := w.index(ctx, run, nil)
		if err != nil {
			return err
		}
		if err := errors.Join(stage(imp.Staging(index), index), index.Close()); err != nil {
			return err
		}
	}
	if !imp.Imported() {
		if imp.Files() > 0 {
			w.say("Importing what is staged")
		}
		if err := imp.Run(ctx); err != nil {
			return err
		}
	}
	w.imported = imp
	return nil
}

// importEvents tell how an import goes on.
func (w *serverWork) importEvents() bulkimport.Events {
	return bulkimport.Events{
		Staged: func(typ string, files int, resources, bytes int64) {
			w.say(fmt.Sprintf("  %s: %s in %s, %s MB", typ, many(resources, "resource"), many(int64(files), "file"), comma((bytes+1e6-1)/1e6)))
		},
		Started: func(job, typ string) { w.log.Info("import started", zap.String("job", job), zap.String("type", typ)) },
		Progress: func(job, what string) {
			w.log.Info("import", zap.String("job", job), zap.String("progress", what))
		},
		Ended: func(job string, resources, failed int64, took time.Duration) {
			text := fmt.Sprintf("  %s imported in %s", many(resources, "resource"), took.Round(100*time.Millisecond))
			switch {
			case failed < 0:
				text += "; the server does not say whether all of them"
			case failed > 0:
				text += fmt.Sprintf(", %s not; they are sent in bundles", comma(failed))
			}
			w.say(text)
		},
	}
}

// endImport removes what was staged, once the load is complete.
func (w *serverWork) endImport(ctx context.Context, loaded bool) error {
	if w == nil || w.imported == nil {
		return nil
	}
	imp := w.imported
	w.imported = nil
	var err error
	if !loaded || w.flags.keepStage {
		return imp.Close()
	}
	if err = imp.Remove(ctx); err == nil {
		_ = os.Remove(filepath.Join(w.state, stageFolder)) // it is empty, if it was used
	}
	return err
}

// serverWorkers is how many lanes load into a server: while one makes its batch durable, the other one has
// bundles under way. A server is the slower side by far, so that more of them would only have smaller batches.
const serverWorkers = 2
