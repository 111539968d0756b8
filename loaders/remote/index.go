package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// The index is a store: a resource of it is the digest of what the server has, so that its outcomes are
// those of a load. What the server says of a resource is a record beside it. The record is always what the
// server has; the store's resource is what the checkpoints account for. Both differ only after an answer
// was lost, and after the index has learned from the server.
const (
	space         = "remote/"
	serverRecord  = space + "server"    // whose index it is
	thereSpace    = space + "there/"    // entry by Type/id
	intentSpace   = space + "intent/"   // what was sent, by Type/id, until its answer is durable
	ownSpace      = space + "own/"      // our id by Type/id of the server, if it gives ids
	completeSpace = space + "complete/" // by Type: that the index has learned what the server has of it
)

// entry is what the index knows of a resource. The zero value is one that is not on the server.
type entry struct {
	There
	Present bool
	Marked  bool // it is on the server, marked as deleted

	// Adopted says that a load has found it there, and nobody knows how old it is: it may be newer than what is
	// loaded, or somebody else's.
	Adopted bool

	// lost says that the index has it as there, and the server does not. It is never kept: until it is written
	// again it is missing.
	lost bool

	// Landed is how it ended, if no checkpoint accounts for it: Created, Updated or Deleted. Its answer was
	// lost.
	Landed *pipeline.Outcome
}

// Flags of an entry.
const (
	flagPresent = 1 << iota
	flagMarked
	flagLanded
	flagAdopted
)

func (e *entry) encode() []byte {
	var flags, landed byte
	if e.Present {
		flags |= flagPresent
	}
	if e.Marked {
		flags |= flagMarked
	}
	if e.Adopted {
		flags |= flagAdopted
	}
	if e.Landed != nil {
		flags, landed = flags|flagLanded, byte(*e.Landed)
	}
	b := append(make([]byte, 0, 3+len(e.Digest)+len(e.Version)+len(e.ID)), flags, landed)
	b = append(b, e.Digest[:]...)
	b = append(b, e.Version...)
	b = append(b, '\n')
	return append(b, e.ID...)
}

func decodeEntry(b []byte) (e entry, err error) {
	const head = 2 + len(e.Digest)
	if len(b) < head {
		return e, errDamaged
	}
	version, id, ok := bytes.Cut(b[head:], []byte{'\n'})
	if !ok {
		return e, errDamaged
	}
	e = entry{Present: b[0]&flagPresent != 0, Marked: b[0]&flagMarked != 0, Adopted: b[0]&flagAdopted != 0}
	e.There = There{Digest: Digest(b[2:head]), Version: string(version), ID: string(id)}
	if b[0]&flagLanded != 0 {
		landed := pipeline.Outcome(b[1])
		e.Landed = &landed
	}
	return e, nil
}

// errDamaged says that a record of the index is not what was written.
var errDamaged = errors.New("the index is damaged; remove its folder, and the next load learns from the server")

// intent is what a resource will be once the server has what was sent.
type intent struct {
	digest  Digest
	outcome pipeline.Outcome
	deleted bool // the resource is gone
	marked  bool // the digest is of the resource marked as deleted
	from    origin
}

func (i *intent) encode() []byte {
	b := []byte{byte(i.outcome), 0}
	if i.deleted {
		b[1] |= 1
	}
	if i.marked {
		b[1] |= 2
	}
	return append(append(b, i.digest[:]...), i.from.encode()...)
}

func decodeIntent(b []byte) (i intent, err error) {
	const head = 2 + len(i.digest)
	if len(b) < head {
		return i, errDamaged
	}
	from, err := decodeOrigin(b[head:])
	return intent{Digest(b[2:head]), pipeline.Outcome(b[0]), b[1]&1 != 0, b[1]&2 != 0, from}, err
}

// entries returns what the index knows of resources, by Type/id; nil if nothing.
func (l *Loader) entries(names []string) ([]*entry, error) {
	records := make([]string, len(names))
	for i, n := range names {
		records[i] = thereSpace + n
	}
	values, err := l.store.Metas(records)
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", failed(err))
	}
	out := make([]*entry, len(names))
	for i, v := range values {
		if v == nil {
			continue
		}
		e, err := decodeEntry(v)
		if err != nil {
			return nil, err
		}
		out[i] = &e
	}
	return out, nil
}

// entry returns what the index knows of a resource, nil if nothing.
func (l *Loader) entry(name string) (*entry, error) {
	all, err := l.entries([]string{name})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// putEntry are the records of an entry.
func (l *Loader) putEntry(put []store.MetaRecord, typ fhir.Type, id string, e *entry) []store.MetaRecord {
	put = append(put, store.MetaRecord{Name: thereSpace + fhir.Reference(typ, id), Value: e.encode()})
	if e.ID != "" {
		put = append(put, store.MetaRecord{Name: ownSpace + fhir.Reference(typ, e.ID), Value: []byte(id)})
	}
	return put
}

// put makes records durable.
func (l *Loader) put(put []store.MetaRecord) error {
	if len(put) == 0 {
		return nil
	}
	records := make(map[string][]byte, len(put))
	for _, r := range put {
		records[r.Name] = r.Value
	}
	if err := l.store.PutMeta(records); err != nil {
		return fmt.Errorf("write the index: %w", failed(err))
	}
	return nil
}

// failed marks the error of an index that can do nothing any longer in this process.
func failed(err error) error {
	if _, ok := errors.AsType[*store.FailedError](err); ok && !errors.Is(err, pipeline.ErrTargetFailed) {
		return fmt.Errorf("%w: %w", pipeline.ErrTargetFailed, err)
	}
	return err
}

// EachKnown calls f for every resource of a type that the index knows to be on the server, in order of
// our ids.
func (l *Loader) EachKnown(ctx context.Context, typ fhir.Type, f func(id string, there There) error) error {
	prefix := thereSpace + typ.String() + "/"
	for r, err := range l.store.AllMeta(prefix) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read the index: %w", err)
		}
		e, err := decodeEntry(r.Value)
		if err != nil {
			return err
		}
		if !e.Present {
			continue
		}
		if err := f(strings.TrimPrefix(r.Name, prefix), e.There); err != nil {
			return err
		}
	}
	return nil
}

// Known returns what the index knows of a resource; ok is false if it is not there.
func (l *Loader) Known(ctx context.Context, typ fhir.Type, id string) (there There, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return There{}, false, err
	}
	e, err := l.entry(fhir.Reference(typ, id))
	if err != nil || e == nil || !e.Present {
		return There{}, false, err
	}
	return e.There, true, nil
}

// Own returns our id of a resource that the server calls id; ok is false of one that we have not loaded.
func (l *Loader) Own(ctx context.Context, typ fhir.Type, id string) (own string, ok bool, err error) {
	if !l.gives {
		_, ok, err := l.Known(ctx, typ, id)
		return id, ok, err
	}
	if err := ctx.Err(); err != nil {
		return "", false, err
	}
	value, err := l.store.Meta(ownSpace + fhir.Reference(typ, id))
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	return string(value), err == nil, err
}

// own translates a reference of a server that gives ids; "" is one that is not ours.
func (l *Loader) own(reference string) string {
	typ, id, err := fhir.SplitReference(relative(l.url, reference))
	if err != nil {
		return ""
	}
	value, err := l.store.Meta(ownSpace + fhir.Reference(typ, id))
	if err != nil {
		return "" // the digest differs then, and the resource is at worst written once more
	}
	return fhir.Reference(typ, string(value))
}

// digestThere digests a resource as the server has it.
func (l *Loader) digestThere(resource []byte) (Digest, error) {
	if l.gives {
		return l.digester.of(resource, l.own)
	}
	return l.digester.of(resource, nil)
}

// Learn makes the index agree with the server: what is not there will be created by the next load, what is
// different becomes what the index knows. It is taken for ours, and older than whatever is loaded next.
func (l *Loader) Learn(ctx context.Context, findings []Finding) error {
	const most = 1000
	for len(findings) > 0 {
		n := min(most, len(findings))
		if err := l.learn(ctx, findings[:n]); err != nil {
			return err
		}
		findings = findings[n:]
	}
	return nil
}

func (l *Loader) learn(ctx context.Context, findings []Finding) error {
	names := make([]string, len(findings))
	exclusive := map[string]bool{}
	for i, f := range findings {
		names[i] = fhir.Reference(f.Type, f.ID)
		exclusive[names[i]] = true
	}
	release, err := l.taken.take(ctx, names, exclusive)
	if err != nil {
		return err
	}
	defer release()
	var put []store.MetaRecord
	for i, f := range findings {
		e := entry{There: f.There, Present: f.There != There{}}
		put = l.putEntry(put, f.Type, f.ID, &e)
		if l.opened.has(names[i]) {
			put = append(put, store.MetaRecord{Name: intentSpace + names[i]})
		}
	}
	if err := l.put(put); err != nil {
		return err
	}
	l.opened.drop(names)
	return nil
}
