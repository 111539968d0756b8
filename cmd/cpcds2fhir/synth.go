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

// synthMemory is the memory limit of the process for synth, in bytes.
const synthMemory = 320 << 20

func newSynth() *cobra.Command {
	o := synth.Options{}
	var layout, faults, output string
	c := &cobra.Command{
		Use:   "synth --out DIR",
		Short: "Make a synthetic extract in the cpcds layout",
		Long: `Synth writes an invented but realistic extract of all six kinds of claims: members with
histories, adjustments, voids, denials, several payers, real code systems, valid
check digits. From 10,000 claims up, every column that a profile has a place for is
filled, and every code of every closed value set occurs. Release 2.2.0 of the guide
accepts all claims; 2.0.0 rejects about 3%: those with a masked diagnosis, and oral
claims billed by an organization. The same options give the same bytes. With --faults
a share of the claims gets known data problems, for trying out rejects.`,
		Example: `  cpcds2fhir synth --claims 10000 --out ./extract
  cpcds2fhir synth --claims 5000 --faults 20% --format csv --out ./broken`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Dir == "" {
				return usagef("set the folder with --out")
			}
			if o.Claims < 1 {
				return usagef("--claims %d: use at least 1", o.Claims)
			}
			if o.RowGroup < 0 {
				return usagef("--row-group %d: use at least 1, or 0 for the default", o.RowGroup)
			}
			if err := checkWorkers(o.Workers); err != nil {
				return err
			}
			share, err := strconv.ParseFloat(strings.TrimSuffix(faults, "%"), 64)
			if err != nil || share < 0 || share > 100 {
				return usagef("--faults %q: use a percentage such as 5%%", faults)
			}
			o.Faults = share / 100
			// Live memory does not grow with the number of claims; garbage need not either.
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
	choiceFlag(c, &o.Format, "format", "format of the files", "parquet", "csv")
	choiceFlag(c, &layout, "layout", "layout of the extract; synth writes only cpcds", "cpcds")
	f.StringVar(&o.Dir, "out", "", "write to `DIR`")
	f.StringVar(&faults, "faults", "0%", "share of claims with a data problem")
	choiceFlag(c, &o.Grain, "grain", "how claims become rows", "line", "nested", "normalised")
	f.BoolVar(&o.Shuffle, "shuffle", false, "write the rows in random order")
	choiceFlag(c, &o.Compression, "compression", "compression of Parquet", "zstd", "snappy", "gzip", "none")
	f.BoolVar(&o.NoDictionary, "no-dictionary", false, "write Parquet columns without dictionaries")
	f.IntVar(&o.RowGroup, "row-group", 0, "rows of a Parquet row group (0: the default)")
	f.IntVar(&o.Workers, "workers", min(runtime.NumCPU(), mostWorkers), "number of members to generate in parallel")
	choiceFlag(c, &output, "output", "output format", "text", "json")
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
