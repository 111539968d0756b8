package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWrongTypes: a setting of the wrong type is described as what it should be, with its line.
func TestWrongTypes(t *testing.T) {
	for text, want := range map[string]string{
		"profile: hapi\nconcurrency: many\n": "[2:14] a value has the wrong type: it must be a whole number",
		"insecure: perhaps\n":                "[1:11] a value has the wrong type: it must be true or false",
		"timeout: 30\n":                      "a duration needs a unit such as 30s or 24h",
		"patience: soon\n":                   `line 1: "soon" is not a duration`,
		"auth: {scopes: x}\n":                "string was used where sequence is expected",
		"auth: none\n":                       "string was used where mapping is expected",
	} {
		path := filepath.Join(t.TempDir(), "server.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readServerConfig(path)
		if err == nil || !strings.Contains(err.Error(), want) || exitCode(err) != exitUsage {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		if err != nil && !strings.Contains(want, "duration") && strings.Contains(err.Error(), "duration") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
