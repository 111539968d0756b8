package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/csvio"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

func newLayoutInfer() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "infer EXTRACT...",
		Short: "Propose a layout from headers and sampled values",
		Long: `Infer reads the headers and some rows of an extract and prints a layout to begin
with: which column is which CPCDS element, how dates and amounts are written, what
stands for "nothing". Comments say what was guessed. It holds no values.`,
		Example: "  cpcds2fhir layout infer ./extract > ours.yaml && cpcds2fhir layout check ours.yaml ./extract",
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

// sample reads the columns and some rows of a file. A file whose form is at fault is
// sampled as far as it can be read: a proposal does not need all of it.
func sample(ctx context.Context, path string) (layouts.Sample, error) {
	s, err := sampleWith(ctx, path, csvio.Options{})
	if fault, ok := errors.AsType[*pipeline.FormatError](err); ok {
		if s, err = sampleWith(ctx, path, csvio.Options{ShortRows: true}); err == nil {
			s.Fault = fault.Error() + ". Mend the file, or say short_rows: true under csv."
		} else if _, ok := errors.AsType[*pipeline.FormatError](err); ok && s.Fields != nil {
			s.Fault, s.Values, err = fault.Error()+". Mend the file; only its headers were looked at.", nil, nil
		}
	}
	if err == nil {
		s.Delimiter = delimiterOf(path, s.Fields)
	}
	return s, err
}

func sampleWith(ctx context.Context, path string, o csvio.Options) (s layouts.Sample, err error) {
	f, err := openerOf(path)(path, o, nil)
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

// delimiterOf finds the delimiter of a text file as the one that makes the same
// columns as reading it without one, "" if it has none or is no text file.
func delimiterOf(path string, fields []cpcds.Field) string {
	f, err := openerOf(path)(path, csvio.Options{Delimiter: 1}, nil)
	if err != nil {
		return ""
	}
	whole := f.Fields()
	f.Close()
	if len(whole) == len(fields) {
		return "" // one column, or a format without delimiters
	}
	for _, d := range ",;|\t" {
		f, err := openerOf(path)(path, csvio.Options{Delimiter: byte(d)}, nil)
		if err != nil {
			continue
		}
		same := slices.Equal(f.Fields(), fields)
		f.Close()
		if same && d == '\t' {
			return "tab"
		}
		if same {
			return fmt.Sprintf("%c", d)
		}
	}
	return ""
}
