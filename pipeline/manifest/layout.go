package manifest

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cpcds2fhir/pipeline/statefile"
	"cpcds2fhir/schemas/layouts"
)

func layoutFile(state, hash string) string { return filepath.Join(state, "layouts", hash+".json") }

// KeepLayout keeps the layout of a load in the state folder, so that its rejects can be replayed
// even if the layout's files have changed or are gone.
func KeepLayout(state string, l *layouts.Layout) error {
	path := layoutFile(state, l.Hash)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	archive, err := l.Archive()
	if err == nil {
		err = statefile.Replace(path, func(w *bufio.Writer) error { _, err := w.Write(archive); return err })
	}
	if err != nil {
		return fmt.Errorf("keep layout: %w", err)
	}
	return nil
}

// KeptLayout is the layout with a hash that a load kept, nil if none did.
func KeptLayout(state, hash string) (*layouts.Layout, error) {
	archive, err := os.ReadFile(layoutFile(state, hash))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the load's layout: %w", err)
	}
	return layouts.OpenArchive(archive)
}
