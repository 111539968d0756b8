package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/loaders/ndjson"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
)

// ndjsonTarget is a folder of NDJSON files.
type ndjsonTarget struct{ dir, compress string }

func parseNDJSON(what, s, rest, form string) (target, error) {
	dir, query, _ := strings.Cut(rest, "?")
	if dir == "" {
		return nil, usagef("%s %q: use %s", what, s, form)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, usagef("%s %q: %s", what, s, err)
	}
	t := ndjsonTarget{dir: dir}
	for k, v := range values {
		if k != "compress" {
			return nil, usagef("%s %q: ndjson has no option %q", what, s, k)
		}
		t.compress = v[len(v)-1]
	}
	switch t.compress {
	case "", "zstd", "gzip":
		return t, nil
	}
	return nil, usagef("%s %q: compress must be zstd or gzip", what, s)
}

func (t ndjsonTarget) String() string {
	if t.compress != "" {
		return "ndjson:" + t.dir + "?compress=" + t.compress
	}
	return "ndjson:" + t.dir
}

func (t ndjsonTarget) place() string            { return t.dir }
func (t ndjsonTarget) state(flag string) string { return stateBeside(t.dir, flag) }
func (t ndjsonTarget) check(state string) error { return checkFolders(t, t.dir, state) }
func (t ndjsonTarget) shape() string            { return t.compress }
func (ndjsonTarget) appends() bool              { return true }

// ledgerFolder is where the state folder of an NDJSON folder keeps what a stream must know of it.
const ledgerFolder = "ledger"

func (ndjsonTarget) storeOfStreams(state string) string { return filepath.Join(state, ledgerFolder) }

func (t ndjsonTarget) open(_ context.Context, j *job, run *batchrun.Config) (*manifest.Manifest, error) {
	earlier, err := finishedRun(j.state, run.ID)
	if err != nil {
		return nil, err
	}
	if run.Replay == nil {
		if err := t.foreign(j.state); err != nil {
			return nil, err
		}
	}
	l, err := ndjson.Open(t.dir, t.options(j, run))
	if err != nil {
		return nil, err
	}
	run.Loader = l
	if _, done := l.Finished(); !done || earlier == nil {
		return nil, nil
	}
	if err := j.stillGood(run, earlier); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	unchanged := *earlier
	unchanged.Status = manifest.Complete
	unchanged.Started, unchanged.Finished = stamp(j.started), stamp(time.Now())
	unchanged.Claims.Unchanged += unchanged.Claims.Loaded
	unchanged.Claims.Loaded = 0
	for t, c := range unchanged.Resources {
		c.Unchanged += c.Created + c.Updated
		c.Created, c.Updated = 0, 0
		unchanged.Resources[t] = c
	}
	return &unchanged, nil
}

func (t ndjsonTarget) options(j *job, run *batchrun.Config) ndjson.Options {
	return ndjson.Options{
		Compress: t.compress, Run: run.ID, KeyFingerprint: j.identity.Fingerprint(), State: j.state,
		TransactionTime: transactionTime, Part: replayPart(run), Stages: run.Stages,
	}
}

// transactionTime of NDJSON manifests: the bulk data guide requires one, and the current time would
// make the folder differ from run to run.
const transactionTime = "1970-01-01T00:00:00Z"

func (t ndjsonTarget) compare(_ context.Context, j *job, run *batchrun.Config) (pipeline.Loader, error) {
	earlier, err := finishedRun(j.state, run.ID)
	if err != nil {
		return nil, err
	}
	if earlier != nil {
		return outcome(pipeline.Unchanged), nil
	}
	if run.Replay == nil {
		if err := t.foreign(j.state); err != nil {
			return nil, err
		}
	}
	return outcome(pipeline.Created), ndjson.Check(t.dir, t.options(j, run))
}

func (t ndjsonTarget) stream(ctx context.Context, s *streamSetup) (*streamTarget, error) {
	state := t.state(s.State)
	if err := t.foreign(state); err != nil {
		return nil, err
	}
	l, err := s.openStore(t.storeOfStreams(state))
	if err != nil {
		return nil, err
	}
	files, err := ndjson.OpenStream(ctx, t.dir, l, ndjson.StreamOptions{Compress: t.compress, KeyFingerprint: s.identity.Fingerprint(), State: state, Roll: s.Window})
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &streamTarget{files, nil, func() error { return errors.Join(files.Close(), l.Close()) }, l.Identity()}, nil
}

// foreign refuses a folder that is not empty and was not written by a load. If a load wrote
// it, run.json in the state folder says so.
func (t ndjsonTarget) foreign(state string) error {
	entries, err := os.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(state, "run.json")); err == nil {
		return nil
	}
	foreign := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return filepath.Join(t.dir, e.Name()) != filepath.Clean(state) })
	if !foreign {
		return nil
	}
	ours, err := ndjson.Wrote(t.dir)
	if err != nil {
		return err
	}
	if ours {
		return &mismatch{fmt.Sprintf("folder %s has the output of a load that is missing from the state folder %s: the state was lost, or --state names another one", t.dir, state),
			"renames the folder and loads from the beginning"}
	}
	return environmentf("folder %s is not empty and not from an earlier load; name an empty or new folder", t.dir)
}
