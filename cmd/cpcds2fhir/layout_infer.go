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
	"cpcds2fhir/pipeline/folders"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

func newLayoutInfer() *cobra.Command {
	var name string
	var showValues bool
	c := &cobra.Command{
		Use:   "infer EXTRACT...",
		Short: "Propose a layout from headers and sampled values",
		Long: `Infer reads the headers and some rows of an extract and prints a layout to start from:
which column is which CPCDS element, how dates and amounts are written, and what stands
for a missing value. Comments mark what was guessed. It prints no values but
well-known sentinels.`,
		Example: "  cpcds2fhir layout infer ./extract > ours.yaml && cpcds2fhir layout check ours.yaml ./extract",
		Args:    needs("an extract: files, folders or globs", true),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := find(args)
			if err != nil {
				return err
			}
			warn(noticesOf(l))
			if name == "" {
				name = strings.TrimSuffix(filepath.Base(l.Files[0].Home()), ".")
			}
			var samples []layouts.Sample
			for _, f := range l.Files {
				s, err := sample(c.Context(), f, showValues)
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
	c.Flags().BoolVar(&showValues, "show-values", false, "print the first line of a text file even if few of its fields are known column names")
	return c
}

// sampleRows is how many rows infer looks at in each file.
const sampleRows = 1000

// sampleMemory is how much memory reading them may take.
const sampleMemory = 128 << 20

// sample reads the columns and some rows of a file. A malformed file is sampled as far as it can be
// read: a proposal does not need all of it.
func sample(ctx context.Context, found folders.File, showValues bool) (layouts.Sample, error) {
	s, err := sampleWith(ctx, found, csvio.Options{}, showValues)
	if fault, ok := errors.AsType[*pipeline.FormatError](err); ok {
		if s, err = sampleWith(ctx, found, csvio.Options{ShortRows: true}, showValues); err == nil {
			s.Fault = sentence(fault) + " Fix the file, or set short_rows: true under csv."
		} else if _, ok := errors.AsType[*pipeline.FormatError](err); ok && s.Fields != nil {
			s.Fault, s.Values, err = sentence(fault)+" Fix the file; only its headers were read.", nil, nil
		}
	}
	if err == nil {
		s.Delimiter = delimiterOf(found, s.Fields)
	}
	return s, err
}

// sentence ends an error's text with a full stop, unless it ends with a question mark.
func sentence(err error) string {
	if s := err.Error(); strings.HasSuffix(s, "?") {
		return s
	}
	return err.Error() + "."
}

// openFound opens one file of an extract with its partition keys.
func openFound(found folders.File, o csvio.Options) (pipeline.File, error) {
	f, err := openerOf(found.Path)(found.Path, opening{csv: o, room: readerRoom{memory: sampleMemory}})
	if err != nil {
		return nil, err
	}
	return folders.WithKeys(f, found.Keys), nil
}

func sampleWith(ctx context.Context, found folders.File, o csvio.Options, showValues bool) (s layouts.Sample, err error) {
	f, err := openFound(found, o)
	if err != nil {
		return s, err
	}
	defer f.Close()
	if layouts.Headerless(f.Fields()) {
		return s, &pipeline.FormatError{File: found.Path, What: "has a first line that does not look like a header", Hint: "start it with the column names"}
	}
	if err := unknownHeader(found.Path, f.Fields()); err != nil && !showValues {
		return s, err
	}
	s = layouts.Sample{Path: found.Path, Fields: f.Fields(), Values: make([][]string, len(f.Fields()))}
	readable := pipeline.ReadableColumns(f)
	spans, err := f.Spans(ctx)
	if err != nil {
		return s, err
	}
	if len(spans) == 0 {
		return s, nil
	}
	src, err := f.Open(ctx, spans[0].First, spans[0].First+min(spans[0].Rows, sampleRows), readable)
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
		for c, field := range readable.Bound {
			for i := range rows.N {
				if v := rows.Columns[c].Value(i); v != "" {
					s.Values[field] = append(s.Values[field], strings.Clone(v))
				}
			}
		}
	}
}

// unknownHeader is the error for a text file whose first line may be a row: too few of its fields
// are known column names, so it is not printed.
func unknownHeader(path string, fields []cpcds.Field) error {
	if !isText(path) || layouts.KnowsHeader(fields) {
		return nil
	}
	return &pipeline.FormatError{File: path, What: "has a first line with too few known column names, so it may be a row of data",
		Hint: "start the file with the column names; if the line has them, use --show-values"}
}

// delimiterOf finds the delimiter of a text file: the one that yields the same columns as reading
// the file without naming one. It returns "" if there is none or the file is not text.
func delimiterOf(found folders.File, fields []cpcds.Field) string {
	f, err := openFound(found, csvio.Options{Delimiter: 1})
	if err != nil {
		return ""
	}
	whole := f.Fields()
	f.Close()
	if len(whole) == len(fields) {
		return "" // one column, or a format without delimiters
	}
	for _, d := range ",;|\t" {
		f, err := openFound(found, csvio.Options{Delimiter: byte(d)})
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
