package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/csvio"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

func newLayout() *cobra.Command {
	c := &cobra.Command{
		Use:   "layout",
		Short: "List, show, check and propose layouts: how a source format becomes CPCDS",
	}
	c.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the built-in layouts", Args: noArgs,
			Example:           "  cpcds2fhir layout list",
			ValidArgsFunction: cobra.NoFileCompletions,
			RunE: func(c *cobra.Command, _ []string) error {
				for _, l := range layouts.Builtins() {
					fmt.Fprintf(c.OutOrStdout(), "%-10s %s\n", l.Name, l.About)
				}
				return nil
			},
		},
		newLayoutShow(), newLayoutCheck(), newLayoutInfer(),
	)
	return c
}

func newLayoutShow() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "show NAME|FILE",
		Short: "Show which tables, keys and repairs a layout has",
		Example: `  cpcds2fhir layout show cpcds
  cpcds2fhir layout show synthea --output yaml > ours.yaml
  cpcds2fhir layout show ./ours.yaml`,
		Args:              needs("the name of a layout that is built in, or a layout file", false),
		ValidArgsFunction: completeLayout,
		RunE: func(c *cobra.Command, args []string) error {
			l, err := openLayout(args[0])
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			if output == "yaml" {
				src, err := layouts.Text(args[0])
				if err != nil {
					return usageError{err}
				}
				_, err = w.Write(src)
				return err
			}
			fmt.Fprintf(w, "%s: %s\nsource %s, sha256 %s\n", l.Name, l.About, l.Source, l.Hash)
			for t := range cpcds.NumTables {
				x := l.Table(t)
				if x == nil {
					continue
				}
				fmt.Fprintf(w, "\ntable %s\n  key %s\n", t, columns(x.Key))
				if len(x.Required) > 0 {
					fmt.Fprintf(w, "  required %s\n", columns(x.Required))
				}
				if t == cpcds.Claims {
					fmt.Fprintf(w, "  a row is a service line if it has %s\n", columns(x.LineWhen))
				}
				if x.Split != nil {
					fmt.Fprintf(w, "  split by %s into %s claims (repair %s)\n", x.Split.Element, x.Split.ClaimType, x.Split.Repair)
				}
				if x.Collapse != nil {
					fmt.Fprintf(w, "  rows that agree in %s are one record (repair %s)\n", columns(x.Collapse.By), x.Collapse.Repair)
				}
			}
			fmt.Fprintf(w, "\nrepairs of lenient mode: %s\n", strings.Join(pipeline.Repairs(l), ", "))
			return nil
		},
	}
	choiceFlag(c, &output, "output", "text, or yaml for the layout itself", "text", "yaml")
	return c
}

func columns(es []cpcds.Element) string {
	var names []string
	for _, e := range es {
		names = append(names, e.Column())
	}
	return strings.Join(names, ", ")
}

// openLayout opens a layout by its name or its file.
func openLayout(name string) (*layouts.Layout, error) {
	l, err := layouts.Open(name)
	if err == nil {
		return l, nil
	}
	if _, ok := errors.AsType[*layouts.FileError](err); ok {
		if _, err := os.ReadFile(name); err != nil { // no fault of the layout
			return nil, fmt.Errorf("read layout: %w", err)
		}
	}
	return nil, usageError{err}
}

// checkLayout finds the faults of a layout that openLayout opens.
func checkLayout(name string) (*layouts.Layout, []layouts.Finding, error) {
	l, err := openLayout(name)
	if file, ok := errors.AsType[*layouts.FileError](err); ok {
		return nil, file.Findings, nil
	}
	return l, nil, err
}

// layoutFault is a finding as JSON.
type layoutFault struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func newLayoutCheck() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:     "check FILE|NAME",
		Short:   "Check a layout and name every fault with its line and column",
		Example: "  cpcds2fhir layout check ./ours.yaml",
		Args:    needs("a layout file", false),

		ValidArgsFunction: completeLayout,
		RunE: func(c *cobra.Command, args []string) error {
			l, findings, err := checkLayout(args[0])
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			if output == "json" {
				list := make([]layoutFault, len(findings))
				for i, f := range findings {
					list[i] = layoutFault(f)
				}
				if err := json.NewEncoder(w).Encode(list); err != nil {
					return err
				}
			} else {
				for _, f := range findings {
					fmt.Fprintln(w, f)
				}
			}
			if len(findings) > 0 {
				return usagef("%s: %s", args[0], many(int64(len(findings)), "fault"))
			}
			if output != "json" {
				fmt.Fprintf(w, "%s: layout %s is good\n", args[0], l.Name)
			}
			return nil
		},
	}
	choiceFlag(c, &output, "output", "text or json", "text", "json")
	return c
}

func newLayoutInfer() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "infer EXTRACT...",
		Short: "Propose a layout from headers and sampled values",
		Long: `Infer reads the headers and some rows of an extract and prints a layout to begin
with: which column is which CPCDS element, how dates and amounts are written, what
stands for "nothing". Comments say what was guessed. It holds no values.`,
		Example: "  cpcds2fhir layout infer ./extract > ours.yaml && cpcds2fhir layout check ours.yaml",
		Args:    needs("an extract: files, folders or globs", true),
		RunE: func(c *cobra.Command, args []string) error {
			paths, err := expand(args)
			if err != nil {
				return err
			}
			if name == "" {
				name = strings.TrimSuffix(filepath.Base(filepath.Dir(paths[0])), ".")
			}
			var samples []layouts.Sample
			for _, p := range paths {
				s, err := sample(c.Context(), p)
				if err != nil {
					return err
				}
				samples = append(samples, s)
			}
			_, err = c.OutOrStdout().Write(layouts.Infer(name, samples))
			return err
		},
	}
	c.Flags().StringVar(&name, "name", "", "name of the layout (default: the folder's)")
	return c
}

// sampleRows is how many rows infer looks at in each file.
const sampleRows = 1000

func sample(ctx context.Context, path string) (s layouts.Sample, err error) {
	f, err := openerOf(path)(path, csvio.Options{})
	if err != nil {
		return s, err
	}
	defer f.Close()
	s = layouts.Sample{Path: path, Fields: f.Fields(), Values: make([][]string, len(f.Fields()))}
	spans, err := f.Spans(ctx)
	if err != nil {
		return s, err
	}
	if len(spans) == 0 {
		return s, nil
	}
	src, err := f.Open(ctx, spans[0].First, spans[0].First+min(spans[0].Rows, sampleRows), nil)
	if err != nil {
		return s, err
	}
	defer src.Close()
	var rows cpcds.Rows
	for {
		err := src.Next(ctx, &rows)
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return s, err
		}
		for c := range s.Values {
			for i := range rows.N {
				if v := rows.Columns[c].Value(i); v != "" {
					s.Values[c] = append(s.Values[c], strings.Clone(v))
				}
			}
		}
	}
}
