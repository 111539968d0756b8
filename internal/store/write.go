package store

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"cpcds2fhir/schemas/fhir"
)

// applier is the working memory of one Apply.
type applier struct {
	outcomes []Outcome
	sums     []hash
	names    []resourceName
	there    []pendingResource    // what findAll found, by name
	order    []int                // of names, by key
	writes   []bool               // resources that look decides under the lock
	held     []uint16             // stripes
	seen     map[resourceName]int // resources to write: index into pending
	pending  []pendingResource
	text     []byte // what pending and heads refer to
	commit   int64  // instant of the commit
	made     []Change
	kept     keptOut
	key, val []byte
	batch    *pebble.Batch
}

// resourceName names a resource. Its id is a view into the batch.
type resourceName struct {
	typ fhir.Type
	id  string
}

// pendingResource is the current state of a resource: what the store has, and then what this batch
// has written, in case the same resource comes again.
type pendingResource struct {
	stripe   uint16
	unlocked uint64 // the stripe's count before the store was read
	locked   bool   // the lock is held, and nothing was written since

	found bool
	head  head
	row   []byte // value of the row; nil if it was not needed yet
}

func newApplier() *applier { return &applier{seen: map[resourceName]int{}} }

func (a *applier) reset() {
	if a.batch != nil {
		_ = a.batch.Close() // returns its memory; cannot fail
		a.batch = nil
	}
	a.outcomes, a.sums, a.writes, a.held = a.outcomes[:0], a.sums[:0], a.writes[:0], a.held[:0]
	clear(a.seen)
	clear(a.pending)
	clear(a.names)
	clear(a.there)
	a.names, a.there, a.order = a.names[:0], a.there[:0], a.order[:0]
	clear(a.made)
	a.pending, a.text, a.made = a.pending[:0], a.text[:0], a.made[:0]
}

// write decides on a resource, whose lock is held, and adds what is to be written
// to the batch.
func (a *applier) write(s *Store, r *fhir.Resource, sum hash) (Outcome, error) {
	old, err := a.current(s, resourceName{r.Type, r.ID})
	if err != nil {
		return 0, err
	}
	d := a.decide(old, r, sum)
	if !d.writes {
		return d.outcome, nil
	}
	next := *old
	next.found = true
	next.head.sourceVersion = keep(a, r.SourceVersion)
	switch d.outcome {
	case Unchanged:
	case Deleted:
		if err := a.bury(s, r, old, &next); err != nil {
			return 0, err
		}
	default:
		if err := a.putVersion(s, r, sum, old, &next, 0); err != nil {
			return 0, err
		}
	}
	*old = next
	return d.outcome, a.putHead(r.Type, r.ID, &next.head)
}

// putVersion adds a version with its body and index entries, and keeps what it replaces. restored is the version
// that has this content already, 0 if it is new.
func (a *applier) putVersion(s *Store, r *fhir.Resource, sum hash, old, next *pendingResource, restored uint32) error {
	next.head.deleted, next.head.hash = false, sum
	next.head.version++
	next.head.lastUpdated = keep(a, r.LastUpdated)
	next.head.patient = keep(a, patientOf(r))
	next.head.commit = a.commit
	a.val = appendRow(a.val[:0], r, a.commit)
	next.row = keep(a, a.val)
	if err := a.putUndo(s, r.Type, r.ID, old); err != nil {
		return err
	}
	if err := a.putEntries(s, r, old, next); err != nil {
		return err
	}
	if err := a.putBody(s, r, next.head.version); err != nil {
		return err
	}
	a.made = append(a.made, Change{Commit: a.commit, Type: r.Type, ID: r.ID, Version: next.head.version, Restored: restored})
	return nil
}

// bury adds a version that marks the resource as deleted, and removes its index entries.
func (a *applier) bury(s *Store, r *fhir.Resource, old, next *pendingResource) error {
	if err := a.putUndo(s, r.Type, r.ID, old); err != nil {
		return err
	}
	if err := a.dropEntries(s, r.Type, r.ID, old, nil); err != nil {
		return err
	}
	next.head = head{deleted: true, version: old.head.version + 1, lastUpdated: keep(a, r.LastUpdated), sourceVersion: next.head.sourceVersion, commit: a.commit}
	next.row = nil
	return a.putTombstone(r.Type, r.ID, &next.head)
}

// putTombstone adds the body of a version that marks a resource as deleted.
func (a *applier) putTombstone(t fhir.Type, id string, h *head) error {
	a.key = appendBodyKey(a.key[:0], t, id, h.version)
	a.val = (&body{deleted: true, lastUpdated: string(h.lastUpdated), commit: a.commit}).append(a.val[:0])
	a.made = append(a.made, Change{Commit: a.commit, Type: t, ID: id, Version: h.version})
	return a.batch.Set(a.key, a.val, nil)
}

// findAll reads the store's records of the names, without a lock: in key order with one iterator,
// which takes half the time of a Get for each.
func (a *applier) findAll(s *Store) (err error) {
	// The iterator sees the store as it is now, so the stripes are read first.
	for i, name := range a.names {
		p := pendingResource{stripe: s.locks.of(name.typ, name.id)}
		p.unlocked = s.locks.locks[p.stripe].unlocked.Load()
		a.there, a.order = append(a.there, p), append(a.order, i)
	}
	slices.SortFunc(a.order, func(i, j int) int {
		x, y := &a.names[i], &a.names[j]
		if x.typ != y.typ {
			return int(x.typ) - int(y.typ)
		}
		return strings.Compare(x.id, y.id)
	})
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{headSpace}, UpperBound: []byte{headSpace + 1}, UseL6Filters: true})
	if err != nil {
		return fmt.Errorf("read existing resources: %w", withoutKeys(err))
	}
	defer func() {
		if e := iter.Close(); err == nil && e != nil {
			err = fmt.Errorf("read existing resources: %w", withoutKeys(e))
		}
	}()
	for n, i := range a.order {
		if n%yieldAfter == yieldAfter-1 {
			runtime.Gosched()
		}
		a.key = appendHeadKey(a.key[:0], a.names[i].typ, a.names[i].id)
		// A prefix is a whole key, because Pebble was not told otherwise.
		if !iter.SeekPrefixGE(a.key) {
			if err := iter.Error(); err != nil {
				return fmt.Errorf("read existing resources: %w", withoutKeys(err))
			}
			continue
		}
		v, err := iter.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read existing resources: %w", withoutKeys(err))
		}
		if a.there[i].found = true; !a.there[i].head.decode(keep(a, v)) {
			return &CorruptError{s.dir, "a head"}
		}
	}
	return nil
}

// current returns the current state of a resource that findAll has found and whose lock is held,
// including what this batch has written. It reads the store again only if there was a write under
// the lock since: a read costs as much as mapping a claim. The pointer is valid until pending
// grows.
func (a *applier) current(s *Store, name resourceName) (*pendingResource, error) {
	p := &a.pending[a.seen[name]]
	if p.locked {
		return p, nil
	}
	if s.locks.locks[p.stripe].unlocked.Load() != p.unlocked {
		p.head = head{}
		var err error
		if p.found, err = a.readHead(s, name.typ, name.id, &p.head); err != nil {
			return nil, err
		}
	}
	p.locked = true
	return p, nil
}

// readHead reads a head that is in the store; its texts are kept in a.text.
func (a *applier) readHead(s *Store, t fhir.Type, id string, h *head) (bool, error) {
	a.key = appendHeadKey(a.key[:0], t, id)
	v, err := a.get(s)
	if v == nil || err != nil {
		return false, err
	}
	if !h.decode(v) {
		return false, &CorruptError{s.dir, "a head"}
	}
	return true, nil
}

// get returns a kept copy of the value of a.key, nil if it is not there.
func (a *applier) get(s *Store) ([]byte, error) {
	v, closer, err := s.db.Get(a.key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read existing resources: %w", withoutKeys(err))
	}
	v = keep(a, v)
	return v, closer.Close()
}

// putEntries writes the row and the identifiers of r, and removes those of the previous version.
func (a *applier) putEntries(s *Store, r *fhir.Resource, old, next *pendingResource) error {
	if old.found && !old.head.deleted {
		if err := a.dropEntries(s, r.Type, r.ID, old, r); err != nil {
			return err
		}
	}
	a.key = appendRowKey(a.key[:0], string(next.head.patient), r.Type, r.ID)
	if err := a.batch.Set(a.key, next.row, nil); err != nil {
		return err
	}
	for _, k := range r.Keys {
		if k.Param != fhir.ParamIdentifier {
			continue
		}
		a.key = appendIdentifierKey(a.key[:0], r.Type, splitToken(k.Value), r.ID)
		if err := a.batch.Set(a.key, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// dropEntries removes the row and the identifiers of a version. If there is a next version, the
// ones that it overwrites stay.
func (a *applier) dropEntries(s *Store, t fhir.Type, id string, old *pendingResource, next *fhir.Resource) error {
	patient := string(old.head.patient)
	if err := a.readRow(s, t, id, old); err != nil {
		return err
	}
	a.key = appendRowKey(a.key[:0], patient, t, id)
	if next == nil || patientOf(next) != patient {
		if err := a.batch.Delete(a.key, nil); err != nil {
			return err
		}
	}
	var w row
	if !w.decode(old.row) {
		return &CorruptError{s.dir, "a row"}
	}
	var err error
	w.each(func(p fhir.Param, value []byte) bool {
		if p != fhir.ParamIdentifier || next != nil && hasIdentifier(next, value) {
			return true
		}
		a.key = appendIdentifierKey(a.key[:0], t, splitToken(string(value)), id)
		err = a.batch.Delete(a.key, nil)
		return err == nil
	})
	return err
}

func (a *applier) putBody(s *Store, r *fhir.Resource, version uint32) error {
	if err := s.codec.sample(r.Type, r.JSON, patientOf(r)); err != nil {
		return err
	}
	a.key = appendBodyKey(a.key[:0], r.Type, r.ID, version)
	t := stopwatch{observe: s.observe}
	t.start()
	a.val = s.codec.appendBody(a.val[:0], r.Type, &body{lastUpdated: r.LastUpdated, commit: a.commit}, r.JSON)
	t.lap(Compressing)
	return a.batch.Set(a.key, a.val, nil)
}

// readRow reads the row of a version that is not deleted, unless it is there.
func (a *applier) readRow(s *Store, t fhir.Type, id string, p *pendingResource) (err error) {
	if p.row == nil {
		a.key = appendRowKey(a.key[:0], string(p.head.patient), t, id)
		p.row, err = a.get(s)
	}
	return err
}

// putUndo keeps what the next version of a resource replaces.
func (a *applier) putUndo(s *Store, t fhir.Type, id string, old *pendingResource) error {
	if !old.found {
		return nil
	}
	u := undo{sourceVersion: old.head.sourceVersion}
	if !old.head.deleted {
		if err := a.readRow(s, t, id, old); err != nil {
			return err
		}
		u.row = old.row
	}
	a.key = appendUndoKey(a.key[:0], t, id, old.head.version+1)
	a.val = u.append(a.val[:0])
	return a.batch.Set(a.key, a.val, nil)
}

// putMade adds the versions of the batch to the change feed.
func (a *applier) putMade(origin string) error {
	for _, c := range a.made {
		a.key = appendCommitKey(a.key[:0], c.Type, c.ID, c.Version, c.Commit)
		a.val = c.appendOrigin(a.val[:0], origin)
		if err := a.batch.Set(a.key, a.val, nil); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) putHead(t fhir.Type, id string, h *head) error {
	a.key = appendHeadKey(a.key[:0], t, id)
	a.val = h.append(a.val[:0])
	return a.batch.Set(a.key, a.val, nil)
}

// keep copies s into the memory of the batch.
func keep[T string | []byte](a *applier, s T) []byte {
	from := len(a.text)
	a.text = append(a.text, s...)
	return a.text[from:len(a.text):len(a.text)]
}

// commit makes a batch durable. It calls release as soon as later batches can see this one: the log
// is sequential, so what they build on it is synced after it, and many batches share one sync.
func (s *Store) commit(batch *pebble.Batch, release func()) error {
	applied := make(chan error, 1)
	synced := make(chan error, 1)
	if batch.Empty() {
		// Nothing to write, but what this batch found may not be synced yet.
		if err := batch.LogData(nil, nil); err != nil {
			release()
			return err
		}
	}
	s.fault.start(func() {
		err := s.db.ApplyNoSyncWait(batch, pebble.Sync)
		applied <- err
		if err == nil {
			synced <- batch.SyncWait()
		}
	})
	err := s.fault.wait(applied)
	release()
	if err != nil {
		return err
	}
	if err := s.fault.wait(synced); err != nil {
		s.fault.set("sync log", err)
		return s.fault.err()
	}
	return nil
}

// patientOf is the id of the patient whose range has the row of r, "" if there is none.
func patientOf(r *fhir.Resource) string {
	if r.Type == fhir.Patient {
		return r.ID
	}
	for _, k := range r.Keys {
		if k.Param != fhir.ParamPatient {
			continue
		}
		if id := patientNamed(k.Value); id != "" {
			return id
		}
	}
	return ""
}

// patientNamed is the id in a reference to a patient, "" if it is none.
func patientNamed(reference string) string {
	if id, ok := strings.CutPrefix(reference, "Patient/"); ok && checkID(id) == nil {
		return id
	}
	return ""
}

func hasIdentifier(r *fhir.Resource, value []byte) bool {
	for _, k := range r.Keys {
		if k.Param == fhir.ParamIdentifier && k.Value == string(value) {
			return true
		}
	}
	return false
}
