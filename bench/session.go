package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// session is one run of the benchmarks.
type session struct {
	ctx      context.Context //nolint:containedctx // the life of the program
	claims   int
	runs     int
	work     string
	large    bool
	program  string            // cpcds2fhir
	self     string            // this program, for the floors
	extracts map[string]string // folders by the flags of synth
	began    time.Time
}

// skipError says why a measure cannot be taken here.
type skipError struct{ why string }

func (e *skipError) Error() string { return e.why }

// prepare builds the program, so that what is measured is what is in the tree.
func (s *session) prepare() error {
	s.began = time.Now()
	if err := os.MkdirAll(s.work, 0o700); err != nil {
		return err
	}
	var err error
	if s.work, err = filepath.Abs(s.work); err != nil {
		return err
	}
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	s.program = filepath.Join(s.work, "cpcds2fhir")
	build := exec.CommandContext(s.ctx, "go", "build", "-o", s.program, "./cmd/cpcds2fhir")
	build.Stderr = os.Stderr
	return build.Run()
}

// extract returns the folder of a synthetic extract, which is made if it is not
// there.
func (s *session) extract(claims int, flags ...string) (string, error) {
	name := fmt.Sprint(claims, strings.Join(flags, ""))
	dir := filepath.Join(s.work, "extract-"+strings.NewReplacer("-", "", " ", "").Replace(name))
	done := filepath.Join(dir, ".done")
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "   making an extract of %d claims %s\n", claims, strings.Join(flags, " "))
	args := append([]string{"synth", "--claims", fmt.Sprint(claims), "--out", dir}, flags...)
	if _, err := s.time(s.program, args...); err != nil {
		return "", err
	}
	return dir, os.WriteFile(done, nil, 0o600)
}

// cost is what a process took.
type cost struct {
	Wall float64 // seconds
	CPU  float64 // seconds, of all threads
	RSS  int64   // bytes, the peak
}

// time runs a program to its end and measures it as a whole process.
func (s *session) time(program string, args ...string) (cost, error) {
	var complaint bytes.Buffer
	c := exec.CommandContext(s.ctx, program, args...)
	c.Stderr = &complaint
	c.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(s.work, "config"))
	start := time.Now()
	err := c.Run()
	wall := time.Since(start).Seconds()
	if err != nil {
		return cost{}, fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, &complaint)
	}
	usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return cost{}, errors.New("this system does not say what a process took")
	}
	rss := usage.Maxrss
	if runtime.GOOS == "linux" {
		rss <<= 10
	}
	return cost{Wall: wall, CPU: (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds(), RSS: rss}, nil
}

// side is one of two programs that are compared. before makes its runs equal: it is
// not measured.
type side struct {
	before func() error
	run    func() (cost, error)
}

// pairs runs two programs in turn, each once to warm up, and returns the costs of the
// pairs.
func (s *session) pairs(a, b side) (as, bs []cost, err error) {
	for i := range s.runs + 1 {
		for _, x := range []struct {
			side
			to *[]cost
		}{{a, &as}, {b, &bs}} {
			if x.before != nil {
				if err := x.before(); err != nil {
					return nil, nil, err
				}
			}
			c, err := x.run()
			if err != nil {
				return nil, nil, err
			}
			if i > 0 || s.runs == 1 && i == 0 {
				*x.to = append(*x.to, c)
			}
		}
		if s.runs == 1 {
			break
		}
	}
	return as, bs, nil
}

// load is a load into a target that is new.
func (s *session) load(extract, kind string, flags ...string) side {
	dir := filepath.Join(s.work, "target")
	to := kind + ":" + dir
	if kind == "zstd" {
		to = "ndjson:" + dir + "?compress=zstd"
	}
	return side{
		before: func() error { return errors.Join(os.RemoveAll(dir), os.RemoveAll(dir+".state"), settle()) },
		run: func() (cost, error) {
			return s.time(s.program, append([]string{"load", "--quiet", "--to", to, extract}, flags...)...)
		},
	}
}

// floor is a run of one of the floor programs.
func (s *session) floor(name string, args ...string) side {
	dir := filepath.Join(s.work, "floor")
	return side{
		before: func() error { return errors.Join(os.RemoveAll(dir), settle()) },
		run:    func() (cost, error) { return s.time(s.self, append([]string{"floor", name, dir}, args...)...) },
	}
}

// settle has the disk finish what was written before, so that no run pays for
// another.
func settle() error {
	syscall.Sync()
	return nil
}

// ratio is the median of the ratios pair by pair: how much faster a is than b.
func ratio(as, bs []cost, of func(cost) float64) float64 {
	var list []float64
	for i := range as {
		list = append(list, of(bs[i])/of(as[i]))
	}
	return median(list)
}

func wall(c cost) float64 { return c.Wall }

func medianOf(cs []cost, of func(cost) float64) float64 {
	var list []float64
	for _, c := range cs {
		list = append(list, of(c))
	}
	return median(list)
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	if len(list) == 0 {
		return 0
	}
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

// size adds up the files below a folder whose names the pattern matches.
func size(dir, pattern string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if ok, err := filepath.Match(pattern, d.Name()); err != nil || !ok {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	return bytes, err
}

// benchmark runs a Go benchmark of a package and returns nanoseconds and allocations
// by name.
func (s *session) benchmark(pkg, pattern string) (ns, allocs map[string]float64, err error) {
	c := exec.CommandContext(s.ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchmem", "-count", fmt.Sprint(s.runs), pkg)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("go test -bench %s %s: %w", pattern, pkg, err)
	}
	all := map[string][]float64{}
	allocs = map[string]float64{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := f[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
		for i := 2; i+1 < len(f); i += 2 {
			var v float64
			if _, err := fmt.Sscan(f[i], &v); err != nil {
				continue
			}
			switch f[i+1] {
			case "ns/op":
				all[name] = append(all[name], v)
			case "allocs/op":
				allocs[name] = max(allocs[name], v)
			}
		}
	}
	ns = map[string]float64{}
	for name, list := range all {
		ns[name] = slices.Min(list) // what else the machine does can only make it slower
	}
	return ns, allocs, nil
}

// readJSON reads a JSON file.
func readJSON(path string, to any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}
