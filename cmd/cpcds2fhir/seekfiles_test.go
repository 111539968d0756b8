package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// TestSeekFiles opens the files of a folder at every row: what is read from there is what a
// read from the beginning has there. The folder is what .ci/seek.py writes.
func TestSeekFiles(t *testing.T) {
	dir := os.Getenv("SEEK_FILES")
	if dir == "" {
		t.Skip("SEEK_FILES names no folder; .ci/seek.py makes one")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(paths) < 200 {
		t.Fatalf("%d files in %s, %v", len(paths), dir, err)
	}
	for _, path := range paths {
		f, err := openerOf(path)(path, opening{})
		if err != nil {
			t.Fatal(err)
		}
		spans, err := f.Spans(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rows := spans[len(spans)-1].First + spans[len(spans)-1].Rows
		whole, inputs := readFrom(t, f, 0, rows)
		for from := range rows {
			part, _ := readFrom(t, f, from, rows)
			at := slices.IndexFunc(inputs, func(n int64) bool { return n >= from })
			if diff := cmp.Diff(whole[at:], part); diff != "" {
				t.Fatalf("%s, from row %d (-whole +part):\n%s", filepath.Base(path), from, diff)
			}
		}
		f.Close()
	}
}

// readFrom reads rows of a file as text, and the input row of each.
func readFrom(t *testing.T, f pipeline.File, from, to int64) (rows [][]string, inputs []int64) {
	t.Helper()
	src, err := f.Open(t.Context(), from, to, pipeline.ReadableColumns(f))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var r cpcds.Rows
	for {
		err := src.Next(t.Context(), &r)
		if errors.Is(err, io.EOF) {
			return rows, inputs
		}
		if err != nil {
			t.Fatalf("from row %d: %v", from, err)
		}
		for i := range r.N {
			row := make([]string, len(r.Columns))
			for c := range r.Columns {
				row[c] = strings.Clone(r.Columns[c].Value(i))
			}
			rows, inputs = append(rows, row), append(inputs, r.InputRow(i))
		}
	}
}
