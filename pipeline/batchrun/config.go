package batchrun

import (
	"errors"
	"fmt"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// Config describes a load of an extract into a target. Zero values mean defaults where a field says
// so.
type Config struct {
	ID       string            // names the load: the same inputs and settings have the same id
	Inputs   []*rowbatch.Input // the engine places them
	Layout   *layouts.Layout
	Version  *carin.Version
	Identity *fhir.Identity
	Repairs  pipeline.Repairs // zero is strict mode
	Loader   pipeline.Loader
	Voider   pipeline.Voider // of a target that can cancel its claims; nil is none

	// Streams is what streams have put into the target: claims may refer to it too. nil is nothing.
	Streams directory.Records

	State string // folder of rejects, referenced-only resources and the directory

	// Directory is the state folder whose directory is read; "" is State. DryRun leaves the
	// directory as it is.
	Directory string
	DryRun    bool

	// Replay says that the inputs are rejects; nil is an extract.
	Replay *Replay

	Workers     int             // CPUs to use, and lanes to run in parallel; 0 is 1
	BatchPieces int             // 4 MB pieces that are loaded at once; 0 is 1. It does not change the output
	Budget      Budget          // zero is no limit
	Events      pipeline.Events // zero is silent
	Stages      *pipeline.Stages
}

// Replay is what a replay of rejects must know about its target. Claims refer to the directory of
// the state folder.
type Replay struct {
	Appends bool            // the target cannot change what it has: the replay adds to it
	Present map[string]bool // if it appends: resources of the rejected claims and rows that the target has
}

// validate reports what is missing or invalid.
func (c *Config) validate() error {
	for name, missing := range map[string]bool{"ID": c.ID == "", "Layout": c.Layout == nil, "Version": c.Version == nil,
		"Identity": c.Identity == nil, "Loader": c.Loader == nil, "State": c.State == ""} {
		if missing {
			return fmt.Errorf("the config of the run has no %s", name)
		}
	}
	for _, in := range c.Inputs {
		if in.File == nil || in.Binding == nil {
			return fmt.Errorf("input %s of the run is not open", in.Path)
		}
	}
	if c.Workers < 0 || c.BatchPieces < 0 || c.Budget.Share < 0 || c.Budget.Share > 1 || c.Budget.Count < 0 {
		return errors.New("the config of the run has a number out of range")
	}
	return nil
}

// Budget limits rejected claims and rows, so that a broken extract does not become a long reject
// file. The zero value is no limit.
type Budget struct {
	Set   bool
	Count int64   // with Share 0: at most this many
	Share float64 // 0..1: at most this share, checked from a thousand claims and rows up, and at the end

	// AtEnd delays the decision until everything was read, so that all rejects are known.
	AtEnd bool
}

// Over reports whether there are too many rejects among the claims and rows seen.
func (b Budget) Over(seen, rejected int64, end bool) bool {
	if b.AtEnd && !end {
		return false
	}
	if b.Share > 0 {
		return (end || seen >= 1000) && float64(rejected) > b.Share*float64(seen)
	}
	return b.Set && rejected > b.Count
}

// BudgetError says that a run was stopped, or failed at its end, because too much was rejected.
type BudgetError struct{ Rejected, Seen int64 }

func (e *BudgetError) Error() string {
	return fmt.Sprintf("%d of the %d claims and rows read were rejected, more than --max-rejects allows", e.Rejected, e.Seen)
}
