//go:build !linux

package main

import (
	"fmt"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptCondition knows [tmpfs], which is never true here.
func scriptCondition(name string) (bool, error) {
	if name != "tmpfs" {
		return false, fmt.Errorf("unknown condition %s", name)
	}
	return false, nil
}

func cmdTmpfs(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("tmpfs needs Linux")
}
