package main

import (
	"context"
	"errors"
	"path/filepath"

	"cpcds2fhir/loaders/ndjson"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
)

// streamTarget is the open target of a stream.
type streamTarget struct {
	pipeline.StreamTarget
	voider pipeline.Voider // nil of a target that cannot cancel its claims
	close  func() error
	id     string // distinguishes it from all others
}

// ledgerFolder is where the state folder of an NDJSON folder keeps what a stream must know of it.
const ledgerFolder = "ledger"

// storeOfStreams is the store that has the positions and accounts of streams into a target: the target
// itself, or the ledger of an NDJSON folder.
func (t target) storeOfStreams(state string) string {
	if t.kind == "ndjson" {
		return filepath.Join(state, ledgerFolder)
	}
	return t.dir
}

// openTarget opens the target.
func (s *streamSetup) openTarget(ctx context.Context) (*streamTarget, error) {
	state := s.target.state(s.State)
	if s.target.kind == "ndjson" {
		if err := s.target.foreign(state); err != nil {
			return nil, err
		}
	}
	l, err := storeloader.Open(s.target.storeOfStreams(state), storeloader.Options{Run: "stream-" + s.Group, KeyFingerprint: s.identity.Fingerprint(), Memory: storeMemory(s.memory), Owner: ownership(s.log, s.status)})
	if err != nil {
		return nil, err
	}
	if s.target.kind == "store" {
		return &streamTarget{withFaults(l, s.log), l, l.Close, l.Identity()}, nil
	}
	files, err := ndjson.OpenStream(ctx, s.target.dir, l, ndjson.StreamOptions{Compress: s.target.compress, KeyFingerprint: s.identity.Fingerprint(), State: state, Roll: s.Window})
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &streamTarget{files, nil, func() error { return errors.Join(files.Close(), l.Close()) }, l.Identity()}, nil
}
