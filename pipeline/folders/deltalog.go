package folders

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"unicode/utf8"

	"cpcds2fhir/pipeline"
)

// The actions of a Delta log, as far as a reader needs them.
type (
	logAction struct {
		Add      *addAction      `json:"add"`
		Remove   *removeAction   `json:"remove"`
		Protocol *protocolAction `json:"protocol"`
		MetaData *metadataAction `json:"metaData"`
		Sidecar  *struct{}       `json:"sidecar"`
	}
	addAction struct {
		Path            string            `json:"path"`
		PartitionValues map[string]string `json:"partitionValues"` // null and "" mean no value
		DeletionVector  *struct{}         `json:"deletionVector"`
	}
	removeAction struct {
		Path string `json:"path"`
	}
	protocolAction struct {
		MinReaderVersion int      `json:"minReaderVersion"`
		ReaderFeatures   []string `json:"readerFeatures"`
	}
	metadataAction struct {
		Format struct {
			Provider string `json:"provider"`
		} `json:"format"`
		PartitionColumns []string          `json:"partitionColumns"`
		Configuration    map[string]string `json:"configuration"`
	}
)

// apply adds actions to the state. Those of one commit have no order: a file that is both removed
// and added in it exists afterwards.
func (t *tableState) apply(actions []logAction) error {
	for _, a := range actions {
		if a.Remove == nil {
			continue
		}
		name, err := t.local(a.Remove.Path)
		if err != nil {
			return err
		}
		delete(t.adds, name)
	}
	for _, a := range actions {
		switch {
		case a.Add != nil:
			name, err := t.local(a.Add.Path)
			if err != nil {
				return err
			}
			t.adds[name] = a.Add
		case a.Protocol != nil:
			t.protocol = a.Protocol
		case a.MetaData != nil:
			t.metadata = a.MetaData
		case a.Sidecar != nil:
			t.sidecars = true
		}
	}
	return nil
}

var scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*:|/|\\)`)

// local returns a path of the log relative to the root. Writers differ in what they encode, and
// some begin with "./", so a file may be added under one spelling and removed under another.
func (t *tableState) local(path string) (string, error) {
	if scheme.MatchString(path) {
		return "", &RefusedError{t.root, "is a Delta table with files elsewhere, such as a shallow clone", exportSnapshot}
	}
	name, err := url.PathUnescape(path)
	if err != nil {
		return "", &pipeline.FormatError{File: filepath.Join(t.root, deltaLog), What: "has a path that cannot be decoded"}
	}
	name = filepath.Clean(filepath.FromSlash(name))
	if !filepath.IsLocal(name) || name == "." {
		return "", &RefusedError{t.root, "is a Delta table with files outside its folder", exportSnapshot}
	}
	return name, nil
}

// logFiles are the versions that a log has.
type logFiles struct {
	dir         string
	commits     map[int64]bool
	checkpoints map[int64][]string // complete ones by version
	v2          bool               // there are V2 checkpoints
	newest      int64              // version, -1 if there is none
}

var (
	commitName     = regexp.MustCompile(`^(\d{20})\.json$`)
	checkpointName = regexp.MustCompile(`^(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet$`)
	v2Name         = regexp.MustCompile(`^\d{20}\.checkpoint\.[0-9A-Fa-f-]{36}\.(json|parquet)$`)
)

func listLog(dir string) (*logFiles, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	l := &logFiles{dir: dir, commits: map[int64]bool{}, checkpoints: map[int64][]string{}, newest: -1}
	type parts struct{ version, of int64 }
	seen := map[parts][]string{}
	for _, e := range entries { // sorted by name, so parts are in order
		if m := commitName.FindStringSubmatch(e.Name()); m != nil {
			v := number(m[1])
			l.commits[v], l.newest = true, max(l.newest, v)
		} else if m := checkpointName.FindStringSubmatch(e.Name()); m != nil {
			k := parts{number(m[1]), max(number(m[3]), 1)}
			l.newest = max(l.newest, k.version)
			seen[k] = append(seen[k], filepath.Join(dir, e.Name()))
			if int64(len(seen[k])) == k.of {
				l.checkpoints[k.version] = seen[k]
			}
		}
		l.v2 = l.v2 || v2Name.MatchString(e.Name())
	}
	return l, nil
}

// number reads text that a pattern has matched as digits; "" and numbers that are too long are 0.
func number(digits string) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// start returns the version of the newest checkpoint from which commits lead to the newest version,
// or -1 if they start with the first. If there is no such path it is an error.
func (l *logFiles) start() (int64, error) {
	if l.newest < 0 {
		return 0, l.fault("has no commits", "")
	}
	hint, err := l.lastCheckpoint()
	if err != nil {
		return 0, err
	}
	if hint > l.newest {
		return 0, l.fault(fmt.Sprintf("ends at version %d, but had a checkpoint of version %d", l.newest, hint), "copy the whole folder")
	}
	v := l.newest
	for ; v >= 0 && l.checkpoints[v] == nil; v-- {
		if !l.commits[v] {
			if l.v2 {
				return 0, &RefusedError{filepath.Dir(l.dir), "is a Delta table with V2 checkpoints", exportSnapshot}
			}
			return 0, l.fault(fmt.Sprintf("lacks the commit of version %d and has no later checkpoint", v), "copy the whole folder")
		}
	}
	return v, nil
}

// lastCheckpoint returns the version in the log's _last_checkpoint file, -1 if there is none. Only
// the log files count; this one shows whether the newest of them are missing.
func (l *logFiles) lastCheckpoint() (int64, error) {
	path := filepath.Join(l.dir, "_last_checkpoint")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	} else if err != nil {
		return 0, err
	}
	note := struct {
		Version int64 `json:"version"`
	}{-1}
	if err := json.Unmarshal(b, &note); err != nil {
		return 0, &pipeline.FormatError{File: path, What: "is not JSON", Hint: "was the copy complete?"}
	}
	return note.Version, nil
}

func (l *logFiles) fault(what, hint string) error {
	return &pipeline.FormatError{File: l.dir, What: what, Hint: hint}
}

// readLog adds up the log of the Delta table in a folder.
func readLog(root string, checkpoint func(string, func([]byte) error) error) (*tableState, error) {
	l, err := listLog(filepath.Join(root, deltaLog))
	if err != nil {
		return nil, err
	}
	from, err := l.start()
	if err != nil {
		return nil, err
	}
	t := &tableState{root: root, adds: map[string]*addAction{}}
	for _, path := range l.checkpoints[from] {
		err := checkpoint(path, func(line []byte) error {
			var a logAction
			if err := json.Unmarshal(line, &a); err != nil {
				return &pipeline.FormatError{File: path, What: "has an action that cannot be read"}
			}
			a.Remove = nil // kept only for cleaning up
			return t.apply([]logAction{a})
		})
		if err != nil {
			return nil, err
		}
	}
	for v := from + 1; v <= l.newest; v++ {
		actions, err := readCommit(filepath.Join(l.dir, fmt.Sprintf("%020d.json", v)))
		if err != nil {
			return nil, err
		}
		if err := t.apply(actions); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// readCommit reads the actions of a commit, one to a line.
func readCommit(path string) ([]logAction, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var actions []logAction
	r := bufio.NewReaderSize(f, 1<<16)
	for n := int64(1); ; n++ {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			var a logAction
			if !utf8.Valid(line) || json.Unmarshal(line, &a) != nil {
				return nil, &pipeline.FormatError{File: path, Line: n, What: "is not an action of a Delta log", Hint: "was the copy complete?"}
			}
			actions = append(actions, a)
		}
		switch {
		case err == nil:
		case len(actions) == 0:
			return nil, &pipeline.FormatError{File: path, What: "is empty", Hint: "was the copy complete?"}
		default:
			return actions, nil
		}
	}
}
