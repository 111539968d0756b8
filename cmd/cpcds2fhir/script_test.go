package main

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"cpcds2fhir/internal/verify/strict"
)

// TestMain lets more tests run at the same time than there are CPUs: they start processes, and wait for them.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)+1)); err != nil { // -parallel still decides
		panic(err)
	}
	testscript.Main(m, map[string]func(){
		"cpcds2fhir":        main,
		"cpcds2fhir-verify": func() { os.Exit(strict.Main(os.Args[1:])) },
	})
}

// TestScripts runs the scripts of testdata/script: each is something that a user
// does, with what must come of it. The command runs as a process of its own, and
// the user's folders are in the script's work folder.
func TestScripts(t *testing.T) {
	dir, files := filepath.Join("testdata", "script"), []string(nil)
	if testing.Short() { // the race detector is for what runs at the same time
		for _, name := range []string{"load_store", "load_ndjson", "stopped"} {
			files = append(files, filepath.Join(dir, name+".txtar"))
		}
		dir = ""
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		Files:               files,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			testdata, err := filepath.Abs(filepath.Join("..", "..", "testdata"))
			if err != nil {
				return err
			}
			e.Setenv("TESTDATA", testdata)
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
			return os.MkdirAll(home, 0o700)
		},
		Condition: scriptCondition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"asked":      cmdAsked,
			"capture":    cmdCapture,
			"exits":      cmdExits,
			"extract":    cmdExtract,
			"fault":      cmdFault,
			"hold":       cmdHold,
			"json":       cmdJSON,
			"mend":       cmdMend,
			"private":    cmdPrivate,
			"refuse":     cmdRefuse,
			"release":    cmdRelease,
			"same":       cmdSame,
			"served":     cmdServed,
			"server":     cmdServer,
			"somebody":   cmdSomebody,
			"stretch":    cmdStretch,
			"substitute": cmdSubstitute,
			"tmpfs":      cmdTmpfs,
			"truncate":   cmdTruncate,
			"written":    cmdWritten,
		},
	})
}
