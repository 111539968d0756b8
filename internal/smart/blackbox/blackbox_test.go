package blackbox_test

import (
	"os"
	"testing"

	"cpcds2fhir/internal/smart/blackbox"
)

// TestTarget runs the suite against the server that a file tells of: the sandbox.json of a sandbox, or one of the
// same form for any other server.
func TestTarget(t *testing.T) {
	path := os.Getenv("BLACKBOX_TARGET")
	if path == "" {
		t.Skip("set BLACKBOX_TARGET to a file such as the sandbox.json of a sandbox that runs")
	}
	target, err := blackbox.FromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blackbox.Run(t, target)
}
