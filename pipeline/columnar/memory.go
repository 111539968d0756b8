package columnar

import (
	"fmt"
	"os"
)

// TempFile is a file for data that does not fit into memory. Only its owner can access it. Where
// the operating system allows it, the file has no name, so no other process can open it, and it
// disappears when the process ends.
type TempFile struct {
	*os.File
	named bool
}

// NewTempFile creates a file in dir, and dir itself if it is missing. "" means the system's folder
// for temporary files. The caller must discard the file.
func NewTempFile(dir string) (*TempFile, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("create a folder for temporary files: %w", err)
		}
	}
	f, err := os.CreateTemp(dir, "cpcds2fhir-*")
	if err != nil {
		return nil, fmt.Errorf("create a temporary file: %w", err)
	}
	return &TempFile{f, os.Remove(f.Name()) != nil}, nil // some systems cannot remove an open file
}

// Discard closes the file, and removes it if it still has a name.
func (t *TempFile) Discard() {
	t.Close()
	if t.named {
		os.Remove(t.Name())
	}
}

// Mebibytes formats a number of bytes in MiB, rounded up, in the format accepted by --memory.
func Mebibytes(n int64) string { return fmt.Sprintf("%dMiB", (n+1<<20-1)>>20) }
