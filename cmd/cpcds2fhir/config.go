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
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// storeMemory is how much of the process's memory the embedded store may take: its full need at the
// default size, and the same share of anything smaller.
func storeMemory(memory int64) int64 {
	return min(memory*22/100, storeloader.Memory)
}

// indexMemory is how much of the process's memory the index of a server may take. Its records are small, and each
// is read once a load.
func indexMemory(memory int64) int64 {
	return min(storeMemory(memory), 32<<20)
}

// embeddedMemory is how much of the process's memory a load takes for an embedded store, which is the target, or the
// index of the target.
func embeddedMemory(t target, memory int64) int64 {
	switch t.(type) {
	case storeTarget:
		return storeMemory(memory)
	case serverTarget:
		return indexMemory(memory)
	}
	return 0
}

// batchPieces is how many 4 MB pieces a batch can have in this much memory. With 512 MiB and two
// workers, two pieces make a load into compressed files 12% faster than one: fewer syncs leave a
// CPU idle less often. With 256 MiB, two would make a load into a store a third slower, because too
// little memory is left for the rest.
func batchPieces(memory int64, workers int) int {
	return int(max(1, min(memory/int64(workers)>>27, 4)))
}

// serverPieces is how many 4 MB pieces a batch into a server can have. At the end of a batch a lane waits for
// the last answers and for the index, while the other lane has bundles under way. 16 MB are some 900 claims, in
// 10 bundles. Larger batches are no faster, but with 512 MiB the garbage collector would hardly stop.
func serverPieces(memory int64, workers int) int {
	return int(max(1, min(memory/int64(workers)>>25, 4)))
}

// checkManifest checks before a load that its account can be written at the end.
func checkManifest(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return environmentf("write manifest: %s is not a regular file", path)
	}
	if dir := filepath.Dir(path); folder("", dir) == nil {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return environmentf("write manifest %s: folder %s does not exist", path, dir)
		}
	}
	tmp := path + ".tmp" // written first, then renamed
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(tmp))
}

// idKey reads the key that resource ids are made with: FILE, env:NAME, or the user's own, created
// on first use.
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
		return nil, fmt.Errorf("find the user's configuration folder for the id key (or set --id-key): %w", err)
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
	if err := makeKey(path); err != nil {
		return nil, fmt.Errorf("make id key: %w", err)
	}
	if b, err = os.ReadFile(path); err != nil {
		return nil, fmt.Errorf("read id key: %w", err)
	}
	return identity(b, path)
}

// makeKey makes a file with a random key of 32 bytes in hexadecimal, that only its owner can read, unless it is there.
func makeKey(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) { // another process may have been first
		return nil
	}
	if err != nil {
		return err
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // it never fails
	_, err = fmt.Fprintf(f, "%x\n", key)
	return errors.Join(err, f.Sync(), f.Close())
}

// warnOpenKey warns of a key that other users can read: with it they can test whether an id belongs
// to a member.
func warnOpenKey(path string) {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 {
		fmt.Fprintf(os.Stderr, "warning: other users of this machine can read the id key %s; run chmod 600 on it\n", path)
	}
}

func identity(key []byte, from string) (*fhir.Identity, error) {
	key = []byte(strings.TrimSpace(string(key)))
	if len(key) < 16 {
		return nil, usagef("id key %s: a key needs at least 16 characters", from)
	}
	return fhir.NewIdentity(key), nil
}

// sizeUnits are the suffixes of a size, the longer ones first.
var sizeUnits = []struct {
	suffix string
	bytes  float64
}{{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40}, {"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40}, {"b", 1}}

// roomOf is how much of the process's memory the pages of a lane's row group may take. The row
// groups of most writers need less.
func roomOf(memory int64, workers int) readerRoom {
	const readers = 4 // the readers get one part in four
	share := readers * int64(workers)
	return readerRoom{memory: memory / share, share: share, footer: memory / readers}
}

// leastMemory is the minimum for a load; a smaller number usually lacks its unit.
const leastMemory = 64 << 20

// bytesOf reads 512MiB, 2GB, 1g or plain bytes. ok is false if it is no size.
func bytesOf(s string) (size, unit float64, ok bool) {
	number, unit := strings.ToLower(strings.TrimSpace(s)), 1.0
	for _, u := range sizeUnits {
		if v, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(v), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	size = n * unit
	return size, unit, err == nil && n > 0 && size == size && size < 1<<60
}

// parseSize reads the size of a setting.
func parseSize(key, s string) (int64, error) {
	size, _, ok := bytesOf(s)
	if !ok {
		return 0, usagef("%s %q: use a size such as 4MiB", key, s)
	}
	return int64(size), nil
}

// parseMemory reads a size of at least leastMemory.
func parseMemory(s string) (int64, error) {
	size, unit, ok := bytesOf(s)
	switch {
	case !ok:
		return 0, usagef("--memory %q: use a size such as 512MiB or 2GiB", s)
	case size < leastMemory && unit == 1:
		return 0, usagef("--memory %q is in bytes, and at least 64MiB is needed; add a unit such as KiB, MiB, GiB or TiB, as in 512MiB", s)
	case size < leastMemory:
		return 0, usagef("--memory %q: at least 64MiB is needed", s)
	}
	return int64(size), nil
}

// mostWorkers is more than any machine can use: each worker has its own buffers.
const mostWorkers = 256

func checkWorkers(n int) error {
	if n < 1 || n > mostWorkers {
		return usagef("--workers %d: use 1 to %d; more workers than CPUs do not help", n, mostWorkers)
	}
	return nil
}

// parseBudget reads N or P%.
func parseBudget(s string) (batchrun.Budget, error) {
	if s == "" {
		return batchrun.Budget{}, nil
	}
	if p, ok := strings.CutSuffix(s, "%"); ok {
		v, err := strconv.ParseFloat(p, 64)
		if err != nil || v < 0 || v > 100 {
			return batchrun.Budget{}, usagef("--max-rejects %q: use a number or a percentage such as 5%%", s)
		}
		if v == 0 {
			return batchrun.Budget{Set: true}, nil
		}
		return batchrun.Budget{Set: true, Share: v / 100}, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return batchrun.Budget{}, usagef("--max-rejects %q: use a number or a percentage such as 5%%", s)
	}
	return batchrun.Budget{Set: true, Count: n}, nil
}

// exampleSystem returns a system in an example domain, or "".
func exampleSystem(s layouts.Systems) string {
	for _, system := range []string{s.Claim, s.Member, s.UniqueMember, s.Provider, s.Organization, s.Payer, s.Coverage} {
		if u, err := url.Parse(system); err == nil && (u.Host == "example.org" || strings.HasSuffix(u.Host, ".example.org") || u.Host == "example.com") {
			return system
		}
	}
	return ""
}
