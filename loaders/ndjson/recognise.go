package ndjson

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"cpcds2fhir/schemas/fhir"
)

// partForm is the form of the names of parts, also of those that are not finished.
var partForm = regexp.MustCompile(`^\.?part-.+\.ndjson(\.zst|\.gz)?(\.tmp)?$`)

// Streamed reports whether a folder has parts of a stream.
func Streamed(dir string) bool {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*part-"+streamRun+"-*"))
	return err == nil && len(paths) > 0
}

// Written reports whether a stream is writing to a folder, or has stopped without completing its
// parts.
func Written(dir string) bool {
	paths, err := filepath.Glob(filepath.Join(dir, "*", ".part-"+streamRun+"-*"))
	return err == nil && len(paths) > 0
}

// Number is the number of a part of a stream: of two parts, the one with the higher number is later.
func Number(path string) int {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	n, err := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:])
	if err != nil {
		return 0
	}
	return n
}

// Wrote reports whether a folder looks like the output of a load: folders of resource types with
// parts in them, and a manifest if the load was finished. Apart from names that begin with a dot,
// it holds nothing else. An empty folder does not count.
func Wrote(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	some := false
	for _, e := range entries {
		if e.Name() == manifestName || e.Name() == tempPath(manifestName) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if _, ok := fhir.ParseType(e.Name()); !ok && e.Name() != deletions.String() || !e.IsDir() {
			return false, nil
		}
		parts, err := os.ReadDir(dir + string(os.PathSeparator) + e.Name())
		if err != nil {
			return false, err
		}
		for _, p := range parts {
			if !partForm.MatchString(p.Name()) {
				return false, nil
			}
			some = true
		}
	}
	return some, nil
}
