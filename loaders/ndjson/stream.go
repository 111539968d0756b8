package ndjson

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/zeebo/xxh3"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// StreamOptions are the settings of a stream into a folder.
type StreamOptions struct {
	Compress       string // as in Options
	KeyFingerprint string
	State          string // folder of the lock; "" means the target's name with ".state"
	RollBytes      int64  // as in Options

	// Roll is how long a part may be open. It is then complete, even if it is small, so that others
	// can read it; 0 means an hour.
	Roll time.Duration
}

// Stream is a pipeline.StreamTarget that appends to NDJSON files. A new version of a resource is a new
// line: the line of an id that comes last counts. Parts are numbered in order over all types, so of
// two parts the one with the higher number has the later lines. What was deleted is a transaction
// with a DELETE, as in a FHIR bulk export, in parts of their own: such a part deletes from parts with
// lower numbers only.
//
// Another target, the ledger, keeps what a folder of files cannot: the digest and source version of
// each resource, the records of the stream, and how long each part is. The lines are synced first;
// the commit of the ledger then makes them count, atomically with the records. So a folder can always
// be brought back to the last commit.
//
// All lanes write through one goroutine, several batches at once, so their lines have one order and
// share their syncs. One process has the folder at a time. Methods are safe for concurrent use.
type Stream struct {
	pipeline.StreamTarget // the ledger, except for Take

	files *Loader
	lane  *lane
	own   pipeline.StreamLane // of the ledger
	roll  time.Duration

	loads  chan *streamLoad
	ctx    context.Context // of what the goroutine does; it does not end
	closed chan struct{}
	wait   sync.WaitGroup

	committing sync.Mutex        // held during a commit
	owners     map[string]uint64 // epochs of lanes
	pack       packer
	digests    fhir.Batch
	unlisted   bool // the manifest does not have all complete parts
}

var _ pipeline.StreamTarget = (*Stream)(nil)

// Names in the ledger.
const (
	ledgerLane  = "files"
	openRecord  = "files/open"  // the parts that are being written
	closedSpace = "files/part/" // one for each complete part, by number
	atSpace     = "at/"         // position of a lane, as the ledger has it
)

// streamRun is the run of the folder of a stream, and the name of its parts.
const streamRun = "stream"

// OpenStream opens a folder for streams, and creates it if necessary. The ledger stays the caller's.
// Errors are those of Open. Close the stream before the ledger.
func OpenStream(ctx context.Context, dir string, ledger pipeline.StreamTarget, o StreamOptions) (*Stream, error) {
	return openStream(ctx, disk{}, dir, ledger, o)
}

func openStream(ctx context.Context, fsys filesystem, dir string, ledger pipeline.StreamTarget, o StreamOptions) (*Stream, error) {
	l, err := open(fsys, dir, Options{Run: streamRun, Compress: o.Compress, KeyFingerprint: o.KeyFingerprint, State: o.State, RollBytes: o.RollBytes})
	if err != nil {
		return nil, err
	}
	s := &Stream{StreamTarget: ledger, files: l, roll: o.Roll, ctx: context.WithoutCancel(ctx),
		loads: make(chan *streamLoad), closed: make(chan struct{}), owners: map[string]uint64{}}
	if s.roll <= 0 {
		s.roll = time.Hour
	}
	s.lane = &lane{l: l, name: streamRun, external: true, read: true, temps: l.temps[streamRun]}
	if s.lane.temps == nil {
		s.lane.temps = map[string]bool{}
	}
	s.pack = packer{lane: s.lane, anew: true}
	if err := s.restore(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.wait.Go(s.run)
	return s, nil
}

// restore brings the folder to the last commit.
func (s *Stream) restore(ctx context.Context) (err error) {
	if s.own, _, err = s.StreamTarget.Take(ctx, ledgerLane); err != nil {
		return err
	}
	values, err := s.Recall(ctx, []string{openRecord})
	if err != nil {
		return err
	}
	c := &s.lane.committed
	if values[0] != nil {
		if err := json.Unmarshal(values[0], &c.Open); err != nil {
			return fmt.Errorf("read the parts of %s: %w", s.files.dir, err)
		}
	}
	err = s.Each(ctx, closedSpace, func(r pipeline.Record) error {
		var p partState
		if err := json.Unmarshal(r.Value, &p); err != nil {
			return fmt.Errorf("read the parts of %s: %w", s.files.dir, err)
		}
		c.Closed = append(c.Closed, p)
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.lane.findClosed(); err != nil {
		return err
	}
	if err := s.lane.ready(); err != nil {
		return err
	}
	s.unlisted = len(c.Closed) > 0 // an earlier process may have ended before it listed them
	return nil
}

// Take implements pipeline.StreamTarget.
func (s *Stream) Take(ctx context.Context, name string) (pipeline.StreamLane, pipeline.Position, error) {
	s.committing.Lock()
	defer s.committing.Unlock()
	_, at, err := s.StreamTarget.Take(ctx, name)
	if err != nil {
		return nil, at, err
	}
	s.owners[name]++
	return &streamLane{s: s, name: name, epoch: s.owners[name]}, at, nil
}

type streamLane struct {
	s       *Stream
	name    string
	epoch   uint64
	digests fhir.Batch
}

// streamLoad is a batch on its way to the goroutine that writes.
type streamLoad struct {
	*streamLane
	batch *fhir.Batch
	seal  pipeline.StreamSeal
	done  chan error
}

// errClosed says that a stream was closed.
var errClosed = errors.New("the folder is closed")

// Load implements pipeline.StreamLane.
func (l *streamLane) Load(ctx context.Context, b *fhir.Batch, seal pipeline.StreamSeal) error {
	if err := ctx.Err(); err != nil { // of several things that can go on, select takes any
		return err
	}
	l.digests.Reset()
	for _, r := range b.All() {
		if r.Deleted {
			l.digests.Delete(r.Type, r.ID, r.LastUpdated, r.SourceVersion)
			continue
		}
		sum := xxh3.Hash128(r.JSON).Bytes()
		l.digests.End(append(l.digests.Begin(r.Type, r.ID, r.LastUpdated, r.SourceVersion), sum[:]...))
	}
	g := &streamLoad{l, b, seal, make(chan error, 1)}
	select {
	case l.s.loads <- g:
		return <-g.done
	case <-ctx.Done():
		return ctx.Err()
	case <-l.s.closed:
		return errClosed
	}
}

// A commit takes at most so many batches, and no more once it has so many bytes.
const (
	commitLoads = 64
	commitBytes = 16 << 20
)

// run commits what comes, until the stream is closed.
func (s *Stream) run() {
	tick := time.NewTicker(s.roll)
	defer tick.Stop()
	for {
		select {
		case g := <-s.loads:
			s.commitAll(s.gather(g))
		case <-tick.C:
			// If it fails, the next commit repeats it.
			_ = s.complete()
		case <-s.closed:
			return
		}
	}
}

// gather collects the batches that are waiting.
func (s *Stream) gather(first *streamLoad) []*streamLoad {
	group, size := []*streamLoad{first}, first.batch.Size()
	for len(group) < commitLoads && size < commitBytes {
		select {
		case g := <-s.loads:
			group = append(group, g)
			size += g.batch.Size()
		default:
			return group
		}
	}
	return group
}

// refusal says that a batch cannot be in a commit.
type refusal struct {
	index int
	err   error
}

func (r *refusal) Error() string { return r.err.Error() }

// commitAll commits batches together, without those that fail on their own.
func (s *Stream) commitAll(group []*streamLoad) {
	s.committing.Lock()
	defer s.committing.Unlock()
	for len(group) > 0 {
		err := s.commit(group)
		r, ok := errors.AsType[*refusal](err)
		if !ok {
			for _, g := range group {
				g.done <- err
			}
			return
		}
		group[r.index].done <- r.err
		group = append(group[:r.index], group[r.index+1:]...)
	}
}

// commit makes batches durable. After a *refusal it has done nothing.
func (s *Stream) commit(group []*streamLoad) error {
	if err := s.tidy(); err != nil {
		return err
	}
	s.digests.Reset()
	for _, g := range group {
		for _, r := range g.digests.All() {
			s.digests.Add(r)
		}
	}
	var state record
	err := s.own.Load(s.ctx, &s.digests, func(outcomes []pipeline.Outcome, _ pipeline.Refusals) (pipeline.StreamCommit, error) {
		c, err := s.sealAll(group, outcomes)
		if err != nil {
			return c, err
		}
		if state, err = s.pack.write(group, outcomes); err != nil {
			return c, err
		}
		return c, putParts(&c, &state)
	})
	if err != nil {
		return err
	}
	s.unlisted = s.unlisted || len(state.Closed) > 0
	s.lane.committedAs(state)
	s.lane.live, s.pack.anew = true, false
	_ = s.tidy() // the commit holds; the next one repeats what fails here
	return nil
}

// sealAll asks what becomes durable with each batch, in order, and checks that nothing has changed that
// it was made from. Nobody else writes to the ledger meanwhile.
func (s *Stream) sealAll(group []*streamLoad, outcomes []pipeline.Outcome) (all pipeline.StreamCommit, err error) {
	put := map[string][]byte{} // by this commit so far
	for i, g := range group {
		if s.owners[g.name] != g.epoch {
			return all, &refusal{i, pipeline.ErrFenced}
		}
		n := g.digests.Len()
		c, err := g.seal(outcomes[:n], nil)
		if err != nil {
			return all, &refusal{i, err}
		}
		outcomes = outcomes[n:]
		holds, err := s.holds(c.Guards, put)
		if err != nil {
			return all, err
		}
		if !holds {
			return all, &refusal{i, pipeline.ErrChanged}
		}
		at, err := json.Marshal(&c.Position)
		if err != nil {
			return all, fmt.Errorf("write position: %w", err)
		}
		c.Put = append(c.Put, pipeline.Record{Name: atSpace + g.name, Value: at})
		for _, r := range c.Put {
			put[r.Name] = r.Value
		}
		all.Put = append(all.Put, c.Put...)
	}
	return all, nil
}

// holds reports whether guarded records are as they were read: one of several guards of a name must
// match.
func (s *Stream) holds(guards []pipeline.Record, put map[string][]byte) (bool, error) {
	names := make([]string, len(guards))
	for i, g := range guards {
		names[i] = g.Name
	}
	values, err := s.Recall(s.ctx, names)
	if err != nil {
		return false, err
	}
	failed := map[string]bool{}
	for i, g := range guards {
		now := values[i]
		if v, ok := put[g.Name]; ok {
			now = v
		}
		if (now == nil) == (g.Value == nil) && string(now) == string(g.Value) {
			failed[g.Name] = false
		} else if _, matched := failed[g.Name]; !matched {
			failed[g.Name] = true
		}
	}
	for _, f := range failed {
		if f {
			return false, nil
		}
	}
	return true, nil
}

// putParts adds to a commit what becomes of the parts.
func putParts(c *pipeline.StreamCommit, state *record) error {
	open, err := json.Marshal(state.Open)
	if err != nil {
		return fmt.Errorf("write the parts: %w", err)
	}
	c.Put = append(c.Put, pipeline.Record{Name: openRecord, Value: open})
	for i := range state.Closed {
		closed, err := json.Marshal(&state.Closed[i])
		if err != nil {
			return fmt.Errorf("write the parts: %w", err)
		}
		c.Put = append(c.Put, pipeline.Record{Name: fmt.Sprintf("%s%010d", closedSpace, state.Closed[i].Seq), Value: closed})
	}
	return nil
}

// tidy gives complete parts their names and lists them in the manifest.
func (s *Stream) tidy() error {
	if err := s.pack.ready(); err != nil {
		return err
	}
	if err := s.lane.nameParts(); err != nil {
		return err
	}
	if !s.unlisted {
		return nil
	}
	var parts, deleted []Part
	for _, p := range s.lane.committed.Closed {
		path := s.files.partPath(p.Type, streamRun, p.Seq)
		size, err := sizeOf(s.files.fs, path)
		if err != nil {
			return err
		}
		if size < 0 {
			continue // somebody has taken it away, which is allowed
		}
		name := filepath.ToSlash(filepath.Join(p.Type.String(), filepath.Base(path)))
		if p.Type == deletions {
			deleted = append(deleted, p.part(name))
		} else {
			parts = append(parts, p.part(name))
		}
	}
	s.files.opts.TransactionTime = time.Now().UTC().Format(time.RFC3339)
	if err := s.files.writeManifest(parts, deleted); err != nil {
		return err
	}
	s.unlisted = false
	return nil
}

// complete completes the parts that are open.
func (s *Stream) complete() error {
	s.committing.Lock()
	defer s.committing.Unlock()
	if err := s.pack.ready(); err != nil {
		return err
	}
	s.pack.rollAll()
	if len(s.lane.rolled) > 0 {
		if err := s.commit(nil); err != nil {
			return err
		}
	}
	return s.tidy()
}

// Close completes the parts that are open and releases the folder. The ledger stays open. It must be
// called once, after the last Load.
func (s *Stream) Close() error {
	close(s.closed)
	s.wait.Wait()
	err := s.complete()
	s.lane.drop()
	return errors.Join(err, s.files.Close())
}
