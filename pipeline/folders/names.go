package folders

import (
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// skipped returns why a name in a folder is not one of the extract's, "" if it may be.
func skipped(name string) string {
	lower := strings.ToLower(name)
	switch {
	case name[0] == '.', lower == "__macosx", strings.HasSuffix(lower, ".crc"):
		return ReasonMarked
	case name[0] == '_' && !isKey(name): // a partition key may begin so
		return ReasonMarked
	case strings.HasSuffix(lower, "~"):
		return ReasonTemporary
	}
	for _, end := range []string{".tmp", ".temp", ".partial", ".part", ".inprogress", ".crdownload", "._copying_"} {
		if strings.HasSuffix(lower, end) {
			return ReasonTemporary
		}
	}
	return ""
}

// isKey reports whether a folder's name is key=value.
func isKey(name string) bool { return strings.IndexByte(name, '=') > 0 }

// defaultPartition is the value of rows that have none.
const defaultPartition = "__HIVE_DEFAULT_PARTITION__"

// keyOf reads a folder's name.
func keyOf(path string) (Key, error) {
	name, value, _ := strings.Cut(filepath.Base(path), "=")
	k := Key{Name: unescape(name), Value: unescape(value)}
	if !k.text() {
		return k, &pipeline.FormatError{File: path, What: "has a name that is not valid UTF-8 or has a NUL", Hint: "rename the folder"}
	}
	if value == defaultPartition || value == "" {
		k.Value, k.Absent = "", true
	}
	return k, nil
}

// text reports whether a key is valid text for a reader.
func (k Key) text() bool {
	return utf8.ValidString(k.Name) && utf8.ValidString(k.Value) && !strings.Contains(k.Name+k.Value, "\x00")
}

// unescape decodes %XX. Anything else stands for itself, as in the programs that write partitions.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := nibble(s[i+1]), nibble(s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func nibble(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// keysAbove returns the partition keys in the folders directly above a file, the outermost first.
// They do not depend on whether the file or a folder above it was named.
func keysAbove(path string) (keys []Key, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	for dir := filepath.Dir(abs); isKey(filepath.Base(dir)); dir = filepath.Dir(dir) {
		k, err := keyOf(dir)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(keys, func(x Key) bool { return same(x.Name, k.Name) }) {
			return nil, &pipeline.FormatError{File: path, What: "is in folders that name the partition key " + k.Name + " twice"}
		}
		keys = append(keys, k)
	}
	slices.Reverse(keys)
	return keys, nil
}

// Home returns the named folder, or that of a named file, without partition folders.
func (f File) Home() string {
	dir := filepath.Dir(f.Path)
	for range strings.Count(f.Name, "/") {
		dir = filepath.Dir(dir)
	}
	for isKey(filepath.Base(dir)) {
		dir = filepath.Dir(dir)
	}
	return dir
}

// same reports whether layouts treat two column names as the same.
func same(a, b string) bool { return cpcds.FoldHeader(a) == cpcds.FoldHeader(b) }
