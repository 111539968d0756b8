package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"

	"cpcds2fhir/schemas/fhir"
)

// KeptOutSpace begins the names of the meta records of what is kept out of the store; a reference
// follows. There are few of them, and all are in memory.
const KeptOutSpace = "kept-out/"

// keptOut has references to resources that no load may bring back. A patient stands for all of the
// compartment.
type keptOut map[string]struct{}

// has reports whether a resource is kept out.
func (k keptOut) has(r *fhir.Resource) bool {
	if len(k) == 0 {
		return false
	}
	_, is := k[fhir.Reference(r.Type, r.ID)]
	if patient := patientOf(r); !is && patient != "" {
		_, is = k[fhir.Reference(fhir.Patient, patient)]
	}
	return is
}

// keptOutSet is the present keptOut. Whoever has got one may use it on.
type keptOutSet struct{ now atomic.Pointer[keptOut] }

func (k *keptOutSet) all() keptOut {
	if p := k.now.Load(); p != nil {
		return *p
	}
	return nil
}

func (s *Store) readKeptOut() error {
	k := keptOut{}
	for r, err := range s.AllMeta(KeptOutSpace) {
		if err != nil {
			return err
		}
		k[strings.TrimPrefix(r.Name, KeptOutSpace)] = struct{}{}
	}
	s.keptOut.now.Store(&k)
	return nil
}

// KeepOut keeps resources out of the store from now on, or lets them in again. A reference to a patient
// means the whole compartment. What is there already stays. Once it returns, no Apply that began before
// it is under way any more.
func (s *Store) KeepOut(ctx context.Context, references []string, out bool) error {
	if err := s.enterWriter(ctx); err != nil {
		return err
	}
	defer s.leave()
	var value []byte
	if out {
		value = []byte{}
	}
	var put []MetaRecord
	for _, ref := range references {
		if _, id, err := fhir.SplitReference(ref); err != nil || checkID(id) != nil {
			return errors.New("keep out: not of the form TYPE/ID")
		}
		put = append(put, MetaRecord{KeptOutSpace + ref, value})
	}
	if err := s.putKeptOut(put, references, out); err != nil {
		return fmt.Errorf("keep out: %w", err)
	}
	s.locks.barrier() // without the lock of names, which batches take after those of resources
	return nil
}

func (s *Store) putKeptOut(put []MetaRecord, references []string, out bool) error {
	unlock := s.guards.lock([]string{KeptOutSpace})
	defer unlock()
	batch := s.db.NewBatch()
	if err := s.setMeta(batch, put); err != nil {
		return errors.Join(err, batch.Close())
	}
	if err := s.commit(batch, func() { s.metas.drop(put) }); err != nil {
		return err
	}
	next := maps.Clone(s.keptOut.all())
	for _, ref := range references {
		if out {
			next[ref] = struct{}{}
		} else {
			delete(next, ref)
		}
	}
	s.keptOut.now.Store(&next)
	return batch.Close()
}
