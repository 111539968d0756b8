package main

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"slices"
	"time"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/schemas/fhir"
)

// swept is what a sweep has found out about the resources of a type.
type swept struct {
	Type      string `json:"type"`
	Accounts  int64  `json:"accounts"`  // what the accounts of all loads say
	Index     int64  `json:"index"`     // what the index knows to be there
	Server    int64  `json:"server"`    // what the server lists
	Counted   int64  `json:"counted"`   // what the server counts
	Missing   int64  `json:"missing"`   // known, and not there
	Different int64  `json:"different"` // there with other content
	Extra     int64  `json:"extra"`     // there with an id of ours, and not known
	Foreign   int64  `json:"foreign"`   // not ours
}

// finding is a resource that is not as the index says.
type finding struct {
	Kind     string `json:"kind"` // missing, different or extra
	Resource string `json:"resource"`

	typ        fhir.Type
	id         string       // ours
	was, there remote.There // as the index and the server have it
}

// The kinds of findings.
const (
	missing   = "missing"
	different = "different"
	extra     = "extra"
)

// sweeper compares what a server has with what the index knows of it: the server lists every resource, and
// the index every resource that should be there. A list or a count may come from a search index that is
// behind, so whatever looks wrong is read by its id before it is believed.
type sweeper struct {
	server fhirclient.Server
	index  *remote.Loader
	gives  bool                   // the server gives ids
	learn  bool                   // the index has not learned this type: what the server has of ours is adopted
	found  func(finding) error    // called for each
	say    func(fhir.Type, int64) // how far the list is

	adopted int64
	seen    []uint64         // hashes of our ids that the server lists: 8 bytes for each
	doubts  []doubt          // to be read, at most readAtOnce
	learned []remote.Finding // to be learned
}

// doubt is a resource that must be read before anything is said of it.
type doubt struct {
	own, there string // ids
	known      bool
	was        remote.There // what the index knows
}

// readAtOnce is how many resources are read with one call.
const readAtOnce = 50

// countAgain is how long a count that differs from the list may take to catch up.
var countAgain = []time.Duration{time.Second, 3 * time.Second, 6 * time.Second}

// sweep compares the resources of a type. If the index has not learned them all, because it is new, was lost,
// or an earlier sweep was stopped, it does now.
func (s *sweeper) sweep(ctx context.Context, typ fhir.Type) (*swept, error) {
	r := &swept{Type: typ.String()}
	s.seen = s.seen[:0]
	learned, err := s.index.Learned(typ)
	if err != nil {
		return nil, err
	}
	s.learn = !learned
	if err := s.compare(ctx, typ, r); err != nil {
		return nil, err
	}
	if s.learn {
		err = s.index.Complete(ctx, typ)
	}
	return r, err
}

func (s *sweeper) compare(ctx context.Context, typ fhir.Type, r *swept) error {
	err := s.server.Each(ctx, typ.String(), nil, func(id, version string, resource json.RawMessage) error {
		r.Server++
		s.say(typ, r.Server)
		return s.listed(ctx, typ, r, id, version, resource)
	})
	if err == nil {
		err = s.read(ctx, typ, r)
	}
	if err == nil {
		err = s.adopt(ctx)
	}
	if err == nil {
		err = s.unlisted(ctx, typ, r)
	}
	if err == nil {
		err = s.count(ctx, typ, r)
	}
	return err
}

// listed compares a resource of the server's list.
func (s *sweeper) listed(ctx context.Context, typ fhir.Type, r *swept, id, version string, resource []byte) error {
	own := id
	if s.gives {
		if own = remote.OwnID(resource); own == "" {
			r.Foreign++
			return nil
		}
	}
	known, ok, err := s.index.Known(ctx, typ, own)
	if err != nil {
		return err
	}
	if !ok && !s.gives && !madeID(typ, id) {
		r.Foreign++
		return nil
	}
	s.seen = append(s.seen, maphash.String(idSeed, own))
	if !ok && !s.learn {
		return s.doubt(ctx, typ, r, doubt{own: own, there: id})
	}
	digest, err := s.index.DigestThere(resource)
	if err != nil {
		return err
	}
	switch {
	case !ok:
		s.adopted++
		s.learned = append(s.learned, remote.Finding{Type: typ, ID: own, There: remote.There{Digest: digest, Version: version, ID: s.given(id)}})
		if len(s.learned) < 500 {
			return nil
		}
		return s.adopt(ctx)
	case digest != known.Digest:
		return s.doubt(ctx, typ, r, doubt{own: own, there: id, known: true, was: known})
	}
	return nil
}

// madeID reports whether an id has the form of those that are made here.
func madeID(typ fhir.Type, id string) bool {
	raw, ok := fhir.ParseID(id)
	return ok && raw.ID(typ) == id
}

// given is the id that the server has given a resource; "" is ours.
func (s *sweeper) given(id string) string {
	if s.gives {
		return id
	}
	return ""
}

func (s *sweeper) adopt(ctx context.Context) error {
	err := s.index.Learn(ctx, s.learned)
	s.learned = s.learned[:0]
	return err
}

// unlisted looks for what the index knows and the server does not list.
func (s *sweeper) unlisted(ctx context.Context, typ fhir.Type, r *swept) error {
	slices.Sort(s.seen)
	err := s.index.EachKnown(ctx, typ, func(id string, there remote.There) error {
		r.Index++
		if _, ok := slices.BinarySearch(s.seen, maphash.String(idSeed, id)); ok {
			return nil
		}
		at := id
		if there.ID != "" {
			at = there.ID
		}
		return s.doubt(ctx, typ, r, doubt{own: id, there: at, known: true, was: there})
	})
	if err != nil {
		return err
	}
	return s.read(ctx, typ, r)
}

func (s *sweeper) doubt(ctx context.Context, typ fhir.Type, r *swept, d doubt) error {
	s.doubts = append(s.doubts, d)
	if len(s.doubts) < readAtOnce {
		return nil
	}
	return s.read(ctx, typ, r)
}

// read reads what is in doubt, and says what is wrong.
func (s *sweeper) read(ctx context.Context, typ fhir.Type, r *swept) error {
	doubts := s.doubts
	s.doubts = s.doubts[:0]
	if len(doubts) == 0 {
		return nil
	}
	refs := make([]fhirclient.Reference, len(doubts))
	for i, d := range doubts {
		refs[i] = fhirclient.Reference{Type: typ.String(), ID: d.there}
	}
	answers, err := s.server.Read(ctx, refs)
	if err != nil {
		return err
	}
	for i, d := range doubts {
		a := &answers[i]
		f := finding{Resource: fhir.Reference(typ, d.own), typ: typ, id: d.own, was: d.was}
		there := a.Stored() && len(a.JSON) > 0
		if there {
			digest, err := s.index.DigestThere(a.JSON)
			if err != nil {
				return err
			}
			f.there = remote.There{Digest: digest, Version: a.Version, ID: s.given(d.there)}
		}
		switch {
		case !there && d.known:
			r.Missing++
			f.Kind = missing
		case there && d.known && f.there.Digest != d.was.Digest:
			r.Different++
			f.Kind = different
		case there && !d.known:
			r.Extra++
			f.Kind = extra
		default:
			continue // the list was behind
		}
		if err := s.found(f); err != nil {
			return err
		}
	}
	return nil
}

// count asks the server for the number of resources, and gives it time to catch up.
func (s *sweeper) count(ctx context.Context, typ fhir.Type, r *swept) (err error) {
	for _, wait := range slices.Concat(countAgain, []time.Duration{0}) {
		if r.Counted, err = s.server.Count(ctx, typ.String()); err != nil || r.Counted == r.Server || wait == 0 {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
