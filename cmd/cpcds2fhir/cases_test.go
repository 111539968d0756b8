package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFilesOfOthers runs the program on files that other writers made, which lie beside the
// module, and looks at how it ends and at what it says.
func TestFilesOfOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	cases, err := filepath.Abs(filepath.Join("..", "..", "..", "shared", "cases", "files"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cases); err != nil {
		t.Skipf("the files are not there: %v", err)
	}
	program := filepath.Join(t.TempDir(), "cpcds2fhir")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	load := []string{"load", "--to", "ndjson:out"}
	for _, c := range []struct {
		folder string
		args   []string
		exit   int
		says   []string
		never  []string // values of the files
	}{
		{folder: "trailing-empty-shift", args: load, exit: 1, says: []string{"members.csv, row 2", "6 fields", "7"}, never: []string{"Smith", "Anna"}},
		{folder: "unused-list-multiplies-rows", args: load, says: []string{"1 seen = 1 loaded"}, never: []string{"duplicate-line"}},
		{folder: "unused-column-blocks/map", args: load, says: []string{"1 seen = 1 loaded", `"extra" is a map and is left out`}},
		{folder: "unused-column-blocks/listlist", args: load, says: []string{"1 seen = 1 loaded", `"extra" is a list within a list`}},
		{folder: "unused-column-blocks/half", args: load, says: []string{"1 seen = 1 loaded", `"extra" is of type FLOAT16`}},
		{folder: "unused-column-blocks/bytes", args: load, says: []string{"1 seen = 1 loaded", `"extra" is left out`}},
		{folder: "utf16-hint", args: append(load[:3:3], "--layout", filepath.Join(cases, "utf16-hint", "layout.yaml")), says: []string{"The account balances"}},
		{folder: "utf16-hint", args: load, exit: 1, says: []string{"encoding: utf-16"}},
		{folder: "kv-metadata-null", args: []string{"layout", "infer"}, says: []string{`"column1"`}},
		{folder: "pyarrow-empty-v2-page", args: []string{"layout", "infer"}, says: []string{`"a"`, "whole numbers"}},
		{folder: "exit-code-duplicate", args: load, exit: 2, says: []string{"there are two columns"}},
		{folder: "arrow-negative-offset", args: load, exit: 1, says: []string{"is corrupt"}},
		{folder: "encrypted-plaintext-footer", args: load, exit: 2, says: []string{"is encrypted"}},
		{folder: "infer-prints-values", args: []string{"layout", "infer"}, exit: 1, says: []string{"carriage return"}, never: []string{"M1"}},
	} {
		t.Run(c.folder, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program, append(c.args[:len(c.args):len(c.args)], filepath.Join(cases, c.folder))...)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+cmd.Dir)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			code := 0
			if err := cmd.Run(); err != nil {
				exit := (*exec.ExitError)(nil)
				if !errors.As(err, &exit) {
					t.Fatal(err)
				}
				code = exit.ExitCode()
			}
			if code != c.exit {
				t.Errorf("exit code %d, want %d", code, c.exit)
			}
			for _, s := range c.says {
				if !strings.Contains(out.String(), s) {
					t.Errorf("it does not say %q", s)
				}
			}
			for _, s := range c.never {
				if strings.Contains(out.String(), s) {
					t.Errorf("it says %q", s)
				}
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}
