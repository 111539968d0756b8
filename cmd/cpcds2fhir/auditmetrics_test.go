package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/audit"
)

// writeAudit writes a log of records with their own times.
func writeAudit(t *testing.T, dir string, records []audit.Record) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "audit-000001.log"))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	hash := make([]byte, 64)
	for i, r := range records {
		r.Number = uint64(i + 1)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(append(hash[:64:64], text...))
		hex.Encode(hash, sum[:])
		_, _ = w.WriteString(string(hash) + " " + string(text) + "\n") // Flush says so
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAuditMetrics counts members, apps and days from a log that is written down here.
func TestAuditMetrics(t *testing.T) {
	dir := t.TempDir()
	record := func(at, client, member string, status int, resources ...string) audit.Record {
		r := audit.Record{At: at + "T10:00:00.000Z", Action: "read", Client: client, Status: status, Resources: resources}
		if member != "" {
			r.Members = strings.Split(member, ",")
		}
		return r
	}
	operator := record("2026-03-02", "b", "p7,p8", 200, "Patient/p7", "Patient/p8")
	operator.Operator = true
	writeAudit(t, dir, []audit.Record{
		operator,
		record("2026-01-02", "a", "p1", 200, "Patient/p1"),
		record("2026-01-02", "a", "p1", 200, "Coverage/c1"),    // the same day
		record("2026-03-01", "a", "p2", 200, "Patient/p2"),     //
		record("2026-03-02", "a", "p2", 200, "Patient/p2"),     // another day
		record("2026-03-02", "b", "p3", 200, "Patient/p3"),     //
		record("2026-03-02", "c", "p3", 200, "Patient/p3"),     // another app
		record("2026-03-02", "b", "p4", 404),                   // nothing was shown
		record("2026-03-02", "b", "p5", 200),                   // no resources
		record("2026-03-02", "", "p6", 200, "Patient/p6"),      // an app that its token does not name
		record("2026-03-02", "a", "p9", 200, "Organization/o"), // nobody's data
		record("2027-01-01", "a", "p1,p2", 200, "Patient/p1"),  // another year
	})
	f := &auditFlags{dir: dir}
	got, err := f.metrics()
	if err != nil {
		t.Fatal(err)
	}
	want := []yearMetrics{{Year: 2026, Members: 4, MoreThanOnce: 1, SeveralApps: 1, Apps: 4}, {Year: 2027, Members: 2, Apps: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	f.since, f.until = "2026-03-01", "2026"
	if got, err = f.metrics(); err != nil || len(got) != 1 || got[0].Members != 3 {
		t.Errorf("of a part of the time: %+v %v", got, err)
	}
}
