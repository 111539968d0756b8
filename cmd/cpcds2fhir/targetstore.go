package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"cpcds2fhir/internal/store/owner"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
)

// storeTarget is an embedded store.
type storeTarget struct{ dir string }

func (t storeTarget) String() string               { return "store:" + t.dir }
func (t storeTarget) place() string                { return t.dir }
func (t storeTarget) state(flag string) string     { return stateBeside(t.dir, flag) }
func (t storeTarget) check(state string) error     { return checkFolders(t, t.dir, state) }
func (storeTarget) shape() string                  { return "" }
func (storeTarget) appends() bool                  { return false }
func (t storeTarget) storeOfStreams(string) string { return t.dir }

func (t storeTarget) open(_ context.Context, j *job, run *batchrun.Config) (*manifest.Manifest, error) {
	if err := t.missing(j); err != nil {
		return nil, err
	}
	earlier, err := finishedRun(j.state, run.ID)
	if err != nil {
		return nil, err
	}
	l, err := storeloader.Open(t.dir, storeloader.Options{Run: run.ID, KeyFingerprint: j.identity.Fingerprint(), Memory: j.storeMemory, Stages: run.Stages,
		Owner: owner.Options{Program: toolVersion(), Events: owner.Events{Joined: func(uint64, int) { yieldToReaders() }}}})
	if err != nil {
		return nil, err
	}
	if j.forgetting {
		err = l.SetAside()
	}
	if err == nil {
		err = j.checkStore(l)
	}
	if err == nil && earlier != nil { // compare everything again
		err = errors.Join(l.Forget(run.ID), batchrun.Forget(j.state, run.ID))
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	run.Loader, run.Voider = l, l
	return nil, nil
}

// missing detects a store that is gone before a new one is made in its place.
func (t storeTarget) missing(j *job) error {
	note, err := readTargetNote(j.state)
	if err != nil || note == nil {
		return err
	}
	if _, err := os.Stat(t.dir); errors.Is(err, fs.ErrNotExist) {
		return j.stranger(fmt.Sprintf("the store %s is gone, but its state folder %s is still there", t.dir, j.state))
	}
	return nil
}

func (t storeTarget) compare(_ context.Context, j *job, _ *batchrun.Config) (pipeline.Loader, error) {
	return storeloader.OpenComparer(t.dir, j.identity.Fingerprint(), j.storeMemory)
}

func (t storeTarget) stream(_ context.Context, s *streamSetup) (*streamTarget, error) {
	l, err := s.openStore(t.dir)
	if err != nil {
		return nil, err
	}
	return &streamTarget{withFaults(l, s.log), l, l.Close, l.Identity()}, nil
}
