package columnar

import (
	"os"
	"path/filepath"
	"testing"
)

// TestTempFile checks that a temporary file can be used and has no name.
func TestTempFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing", "temp")
	f, err := NewTempFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("text"), 3); err != nil {
		t.Error(err)
	}
	got := make([]byte, 4)
	if _, err := f.ReadAt(got, 3); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the file: %v, %v", info, err)
	}
	if left, err := os.ReadDir(dir); err != nil || !f.named && len(left) > 0 {
		t.Errorf("the file has a name: %v, %v", left, err)
	}
	f.Discard()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("files remain: %v, %v", left, err)
	}
	if _, err := NewTempFile(filepath.Join(string(os.PathSeparator), "dev", "null", "no folder")); err == nil {
		t.Error("a file was created where no folder can exist")
	}
}

func TestMebibytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0MiB", 1: "1MiB", 1 << 20: "1MiB", 1<<20 + 1: "2MiB"} {
		if got := Mebibytes(n); got != want {
			t.Errorf("%d bytes are %s, want %s", n, got, want)
		}
	}
}
