package bulkimport

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// failuresName is the file of what jobs have refused. It may hold values of members: only its owner can
// read it.
const failuresName = "failures.ndjson"

// keptFailure is a line of it.
type keptFailure struct {
	Job      string `json:"job"`
	Resource string `json:"resource"`
	refusal
}

// keep makes durable which resources a job has refused. It returns how many there are.
func (i *Import) keep(j *job, named []failure) (int64, error) {
	if len(named) == 0 {
		return 0, nil
	}
	if err := i.nameLines(named); err != nil {
		return 0, err
	}
	path := filepath.Join(i.state, failuresName)
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("read what was refused: %w", err)
	}
	out := bytes.NewBuffer(before)
	seen := map[string]bool{}
	for _, f := range named {
		if f.ref == "" || seen[f.ref] {
			continue
		}
		seen[f.ref] = true
		text, err := json.Marshal(keptFailure{j.name(), f.ref, f.why})
		if err != nil {
			return 0, fmt.Errorf("encode what was refused: %w", err)
		}
		out.Write(append(text, '\n'))
	}
	if err := writeDurably(path, out.Bytes()); err != nil {
		return 0, fmt.Errorf("write what was refused: %w", err)
	}
	return int64(len(seen)), nil
}

// nameLines finds the resources of lines. A line that was not staged stays without one.
func (i *Import) nameLines(named []failure) error {
	byFile := map[string]map[int64][]*failure{}
	for n := range named {
		f := &named[n]
		if f.ref != "" {
			continue
		}
		if byFile[f.file] == nil {
			byFile[f.file] = map[int64][]*failure{}
		}
		byFile[f.file][f.line] = append(byFile[f.file][f.line], f)
	}
	for n := range i.journal.Files {
		f := &i.journal.Files[n]
		lines := byFile[f.Name]
		if lines == nil {
			continue
		}
		err := eachLine(i.local(f), func(n int64, line []byte) error {
			for _, at := range lines[n-1] {
				if id := idOf(line); id != "" {
					at.ref = f.Type + "/" + id
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read the staged files: %w", err)
		}
	}
	return nil
}

// readFailures are the refusals that jobs have named, by Type/id.
func (i *Import) readFailures() (map[string]*refusal, error) {
	list := map[string]*refusal{}
	f, err := os.Open(filepath.Join(i.state, failuresName))
	if errors.Is(err, fs.ErrNotExist) {
		return list, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was refused: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 64<<10), 16<<20)
	for lines.Scan() {
		var k keptFailure
		if err := json.Unmarshal(lines.Bytes(), &k); err != nil {
			return nil, fmt.Errorf("read what was refused: %w", err)
		}
		list[k.Resource] = &k.refusal
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read what was refused: %w", err)
	}
	return list, nil
}
