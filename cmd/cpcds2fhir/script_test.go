package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"cpcds2fhir/internal/verify/strict"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"cpcds2fhir":        main,
		"cpcds2fhir-verify": func() { os.Exit(strict.Main(os.Args[1:])) },
	})
}

// TestScripts runs the scripts of testdata/script: each is something that a user
// does, with what must come of it. The command runs as a process of its own, and
// the user's folders are in the script's work folder.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
			return os.MkdirAll(home, 0o700)
		},
		Condition: scriptCondition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"capture":    cmdCapture,
			"exits":      cmdExits,
			"extract":    cmdExtract,
			"hold":       cmdHold,
			"json":       cmdJSON,
			"private":    cmdPrivate,
			"same":       cmdSame,
			"stretch":    cmdStretch,
			"substitute": cmdSubstitute,
			"tmpfs":      cmdTmpfs,
			"truncate":   cmdTruncate,
		},
	})
}
