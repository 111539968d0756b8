package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestDiskUsage compares with du, of a folder that has a file with a hole.
func TestDiskUsage(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "full"), make([]byte, 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	hole := filepath.Join(dir, "hole")
	if err := os.WriteFile(hole, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(hole, 50<<20); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("du", "-sk", dir).Output()
	if err != nil {
		t.Skipf("du: %v", err)
	}
	var want int64
	if _, err := fmt.Sscan(string(out), &want); err != nil {
		t.Fatal(err)
	}
	got, err := diskUsage(dir)
	if err != nil || (got+1023)/1024 != want {
		t.Errorf("got %d bytes, %v, du says %d KiB", got, err, want)
	}
}
