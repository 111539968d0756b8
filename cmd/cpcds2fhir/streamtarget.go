package main

import (
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

// Refuses implements pipeline.Refuser, if the target does.
func (t *streamTarget) Refuses() bool {
	r, ok := t.StreamTarget.(pipeline.Refuser)
	return ok && r.Refuses()
}

// openStore opens the store that a stream loads into, or that has its positions.
func (s *streamSetup) openStore(dir string) (*storeloader.Loader, error) {
	return storeloader.Open(dir, storeloader.Options{Run: "stream-" + s.Group, KeyFingerprint: s.identity.Fingerprint(), Memory: storeMemory(s.memory), Owner: ownership(s.log, s.status)})
}
