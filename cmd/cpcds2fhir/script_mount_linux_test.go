package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptCondition knows [tmpfs]: this process may mount a small file system.
func scriptCondition(name string) (bool, error) {
	if name != "tmpfs" {
		return false, fmt.Errorf("unknown condition %s", name)
	}
	dir, err := os.MkdirTemp("", "cpcds2fhir-mount-")
	if err != nil {
		return false, err
	}
	defer os.Remove(dir)
	if err := mountTmpfs(dir, "64k"); err != nil {
		return false, nil
	}
	return true, syscall.Unmount(dir, 0)
}

func mountTmpfs(dir, size string) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0700,size="+size)
}

// cmdTmpfs makes a folder that is a disk of its own, of a size such as 512k, until
// the script ends.
//
//	tmpfs DIR SIZE
func cmdTmpfs(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "tmpfs DIR SIZE")
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(mountTmpfs(dir, args[1]))
	ts.Defer(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			ts.Logf("unmount %s: %v", args[0], err)
		}
	})
}
