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
	ctx    context.Context //nolint:containedctx // lives as long as the program
	claims int
	runs   int
	work   string
	large  bool

	fhirServer   string // URL of the server of measure 18; "" is one in memory
	serverClaims int    // of measure 18

	program  string            // path of cpcds2fhir
	self     string            // path of this program, which runs the floors
	extracts map[string]string // folder by the flags of synth
	began    time.Time
}

// skipError says why a measure cannot be taken here.
type skipError struct{ why string }

func (e *skipError) Error() string { return e.why }

// prepare builds cpcds2fhir, so that the code in the working tree is what is measured.
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

// extract returns the folder of a synthetic extract and generates the extract if it does not
// exist yet.
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
	fmt.Fprintf(os.Stderr, "   generating an extract of %d claims %s\n", claims, strings.Join(flags, " "))
	args := append([]string{"synth", "--claims", fmt.Sprint(claims), "--out", dir}, flags...)
	if _, err := s.time(s.program, args...); err != nil {
		return "", err
	}
	return dir, os.WriteFile(done, nil, 0o600)
}

// cost is the time and memory that a process used.
type cost struct {
	Wall float64 // seconds
	CPU  float64 // seconds, total of all threads
	RSS  int64   // peak, in bytes
}

// command is a program with the id key of the benchmarks.
func (s *session) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(s.work, "config"))
	return c
}

// time runs a program until it exits and measures the whole process.
func (s *session) time(program string, args ...string) (cost, error) {
	var complaint bytes.Buffer
	c := s.command(s.ctx, program, args...)
	c.Stderr = &complaint
	start := time.Now()
	err := c.Run()
	wall := time.Since(start).Seconds()
	if err != nil {
		return cost{}, fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, &complaint)
	}
	used, err := costOf(c.ProcessState)
	used.Wall = wall
	return used, err
}

// costOf is what a process used that has ended, without its time.
func costOf(p *os.ProcessState) (cost, error) {
	usage, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return cost{}, errors.New("this system does not report the resources that a process used")
	}
	rss := usage.Maxrss
	if runtime.GOOS == "linux" {
		rss <<= 10
	}
	return cost{CPU: (p.UserTime() + p.SystemTime()).Seconds(), RSS: rss}, nil
}

// side is one of two programs that are compared. before gives every run the same starting
// conditions and is not measured.
type side struct {
	before func() error
	run    func() (cost, error)
}

// pairs runs two programs alternately, after one warm-up run of each, and returns the costs
// of the pairs. With a single pair of runs there is no warm-up.
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

// target is the folder of the target of a run.
func (s *session) target() string { return filepath.Join(s.work, "target") }

// clear removes the target of the run before.
func (s *session) clear() error {
	return errors.Join(os.RemoveAll(s.target()), os.RemoveAll(s.target()+".state"), syncDisk())
}

// load is a load into a new target.
func (s *session) load(extract, kind string, flags ...string) side {
	dir := s.target()
	to := kind + ":" + dir
	if kind == "zstd" {
		to = "ndjson:" + dir + "?compress=zstd"
	}
	return side{
		before: s.clear,
		run: func() (cost, error) {
			return s.time(s.program, append([]string{"load", "--quiet", "--to", to, extract}, flags...)...)
		},
	}
}

// floor is a run of one of the floor programs.
func (s *session) floor(name string, args ...string) side {
	dir := filepath.Join(s.work, "floor")
	return side{
		before: func() error { return errors.Join(os.RemoveAll(dir), syncDisk()) },
		run:    func() (cost, error) { return s.time(s.self, append([]string{"floor", name, dir}, args...)...) },
	}
}

// syncDisk waits until all earlier writes are on disk, so that no run pays for the writes of
// another.
func syncDisk() error {
	syscall.Sync()
	return nil
}

// ratio is the median of the pairs' ratios: how many times faster a is than b.
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

// size returns the total size of the files below a folder whose names match the pattern.
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

// rounds is how many times a Go benchmark is run for each pair of runs of other measures.
// Each round is short and runs all benchmarks that are compared, so that a slow moment of the
// machine cannot affect all rounds of any one of them.
const rounds = 5

// benchmark runs the Go benchmarks of a package and returns the nanoseconds and allocations
// per operation, by name.
func (s *session) benchmark(pkg, pattern string) (ns, allocs map[string]float64, err error) {
	program := filepath.Join(s.work, filepath.Base(pkg)+".test")
	if out, err := exec.CommandContext(s.ctx, "go", "test", "-c", "-o", program, pkg).CombinedOutput(); err != nil { //nolint:gosec // the names are fixed in this program
		return nil, nil, fmt.Errorf("go test -c %s: %w\n%s", pkg, err, out)
	}
	all := map[string][]float64{}
	allocs = map[string]float64{}
	for range rounds * s.runs {
		c := exec.CommandContext(s.ctx, program, "-test.run", "^$", "-test.bench", pattern, "-test.benchmem", "-test.benchtime", "200ms") //nolint:gosec // as above
		c.Dir, c.Stderr = pkg, os.Stderr
		out, err := c.Output()
		if err != nil {
			return nil, nil, fmt.Errorf("benchmarks %s of %s: %w", pattern, pkg, err)
		}
		addBenchmarks(string(out), all, allocs)
	}
	ns = map[string]float64{}
	for name, list := range all {
		ns[name] = slices.Min(list) // other work on the machine can only slow a benchmark down
	}
	return ns, allocs, nil
}

// addBenchmarks parses the output of Go benchmarks and adds the figures to the maps.
func addBenchmarks(out string, ns map[string][]float64, allocs map[string]float64) {
	for line := range strings.Lines(out) {
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
				ns[name] = append(ns[name], v)
			case "allocs/op":
				allocs[name] = max(allocs[name], v)
			}
		}
	}
}

// readJSON reads a JSON file.
func readJSON(path string, to any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}
