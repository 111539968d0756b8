package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/loaders/ndjson"
)

// usage ends the script unless the command has n arguments and no "!".
func usage(ts *testscript.TestScript, neg bool, args []string, n int, form string) {
	if neg || len(args) != n {
		ts.Fatalf("usage: %s", form)
	}
}

// cmdExits runs a command that must end with the exit code.
//
//	exits CODE COMMAND ARG...
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdCapture sets a variable to the first group of a pattern's first match.
//
//	capture NAME PATTERN FILE
func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "capture NAME PATTERN FILE")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	m := re.FindStringSubmatch(ts.ReadFile(args[2]))
	if len(m) < 2 {
		ts.Fatalf("no match for %s in %s", args[1], args[2])
	}
	ts.Setenv(args[0], m[1])
}

// cmdJSON compares what is at a path of a JSON document with a value. A path is
// names and indices with points between; "length" at its end is the number of elements.
// A value that is missing is "none".
//
//	[!] json FILE PATH VALUE
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: [!] json FILE PATH VALUE")
	}
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	d.UseNumber()
	var doc any
	ts.Check(d.Decode(&doc))
	got := fmt.Sprint(at(doc, strings.Split(args[1], ".")))
	if (got == args[2]) == neg {
		ts.Fatalf("%s has %s = %s, the script says %s", args[0], args[1], got, args[2])
	}
}

func at(doc any, path []string) any {
	for _, p := range path {
		switch x := doc.(type) {
		case map[string]any:
			v, ok := x[p]
			switch {
			case ok:
				doc = v
			case p == "length":
				doc = len(x)
			default:
				return "none"
			}
		case []any:
			i, err := strconv.Atoi(p)
			switch {
			case p == "length":
				doc = len(x)
			case err == nil && i < len(x):
				doc = x[i]
			default:
				return "none"
			}
		default:
			return "none"
		}
	}
	return doc
}

// cmdPrivate checks that files are 0600 and folders 0700, at any depth.
//
//	private PATH...
func cmdPrivate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: private PATH...")
	}
	for _, a := range args {
		ts.Check(filepath.WalkDir(ts.MkAbs(a), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			want := fs.FileMode(0o600)
			if d.IsDir() {
				want = 0o700
			}
			if got := info.Mode().Perm(); got != want {
				return fmt.Errorf("%s has mode %o, want %o", path, got, want)
			}
			return nil
		}))
	}
}

// cmdSame checks that two folders have the same files with the same bytes.
//
//	[!] same DIR DIR
func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] same DIR DIR")
	}
	a, err := readTree(ts.MkAbs(args[0]))
	ts.Check(err)
	b, err := readTree(ts.MkAbs(args[1]))
	ts.Check(err)
	if diff := diffTrees(a, b); (diff == "") == neg {
		ts.Fatalf("%s and %s: %s", args[0], args[1], diff)
	}
}

// cmdHold opens a target and keeps it open until the script ends: it is in use by
// another process.
//
//	hold store|ndjson DIR
func cmdHold(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "hold store|ndjson DIR")
	dir := ts.MkAbs(args[1])
	switch args[0] {
	case "store":
		s, err := store.Open(dir, store.Options{})
		ts.Check(err)
		ts.Defer(func() { s.Close() })
	case "ndjson":
		l, err := ndjson.Open(dir, ndjson.Options{Run: "another", State: dir + ".state", TransactionTime: transactionTime})
		ts.Check(err)
		ts.Defer(func() { l.Close() })
	default:
		ts.Fatalf("hold %s: store or ndjson", args[0])
	}
}
