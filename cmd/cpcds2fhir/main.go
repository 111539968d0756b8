// Command cpcds2fhir turns claim extracts into CARIN Blue Button FHIR.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:])) }

// run executes the command line and returns the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var quiet quietError
	if !errors.As(err, &quiet) {
		fmt.Fprintf(os.Stderr, "cpcds2fhir: %s\n", message(err))
	}
	return exitCode(err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "cpcds2fhir",
		Short: "Turn claim extracts into CARIN Blue Button FHIR",
		Long: `cpcds2fhir turns claim extracts (CPCDS rows in Parquet, CSV or Arrow files) into
FHIR resources of the CARIN Blue Button profiles and loads them into the embedded
FHIR store or into NDJSON files. Every row is accounted for; what cannot become a
valid resource is kept with its reason and can be replayed.

Begin with:
  cpcds2fhir demo                     see the main job on a synthetic extract
  cpcds2fhir load ./extract           load your own into ./fhir-store
  cpcds2fhir layout infer ./extract   propose a layout for a format it does not know

Exit codes: 0 all went well; 1 the run failed or was stopped; 2 the command line or
a layout is wrong; 3 the environment is (a missing file, a full disk, a locked store).`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%s\nSee '%s --help'.", err, c.CommandPath())
	})
	root.AddCommand(newLoad(), newRejects(), newReconcile(), newStore(), newLayout(), newSynth(), newDemo(), newVersion())
	for _, c := range root.Commands() {
		fixArgs(c)
	}
	return root
}

// fixArgs makes wrong arguments a usage error of every command below. A command
// that only groups others shows its help, and takes no name that is none of them.
func fixArgs(c *cobra.Command) {
	if c.HasSubCommands() && !c.Runnable() {
		c.Args = cobra.NoArgs
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usagef("%s\nSee '%s --help'.", err, c.CommandPath())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		fixArgs(sub)
	}
}
