package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/arrowio"
	"cpcds2fhir/pipeline/csvio"
	"cpcds2fhir/pipeline/folders"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/parquetio"
)

// formats are the file formats, by the suffix of a file's name.
var formats = []struct {
	suffix string
	open   opener
}{
	{".parquet", openParquet}, {".parq", openParquet}, {".pq", openParquet},
	{".arrow", openArrow}, {".arrows", openArrow}, {".feather", openArrow}, {".ipc", openArrow},
	{".csv", openCSV}, {".csv.gz", openCSV}, {".csv.zst", openCSV},
	{".tsv", openCSV}, {".tsv.gz", openCSV}, {".tsv.zst", openCSV},
	{".txt", openCSV}, {".txt.gz", openCSV}, {".txt.zst", openCSV},
}

// endings lists the formats for messages.
const endings = ".parquet, .csv (.gz, .zst), .tsv, .txt, .arrow or .feather"

// opening says how a file is opened.
type opening struct {
	csv  csvio.Options // of text
	like pipeline.File // a file that was opened before, or nil
	room readerRoom
}

// readerRoom is what a reader of a file may take.
type readerRoom struct {
	memory int64  // of a lane, in bytes; 0 is no limit
	share  int64  // how many times memory the process may use
	footer int64  // of the metadata of a file; 0 is no limit
	temp   string // folder for what does not fit; "" is the system's
}

type opener func(path string, o opening) (pipeline.File, error)

func openCSV(path string, o opening) (pipeline.File, error) {
	o.csv.Memory = o.room.memory
	return csvio.Open(path, o.csv)
}

func openParquet(path string, o opening) (pipeline.File, error) {
	return parquetio.Open(path, parquetio.Options{Like: o.like, Memory: o.room.memory, Share: o.room.share, Footer: o.room.footer, Temp: o.room.temp})
}

func openArrow(path string, o opening) (pipeline.File, error) {
	return arrowio.Open(path, arrowio.Options{Memory: o.room.memory, Share: o.room.share, Temp: o.room.temp})
}

func openerOf(path string) opener {
	lower := strings.ToLower(path)
	for _, f := range formats {
		if strings.HasSuffix(lower, f.suffix) {
			return f.open
		}
	}
	return nil
}

// isText reports whether a file is read as text by its name.
func isText(path string) bool {
	lower := strings.ToLower(path)
	for _, end := range []string{".csv", ".tsv", ".txt"} {
		if strings.Contains(lower, end) && openerOf(path) != nil {
			return true
		}
	}
	return false
}

// packings are suffixes of compressed files. Some of them are supported, for text only.
var packings = []string{".gz", ".zst", ".bz2", ".deflate", ".xz", ".lz4", ".lzo", ".snappy", ".br", ".z", ".zip", ".7z"}

// packed reports a compressed file of a known format whose compression is not supported: it must
// not be passed over. It returns "" for any other file.
func packed(name string) (what, hint string) {
	for _, p := range packings {
		inner := strings.TrimSuffix(strings.ToLower(name), p)
		if len(inner) < len(name) && openerOf(inner) != nil {
			return "is a " + filepath.Ext(inner) + " file in a compression that is not supported", "decompress it"
		}
	}
	return "", ""
}

// find finds the files that args name.
func find(args []string) (*folders.Listing, error) {
	l, err := folders.Find(args, folders.Options{
		Known:   func(name string) bool { return openerOf(name) != nil },
		Endings: endings, Refuse: packed, Checkpoint: parquetio.ReadDeltaCheckpoint,
	})
	if _, ok := errors.AsType[*folders.RefusedError](err); ok {
		return nil, usageError{err}
	}
	if _, ok := errors.AsType[*folders.EmptyError](err); ok {
		return nil, environmentError{err}
	}
	return l, err
}

// findExtract finds the files that args name, and notes what it left out.
func findExtract(args []string) (*extract, error) {
	l, err := find(args)
	if err != nil {
		return nil, err
	}
	x := &extract{found: l.Files, warnings: noticesOf(l)}
	for _, f := range l.LeftOut {
		x.leftOut = append(x.leftOut, manifest.LeftOut{Path: f.Path, Reason: f.Reason})
	}
	return x, nil
}

// noticesOf returns what the user should know about how an extract was found.
func noticesOf(l *folders.Listing) []string {
	lines := folders.Summary(l.LeftOut)
	for _, dir := range l.Entered {
		lines = append(lines, fmt.Sprintf("%s is read too: it is a folder next to files of the extract", dir))
	}
	return lines
}

// warn prints the warnings of a command other than a load.
func warn(notices []string) {
	for _, n := range notices {
		fmt.Fprintln(os.Stderr, "warning: "+n)
	}
}
