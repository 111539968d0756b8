package manifest

import (
	"os"
	"path/filepath"
	"testing"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// TestKeepAgain: a process may be killed after it has written the account of a run and before it has
// recorded that the run is complete. The run is then finished again, and has one account.
func TestKeepAgain(t *testing.T) {
	state := t.TempDir()
	begin := func(run string) *Manifest {
		t.Helper()
		m := &Manifest{Run: run, Status: Running}
		if err := m.Begin(state); err != nil {
			t.Fatal(err)
		}
		return m
	}
	keep := func(m *Manifest, created int64) {
		t.Helper()
		var a pipeline.Account
		a.Resources[fhir.Patient].Created = created
		m.Status = Complete
		m.Count(&a)
		if err := m.Keep(state); err != nil {
			t.Fatal(err)
		}
	}
	accounts := func(want ...string) {
		t.Helper()
		list, err := All(state)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != len(want) {
			t.Fatalf("there are %d accounts, want %d", len(list), len(want))
		}
		for i, m := range list {
			if m.Run != want[i] {
				t.Errorf("account %d is of run %s, want %s", i, m.Run, want[i])
			}
		}
	}
	begun := filepath.Join(begunDir(state), "a.json")
	m := begin("a")
	running, err := os.ReadFile(begun)
	if err != nil {
		t.Fatal(err)
	}
	keep(m, 7)
	if err := os.WriteFile(begun, running, 0o600); err != nil { // as if it had been killed
		t.Fatal(err)
	}
	other := begin("b")
	keep(begin("a"), 7)
	accounts("a")
	keep(other, 1)
	accounts("a", "b")
	keep(begin("a"), 0) // a complete run that is repeated has another account
	accounts("a", "b", "a")
}
