package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

func newLayout() *cobra.Command {
	c := &cobra.Command{
		Use:   "layout",
		Short: "List, show, check and propose layouts, which map a source format to CPCDS",
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
		newLayoutShow(), newLayoutElements(), newLayoutCheck(), newLayoutInfer(),
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
		Args:              needs("the name of a built-in layout, or a layout file", false),
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
				forms := l.Forms(t)
				for i, x := range forms {
					showTable(w, x, i == 0, i == len(forms)-1)
				}
			}
			fmt.Fprintf(w, "\nrepairs in lenient mode: %s\n", strings.Join(pipeline.KnownRepairs(l), ", "))
			return nil
		},
	}
	choiceFlag(c, &output, "output", "output format; yaml is the layout itself", "text", "yaml")
	return c
}

// showTable prints a table of a layout, or one form of it.
func showTable(w io.Writer, x *layouts.Table, first, last bool) {
	if first {
		fmt.Fprintf(w, "\ntable %s\n  key %s\n", x.Table, columns(x.Key))
	}
	if x.Form != "" {
		fmt.Fprintf(w, "  form %s\n", x.Form)
	}
	for _, of := range x.RowsOf {
		fmt.Fprintf(w, "  read from the files of %s\n", of)
	}
	if len(x.Required) > 0 {
		fmt.Fprintf(w, "  required %s\n", columns(x.Required))
	}
	if x.Table == cpcds.Claims {
		fmt.Fprintf(w, "  a row is a service line if it has %s\n", columns(x.LineWhen))
	}
	if len(x.RowWhen) > 0 {
		fmt.Fprintf(w, "  a row is a record if it has %s\n", columns(x.RowWhen))
	}
	if last && x.Split != nil {
		fmt.Fprintf(w, "  split by %s into %s claims (repair %s)\n", x.Split.Element, x.Split.ClaimType, x.Split.Repair)
	}
	if last && x.Collapse != nil {
		fmt.Fprintf(w, "  rows that agree in %s are one record (repair %s)\n", columns(x.Collapse.By), x.Collapse.Repair)
	}
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
		if _, err := os.ReadFile(name); err != nil { // not the layout's fault
			return nil, fmt.Errorf("read layout: %w", err)
		}
	}
	return nil, usageError{err}
}
