package layouts

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
)

// source is one of the files that make up a layout.
type source struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Archive returns all files of the layout as one document, which OpenArchive reads: rejects are
// replayed with the layout of their load, even if its files have changed since.
func (l *Layout) Archive() ([]byte, error) { return json.MarshalIndent(l.sources, "", "  ") }

// OpenArchive compiles the layout of an Archive.
func OpenArchive(archive []byte) (*Layout, error) {
	var files []source
	if err := json.Unmarshal(archive, &files); err != nil || len(files) == 0 {
		return nil, fmt.Errorf("read the load's layout: it was not written by this program")
	}
	l, findings := parse(files[0].Name, []byte(files[0].Text), func(name string) ([]byte, error) {
		if i := slices.IndexFunc(files[1:], func(f source) bool { return f.Name == name }); i >= 0 {
			return []byte(files[1+i].Text), nil
		}
		return nil, fs.ErrNotExist
	})
	if len(findings) > 0 {
		return nil, &FileError{findings}
	}
	return l, nil
}
