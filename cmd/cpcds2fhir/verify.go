package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/verify"
	"cpcds2fhir/loaders/ndjson"
)

func newVerify() *cobra.Command {
	var memory, output string
	q := &verify.Request{}
	c := &cobra.Command{
		Use:   "verify TARGET|FILE...",
		Short: "Check finished FHIR with a strict parser, and follow its references",
		Long: `Verify is an independent check of finished FHIR: it uses neither the mapping nor the
accounts. For every resource it checks that

  - a strict FHIR R4 parser, google/fhir, reads it, and no JSON object repeats a name
  - its id is valid in FHIR, and no other resource has it
  - its meta.profile is a profile of the guide for this type, with a release
  - each relative reference leads to a resource that is there

It also counts resources by type, profile and release. It does not check the rules of
the profiles: these are checked before anything is mapped (see rules).

TARGET is store:DIR or ndjson:DIR. FILE is a file of NDJSON or JSON (resources or
Bundles; also .gz, .zst), a folder of such files, or - for NDJSON from standard
input. Give all files that refer to each other in one command.

The list of problems names files, lines, resources and elements, never a value. The
strict parser reads 500 to 1,000 claims a second per CPU; with --every 100 it reads one
resource in a hundred, while the other checks still see all.

Exit codes: 0 nothing is wrong; 1 a problem was found, or an input could not be read;
2 the command line is wrong; 3 an input is missing, or the program cpcds2fhir-verify is,
which does the reading and is installed next to this one.`,
		Example: `  cpcds2fhir verify store:./fhir-store
  cpcds2fhir verify ndjson:./out --output json
  cpcds2fhir verify --every 100 ./bundles/*.json patients.ndjson.gz
  zcat claims.ndjson.gz | cpcds2fhir verify -`,
		Args: needs("a target or files, such as store:./fhir-store", true),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"store:", "ndjson:"}, cobra.ShellCompDirectiveDefault
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkWorkers(q.Workers); err != nil {
				return err
			}
			if q.Every < 1 {
				return usagef("--every %d: use at least 1, which is every resource", q.Every)
			}
			if q.Keep < 0 {
				return usagef("--problems %d: use 0 to list all of them, or a number above 0", q.Keep)
			}
			var err error
			if q.Memory, err = parseMemory(memory); err != nil {
				return err
			}
			q.Repeat = repeats(args)
			if q.Inputs, err = verifyInputs(args); err != nil {
				return err
			}
			r, err := runVerify(c.Context(), q)
			if err != nil {
				return err
			}
			return reportVerify(c.OutOrStdout(), r, q, output)
		},
	}
	fl := c.Flags()
	fl.IntVar(&q.Workers, "workers", runtime.GOMAXPROCS(0), "number of resources to read in parallel")
	fl.StringVar(&memory, "memory", "128MiB", "keep up to `SIZE` of ids and references in memory, the rest in temporary files")
	fl.StringVar(&q.Temp, "temp", "", "put temporary files into `DIR` (default: the system's)")
	fl.IntVar(&q.Every, "every", 1, "let the strict parser read only every `N`-th resource")
	fl.IntVar(&q.Keep, "problems", 100, "list the first `N` problems; 0 lists all")
	fl.BoolVar(&q.Quiet, "quiet", false, "print no progress, and nothing if nothing is wrong")
	cobra.CheckErr(c.MarkFlagDirname("temp"))
	choiceFlag(c, &output, "output", "output format", "text", "json")
	for _, number := range []string{"workers", "memory", "every", "problems"} {
		completeFlag(c, number, cobra.NoFileCompletions)
	}
	return c
}

// verifyInputs checks the targets before another program is started.
func verifyInputs(args []string) ([]string, error) {
	for _, arg := range args {
		kind, _, _ := strings.Cut(arg, ":")
		if !slices.Contains([]string{"store", "ndjson", "fhir", "import"}, kind) || kind == arg {
			continue
		}
		t, err := parseTargetOf("verify", arg, "store:DIR or ndjson:DIR, or name files")
		if err != nil {
			return nil, err
		}
		if s, ok := t.(serverTarget); ok {
			return nil, usagef("verify reads no servers; 'cpcds2fhir reconcile --to %s' compares one with what was loaded", s)
		}
		if err := folder("target "+arg, t.place()); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// repeats reports whether one of the targets is the folder of a stream, which has every version.
func repeats(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		t, err := parseTarget(arg)
		folder, ok := t.(ndjsonTarget)
		return err == nil && ok && ndjson.Streamed(folder.dir)
	})
}

// runVerify runs cpcds2fhir-verify.
func runVerify(ctx context.Context, q *verify.Request) (*verify.Report, error) {
	request, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	command, err := verifier(ctx)
	if err != nil {
		return nil, err
	}
	var answer bytes.Buffer
	c := exec.CommandContext(ctx, command[0], append(command[1:], string(request))...) //nolint:gosec // the program next to this one
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, &answer, os.Stderr
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	runErr := c.Run()
	if err := ctx.Err(); err != nil {
		return nil, errors.New("stopped; nothing was changed")
	}
	var r verify.Report
	if err := json.Unmarshal(answer.Bytes(), &r); err != nil || runErr != nil {
		return nil, environmentf("%s did not finish: %w", command[0], errors.Join(runErr, err))
	}
	switch {
	case r.Environment:
		return nil, environmentf("verify: %s", r.Error)
	case r.Error != "":
		return nil, fmt.Errorf("verify: %s", r.Error)
	}
	return &r, nil
}

const verifierName = "cpcds2fhir-verify"

// verifier finds the program that links google/fhir: next to this one, in PATH, or, for developers
// who use 'go run', in the checkout.
func verifier(ctx context.Context) ([]string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), verifierName)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return []string{beside}, nil
		}
	}
	if path, err := exec.LookPath(verifierName); err == nil {
		return []string{path}, nil
	}
	const pkg = "cpcds2fhir/cmd/" + verifierName
	if err := exec.CommandContext(ctx, "go", "list", pkg).Run(); err == nil {
		return []string{"go", "run", pkg}, nil
	}
	return nil, environmentf("%s is neither next to this program nor in PATH: it is a separate program; 'go install ./cmd/...' or 'make build' builds both", verifierName)
}

// reportVerify prints what was found. Problems are an error.
func reportVerify(w io.Writer, r *verify.Report, q *verify.Request, output string) error {
	switch {
	case output == "json":
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return err
		}
	case !q.Quiet || r.Found > 0:
		verifyText(w, r)
	}
	if r.Found > 0 {
		return fmt.Errorf("%s found", many(r.Found, "problem"))
	}
	return nil
}

func verifyText(w io.Writer, r *verify.Report) {
	for _, typ := range slices.Sorted(maps.Keys(r.Types)) {
		c := r.Types[typ]
		fmt.Fprintf(w, "%12s  %s\n", comma(c.Resources), typ)
		for _, p := range slices.Sorted(maps.Keys(c.Profiles)) {
			fmt.Fprintf(w, "%12s      %s\n", comma(c.Profiles[p]), p[strings.LastIndexByte(p, '/')+1:])
		}
	}
	f := r.References
	fmt.Fprintf(w, "%s to %s: %s missing", many(f.Checked, "reference"), many(f.Distinct, "resource"), comma(f.Nowhere))
	if f.Within > 0 {
		fmt.Fprintf(w, "; %s to contained resources", comma(f.Within))
	}
	if f.Outside > 0 {
		fmt.Fprintf(w, "; %s to other servers, not followed", comma(f.Outside))
	}
	fmt.Fprintln(w, ".")
	for i := range r.Problems {
		p := &r.Problems[i]
		fmt.Fprintf(w, "%s:%d: %s: %s", p.Input, p.Line, p.Check, p.Message)
		if p.Resource != "" {
			fmt.Fprintf(w, " (%s)", p.Resource)
		}
		fmt.Fprintln(w)
	}
	if more := r.Found - int64(len(r.Problems)); more > 0 {
		fmt.Fprintf(w, "and %s; --problems 0 lists all\n", many(more, "more problem"))
	}
	if r.Found == 0 {
		parsed := "all of them read by the strict parser"
		if r.Parsed < r.Resources {
			parsed = comma(r.Parsed) + " of them read by the strict parser"
		}
		fmt.Fprintf(w, "Nothing is wrong with %s, %s, in %s.\n", many(r.Resources, "resource"), parsed, time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond))
	}
}
