package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
)

const defaultTarget = "store:./fhir-store"

// target is where resources go, as a user names it.
type target interface {
	fmt.Stringer

	// state is the folder of the program's state for the target, unless the flag names another one.
	state(flag string) string

	// place names the target in a sentence.
	place() string

	// check returns an error if the target or its state folder cannot be what they must be.
	check(state string) error

	// shape is what of the target shapes the output: with another one a run is another run.
	shape() string

	// appends reports whether the target can only be added to.
	appends() bool

	// open opens the target for a load, and sets the loader of the run. If the target holds exactly this
	// load already and cannot be compared again, open returns the earlier run's account, with
	// everything unchanged.
	open(ctx context.Context, j *job, run *batchrun.Config) (again *manifest.Manifest, err error)

	// compare opens the target for a dry run: its loader says what a load would do.
	compare(ctx context.Context, j *job, run *batchrun.Config) (pipeline.Loader, error)

	// stream opens the target of a stream.
	stream(ctx context.Context, s *streamSetup) (*streamTarget, error)

	// storeOfStreams is the folder of the store that has the positions and accounts of streams into
	// the target.
	storeOfStreams(state string) string
}

// The forms of targets, for messages and help.
const (
	fileTargets   = "store:DIR or ndjson:DIR[?compress=zstd|gzip]"
	serverTargets = "fhir:URL or import:URL"
	allTargets    = "store:DIR, ndjson:DIR[?compress=zstd|gzip], " + serverTargets
)

// parseTarget reads the target that a flag names.
func parseTarget(s string) (target, error) { return parseTargetOf("--to", s, allTargets) }

// parseTargetOf reads a target. Its errors name the argument and the form it must have.
func parseTargetOf(what, s, form string) (target, error) {
	kind, rest, ok := strings.Cut(s, ":")
	if !ok || rest == "" {
		return nil, usagef("%s %q: use %s", what, withoutUserinfo(s), form)
	}
	switch kind {
	case "store":
		dir, query, _ := strings.Cut(rest, "?")
		if dir == "" {
			return nil, usagef("%s %q: use %s", what, s, form)
		}
		if query != "" {
			option, _, _ := strings.Cut(query, "=")
			return nil, usagef("%s %q: store has no option %q", what, s, option)
		}
		return storeTarget{dir}, nil
	case "ndjson":
		return parseNDJSON(what, s, rest, form)
	case "fhir", "import":
		return parseServer(what, s, rest, kind == "import")
	case "http", "https":
		return nil, usagef("%s %q: name a FHIR server with fhir: or import: before its URL", what, withoutUserinfo(s))
	}
	return nil, usagef("%s %q: use %s", what, withoutUserinfo(s), form)
}

// stateBeside is the state folder of a target that is a folder.
func stateBeside(dir, flag string) string {
	if flag != "" {
		return flag
	}
	return filepath.Clean(dir) + ".state"
}

// checkFolders returns an error if a target that is a folder, or its state folder, cannot be one.
func checkFolders(t target, dir, state string) error {
	if err := folder("target "+t.String(), dir); err != nil {
		return err
	}
	return folder("state folder "+state, state)
}

// folder refuses a path that is a file or lies below one.
func folder(what, path string) error {
	for p := filepath.Clean(path); ; p = filepath.Dir(p) {
		info, err := os.Stat(p)
		if err == nil && !info.IsDir() {
			return environmentf("%s: %s is a file, not a folder", what, p)
		}
		if err == nil || p == filepath.Dir(p) {
			return nil
		}
	}
}
