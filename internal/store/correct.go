package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/xxh3"

	"cpcds2fhir/schemas/fhir"
)

// Corrector corrects what a store has, whatever the source says. *Store and *owner.Shared implement it.
type Corrector interface {
	Correct(ctx context.Context, name string, list []Correction) ([]Outcome, error)
	KeepOut(ctx context.Context, references []string, out bool) error
	Compartment(ctx context.Context, patient string) iter.Seq2[Correction, error]
	MadeBy(ctx context.Context, origin, undone string, gone []string) iter.Seq2[Correction, error]
	Scrub(ctx context.Context) error
}

var _ Corrector = (*Store)(nil)

// Remedy is what a Correction does.
type Remedy uint8

// The remedies.
const (
	Remove  Remedy = iota // a new version marks the resource as deleted
	Erase                 // all versions are erased; a new one marks the resource as deleted
	Forget                // an older version is erased; the others stay
	Restore               // the content of an older version becomes the newest
	numRemedies
)

// Correction is a remedy for a resource.
type Correction struct {
	Type fhir.Type
	ID   string
	Do   Remedy

	// Version is the one that Forget erases. For Restore it is the newest version: if there is a newer
	// one by now, or the same was done already, the resource stays as it is.
	Version uint32

	// To is the version that Restore restores; with 0 or the version of a deletion it deletes the
	// resource.
	To uint32
}

// Corrected is the account of corrections of one name, by type.
type Corrected struct {
	Deleted  int64 `json:"deleted,omitempty"`  // resources that were there
	Restored int64 `json:"restored,omitempty"` // resources that were deleted
	Replaced int64 `json:"replaced,omitempty"` // an earlier content is the newest again
	Erased   int64 `json:"erased,omitempty"`   // versions
}

// CorrectedSpace begins the names of the meta records with the accounts of corrections; the name of the
// corrections follows. A record is a JSON object of Corrected by type.
const CorrectedSpace = "corrected/"

// Correct makes corrections durable, all or none, together with their account, which it adds to that of
// earlier corrections of the name. The name is also the origin of the versions that they make. Outcomes
// are Deleted, Created (restored from a deletion), Updated (restored), and Unchanged if there was nothing
// to do. Correcting again what was corrected changes nothing. Stale is what Restore would delete, but others
// may refer to: an organization or practitioner, or what a resource of the same patient refers to that was
// there before the call. So undo claims before coverages, and these before patients.
//
// A resource that was erased or removed has no source version any more: the next load may bring it back.
// See KeepOut.
func (s *Store) Correct(ctx context.Context, name string, list []Correction) ([]Outcome, error) {
	if err := s.enterWriter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	for i, c := range list {
		if c.Type >= fhir.NumTypes || checkID(c.ID) != nil || c.Do >= numRemedies {
			return nil, fmt.Errorf("correction %d is not valid", i)
		}
	}
	a := s.scratch.Get().(*applier)
	outcomes, err := a.correct(ctx, s, name, list)
	if s.fault.err() == nil { // else Pebble may still be reading from it
		a.reset()
		s.scratch.Put(a)
	}
	if err != nil {
		return nil, fmt.Errorf("correct: %w", err)
	}
	return outcomes, nil
}

func (a *applier) correct(ctx context.Context, s *Store, name string, list []Correction) ([]Outcome, error) {
	for _, c := range list {
		a.held = append(a.held, s.locks.of(c.Type, c.ID))
	}
	record := CorrectedSpace + name
	a.held = s.locks.lock(a.held)
	unlock := s.guards.lock([]string{record})
	a.commit = s.instants.begin()
	a.batch = s.db.NewBatch()
	var put []MetaRecord
	release := func() { s.metas.drop(put); s.instants.end(a.commit); unlock(); s.locks.unlock(a.held) }
	account, err := s.corrected(record)
	x := correcting{applier: a, store: s, current: map[resourceName]*pendingResource{}, erased: map[resourceName]bool{}}
	outcomes := make([]Outcome, len(list))
	for i := range list {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			count := account[list[i].Type.String()]
			outcomes[i], err = x.one(&list[i], &count)
			account[list[i].Type.String()] = count
		}
	}
	if err == nil {
		err = a.putMade(name)
	}
	var value []byte
	if err == nil {
		if value, err = json.Marshal(account); err == nil {
			put = []MetaRecord{{record, value}}
			err = s.setMeta(a.batch, put)
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return outcomes, s.commit(a.batch, release)
}

func (s *Store) corrected(record string) (map[string]Corrected, error) {
	account := map[string]Corrected{}
	err := view(s.db, metaKey(record), func(v []byte) error { return s.readCorrected(v, &account) })
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return account, err
}

func (s *Store) readCorrected(v []byte, account *map[string]Corrected) error {
	if json.Unmarshal(v, account) != nil {
		return &CorruptError{s.dir, "an account of corrections"}
	}
	return nil
}

// correcting is one Correct under way. The locks are held.
type correcting struct {
	*applier
	store   *Store
	current map[resourceName]*pendingResource
	erased  map[resourceName]bool // they are still there for readers of the store
}

// one does one correction and counts it.
func (x *correcting) one(c *Correction, n *Corrected) (Outcome, error) {
	name := resourceName{c.Type, c.ID}
	p := x.current[name]
	if p == nil {
		p = &pendingResource{locked: true}
		var err error
		if p.found, err = x.readHead(x.store, c.Type, c.ID, &p.head); err != nil {
			return 0, err
		}
		x.current[name] = p
	}
	if !p.found || x.erased[name] {
		return Unchanged, nil
	}
	switch c.Do {
	case Remove:
		return x.remove(c, p, n, nil)
	case Erase:
		return x.erase(c, p, n)
	case Forget:
		return x.forget(c, p, n)
	}
	return x.restore(c, p, n)
}

// remove adds a version that marks a resource as deleted. sourceVersion is that of the state before the
// versions that are undone.
func (x *correcting) remove(c *Correction, p *pendingResource, n *Corrected, sourceVersion []byte) (Outcome, error) {
	if p.head.deleted {
		return Unchanged, nil
	}
	next := *p
	r := fhir.Resource{Type: c.Type, ID: c.ID, LastUpdated: x.now()}
	if err := x.bury(x.store, &r, p, &next); err != nil {
		return 0, err
	}
	next.head.sourceVersion = sourceVersion
	*p = next
	n.Deleted++
	return Deleted, x.putHead(c.Type, c.ID, &p.head)
}

// now is the instant of the commit as a FHIR instant.
func (a *applier) now() string { return time.UnixMilli(a.commit).UTC().Format(time.RFC3339) }

// erase erases all versions of a resource and marks it as deleted.
func (x *correcting) erase(c *Correction, p *pendingResource, n *Corrected) (Outcome, error) {
	outcome := Deleted
	if p.head.deleted {
		outcome = Unchanged
	}
	x.erased[resourceName{c.Type, c.ID}] = true
	if !p.head.deleted {
		if err := x.dropEntries(x.store, c.Type, c.ID, p, nil); err != nil {
			return 0, err
		}
	}
	erased, err := x.dropVersions(c, func(v uint32, deleted bool) bool { return !(deleted && v == p.head.version) })
	if err != nil {
		return 0, err
	}
	n.Erased += erased
	if outcome == Unchanged { // what is left is the deletion
		p.head.sourceVersion, p.head.hash = nil, hash{}
		x.key = appendUndoKey(x.key[:0], c.Type, c.ID, p.head.version)
		if err := x.batch.Delete(x.key, nil); err != nil {
			return 0, err
		}
		return outcome, x.putHead(c.Type, c.ID, &p.head)
	}
	n.Deleted++
	p.head = head{deleted: true, version: p.head.version + 1, lastUpdated: []byte(x.now()), commit: x.commit}
	p.row = nil
	if err := x.putTombstone(c.Type, c.ID, &p.head); err != nil {
		return 0, err
	}
	return outcome, x.putHead(c.Type, c.ID, &p.head)
}

// needed reports whether others may refer to a resource. For those that are nobody's, which is not known
// without reading everything, it says so.
func (x *correcting) needed(c *Correction, p *pendingResource) (needed bool, err error) {
	if p.head.deleted {
		return false, nil
	}
	if len(p.head.patient) == 0 {
		return true, nil
	}
	prefix := append(append([]byte{rowSpace}, p.head.patient...), 0)
	it, err := x.store.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, it.Error(), it.Close()) }()
	own := appendRowKey(nil, string(p.head.patient), c.Type, c.ID)
	reference := fhir.Reference(c.Type, c.ID)
	for ok := it.First(); ok && !needed; ok = it.Next() {
		v, err := it.ValueAndErr()
		var w row
		if err != nil || !w.decode(v) {
			return false, errors.Join(err, &CorruptError{x.store.dir, "a row"})
		}
		if bytes.Equal(it.Key(), own) {
			continue
		}
		w.each(func(_ fhir.Param, value []byte) bool {
			needed = string(value) == reference
			return !needed
		})
	}
	return needed, nil
}

// forget erases an older version, and what the next one says about it.
func (x *correcting) forget(c *Correction, p *pendingResource, n *Corrected) (Outcome, error) {
	if c.Version >= p.head.version {
		return Unchanged, nil
	}
	erased, err := x.dropVersions(c, func(v uint32, _ bool) bool { return v == c.Version })
	if err != nil || erased == 0 {
		return Unchanged, err
	}
	n.Erased += erased
	x.key = appendUndoKey(x.key[:0], c.Type, c.ID, c.Version+1)
	if err := x.batch.Delete(x.key, nil); err != nil || !p.head.deleted {
		return Updated, err
	}
	p.head.sourceVersion = nil // of a deletion nothing else is left
	return Updated, x.putHead(c.Type, c.ID, &p.head)
}

// dropVersions erases the versions of a resource that which chooses: their bodies, what they replaced,
// and their places in the change feed.
func (x *correcting) dropVersions(c *Correction, which func(version uint32, deleted bool) bool) (erased int64, err error) {
	prefix := appendBodyPrefix(nil, c.Type, c.ID)
	it, err := x.store.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Error(), it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, errValue := it.ValueAndErr()
		version, ok := versionOf(it.Key(), prefix)
		var b body
		if errValue != nil || !ok || !b.decode(v) {
			return erased, errors.Join(errValue, &CorruptError{x.store.dir, "a body"})
		}
		if !which(version, b.deleted) {
			continue
		}
		erased++
		for _, key := range [][]byte{
			appendBodyKey(nil, c.Type, c.ID, version), appendUndoKey(nil, c.Type, c.ID, version),
			appendCommitKey(nil, c.Type, c.ID, version, x.store.commitOf(b.commit)),
		} {
			if err := x.batch.Delete(key, nil); err != nil {
				return erased, err
			}
		}
	}
	return erased, nil
}

// restore makes the content of an older version the newest.
func (x *correcting) restore(c *Correction, p *pendingResource, n *Corrected) (Outcome, error) {
	if p.head.version != c.Version || c.To >= c.Version {
		return Unchanged, nil
	}
	var u undo
	if c.To > 0 {
		x.key = appendUndoKey(x.key[:0], c.Type, c.ID, c.To+1)
		v, err := x.get(x.store)
		if err != nil {
			return 0, err
		}
		switch {
		case v != nil && u.decode(v):
		case v == nil && errors.Is(x.has(c.Type, c.ID, c.To), ErrNotFound): // it was erased: nothing was before
		default:
			return 0, &CorruptError{x.store.dir, "what a version replaced"}
		}
	}
	if len(u.row) == 0 {
		if needed, err := x.needed(c, p); needed || err != nil {
			return Stale, err
		}
		return x.remove(c, p, n, u.sourceVersion)
	}
	e, err := x.store.version(x.store.db, c.Type, c.ID, c.To)
	if err != nil {
		return 0, err
	}
	var w row
	if !w.decode(u.row) {
		return 0, &CorruptError{x.store.dir, "a row"}
	}
	outcome := Updated
	if n.Replaced++; p.head.deleted {
		n.Replaced--
		n.Restored++
		outcome = Created
	}
	next := *p
	next.head.sourceVersion = u.sourceVersion
	r := fhir.Resource{Type: c.Type, ID: c.ID, LastUpdated: string(w.lastUpdated), JSON: e.JSON}
	w.each(func(p fhir.Param, value []byte) bool {
		r.Keys = append(r.Keys, fhir.Key{Param: p, Value: string(value)})
		return true
	})
	if err := x.putVersion(x.store, &r, xxh3.Hash128(e.JSON).Bytes(), p, &next, c.To); err != nil {
		return 0, err
	}
	*p = next
	return outcome, x.putHead(c.Type, c.ID, &p.head)
}

// has returns ErrNotFound if there is no such version.
func (x *correcting) has(t fhir.Type, id string, version uint32) error {
	return view(x.store.db, appendBodyKey(nil, t, id, version), func([]byte) error { return nil })
}
