package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/internal/store"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// Options configure Open. State, URL, Run, Server and Sender are required.
type Options struct {
	State          string // folder of the index; it is made if it is missing
	URL            string // of the server; an index belongs to one server
	Run            string // whose checkpoints Resume finds and Load writes
	KeyFingerprint string // of the key that makes the ids
	Memory         int64  // of the index, in bytes; 0 is a default
	Server         Server
	Sender         Sender
	Stages         *pipeline.Stages
	Events         Events

	// Landed reports whether this load has brought a resource to the server by other means than the
	// Sender, such as an import before it: then it was created, and was not there before. nil: none.
	Landed func(typ fhir.Type, id string) bool

	index func(storeloader.Options) storeloader.Options // for fault tests
}

// Events tell what a loader meets. Any of them may be nil; they are called from several goroutines.
type Events struct {
	Changed func(typ fhir.Type, id string) // somebody else's edit was found, and reported or overwritten
	Adopted func(typ fhir.Type, n int)     // the index has learned resources from the server
	Settled func(n int)                    // what was sent without an answer is known now

	// TakenBack is called when resources were deleted that a batch of a stream had brought to the server, and that
	// the batch that was made instead of it no longer has.
	TakenBack func(n int)

	// Fewer is called by Open if the server counts fewer resources of a type than the index knows to be there:
	// it was emptied, or restored. Each of them is asked about before it is believed to be there.
	Fewer func(typ fhir.Type, there, known int64)

	Sent func(typ fhir.Type, n int, took time.Duration)
}

// Loader loads into a server. It is safe for concurrent use; see pipeline.Loader and
// pipeline.StreamTarget for what it promises.
type Loader struct {
	index       *storeloader.Loader
	store       store.Handle
	server      Server
	sender      Sender
	settings    fhirclient.Settings
	gives       bool // the server gives ids
	url         string
	stages      *pipeline.Stages
	events      Events
	digester    *digester
	taken       *taken
	opened      opened
	unaccounted unaccounted
	landed      func(typ fhir.Type, id string) bool

	// What the counts of the server have said when the index was opened. Others may write to the server as soon
	// as it is closed, so none of this is kept.
	complete [fhir.NumTypes]atomic.Bool // what the index does not know is not there
	counted  [fhir.NumTypes]atomic.Bool // it counts none; the first reads must agree
	doubts   doubts

	believing sync.Mutex // of what reads say about the counts
}

var (
	_ pipeline.Loader       = (*Loader)(nil)
	_ pipeline.Target       = (*Loader)(nil)
	_ pipeline.Voider       = (*Loader)(nil)
	_ pipeline.Refuser      = (*Loader)(nil)
	_ pipeline.StreamTarget = (*Loader)(nil)
)

// indexName is the folder of the index in that of the state.
const indexName = "index"

// idsOfServer is Settings.IDs of a server that gives ids.
const idsOfServer = "conditional"

// ServerError says that an index belongs to another server, or to one that was loaded with other ids.
type ServerError struct {
	State       string
	Have, Given string // URL and kind of ids
}

func (e *ServerError) Error() string {
	return fmt.Sprintf("the index in %s is of %s, but this run loads into %s; use another state folder", e.State, e.Have, e.Given)
}

// Open opens the index, and makes it if it is missing. It settles what an earlier process has sent
// without an answer, and compares the number of resources of each type with what the server counts: if it has
// more, the server is asked about what the index does not know before it is sent; if it has fewer, also about
// what the index knows. One process at a time has an index: Open fails with *store.InUseError if
// another one does, with *ServerError or *store.KeyError of loaders/store if it belongs to another server
// or another key of ids.
func Open(ctx context.Context, o *Options) (*Loader, error) {
	if o.State == "" || o.URL == "" || o.Run == "" || o.Server == nil || o.Sender == nil {
		return nil, errors.New("open loader: state, URL, run, server and sender are required")
	}
	if err := os.MkdirAll(o.State, 0o700); err != nil {
		return nil, fmt.Errorf("open the index: %w", err)
	}
	so := storeloader.Options{Run: o.Run, KeyFingerprint: o.KeyFingerprint, Memory: o.Memory, Alone: true}
	if o.index != nil {
		so = o.index(so)
	}
	index, err := storeloader.Open(filepath.Join(o.State, indexName), so)
	if err != nil {
		return nil, err
	}
	settings := o.Server.Settings()
	l := &Loader{index: index, store: index.Store(), server: o.Server, sender: o.Sender, settings: settings,
		gives: settings.IDs == idsOfServer, url: strings.TrimSuffix(o.URL, "/"), stages: o.Stages, events: o.Events, landed: o.Landed,
		digester: newDigester(settings.Ignore), taken: newTaken(), opened: opened{intents: map[string]intent{}}, unaccounted: unaccounted{from: map[string]origin{}}}
	err = l.checkServer(o.State)
	if err == nil {
		err = l.readUnaccounted()
	}
	if err == nil {
		err = l.settleAll(ctx)
	}
	if err == nil {
		err = l.compareCounts(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, index.Close())
	}
	return l, nil
}

// KeyOf returns the fingerprint of the id key that the index in a state folder was made with, "" if there is no
// index.
func KeyOf(state string, memory int64) (fingerprint string, err error) {
	return storeloader.KeyOf(filepath.Join(state, indexName), memory)
}

// checkServer checks whose index it is. A new index is this server's.
func (l *Loader) checkServer(state string) error {
	given := l.url
	if l.gives {
		given += " (ids: " + idsOfServer + ")"
	}
	have, err := l.store.Meta(serverRecord)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return fmt.Errorf("read the index: %w", err)
	case string(have) != given:
		return &ServerError{state, string(have), given}
	default:
		return nil
	}
	return l.put([]store.MetaRecord{{Name: serverRecord, Value: []byte(given)}})
}

// Resume implements pipeline.Loader.
func (l *Loader) Resume(ctx context.Context, lane string) (pipeline.Checkpoint, error) {
	return l.index.Resume(ctx, lane)
}

// Load implements pipeline.Loader.
func (l *Loader) Load(ctx context.Context, lane string, b *fhir.Batch, seal pipeline.Seal) error {
	return l.load(ctx, b, &laneAct{l, lane, seal})
}

// laneAct is how a batch of a lane becomes durable.
type laneAct struct {
	l    *Loader
	lane string
	seal pipeline.Seal
}

func (a *laneAct) begin(_ context.Context, w *work) error { return a.l.put(w.begin()) }

func (a *laneAct) end(ctx context.Context, w *work) error {
	return a.l.index.LoadWith(ctx, a.lane, &w.digests, func([]store.Outcome) (pipeline.Checkpoint, []store.MetaRecord, error) {
		cp, err := a.seal(w.outcomes, w.refusals)
		return cp, w.end(), err
	})
}

// Finish implements pipeline.Loader.
func (l *Loader) Finish(ctx context.Context, total *pipeline.Account) error {
	return l.index.Finish(ctx, total)
}

// Close implements pipeline.Loader.
func (l *Loader) Close() error { return l.index.Close() }

// Refuses implements pipeline.Refuser.
func (l *Loader) Refuses() bool { return true }

// SourceVersion implements pipeline.Target.
func (l *Loader) SourceVersion(ctx context.Context, resource string) (string, bool, error) {
	return l.index.SourceVersion(ctx, resource)
}

// Take implements pipeline.StreamTarget.
func (l *Loader) Take(ctx context.Context, lane string) (pipeline.StreamLane, pipeline.Position, error) {
	own, at, err := l.index.TakeLane(ctx, lane)
	if err != nil {
		return nil, at, err
	}
	return &streamLane{l, lane, own}, at, nil
}

type streamLane struct {
	l    *Loader
	name string
	own  *storeloader.StreamLane
}

// Load implements pipeline.StreamLane.
func (s *streamLane) Load(ctx context.Context, b *fhir.Batch, seal pipeline.StreamSeal) error {
	a := &streamAct{streamLane: s, seal: seal}
	if err := s.l.load(ctx, b, a); err != nil {
		return err
	}
	return s.l.passed(ctx, s.name, a.next)
}

// streamAct is how a batch of a stream becomes durable.
type streamAct struct {
	*streamLane
	seal pipeline.StreamSeal
	next int64 // where the batch ends
}

// begin also finds out whether the batch must be made again, or is somebody else's by now: such a batch is
// not sent.
func (a *streamAct) begin(ctx context.Context, w *work) error {
	c, err := a.seal(w.outcomes, nil)
	if err != nil {
		return err
	}
	w.from = origin{a.name, c.Position.Next}
	return a.own.Put(ctx, w.begin(), c.Guards)
}

func (a *streamAct) end(ctx context.Context, w *work) error {
	return a.own.LoadWith(ctx, &w.digests, func([]store.Outcome) (pipeline.StreamCommit, []store.MetaRecord, error) {
		c, err := a.seal(w.outcomes, w.refusals)
		a.next = c.Position.Next
		return c, w.end(), err
	})
}

// Recall implements pipeline.StreamTarget.
func (l *Loader) Recall(ctx context.Context, names []string) ([][]byte, error) {
	return l.index.Recall(ctx, names)
}

// Each implements pipeline.StreamRecords.
func (l *Loader) Each(ctx context.Context, prefix string, f func(pipeline.Record) error) error {
	return l.index.Each(ctx, prefix, f)
}

// Compare says what Load would do with a batch, as far as the index knows. Nothing is sent.
func (l *Loader) Compare(ctx context.Context, b *fhir.Batch) ([]pipeline.Outcome, error) {
	w, err := l.newWork(b)
	if err == nil {
		err = w.look(ctx)
	}
	return w.outcomes, err
}

// Ask is Compare, once the server was asked about the resources that the index does not know.
func (l *Loader) Ask(ctx context.Context, b *fhir.Batch) ([]pipeline.Outcome, error) {
	w, err := l.newWork(b)
	if err != nil {
		return nil, err
	}
	release, err := w.prepare(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	return w.outcomes, nil
}

// Identity distinguishes this index from all others, including one that replaces it.
func (l *Loader) Identity() string { return l.index.Identity() }

// Fresh reports whether nothing had been loaded when the index was opened.
func (l *Loader) Fresh() bool { return l.index.Fresh() }

// Begun reports whether the index has checkpoints, of whatever run.
func (l *Loader) Begun() (bool, error) { return l.index.Begun() }

// Forget removes the checkpoints of a run, so that it starts over; see store.Loader.Forget.
func (l *Loader) Forget(run string) error { return l.index.Forget(run) }

// SetAside gives the checkpoints of all runs other names; see store.Loader.SetAside.
func (l *Loader) SetAside() error { return l.index.SetAside() }

// Ledger returns what the checkpoints of the index account for, by run.
func (l *Loader) Ledger() (map[string]*pipeline.Account, error) { return storeloader.Ledger(l.store) }

// Summary returns what the index remembers of the last finished run; ok is false if none has finished.
func (l *Loader) Summary() (s storeloader.Summary, ok bool, err error) {
	value, err := l.store.Meta(store.MetaLastRun)
	if errors.Is(err, store.ErrNotFound) {
		return s, false, nil
	}
	if err == nil {
		err = json.Unmarshal(value, &s)
	}
	return s, err == nil, err
}

// Finding is what reconciling has found out about one resource.
type Finding struct {
	Type  fhir.Type
	ID    string // ours
	There There  // as the server has it; zero: it is not there
}
