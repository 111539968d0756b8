package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

const defaultTarget = "store:./fhir-store"

// target is where resources go: store:DIR or ndjson:DIR?compress=zstd.
type target struct {
	kind     string
	dir      string
	compress string
}

func parseTarget(s string) (target, error) {
	kind, rest, ok := strings.Cut(s, ":")
	dir, query, _ := strings.Cut(rest, "?")
	t := target{kind: kind, dir: dir}
	if !ok || dir == "" || kind != "store" && kind != "ndjson" {
		return t, usagef("--to %q: use store:DIR or ndjson:DIR[?compress=zstd|gzip]", s)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return t, usagef("--to %q: %s", s, err)
	}
	for k, v := range values {
		if kind != "ndjson" || k != "compress" {
			return t, usagef("--to %q: %s has no option %q", s, kind, k)
		}
		t.compress = v[len(v)-1]
	}
	switch t.compress {
	case "", "zstd", "gzip":
	default:
		return t, usagef("--to %q: compress is zstd or gzip", s)
	}
	return t, nil
}

func (t target) String() string {
	if t.compress != "" {
		return t.kind + ":" + t.dir + "?compress=" + t.compress
	}
	return t.kind + ":" + t.dir
}

// state is the folder of what the program remembers of a target.
func (t target) state(flag string) string {
	if flag != "" {
		return flag
	}
	return filepath.Clean(t.dir) + ".state"
}

// idKey reads the key from which resource ids are made: FILE, env:NAME, or the
// user's own, which is created on first use.
func idKey(flag string) (*fhir.Identity, error) {
	if name, ok := strings.CutPrefix(flag, "env:"); ok {
		v := os.Getenv(name)
		if v == "" {
			return nil, usagef("--id-key: the environment variable %s is empty", name)
		}
		return identity([]byte(v), flag)
	}
	if flag != "" {
		b, err := os.ReadFile(flag)
		if err != nil {
			return nil, fmt.Errorf("read --id-key: %w", err)
		}
		return identity(b, flag)
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("find the user's configuration folder for the id key (or give --id-key): %w", err)
	}
	path := filepath.Join(dir, "cpcds2fhir", "id-key")
	b, err := os.ReadFile(path)
	if err == nil {
		return identity(b, path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read id key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make id key: %w", err)
	}
	key := []byte(rand.Text() + rand.Text() + "\n")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) { // another process was first
		return idKey("")
	}
	if err != nil {
		return nil, fmt.Errorf("make id key: %w", err)
	}
	if _, err := f.Write(key); err != nil {
		return nil, errors.Join(fmt.Errorf("make id key: %w", err), f.Close())
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("make id key: %w", err)
	}
	return identity(key, path)
}

func identity(key []byte, from string) (*fhir.Identity, error) {
	key = []byte(strings.TrimSpace(string(key)))
	if len(key) < 16 {
		return nil, usagef("id key %s: a key has at least 16 characters", from)
	}
	return fhir.NewIdentity(key), nil
}

// parseSize reads 512MiB, 2GB, 1g or plain bytes.
func parseSize(s string) (int64, error) {
	lower := strings.ToLower(strings.TrimSpace(s))
	unit := int64(1)
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"b", 1}} {
		if v, ok := strings.CutSuffix(lower, u.suffix); ok {
			lower, unit = strings.TrimSpace(v), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(lower, 64)
	if err != nil || n <= 0 {
		return 0, usagef("--memory %q: use a size such as 512MiB or 2GiB", s)
	}
	return int64(n * float64(unit)), nil
}

// parseBudget reads N or P%.
func parseBudget(s string) (pipeline.Budget, error) {
	if s == "" {
		return pipeline.Budget{}, nil
	}
	if p, ok := strings.CutSuffix(s, "%"); ok {
		v, err := strconv.ParseFloat(p, 64)
		if err != nil || v < 0 || v > 100 {
			return pipeline.Budget{}, usagef("--max-rejects %q: use a number or a share such as 5%%", s)
		}
		if v == 0 {
			return pipeline.Budget{Set: true}, nil
		}
		return pipeline.Budget{Set: true, Share: v / 100}, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return pipeline.Budget{}, usagef("--max-rejects %q: use a number or a share such as 5%%", s)
	}
	return pipeline.Budget{Set: true, Count: n}, nil
}
