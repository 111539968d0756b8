package ndjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// record is one line of a lane's journal: what a Load made durable.
type record struct {
	Checkpoint pipeline.Checkpoint `json:"checkpoint"`
	Closed     []partState         `json:"closed,omitempty"` // parts completed since the previous record
	Open       []partState         `json:"open,omitempty"`   // all parts that are being written
}

// partState is a part file as a journal knows it.
type partState struct {
	Type   typeName `json:"type"`
	Seq    int      `json:"seq"`
	Bytes  int64    `json:"bytes"`
	Raw    int64    `json:"raw"`
	Lines  int64    `json:"lines"`
	SHA256 string   `json:"sha256,omitempty"` // of a complete part
	Hash   []byte   `json:"hash,omitempty"`   // state of the digest of an open part
}

// typeName is a fhir.Type by name in files, so that they stay valid if the order of the types
// changes, or deletions.
type typeName fhir.Type

// deletions is the type of the parts that say what was deleted. Only a stream has them.
const deletions = typeName(fhir.NumTypes)

// numTypes is how many types of parts there are.
const numTypes = deletions + 1

// String is the name of the folder of the parts.
func (t typeName) String() string {
	if t == deletions {
		return "deleted"
	}
	return fhir.Type(t).String()
}

func (t typeName) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

func (t *typeName) UnmarshalText(text []byte) error {
	v, ok := fhir.ParseType(string(text))
	if string(text) == deletions.String() {
		v, ok = fhir.NumTypes, true
	}
	if !ok {
		return errors.New("unknown resource type")
	}
	*t = typeName(v)
	return nil
}

// compactBytes is the length at which a journal is replaced by one record.
const compactBytes = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends one line: the CRC of the JSON, then the JSON.
func appendRecord(dst []byte, r *record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return dst, fmt.Errorf("encode journal record: %w", err)
	}
	dst = fmt.Appendf(dst, "%08x ", crc32.Checksum(text, castagnoli))
	return append(append(dst, text...), '\n'), nil
}

// parseRecord reports whether line is a whole record.
func parseRecord(line []byte) (record, bool) {
	var r record
	if len(line) < 10 || line[8] != ' ' {
		return r, false
	}
	if string(fmt.Appendf(nil, "%08x", crc32.Checksum(line[9:], castagnoli))) != string(line[:8]) {
		return r, false
	}
	return r, json.Unmarshal(line[9:], &r) == nil
}

// foldJournal sums the records of a journal into one. A broken tail is a write that a crash cut
// short; it was never confirmed. A whole record after a broken one means damage.
func foldJournal(data []byte) (record, error) {
	var all record
	at, broken := 0, -1
	for len(data) > 0 {
		line, rest, ended := bytes.Cut(data, []byte{'\n'})
		r, whole := parseRecord(line)
		switch whole = whole && ended; {
		case whole && broken >= 0:
			return all, fmt.Errorf("journal is damaged at byte %d", broken)
		case whole:
			r.Closed = append(all.Closed, r.Closed...)
			all = r
		case broken < 0:
			broken = at
		}
		at += len(line) + 1
		data = rest
	}
	return all, nil
}

// readJournal returns the sum of a lane's journal; the zero record if there is none.
func (l *Loader) readJournal(lane string) (record, error) {
	path := l.journalPath(lane)
	data, err := readFile(l.fs, path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("read journal: %w", err)
	}
	r, err := foldJournal(data)
	if err != nil {
		return record{}, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

const journalPrefix = "journal-"

func (l *Loader) journalPath(lane string) string {
	return filepath.Join(l.state, journalPrefix+lane)
}

// readFile returns the contents of a file.
func readFile(fsys filesystem, path string) ([]byte, error) {
	size, err := fsys.Size(path)
	if err != nil {
		return nil, err
	}
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); n < len(data) {
		return nil, err
	}
	return data, nil
}

// writeFile replaces a file atomically: it has either its old contents or the new ones, and the new
// ones when writeFile returns nil.
func writeFile(fsys filesystem, path string, data []byte) error {
	temp := tempPath(path)
	f, err := fsys.Create(temp)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, 0); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := fsys.Rename(temp, path); err != nil {
		return err
	}
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("sync folder of %s: %w", path, err)
	}
	return nil
}
