package arrowio

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"cpcds2fhir/pipeline"
)

// FuzzArrow opens damaged files and reads them as a whole and starting at each row. Reading must
// never panic, memory use must be bounded, and if both reads succeed they must agree.
func FuzzArrow(f *testing.F) {
	add := func(path string) {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, x := range keptFiles {
		add(filepath.Join("testdata", x.name))
	}
	for _, form := range forms {
		records, _ := typedRecords(5, 4)
		add(writeRecords(f, form, records))
	}
	for _, wrapper := range wrappers {
		records, _ := wrapped(3, wrapper.list, true)
		add(writeRecords(f, forms[1], records))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "fuzz.arrow")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		file, err := Open(path, Options{Memory: 1 << 20, Temp: dir})
		if err != nil {
			checkFault(t, err)
			return
		}
		defer file.Close()
		fuzzRead(t, file)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<28 {
			t.Errorf("reading %d bytes takes %d bytes of memory", len(raw), used)
		}
	})
}

// checkFault checks that an error describes a problem with the file's format.
func checkFault(t *testing.T, err error) {
	t.Helper()
	var fault *pipeline.FormatError
	if !errors.As(err, &fault) {
		t.Errorf("got %v (%T), want a format error", err, err)
	}
}

// fuzzRows is the maximum number of rows read from a damaged file. It is needed because a file can
// claim any number of rows without columns.
const fuzzRows = 1000

func fuzzRead(t *testing.T, file pipeline.File) {
	spans, err := file.Spans(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	rows := int64(0)
	for _, s := range spans {
		rows += s.Rows
	}
	if rows > fuzzRows {
		return
	}
	columns := pipeline.ReadableColumns(file)
	whole, wholeErr := readAtMost(10*fuzzRows, file, 0, rows, columns)
	if wholeErr != nil {
		checkFault(t, wholeErr)
	}
	for at := int64(0); at < min(rows, 20); at++ {
		for _, to := range []int64{at + 1, rows} {
			part, err := readAtMost(10*fuzzRows, file, at, to, columns)
			if err != nil {
				checkFault(t, err)
				continue
			}
			if wholeErr != nil {
				continue
			}
			if want := whole.cut(at, to); !slices.EqualFunc(want.rows, part.rows, slices.Equal) || !slices.Equal(want.input, part.input) {
				t.Errorf("rows %d to %d differ from those of the whole", at, to)
			}
		}
	}
	_, err = readAtMost(10*fuzzRows, file, 0, rows, pipeline.Columns{Kept: columns.Bound})
	if err != nil {
		checkFault(t, err)
	}
}
