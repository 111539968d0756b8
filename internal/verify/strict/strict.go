// Package strict parses FHIR R4 with google/fhir, which shares no code with the program that wrote
// it. Linking it makes a program start 30 ms slower and 28 MB larger, so it is in a separate
// program, cpcds2fhir-verify.
package strict

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/internal/verify"
)

// Parser returns a parser that also checks required elements and the types of references.
func Parser() (verify.Parser, error) {
	u, err := jsonformat.NewUnmarshaller("UTC", fhirversion.R4)
	if err != nil {
		return nil, fmt.Errorf("make strict parser: %w", err)
	}
	return func(resource []byte) error {
		_, err := u.Unmarshal(resource)
		return withoutValues(err)
	}, nil
}

// errRefused replaces an error that could hold a value.
var errRefused = errors.New("the strict parser rejects it")

// withoutValues keeps the errors that google/fhir makes for logs: they give path and kind, but no
// value. Their types are internal there.
func withoutValues(err error) error {
	if err == nil {
		return nil
	}
	switch fmt.Sprintf("%T", err) {
	case "*jsonpbhelper.UnmarshalError", "jsonpbhelper.UnmarshalErrorList":
		return errors.New(err.Error())
	}
	return errRefused
}

// progressEvery is how often a line of progress is printed.
const progressEvery = 10 * time.Second

// Main is cpcds2fhir-verify: args are a verify.Request as JSON, and it prints a
// verify.Report. It returns the exit code, which says only whether there is a report.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, strings.Join(args, " "), os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "cpcds2fhir-verify: %s\n", err)
		return 1
	}
	return 0
}

// serve answers a request. Progress goes to standard error. If a verification cannot finish, the
// report says why.
func serve(ctx context.Context, request string, out io.Writer) error {
	r, err := answer(ctx, request)
	if err != nil {
		r = &verify.Report{Error: err.Error(), Environment: ofMachine(err)}
	}
	return json.NewEncoder(out).Encode(r)
}

// ofMachine reports whether the machine is at fault: its files, disks or permissions.
func ofMachine(err error) bool {
	var inUse *store.InUseError
	var version *store.VersionError
	var notStore *store.NotStoreError
	var path *fs.PathError
	return errors.As(err, &inUse) || errors.As(err, &version) || errors.As(err, &notStore) || errors.As(err, &path) || errors.Is(err, verify.ErrNoInput)
}

// errByHand is for users who start the program without cpcds2fhir.
var errByHand = errors.New("cpcds2fhir-verify must be started by 'cpcds2fhir verify' of the same version, not by hand")

func answer(ctx context.Context, request string) (*verify.Report, error) {
	d := json.NewDecoder(strings.NewReader(request))
	d.DisallowUnknownFields()
	var q verify.Request
	if err := d.Decode(&q); err != nil {
		return nil, errByHand
	}
	parse, err := Parser()
	if err != nil {
		return nil, err
	}
	progress := progressLines(time.Now())
	if q.Quiet {
		progress = nil
	}
	return verify.Run(ctx, &q, parse, progress)
}

// progressLines prints an occasional line.
func progressLines(began time.Time) func(resources int64) {
	var printed atomic.Int64 // times progressEvery since began
	return func(resources int64) {
		since := time.Since(began)
		now := int64(since / progressEvery)
		if last := printed.Load(); now > last && printed.CompareAndSwap(last, now) {
			fmt.Fprintf(os.Stderr, "%d resources read, %.0f a second\n", resources, float64(resources)/since.Seconds())
		}
	}
}
