package folders

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// kind is a table format whose current files are listed only in a log or metadata.
type kind uint8

const (
	noTable kind = iota
	delta
	iceberg
	hudi
	sparkSink
	hiveACID
)

// refused returns the error for a table that is not supported, nil if it is.
func (k kind) refused(path string) error {
	switch k {
	case iceberg:
		return &RefusedError{path, "is an Apache Iceberg table; only its metadata lists the current files", exportSnapshot}
	case hudi:
		return &RefusedError{path, "is an Apache Hudi table; only its timeline lists the current files", exportSnapshot}
	case sparkSink:
		return &RefusedError{path, "is the output of a Spark streaming query; only its log " + sparkLog + " lists the committed files",
			"read the folder with Spark and write it to a new one"}
	case hiveACID:
		return &RefusedError{path, "is a folder of changes of a Hive ACID table; only Hive knows its current rows",
			"read the table with Hive and write it to a new one"}
	}
	return nil
}

// sparkLog is the folder in which a streaming query lists the files that it has committed.
const sparkLog = "_spark_metadata"

// acidName matches the folders of Hive's write ids, with at least seven digits. Names with eight
// are more likely dates of an extract.
var acidName = regexp.MustCompile(strings.ReplaceAll(`^(base_ID|(delete_)?delta_ID_ID(_\d+)?)(_v\d+)?$`, "ID", `(\d{7}|\d{9,})`))

// kindOf says whether a folder is the root of a table, or a folder that only tables have. A Delta
// table may also have Iceberg metadata for other readers; its own log is enough.
func kindOf(dir string) (kind, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return noTable, err
	}
	if acidName.MatchString(filepath.Base(abs)) {
		return hiveACID, nil
	}
	for _, mark := range []struct {
		name string
		kind kind
	}{{deltaLog, delta}, {".hoodie", hudi}, {".hoodie_partition_metadata", hudi}, {sparkLog, sparkSink}} {
		if ok, err := exists(filepath.Join(dir, mark.name)); ok || err != nil {
			return mark.kind, err
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "metadata"))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return noTable, nil
	case err != nil:
		return noTable, err // it may be a table
	}
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if strings.HasSuffix(name, ".metadata.json") || strings.HasSuffix(name, ".metadata.json.gz") || name == "version-hint.text" {
			return iceberg, nil
		}
	}
	return noTable, nil
}

// readableKind is kindOf, with an error for a table that is not supported.
func readableKind(dir string) (kind, error) {
	k, err := kindOf(dir)
	if err == nil {
		err = k.refused(dir)
	}
	return k, err
}

// tableOf returns the table that a path is or is in, with its root. Files of a table are in the
// root, in key=value folders below it, and in a folder named data.
func tableOf(path string, folder bool) (root string, k kind, err error) {
	dir := filepath.Clean(path)
	if !folder {
		dir = filepath.Dir(dir)
	}
	for {
		if k, err = kindOf(dir); k != noTable || err != nil {
			return dir, k, err
		}
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", noTable, err
		}
		if name := filepath.Base(abs); !isKey(name) && name != "data" {
			return "", noTable, nil
		}
		// The absolute path is only needed to leave what was named.
		if base := filepath.Base(dir); base == "." || base == ".." {
			dir = abs
		}
		dir = filepath.Dir(dir)
	}
}
