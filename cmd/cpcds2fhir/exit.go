package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/internal/synth"
	"cpcds2fhir/loaders/ndjson"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/schemas/layouts"
)

// The exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitEnvironment = 3
)

// usageError is a fault of the command line or a layout.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// environmentError is a fault of the machine: of its files, disks or rights.
type environmentError struct{ error }

func environmentf(format string, args ...any) error {
	return environmentError{fmt.Errorf(format, args...)}
}

// exitCode sorts an error by who can mend it.
func exitCode(err error) int {
	var usage usageError
	var inUse *store.InUseError
	var version *store.VersionError
	var notStore *store.NotStoreError
	var storeKey *storeloader.KeyError
	var otherRun *ndjson.OtherRunError
	var key *ndjson.KeyError
	var bind *layouts.BindError
	var layout *layouts.FileError
	var synthetic *synth.OptionError
	var environment environmentError
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &environment):
		return exitEnvironment
	case errors.As(err, &usage), errors.As(err, &synthetic), errors.As(err, &bind), errors.As(err, &layout),
		errors.As(err, &storeKey), errors.As(err, &key), errors.As(err, &otherRun),
		strings.HasPrefix(err.Error(), "unknown command"):
		return exitUsage
	case errors.As(err, &inUse), errors.As(err, &version), errors.As(err, &notStore), errors.As(err, &path), errors.As(err, &link),
		errors.Is(err, ndjson.ErrLocked), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission),
		errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return exitEnvironment
	}
	return exitFailed
}

// message is what a user reads of an error.
func message(err error) string {
	if errors.Is(err, context.Canceled) {
		return "stopped; everything up to the last checkpoint is durable. Run the same command again to go on."
	}
	return once(err.Error())
}

// once drops what an error says that the one it wraps says again: of "write: write
// f: disk full" it leaves "write f: disk full".
func once(s string) string {
	parts := strings.Split(s, ": ")
	var kept []string
	for i, p := range parts {
		if i+1 < len(parts) && (parts[i+1] == p || strings.HasPrefix(parts[i+1], p+" ")) {
			continue
		}
		kept = append(kept, p)
	}
	return strings.Join(kept, ": ")
}
