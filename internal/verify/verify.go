// Package verify checks finished FHIR independently: it uses neither the mapping nor the counts of
// the load, only the resources. It checks whether a strict FHIR R4 parser reads each resource,
// whether its meta.profile is a profile of the guide for its type, whether every reference leads to
// an existing resource, and whether there are duplicates.
//
// The caller supplies the parser, because google/fhir adds 30 ms to the start of every program that
// links it; package strict has it.
package verify

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Request says what to verify. It is also the form in which cpcds2fhir asks
// cpcds2fhir-verify, as JSON.
type Request struct {
	// Inputs are store:DIR, ndjson:DIR, files (.ndjson or .json, also .gz or .zst),
	// folders of such files, or "-" for NDJSON from standard input.
	Inputs []string `json:"inputs"`

	Workers int    `json:"workers"` // 0 is the number of CPUs
	Memory  int64  `json:"memory"`  // bytes of ids and references before they go to files; 0 is 128 MiB
	Temp    string `json:"temp"`    // folder for these files; "" is the system's
	Every   int    `json:"every"`   // the strict parser reads each Every-th resource; 0 is 1
	Keep    int    `json:"keep"`    // problems to list; 0 is all of them
	Repeat  bool   `json:"repeat"`  // a resource may come several times, as versions of it
	Quiet   bool   `json:"quiet"`   // no progress
}

// Parser is a strict reader of FHIR R4: nil means that it reads the resource. Its
// error holds names and positions, never a value. It is safe for concurrent use.
type Parser func(resource []byte) error

// Report is what was found.
type Report struct {
	Resources  int64                 `json:"resources"`
	Parsed     int64                 `json:"parsed"` // of these, by the strict parser
	Types      map[string]*TypeCount `json:"types"`
	References References            `json:"references"`
	Duplicates int64                 `json:"duplicates"` // resources after the first with the same id
	Found      int64                 `json:"problems_found"`
	Problems   []Problem             `json:"problems"` // the first ones, in order of inputs
	Seconds    float64               `json:"seconds"`

	Error       string `json:"error,omitempty"`       // why it could not finish
	Environment bool   `json:"environment,omitempty"` // the machine is at fault: a file is missing, a store is locked
}

// TypeCount counts one resource type.
type TypeCount struct {
	Resources int64            `json:"resources"`
	Profiles  map[string]int64 `json:"profiles"` // by what meta.profile says, with the release
}

// References counts references.
type References struct {
	Checked  int64 `json:"checked"`  // relative ones, which must lead to an existing resource
	Within   int64 `json:"within"`   // to a contained resource
	Outside  int64 `json:"outside"`  // absolute ones, which cannot be followed here
	Nowhere  int64 `json:"nowhere"`  // resources that are referred to but missing
	Distinct int64 `json:"distinct"` // resources that are referred to
}

// The checks that can fail.
const (
	CheckJSON      = "json"      // not a JSON object, or one with a duplicate name
	CheckStrict    = "strict"    // the strict parser rejects it
	CheckID        = "id"        // no id, or one that FHIR does not allow
	CheckType      = "type"      // a type that the guide has no profile for, or not that of the folder
	CheckProfile   = "profile"   // meta.profile is missing, unknown or of another type
	CheckReference = "reference" // it leads nowhere, or names the wrong type
	CheckDuplicate = "duplicate" // the resource is a duplicate
)

// Problem is one thing that is wrong.
type Problem struct {
	Check    string `json:"check"`
	Input    string `json:"input"` // file, or store:DIR
	Line     int64  `json:"line"`  // of NDJSON; of other JSON the number of the value, of a store that of the resource; from 1
	Resource string `json:"resource,omitempty"`
	Message  string `json:"message"` // names and ids, no values

	at    place
	first *place // where a duplicate was first
}

// ErrNoInput says that an input does not exist or has no resources.
var ErrNoInput = errors.New("there is nothing to verify")

// Run verifies what q asks for. progress, unless nil, is called now and then with
// the number of resources so far. An error means that something could not be read;
// what is wrong with the resources is in the report.
func Run(ctx context.Context, q *Request, parse Parser, progress func(resources int64)) (*Report, error) {
	began := time.Now()
	workers := q.Workers
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	inputs, err := openInputs(q.Inputs)
	if err != nil {
		return nil, err
	}
	x, err := newIndex(q.Temp, q.Memory)
	if err != nil {
		return nil, err
	}
	defer x.remove()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan *batch, workers)
	readers := make([]*reader, workers)
	found := &problems{keep: q.Keep}
	var done atomic.Int64
	var mu sync.Mutex
	var failed []error
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failed = append(failed, err)
		cancel()
	}
	var wait sync.WaitGroup
	for i := range readers {
		readers[i] = newReader(parse, max(q.Every, 1), x, found)
		wait.Go(func() {
			for b := range batches {
				if err := readers[i].read(b); err != nil {
					fail(err)
				}
				if n := done.Add(int64(len(b.resources))); progress != nil {
					progress(n)
				}
			}
		})
	}
	feedErr := feed(ctx, inputs, batches)
	close(batches)
	wait.Wait()
	if err := errors.Join(append(failed, feedErr)...); err != nil {
		return nil, err
	}

	r := &Report{Types: map[string]*TypeCount{}}
	for _, rd := range readers {
		if err := rd.flush(); err != nil {
			return nil, err
		}
		r.add(rd)
	}
	if err := x.resolve(ctx, workers, q.Repeat, r, found); err != nil {
		return nil, err
	}
	r.Found, r.Problems = found.list(inputs)
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// add counts what one reader saw.
func (r *Report) add(rd *reader) {
	r.Parsed += rd.parsed
	r.References.Checked += rd.references.Checked
	r.References.Within += rd.references.Within
	r.References.Outside += rd.references.Outside
	for name, c := range rd.types {
		to := r.Types[name]
		if to == nil {
			to = &TypeCount{Profiles: map[string]int64{}}
			r.Types[name] = to
		}
		r.Resources += c.Resources
		to.Resources += c.Resources
		for p, n := range c.Profiles {
			to.Profiles[p] += n
		}
	}
}
