package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/internal/store"
	"cpcds2fhir/internal/synth"
	"cpcds2fhir/loaders/bulkimport"
	"cpcds2fhir/loaders/ndjson"
	"cpcds2fhir/loaders/remote"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline/csvio"
	"cpcds2fhir/pipeline/kafkaio"
	"cpcds2fhir/pipeline/statefile"
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

// environmentError is a fault of the machine: its files, disks or permissions.
type environmentError struct{ error }

func environmentf(format string, args ...any) error {
	return environmentError{fmt.Errorf(format, args...)}
}

// exitCode maps an error to an exit code by who can fix it.
func exitCode(err error) int {
	var usage usageError
	var inUse *store.InUseError
	var version *store.VersionError
	var notStore *store.NotStoreError
	var stateSchema *statefile.SchemaError
	var journalSchema *ndjson.SchemaError
	var storeKey *storeloader.KeyError
	var otherRun *ndjson.OtherRunError
	var key *ndjson.KeyError
	var bind *layouts.BindError
	var layout *layouts.FileError
	var synthetic *synth.OptionError
	var csv *csvio.OptionError
	var topic *kafkaio.TopicError
	var auth *kafkaio.AuthenticationError
	var failed *store.FailedError
	var serverConfig *fhirclient.ConfigError
	var noTarget *fhirclient.NoTargetError
	var otherServer *remote.ServerError
	var request *fhirclient.Error
	var importSetting *bulkimport.SettingError
	var otherImport *bulkimport.OtherRunError
	var importJob *bulkimport.JobError // the server cannot reach the files, or does not start the job
	var environment environmentError
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &environment):
		return exitEnvironment
	case errors.As(err, &usage), errors.As(err, &synthetic), errors.As(err, &bind), errors.As(err, &layout),
		errors.As(err, &csv), errors.As(err, &storeKey), errors.As(err, &key), errors.As(err, &otherRun),
		errors.As(err, &serverConfig), errors.As(err, &noTarget), errors.As(err, &otherServer), errors.As(err, &importSetting),
		strings.HasPrefix(err.Error(), "unknown command"):
		return exitUsage
	case errors.As(err, &failed), errors.As(err, &topic), errors.As(err, &auth), errors.As(err, &inUse), errors.As(err, &version), errors.As(err, &notStore), errors.As(err, &stateSchema), errors.As(err, &journalSchema), errors.As(err, &path), errors.As(err, &link),
		errors.Is(err, ndjson.ErrLocked), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission),
		errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, fhirclient.ErrAuthentication), errors.As(err, &otherImport), errors.As(err, &importJob):
		return exitEnvironment
	case errors.As(err, &request) && (request.Status == 0 || request.Retriable): // a server that is away or overloaded
		return exitEnvironment
	}
	return exitFailed
}

// resumable is an error of a run that resumes from its checkpoints when it is run again.
type resumable struct{ error }

func (r resumable) Unwrap() error { return r.error }

// message is an error as shown to the user.
func message(err error) string {
	if errors.Is(err, context.Canceled) {
		if errors.As(err, new(resumable)) {
			return "stopped; everything up to the last checkpoint is durable. Run the same command again to resume."
		}
		return "stopped"
	}
	return once(err.Error())
}

// once drops words that a wrapped error repeats: "write: write f: disk full" becomes "write f: disk
// full".
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
