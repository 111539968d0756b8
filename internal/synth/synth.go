// Package synth writes synthetic extracts: the claims of an invented Medicaid population in the
// program's own layout, the canonical columns of schemas/cpcds/elements.csv.
//
// An extract of 10,000 claims or more uses every column that a profile has a place
// for, in claims of that profile, and every code of every value set of package carin.
//
// No value comes from a real person. Names are drawn from short lists; codes are real codes of real
// code systems; identifiers have the form and the check digits of real ones. An extract is a
// function of its Options: the same options give the same bytes on every machine and with any
// number of workers.
package synth

import (
	"context"
	"fmt"
)

// The formats, grains and compressions of Options.
const (
	Parquet = "parquet"
	CSV     = "csv"

	LineGrain       = "line"       // one row per service line, the header repeated
	NestedGrain     = "nested"     // one row per claim with lists; Parquet only
	NormalisedGrain = "normalised" // headers, lines, diagnoses, procedures and care team in separate files

	Zstd         = "zstd"
	Snappy       = "snappy"
	Gzip         = "gzip"
	Uncompressed = "none"
)

// Options say what extract to write. The zero value of a field is its default.
type Options struct {
	Claims int     // how many claims, adjustments included; at least 1
	Seed   uint64  // a different seed makes a different population
	Format string  // Parquet (default) or CSV
	Dir    string  // the folder to write to, created if missing; it must be empty
	Faults float64 // share of the claims, 0 to 1, that have one of the faults of faults.go
	Grain  string  // LineGrain (default), NestedGrain or NormalisedGrain

	// Shuffle writes the rows of the claims tables in random order over the whole extract, so that
	// the rows of a claim are not contiguous. It needs disk space for the rows and does not work
	// with NestedGrain.
	Shuffle bool

	RowGroup    int    // rows of a Parquet row group; 65536 by default
	Compression string // of Parquet pages: Zstd (default), Snappy, Gzip or Uncompressed
	Workers     int    // goroutines that write; 1 by default. It changes no byte

	NoDictionary bool // Parquet columns have no dictionaries

	// Progress, if not nil, is called from time to time with the number of finished claims, by one
	// goroutine at a time.
	Progress func(done, total int)

	// Claims per part, and rows that are sorted together; tests use small numbers.
	partClaims, bucketRows int
}

// Demo returns options for a small extract without faults: 2,000 claims of about a hundred members.
// The caller sets Dir.
func Demo() Options { return Options{Claims: 2000, Seed: 1} }

// Summary counts what an extract holds.
type Summary struct {
	Members       int            `json:"members"`
	Coverages     int            `json:"coverages"`
	Providers     int            `json:"providers"`
	Organizations int            `json:"organizations"`
	Claims        int            `json:"claims"`
	Lines         int            `json:"lines"`
	Kinds         map[string]int `json:"kinds"`            // claims by kind
	Features      map[string]int `json:"features"`         // claims by special feature; a claim may count several times
	Faults        map[string]int `json:"faults,omitempty"` // claims by the fault they have
	Rows          map[string]int `json:"rows"`             // rows by table
	Files         []string       `json:"files"`            // names in Dir, sorted
}

// OptionError says that the Options are invalid.
type OptionError struct{ What string }

func (e *OptionError) Error() string { return "synthetic extract: " + e.What }

func optionf(format string, args ...any) error { return &OptionError{fmt.Sprintf(format, args...)} }

// complete returns the options with their defaults filled in, or what is wrong
// with them.
func (o Options) complete() (Options, error) {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&o.Format, Parquet)
	def(&o.Grain, LineGrain)
	def(&o.Compression, Zstd)
	if o.RowGroup == 0 {
		o.RowGroup = 65536
	}
	o.Workers = max(o.Workers, 1)
	if o.partClaims == 0 {
		o.partClaims, o.bucketRows = 50000, 60000
	}
	switch {
	case o.Claims < 1:
		return o, optionf("the number of claims must be at least 1")
	case o.Faults < 0 || o.Faults > 1:
		return o, optionf("the share of faults must be between 0 and 1")
	case o.Dir == "":
		return o, optionf("no folder to write to")
	case o.RowGroup < 1:
		return o, optionf("a row group must have at least one row")
	case o.Format != Parquet && o.Format != CSV:
		return o, optionf("unknown format %q: use parquet or csv", o.Format)
	case o.Grain != LineGrain && o.Grain != NestedGrain && o.Grain != NormalisedGrain:
		return o, optionf("unknown grain %q: use line, nested or normalised", o.Grain)
	case o.Grain == NestedGrain && o.Format == CSV:
		return o, optionf("CSV has no lists; use grain line or normalised")
	case o.Grain == NestedGrain && o.Shuffle:
		return o, optionf("a nested row is a whole claim, so there is nothing to shuffle")
	}
	_, err := codec(o.Compression)
	return o, err
}

// Write writes an extract and returns what it holds. Its files are members, coverages, providers,
// organizations and numbered parts of claims (or, at the normalised grain, of claim_headers,
// claim_lines, claim_diagnoses, claim_procedures and claim_care_team); all have the mode 0600.
// After an error, including a cancelled ctx, the written files are removed. Memory does not depend
// on the number of claims. Invalid options are an *OptionError.
func Write(ctx context.Context, opt Options) (*Summary, error) {
	opt, err := opt.complete()
	if err != nil {
		return nil, err
	}
	w, err := newWriter(&opt)
	if err != nil {
		return nil, err
	}
	if err := w.run(ctx); err != nil {
		w.discard()
		return nil, fmt.Errorf("write synthetic extract: %w", err)
	}
	return w.summary(), nil
}
