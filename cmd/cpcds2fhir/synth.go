package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"cpcds2fhir/internal/synth"
)

// synthMemory is what synth steers the memory of the process to, in bytes.
const synthMemory = 320 << 20

func newSynth() *cobra.Command {
	o := synth.Options{}
	var layout, faults, output string
	c := &cobra.Command{
		Use:   "synth --out DIR",
		Short: "Make a synthetic extract in the cpcds layout",
		Long: `Synth writes an invented but realistic extract of all five claim kinds: members with
histories, adjustments, voids, denials, several payers, real code systems, valid
check digits. From 10,000 claims on, every column that a profile has a place for is
filled, and every code of every closed value set comes up. Release 2.2.0 of the guide
accepts all claims; 2.0.0 rejects some 3%, those with a masked diagnosis and oral
claims that an organization bills, and accepts all columns and codes that it knows in
the others. The same options give the same bytes. With --faults a share of the claims
has named data problems, for trying out rejects.`,
		Example: `  cpcds2fhir synth --claims 10000 --out ./extract
  cpcds2fhir synth --claims 5000 --faults 20% --format csv --out ./broken`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Dir == "" {
				return usagef("give the folder with --out")
			}
			if o.Claims < 1 {
				return usagef("--claims %d: at least one", o.Claims)
			}
			if o.RowGroup < 0 {
				return usagef("--row-group %d: at least one row, or 0 for the default", o.RowGroup)
			}
			if err := checkWorkers(o.Workers); err != nil {
				return err
			}
			share, err := strconv.ParseFloat(strings.TrimSuffix(faults, "%"), 64)
			if err != nil || share < 0 || share > 100 {
				return usagef("--faults %q: a share such as 5%%", faults)
			}
			o.Faults = share / 100
			// What is alive does not grow with the claims; garbage need not either.
			debug.SetMemoryLimit(synthMemory)
			start := time.Now()
			if term.IsTerminal(int(os.Stderr.Fd())) {
				o.Progress = func(done, total int) {
					fmt.Fprintf(os.Stderr, "\r%s of %s", comma(int64(done)), many(int64(total), "claim"))
				}
			}
			s, err := synth.Write(c.Context(), o)
			if err != nil {
				return err
			}
			if o.Progress != nil {
				fmt.Fprint(os.Stderr, "\r")
			}
			return printSynth(c.OutOrStdout(), s, o.Dir, output, time.Since(start))
		},
	}
	f := c.Flags()
	f.IntVar(&o.Claims, "claims", 2000, "number of claims")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the random numbers")
	choiceFlag(c, &o.Format, "format", "parquet or csv", "parquet", "csv")
	choiceFlag(c, &layout, "layout", "layout of the extract; synth writes cpcds alone", "cpcds")
	f.StringVar(&o.Dir, "out", "", "`DIR` to write to")
	f.StringVar(&faults, "faults", "0%", "share of claims with a data problem")
	choiceFlag(c, &o.Grain, "grain", "line, nested or normalised: how claims become rows", "line", "nested", "normalised")
	f.BoolVar(&o.Shuffle, "shuffle", false, "write the rows in random order")
	choiceFlag(c, &o.Compression, "compression", "of Parquet: zstd, snappy, gzip or none", "zstd", "snappy", "gzip", "none")
	f.BoolVar(&o.NoDictionary, "no-dictionary", false, "write Parquet columns without dictionaries")
	f.IntVar(&o.RowGroup, "row-group", 0, "rows of a Parquet row group (0: the default)")
	f.IntVar(&o.Workers, "workers", min(runtime.NumCPU(), mostWorkers), "members that are made at the same time")
	choiceFlag(c, &output, "output", "text or json", "text", "json")
	return c
}

func printSynth(w io.Writer, s *synth.Summary, dir, output string, elapsed time.Duration) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(s)
	}
	fmt.Fprintf(w, "%s of %s written to %s in %s\n", many(int64(s.Claims), "claim"), many(int64(s.Members), "member"), dir, elapsed.Round(10*time.Millisecond))
	counts(w, "Claims by kind", int64s(s.Kinds), nil)
	counts(w, "Rows by table", int64s(s.Rows), nil)
	counts(w, "Claims by fault", int64s(s.Faults), nil)
	return nil
}

func int64s(m map[string]int) map[string]int64 {
	out := map[string]int64{}
	for k, v := range m {
		out[k] = int64(v)
	}
	return out
}
