package arrowio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/arrowmeta"
)

// TestReplacedInFile turns delta dictionaries into replacements. Each replacement is valid for the
// batches between it and the next one, and for no others.
func TestReplacedInFile(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "delta.arrow"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "replaced.arrow")
	open := func() *file {
		t.Helper()
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f.(*file)
	}
	before := open()
	grown := before.ChainOf(0, &before.Batches[0])
	if grown == nil || len(grown.Places) != 3 {
		t.Fatal("the file does not have one dictionary that grows twice")
	}
	for _, p := range grown.Places[1:] {
		at := p.At + 2*prefixSize
		header, _ := arrowmeta.Child(arrowmeta.Root(raw[at:p.At+p.Length]), arrowmeta.MessageHeader)
		raw[at+int64(header.Pos)+int64(header.Offset(dictionaryDelta))] = 0
	}
	f := open()
	got, err := readRange(f, 0, 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	compareRows(t, "the first batch", [][]string{{"a", "0"}, {"b", "1"}, {"a", "2"}}, got.rows)
	// The second dictionary has one value, but the batch after it uses the third.
	_, err = readRange(f, 3, 6, nil)
	var fault *pipeline.FormatError
	if !errors.As(err, &fault) || fault.Column != "code" || fault.Row != 4 || !strings.Contains(fault.What, "dictionary") {
		t.Errorf("got %v, want an index that is out of range", err)
	}
}

// TestLanes reads parts of a file concurrently. The parts share the dictionaries of the file.
func TestLanes(t *testing.T) {
	records, want := typedRecords(1000, 1000, 1000)
	f := openForm(t, forms[1], records)
	var lanes errgroup.Group
	for lane := range int64(6) {
		lanes.Go(func() error {
			from := lane * 500
			got, err := readRange(f, from, from+500, nil)
			if err != nil {
				return err
			}
			for i, row := range got.rows {
				if !slices.Equal(row, want[from+int64(i)]) {
					return fmt.Errorf("row %d differs", from+int64(i))
				}
			}
			return nil
		})
	}
	if err := lanes.Wait(); err != nil {
		t.Error(err)
	}
}
