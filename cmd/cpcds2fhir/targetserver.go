package main

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/loaders/bulkimport"
	"cpcds2fhir/loaders/bundle"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/schemas/fhir"
)

// serverTarget is a FHIR server. Resources get there in bundles, or by the server's bulk import.
type serverTarget struct {
	url  string // without a slash at the end
	bulk bool
}

// parseServer reads the URL of a server. It must not have credentials: a target is in manifests, logs
// and the lists of processes.
func parseServer(what, s, rest string, bulk bool) (target, error) {
	u, err := url.Parse(rest)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, usagef("%s %q: use the base URL of the server, such as fhir:https://server.example.org/fhir", what, withoutUserinfo(s))
	case u.User != nil:
		return nil, usagef("%s %q: a URL must not have credentials; name them in the file of --server", what, withoutUserinfo(s))
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, usagef("%s %q: the base URL of a server has neither a query nor a fragment", what, s)
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	return serverTarget{strings.TrimRight(u.String(), "/"), bulk}, nil
}

// permitted refuses http to other machines unless the settings allow it.
func (t serverTarget) permitted(c *fhirclient.Config) error {
	u, err := url.Parse(t.url)
	if err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) && !c.Insecure {
		return usagef("%s: members' data would be readable on the way; use https, or say insecure: true in the settings of the server", t)
	}
	return err
}

// withoutUserinfo hides what may be credentials in something that may be a URL.
func withoutUserinfo(s string) string {
	begin, rest, ok := strings.Cut(s, "//")
	if !ok {
		return s
	}
	authority, path, _ := strings.Cut(rest, "/")
	at := strings.LastIndexByte(authority, '@')
	if at < 0 {
		return s
	}
	s = begin + "//…@" + authority[at+1:]
	if path != "" {
		s += "/" + path
	}
	return s
}

func (t serverTarget) String() string {
	if t.bulk {
		return "import:" + t.url
	}
	return "fhir:" + t.url
}

func (t serverTarget) place() string { return t.url }
func (serverTarget) shape() string   { return "" }
func (serverTarget) appends() bool   { return false }

// state is a folder in the current directory, named after the server. Bundles and imports have the
// same one: what is there is what counts, not how it got there.
func (t serverTarget) state(flag string) string {
	if flag != "" {
		return flag
	}
	_, name, _ := strings.Cut(t.url, "://")
	name = strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
	return strings.TrimLeft(name, ".") + ".state"
}

func (t serverTarget) check(state string) error { return folder("state folder "+state, state) }

// indexFolder is where the state folder has the index of a server.
const indexFolder = "index"

func (serverTarget) storeOfStreams(state string) string { return filepath.Join(state, indexFolder) }

// open opens the index of the server. What the server has is compared again by a run that has finished
// before.
func (serverTarget) open(ctx context.Context, j *job, run *batchrun.Config) (*manifest.Manifest, error) {
	earlier, err := finishedRun(j.state, run.ID)
	if err != nil {
		return nil, err
	}
	l, err := j.server.index(ctx, run.ID, run.Stages)
	if err != nil {
		return nil, err
	}
	if j.forgetting {
		err = l.SetAside()
	}
	if err == nil && earlier != nil {
		err = errors.Join(l.Forget(run.ID), batchrun.Forget(j.state, run.ID))
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	run.Loader, run.Voider = l, l
	return nil, nil
}

// compare compares with what the index knows, and asks the server about the rest. Nothing is sent.
func (serverTarget) compare(ctx context.Context, j *job, run *batchrun.Config) (pipeline.Loader, error) {
	return j.server.comparer(ctx, run.ID)
}

// indexComparer says of each resource what a load would do. It remembers no checkpoints.
type indexComparer struct {
	index   *remote.Loader
	scratch string // the folder of an index that is only for the comparison; "" is none
}

func (c *indexComparer) Resume(context.Context, string) (pipeline.Checkpoint, error) {
	return pipeline.Checkpoint{}, nil
}

func (c *indexComparer) Load(ctx context.Context, _ string, b *fhir.Batch, seal pipeline.Seal) error {
	outcomes, err := c.index.Ask(ctx, b)
	if err == nil {
		_, err = seal(outcomes, nil)
	}
	return err
}

func (c *indexComparer) Finish(context.Context, *pipeline.Account) error { return nil }

func (c *indexComparer) Close() error {
	err := c.index.Close()
	if c.scratch != "" {
		err = errors.Join(err, os.RemoveAll(c.scratch))
	}
	return err
}

// Void implements pipeline.Voider.
func (c *indexComparer) Void(ctx context.Context, out *fhir.Batch, resource, patient, lastUpdated, sourceVersion string) (bool, error) {
	return c.index.Void(ctx, out, resource, patient, lastUpdated, sourceVersion)
}

// stream opens the index of the server for a stream.
func (t serverTarget) stream(ctx context.Context, s *streamSetup) (*streamTarget, error) {
	w := s.serverWork(t)
	w.meter.metrics = newServerMetrics(s.status.registry)
	server, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range w.takeNotes() {
		s.log.Warn(n)
	}
	run := "stream-" + s.Group
	if t.bulk {
		o, err := w.importOptions(run, server)
		if err != nil {
			return nil, err
		}
		w.sender = bulkimport.Jobs(o, bundle.New(server))
	}
	l, err := w.index(ctx, run, nil)
	if err != nil {
		return nil, err
	}
	return &streamTarget{l, l, l.Close, l.Identity()}, nil
}

// serverWork is the work of a stream on its server.
func (s *streamSetup) serverWork(t serverTarget) *serverWork {
	return &serverWork{
		target: t, state: t.state(s.State), config: &s.Server, fingerprint: s.identity.Fingerprint(), memory: indexMemory(s.memory), log: s.log, quiet: true,
		flags: &serverFlags{stage: s.Stage.URL, listen: s.Stage.Listen, start: s.Stage.Start},
	}
}
