// Command cpcds2fhir turns claim extracts into CARIN Blue Button FHIR.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // layouts and files name time zones, and small containers have no database of them

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:])) }

// run executes the command line and returns the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	out := &output{to: os.Stdout}
	root := newRoot(out)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = out.err
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(os.Stderr, "cpcds2fhir: %s\n", message(err))
	return exitCode(err)
}

func newRoot(out io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "cpcds2fhir",
		Short: "Turn claim extracts into CARIN Blue Button FHIR",
		Long: `cpcds2fhir turns claim extracts (CPCDS rows in Parquet, CSV or Arrow files) into
FHIR resources of the CARIN Blue Button profiles and loads them into an embedded
FHIR store, into any FHIR R4 server, or into NDJSON files. Every row is accounted
for; what cannot become a valid resource, or is refused by a server, is kept with
the reason and can be replayed.

Start with:
  cpcds2fhir demo                     load a synthetic extract and show the result
  cpcds2fhir load ./extract           load your own into ./fhir-store
  cpcds2fhir layout infer ./extract   propose a layout for a format it does not know

Exit codes: 0 success; 1 the run failed or was stopped; 2 the command line or a layout
is wrong; 3 the environment is at fault (a missing file, a full disk, a locked store,
a server that is away, overloaded, or does not accept the credentials).`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       toolVersion(),
	}
	root.SetOut(out)
	root.SetFlagErrorFunc(flagError)
	root.SetVersionTemplate(versionLine())
	root.SetHelpCommand(newHelp())
	root.AddCommand(newLoad(), newRejects(), newReconcile(), newVerify(), newStore(), newServer(), newLayout(), newRules(), newMapping(), newSynth(), newDemo(), newVersion(), newStream(), newKafka(), newServe(), newAudit(), newSandbox(), newClient(), newMember(), newGrant(), newKey(), newPortal())
	addCompletion(root)
	for _, c := range root.Commands() {
		fixArgs(c)
	}
	return root
}
