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

	storeloader "cpcds2fhir/loaders/store"
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

// parseTarget reads the target that a flag names.
func parseTarget(s string) (target, error) {
	return parseTargetOf("--to", s, "store:DIR or ndjson:DIR[?compress=zstd|gzip]")
}

// parseTargetOf says of a wrong target which argument it is, and its form.
func parseTargetOf(what, s, form string) (target, error) {
	kind, rest, ok := strings.Cut(s, ":")
	dir, query, _ := strings.Cut(rest, "?")
	t := target{kind: kind, dir: dir}
	if !ok || dir == "" || kind != "store" && kind != "ndjson" {
		return t, usagef("%s %q: use %s", what, s, form)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return t, usagef("%s %q: %s", what, s, err)
	}
	for k, v := range values {
		if kind != "ndjson" || k != "compress" {
			return t, usagef("%s %q: %s has no option %q", what, s, kind, k)
		}
		t.compress = v[len(v)-1]
	}
	switch t.compress {
	case "", "zstd", "gzip":
	default:
		return t, usagef("%s %q: compress is zstd or gzip", what, s)
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

// check says in plain words that the target or its state cannot be folders.
func (t target) check(state string) error {
	if err := folder("target "+t.String(), t.dir); err != nil {
		return err
	}
	return folder("state folder "+state, state)
}

// folder refuses a path that is a file or lies below one.
func folder(what, path string) error {
	for p := filepath.Clean(path); ; p = filepath.Dir(p) {
		info, err := os.Stat(p)
		if err == nil && !info.IsDir() {
			return environmentf("%s: %s is a file, not a folder", what, p)
		}
		if err == nil || p == filepath.Dir(p) {
			return nil
		}
	}
}

// storeMemory is what the embedded store may take of the memory of the process: all that
// it can use of the default, and of less the same share.
func storeMemory(memory int64) int64 {
	return min(memory*22/100, storeloader.Memory)
}

// batchPieces is how many pieces of 4 MB a batch has, for which so much memory has room.
// With 512 MiB and two workers two take 12% less time into compressed files than one: the
// fewer syncs, the less a CPU idles with a goroutine that waits for the disk. With 256 MiB two
// would take a third more time into a store, as they leave too little memory for the rest.
func batchPieces(memory int64, workers int) int {
	return int(max(1, min(memory/int64(workers)>>27, 4)))
}

// foreign refuses an NDJSON folder that holds something and was not written by a
// load: run.json in the state folder says that it was.
func (t target) foreign(state string) error {
	entries, err := os.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(state, "run.json")); err == nil {
		return nil
	}
	for _, e := range entries {
		if filepath.Join(t.dir, e.Name()) != filepath.Clean(state) {
			return environmentf("folder %s is not empty and not from an earlier load; name an empty folder or a new one", t.dir)
		}
	}
	return nil
}

// checkManifest finds out before a load whether its account can be written at the
// end.
func checkManifest(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return environmentf("write manifest: %s is no file that can be replaced", path)
	}
	if dir := filepath.Dir(path); folder("", dir) == nil {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return environmentf("write manifest %s: there is no folder %s", path, dir)
		}
	}
	tmp := path + ".tmp" // the name it has at first
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(tmp))
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
		warnOpenKey(flag)
		return identity(b, flag)
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("find the user's configuration folder for the id key (or give --id-key): %w", err)
	}
	path := filepath.Join(dir, "cpcds2fhir", "id-key")
	b, err := os.ReadFile(path)
	if err == nil {
		warnOpenKey(path)
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

// warnOpenKey tells of a key that other users can read: with it they can test
// whether an id belongs to a member.
func warnOpenKey(path string) {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 {
		fmt.Fprintf(os.Stderr, "warning: every user of this machine can read the id key %s: chmod 600 it\n", path)
	}
}

func identity(key []byte, from string) (*fhir.Identity, error) {
	key = []byte(strings.TrimSpace(string(key)))
	if len(key) < 16 {
		return nil, usagef("id key %s: a key has at least 16 characters", from)
	}
	return fhir.NewIdentity(key), nil
}

// sizeUnits are the ends of a size; the longer stand first.
var sizeUnits = []struct {
	suffix string
	bytes  float64
}{{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40}, {"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40}, {"b", 1}}

// leastMemory is what a load cannot do without; less is a forgotten unit.
const leastMemory = 64 << 20

// parseMemory reads 512MiB, 2GB, 1g or plain bytes.
func parseMemory(s string) (int64, error) {
	number, unit := strings.ToLower(strings.TrimSpace(s)), 1.0
	for _, u := range sizeUnits {
		if v, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(v), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	size := n * unit
	switch {
	case err != nil || n <= 0 || size != size || size >= 1<<60:
		return 0, usagef("--memory %q: use a size such as 512MiB or 2GiB", s)
	case size < leastMemory && unit == 1:
		return 0, usagef("--memory %q is a number of bytes, and at least 64MiB are needed; units are KiB, MiB, GiB and TiB, as in 512MiB", s)
	case size < leastMemory:
		return 0, usagef("--memory %q: at least 64MiB are needed", s)
	}
	return int64(size), nil
}

// mostWorkers is more than any machine can use: each worker has buffers of its own.
const mostWorkers = 256

func checkWorkers(n int) error {
	if n < 1 || n > mostWorkers {
		return usagef("--workers %d: at least one, at most %d; more than CPUs do not help", n, mostWorkers)
	}
	return nil
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
