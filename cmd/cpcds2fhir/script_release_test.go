package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdRelease unpacks what a release has left on disk, by the schema of its state folder: an
// extract and its id key, a store and a folder of NDJSON files with their state folders, and
// in want/export.ndjson what the store exported then.
//
//	release SCHEMA
func cmdRelease(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "release SCHEMA")
	f, err := os.Open(filepath.Join(ts.Getenv("TESTDATA"), "releases", args[0]+".tar.gz"))
	ts.Check(err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	ts.Check(err)
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		ts.Check(err)
		if strings.Contains(h.Name, "..") {
			ts.Fatalf("%s leads out of the folder", h.Name)
		}
		path := ts.MkAbs(h.Name)
		if h.Typeflag == tar.TypeDir {
			ts.Check(os.MkdirAll(path, 0o700))
			continue
		}
		text, err := io.ReadAll(t)
		ts.Check(err)
		ts.Check(os.WriteFile(path, text, 0o600))
	}
}
