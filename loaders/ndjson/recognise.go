package ndjson

import (
	"os"
	"regexp"
	"strings"

	"cpcds2fhir/schemas/fhir"
)

// partForm is the form of the names of parts, also of those that are not finished.
var partForm = regexp.MustCompile(`^\.?part-.+\.ndjson(\.zst|\.gz)?(\.tmp)?$`)

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
		if _, ok := fhir.ParseType(e.Name()); !ok || !e.IsDir() {
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
