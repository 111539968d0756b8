package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// layoutFault is a finding as JSON.
type layoutFault struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Warning bool   `json:"warning,omitempty"`
}

func newLayoutCheck() *cobra.Command {
	var output string
	var showValues bool
	c := &cobra.Command{
		Use:   "check LAYOUT [EXTRACT...]",
		Short: "Check a layout, alone or against the headers of an extract",
		Long: `Check reports every fault of a layout with its line and column. With an extract it also
shows which table each file is, which columns are read, and which are missing or unknown.
It reads only headers. The exit code is 2 if the layout has a fault or a file does not fit.`,
		Example: "  cpcds2fhir layout check ./ours.yaml\n  cpcds2fhir layout check ./ours.yaml ./extract",
		Args:    needs("a layout: a name or a file", true),

		ValidArgsFunction: completeLayout,
		RunE: func(c *cobra.Command, args []string) error {
			l, findings, err := checkLayout(args[0])
			if err != nil {
				return err
			}
			var fit *layouts.Fit
			var leftOut []manifest.LeftOut
			if l != nil && len(args) > 1 {
				if fit, leftOut, err = fitExtract(l, args[1:], showValues); err != nil {
					return err
				}
			}
			w := c.OutOrStdout()
			if output == "json" {
				err = writeCheckJSON(w, l, findings, fit, leftOut, len(args) > 1)
			} else {
				writeCheck(w, args[0], l, findings, fit)
			}
			if err != nil {
				return err
			}
			return judge(args[0], l, findings, fit)
		},
	}
	choiceFlag(c, &output, "output", "output format", "text", "json")
	c.Flags().BoolVar(&showValues, "show-values", false, "print the first line of a text file even if few of its fields are known column names")
	return c
}

// checkLayout checks the file of a layout; a built-in one is good.
func checkLayout(name string) (*layouts.Layout, []layouts.Finding, error) {
	for _, l := range layouts.Builtins() {
		if l.Name == name {
			return l, nil, nil
		}
	}
	if _, err := os.Stat(name); err != nil {
		_, err = openLayout(name)
		return nil, nil, err
	}
	l, findings := layouts.Check(name)
	return l, findings, nil
}

// fitExtract compares a layout with the headers of the files that args name. It also returns what
// was left out.
func fitExtract(l *layouts.Layout, args []string, showValues bool) (*layouts.Fit, []manifest.LeftOut, error) {
	x, err := findExtract(args)
	if err != nil {
		return nil, nil, err
	}
	warn(x.warnings)
	x.layout = l
	defer x.close()
	if err := x.openFiles(csvOptions(l)); err != nil {
		return nil, nil, err
	}
	fit := l.Fit(x.headers())
	for i, f := range fit.Files {
		if f.Fault == "" || showValues || len(x.files) != len(fit.Files) {
			continue
		}
		if err := unknownHeader(x.found[i].Path, x.files[i].Fields()); err != nil {
			return nil, nil, usageError{err}
		}
	}
	return fit, x.leftOut, nil
}

// judge returns an error if the layout cannot be used.
func judge(name string, l *layouts.Layout, findings []layouts.Finding, fit *layouts.Fit) error {
	faults := 0
	for _, f := range findings {
		if !f.Warning || f.Refused {
			faults++
		}
	}
	if faults > 0 {
		return usagef("%s: %s", name, many(int64(faults), "fault"))
	}
	if fit == nil || fit.Fits() {
		return nil
	}
	misfits := 0
	for _, f := range fit.Files {
		if f.Fault != "" {
			misfits++
		}
	}
	verb := "do"
	if misfits == 1 {
		verb = "does"
	}
	return usagef("%d of %s %s not fit layout %s", misfits, many(int64(len(fit.Files)), "file"), verb, l.Name)
}

func writeCheck(w io.Writer, name string, l *layouts.Layout, findings []layouts.Finding, fit *layouts.Fit) {
	for _, f := range findings {
		fmt.Fprintln(w, f)
	}
	switch {
	case l == nil, slices.ContainsFunc(findings, func(f layouts.Finding) bool { return f.Refused }):
		return
	case len(findings) > 0:
		fmt.Fprintf(w, "%s: layout %s can be used, with %s\n", name, l.Name, many(int64(len(findings)), "warning"))
	default:
		fmt.Fprintf(w, "%s: layout %s is valid\n", name, l.Name)
	}
	if fit != nil {
		fmt.Fprintln(w)
		writeFit(w, fit)
	}
}

func writeFit(w io.Writer, fit *layouts.Fit) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "FILE\tTABLE\tCOLUMNS\tREAD\tIGNORED\tUNKNOWN\tFITS")
	for _, f := range fit.Files {
		fits, table := "yes", f.Table.String()
		switch {
		case f.LeftOut != "":
			fmt.Fprintf(tw, "%s\t-\t%d\t-\t-\t-\tleft out: %s\n", f.Path, f.Columns, f.LeftOut)
			continue
		case f.Fault != "":
			fits = "no"
		}
		if f.Form != "" {
			table += " (" + f.Form + ")"
		}
		fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%d\t%d\t%s\n", f.Path, table, f.Columns, f.Columns-len(f.Ignored)-len(f.Unknown),
			len(f.Ignored), len(f.Unknown), fits)
	}
	tw.Flush()
	for _, f := range fit.Files {
		if f.Fault != "" {
			fmt.Fprintf(w, "\n%s\n", f.Fault)
		}
	}
	title := "\nColumns that are not read:\n"
	for _, f := range fit.Files {
		if len(f.Bound) == 0 {
			continue // it has nothing to do with the layout
		}
		for _, u := range f.Unknown {
			fmt.Fprintf(tw, "%s  %s\t%q%s\n", title, f.Path, u.Header, likely(u))
			title = ""
		}
	}
	tw.Flush()
	title = "\nColumns of the layout that no file has:\n"
	for t := range cpcds.NumTables {
		if list := absentOf(fit, t); list != "" {
			fmt.Fprintf(tw, "%s  %s\t%s\n", title, t, list)
			title = ""
		}
	}
	tw.Flush()
}

// likely suggests what an unknown header could be.
func likely(u layouts.UnknownHeader) string {
	switch {
	case u.Nearest != "" && u.Likely:
		return fmt.Sprintf("\tdid you mean %q, which is %s?", u.Nearest, u.Element)
	case u.Likely:
		return fmt.Sprintf("\tcould be %s", u.Element)
	}
	return ""
}

// absentOf lists the columns of a table that no file has, the first few by name.
func absentOf(fit *layouts.Fit, t cpcds.Table) string {
	const few = 8
	var list []string
	for _, a := range fit.Absent {
		if a.Table != t {
			continue
		}
		s := a.Element.Column()
		if !slices.Equal(a.Headers, []string{s}) {
			s += " (" + strings.Trim(fmt.Sprintf("%q", a.Headers), "[]") + ")"
		}
		list = append(list, s)
	}
	if len(list) > few {
		list = append(list[:few], fmt.Sprintf("and %d more", len(list)-few))
	}
	return strings.Join(list, ", ")
}

// What "layout check --output json" prints of an extract.
type (
	fitJSON struct {
		Layout   string        `json:"layout,omitempty"`
		Fits     bool          `json:"fits"`
		Findings []layoutFault `json:"findings"`
		Files    []fileJSON    `json:"files"`
		Absent   []columnJSON  `json:"absent"`

		LeftOut []manifest.LeftOut `json:"left_out,omitempty"` // what was not looked at
	}
	fileJSON struct {
		Path    string        `json:"path"`
		Table   string        `json:"table"`
		Form    string        `json:"form,omitempty"`
		LeftOut string        `json:"left_out,omitempty"`
		Fits    bool          `json:"fits"`
		Fault   string        `json:"fault,omitempty"`
		Columns int           `json:"columns"`
		Bound   []columnJSON  `json:"bound"`
		Missing []columnJSON  `json:"missing"`
		Ignored []string      `json:"ignored"`
		Unknown []unknownJSON `json:"unknown"`
	}
	columnJSON struct {
		Table   string   `json:"table,omitempty"`
		Element string   `json:"element"`
		Headers []string `json:"headers"`
	}
	unknownJSON struct {
		Header  string `json:"header"`
		Nearest string `json:"nearest,omitempty"`
		Element string `json:"element,omitempty"`
	}
)

// writeCheckJSON writes the findings, or an object with them and the fit of an extract.
func writeCheckJSON(w io.Writer, l *layouts.Layout, findings []layouts.Finding, fit *layouts.Fit, leftOut []manifest.LeftOut, extract bool) error {
	list := make([]layoutFault, len(findings))
	for i, f := range findings {
		list[i] = layoutFault{f.File, f.Line, f.Column, f.Message, f.Hint, f.Warning && !f.Refused}
	}
	if !extract {
		return json.NewEncoder(w).Encode(list)
	}
	out := fitJSON{Findings: list, Files: []fileJSON{}, Absent: []columnJSON{}, LeftOut: leftOut}
	if l != nil {
		out.Layout, out.Fits = l.Name, fit.Fits()
		for _, f := range fit.Files {
			out.Files = append(out.Files, fileOf(f))
		}
		out.Absent = absentJSON(fit.Absent)
	}
	return json.NewEncoder(w).Encode(out)
}

func fileOf(f layouts.FileFit) fileJSON {
	x := fileJSON{Path: f.Path, Table: f.Table.String(), Form: f.Form, LeftOut: f.LeftOut, Fits: f.Fault == "", Fault: f.Fault, Columns: f.Columns,
		Bound: []columnJSON{}, Missing: absentJSON(f.Missing), Ignored: append([]string{}, f.Ignored...), Unknown: []unknownJSON{}}
	for _, b := range f.Bound {
		c := columnJSON{Element: b.Element.Column(), Headers: b.Headers}
		if b.Table != f.Table {
			c.Table = b.Table.String()
		}
		x.Bound = append(x.Bound, c)
	}
	for _, u := range f.Unknown {
		y := unknownJSON{Header: u.Header, Nearest: u.Nearest}
		if u.Likely {
			y.Element = u.Element.Column()
		}
		x.Unknown = append(x.Unknown, y)
	}
	return x
}

func absentJSON(list []layouts.AbsentColumn) []columnJSON {
	out := []columnJSON{}
	for _, a := range list {
		out = append(out, columnJSON{Table: a.Table.String(), Element: a.Element.Column(), Headers: a.Headers})
	}
	return out
}
