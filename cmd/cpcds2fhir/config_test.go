package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBatchPieces(t *testing.T) {
	for _, c := range []struct {
		memory  int64
		workers int
		want    int
	}{{512 << 20, 2, 2}, {256 << 20, 2, 1}, {512 << 20, 1, 4}, {512 << 20, 16, 1}, {64 << 30, 2, 4}} {
		if got := batchPieces(c.memory, c.workers); got != c.want {
			t.Errorf("%d bytes and %d workers: batches of %d pieces, want %d", c.memory, c.workers, got, c.want)
		}
	}
}

func TestParseMemory(t *testing.T) {
	f := func(s string, want int64, fault string) {
		t.Helper()
		got, err := parseMemory(s)
		if fault != "" {
			if err == nil || !strings.Contains(err.Error(), fault) || exitCode(err) != exitUsage {
				t.Errorf("%q: error %v, want a usage error about %q", s, err, fault)
			}
			return
		}
		if err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", s, got, err, want)
		}
	}
	f("512MiB", 512<<20, "")
	f("64 mib", 64<<20, "")
	f("1.5g", 3<<29, "")
	f("2GB", 2e9, "")
	f("1TiB", 1<<40, "")
	f("1t", 1<<40, "")
	f("2TB", 2e12, "")
	f("67108864", 64<<20, "")
	f("1", 0, "is in bytes")
	f("512", 0, "as in 512MiB")
	f("63MiB", 0, "at least 64MiB")
	f("512KB", 0, "at least 64MiB")
	f("0", 0, "use a size")
	f("-1GiB", 0, "use a size")
	f("nan", 0, "use a size")
	f("inf", 0, "use a size")
	f("9999999TiB", 0, "use a size")
	f("1PiB", 0, "use a size")
	f("", 0, "use a size")
}

func TestOnce(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := once(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	f("store s failed: write: write /s/1.log: no space left on device", "store s failed: write /s/1.log: no space left on device")
	f("load lane a: write a.ndjson: write a.ndjson: no space left on device", "load lane a: write a.ndjson: no space left on device")
	f("open store: stat a: no such file or directory", "open store: stat a: no such file or directory")
	f("a: b: a", "a: b: a")
	f("plain", "plain")
}

func TestMeant(t *testing.T) {
	known := []string{"code-diagnosis_code", "unknown-member", "unknown-payer", "claims"}
	f := func(name, want string) {
		t.Helper()
		if want != "" {
			want = `; did you mean "` + want + `"?`
		}
		if got := meant(name, known); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	f("unknown-mebmer", "unknown-member")
	f("Claim", "claims")
	f("diagnosis_code", "code-diagnosis_code")
	f("zebra", "")
	f("", "")
}

func TestMany(t *testing.T) {
	for n, want := range map[int64]string{0: "0 rows", 1: "1 row", 2: "2 rows", 1000: "1,000 rows"} {
		if got := many(n, "row"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestRuleNames checks that no rule that a reject can name is unknown to --rule.
func TestRuleNames(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "rejects.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(doc), "<!-- rules -->")
	if !ok {
		t.Fatal("docs/rejects.md has no table of rules")
	}
	names, n := ruleNames(), 0
	for line := range strings.Lines(table) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			n++
			if name, _, _ := strings.Cut(rest, "`"); name != "unused-COLUMN" && !slices.Contains(names, name) {
				t.Errorf("the rule %s of docs/rejects.md is not known", name)
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d rules were found in docs/rejects.md", n)
	}
}
