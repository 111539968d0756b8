// Command bench compares cpcds2fhir with the minimum that its work can cost and with other
// programs. Every figure is a ratio of two programs that run alternately, so that it is
// valid on a slow or busy machine too. Run it with 'make bench'; it writes RESULTS.md,
// results.json and chart.svg to its own folder.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "floor":
		err = runFloor(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "ask":
		err = askFor(os.Args[2:])
	default:
		err = run(ctx, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var only string
	var check, baseline bool
	s := &session{ctx: ctx, extracts: map[string]string{}}
	fl := flag.NewFlagSet("bench", flag.ContinueOnError)
	fl.IntVar(&s.claims, "claims", 400_000, "number of claims in the extract")
	fl.IntVar(&s.runs, "runs", 3, "number of pairs of runs for each measure")
	fl.StringVar(&s.work, "work", "bench/data", "folder for extracts and results; needs up to 20 GB")
	fl.StringVar(&only, "only", "", "numbers of the measures to run, such as 1,2,5; the others keep their last figures")
	fl.BoolVar(&check, "check", false, "write nothing; fail if a ratio is more than 20% worse than in baseline.json")
	fl.BoolVar(&baseline, "save-baseline", false, "write baseline.json and nothing else")
	fl.BoolVar(&s.large, "large", false, "also load 4 and 20 million claims in measure 8 (takes an hour and 40 GB)")
	fl.StringVar(&s.fhirServer, "fhir-server", "", "load into the FHIR server at this URL in measure 18 (default: FHIR_SERVER of the environment, else a server in memory)")
	fl.IntVar(&s.serverClaims, "server-claims", 6000, "number of claims in measure 18")
	if err := fl.Parse(args); err != nil {
		return err
	}
	s.fhirServer = fhirServerOf(s.fhirServer)
	var numbers []int
	for _, n := range strings.FieldsFunc(only, func(r rune) bool { return r == ',' }) {
		number, err := strconv.Atoi(n)
		if err != nil {
			return fmt.Errorf("--only %s: %w", only, err)
		}
		numbers = append(numbers, number)
	}
	if err := s.prepare(); err != nil {
		return err
	}
	switch {
	case check:
		return s.check("bench/baseline.json", numbers)
	case baseline:
		results, err := s.take(numbers, nil)
		if err != nil {
			return err
		}
		return writeJSON("bench/baseline.json", results)
	}
	// Report after each measure, so that a failing measure does not lose the others' figures.
	_, err := s.take(numbers, func(results []result) error { return report("bench", s, results) })
	return err
}

// take runs the measures with the given numbers, or all measures if there are none. After
// each measure it calls after with the results so far.
func (s *session) take(numbers []int, after func([]result) error) (results []result, err error) {
	for _, m := range measures {
		if len(numbers) > 0 && !slices.Contains(numbers, m.number) {
			continue
		}
		fmt.Fprintf(os.Stderr, "\n%d. %s\n", m.number, m.name)
		list, err := m.take(s)
		var skip *skipError
		if errors.As(err, &skip) {
			fmt.Fprintf(os.Stderr, "   skipped: %s\n", skip.why)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("measure %d: %w", m.number, err)
		}
		for i := range list {
			list[i].Measure = m.number
			fmt.Fprintf(os.Stderr, "   %s\n", list[i].line())
		}
		results = append(results, list...)
		if after != nil {
			if err := after(results); err != nil {
				return nil, err
			}
		}
	}
	return results, nil
}
