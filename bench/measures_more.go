package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

func shuffleMeasure(s *session) ([]result, error) {
	contiguous, err := s.extract(s.claims)
	if err != nil {
		return nil, err
	}
	scattered, err := s.extract(s.claims, "--grain", "normalised", "--shuffle")
	if err != nil {
		return nil, err
	}
	extractBytes, err := size(scattered, "*.parquet")
	if err != nil {
		return nil, err
	}
	load := s.load(scattered, "zstd")
	var spilled int64
	run := load.run
	load.run = func() (cost, error) {
		stop := make(chan struct{})
		done := make(chan int64)
		go func() { done <- mostBytes(filepath.Join(s.work, "target.state", "spill"), stop) }()
		c, err := run()
		close(stop)
		spilled = max(spilled, <-done)
		return c, err
	}
	ours, base, err := s.pairs(load, s.load(contiguous, "zstd"))
	if err != nil {
		return nil, err
	}
	rss := 0.0
	for _, c := range ours {
		rss = max(rss, float64(c.RSS))
	}
	return []result{
		{Name: "time against the contiguous load", Value: 1 / ratio(ours, base, wall), Bar: 3, Unit: "x", Least: true, Detail: fmt.Sprintf("scattered %s, contiguous %s", s.rate(ours), s.rate(base))},
		{Name: "peak memory under --memory", Value: rss / (1 << 20), Bar: 512, Unit: "MiB", Least: true},
		{Name: "spill against the extract", Value: float64(spilled) / float64(extractBytes), Bar: 1.3, Unit: "x", Least: true, Detail: fmt.Sprintf("%d MB spilled, extract of %d MB", spilled/1e6, extractBytes/1e6)},
	}, nil
}

// mostBytes returns the largest total size that a folder reached before stop was closed.
func mostBytes(dir string, stop <-chan struct{}) (most int64) {
	for {
		if n, err := size(dir, "*"); err == nil {
			most = max(most, n)
		}
		select {
		case <-stop:
			return most
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func startMeasure(s *session) ([]result, error) {
	extract, err := s.extract(2000)
	if err != nil {
		return nil, err
	}
	var firsts, helps []float64
	for range max(5, s.runs) {
		ms, err := s.firstResource(extract)
		if err != nil {
			return nil, err
		}
		firsts = append(firsts, ms)
		help, err := s.time(s.program, "--help")
		if err != nil {
			return nil, err
		}
		helps = append(helps, help.CPU*1e3)
	}
	return []result{
		{Name: "to the first resource on disk", Value: median(firsts), Bar: 150, Unit: "ms", Least: true, Detail: "an extract of 2,000 claims, measured from the start of the process"},
		{Name: "CPU of --help", Value: median(helps), Bar: 30, Unit: "ms", Least: true},
	}, nil
}

// firstResource returns the time from the start of a load until the first file of resources
// is not empty, in milliseconds.
func (s *session) firstResource(extract string) (float64, error) {
	x := s.load(extract, "ndjson")
	if err := x.before(); err != nil {
		return 0, err
	}
	target := filepath.Join(s.work, "target")
	c := s.command(s.ctx, s.program, "load", "--quiet", "--to", "ndjson:"+target, extract)
	start := time.Now()
	if err := c.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		if n, err := size(target, "*part-*"); err == nil && n > 0 {
			ms := float64(time.Since(start).Microseconds()) / 1e3
			return ms, <-ended
		}
		select {
		case err := <-ended:
			return 0, errors.Join(errors.New("the load wrote nothing"), err)
		case <-time.After(200 * time.Microsecond):
		}
	}
}

func formsMeasure(s *session) ([]result, error) {
	flat, err := s.extract(s.claims)
	if err != nil {
		return nil, err
	}
	nested, err := s.extract(s.claims, "--grain", "nested")
	if err != nil {
		return nil, err
	}
	extracts := map[string]string{"nested lists": nested}
	s.addRewritten(extracts, "typed columns", flat, "typed")
	for _, compression := range []string{"none", "snappy", "gzip"} {
		if extracts[compression], err = s.extract(s.claims, "--compression", compression); err != nil {
			return nil, err
		}
	}
	var list []result
	for name, extract := range extracts {
		ours, base, err := s.pairs(s.load(extract, "zstd"), s.load(flat, "zstd"))
		if err != nil {
			return nil, err
		}
		bar := 0.7
		if name == "none" || name == "snappy" || name == "gzip" {
			name, bar = "pages compressed with "+name, 0.75
		}
		list = append(list, result{Name: name, Value: ratio(ours, base, wall), Bar: bar, Unit: "x", Detail: fmt.Sprintf("%s, flat text with zstd %s", s.rate(ours), s.rate(base))})
	}
	others, err := othersMeasure(s, flat)
	return append(sorted(list), others...), err
}

// othersMeasure compares the share of the floor's rate, as in measure 2, on extracts that
// need less or more work per claim with the share on the flat extract.
func othersMeasure(s *session, flat string) ([]result, error) {
	share, _, err := s.shareOfFloor("zstd", flat)
	if err != nil {
		return nil, err
	}
	plain, err := s.extract(s.claims, "--no-dictionary")
	if err != nil {
		return nil, err
	}
	extracts := map[string]string{"share of the floor without dictionaries": plain}
	s.addRewritten(extracts, "share of the floor with other fill rates", flat, "sparse")
	var list []result
	for name, extract := range extracts {
		other, detail, err := s.shareOfFloor("zstd", extract)
		if err != nil {
			return nil, err
		}
		list = append(list, result{Name: name, Value: other / share, Bar: 0.75, Unit: "x", Detail: fmt.Sprintf("%.0f%% against %.0f%%; %s", other, share, detail)})
	}
	return sorted(list), nil
}

// addRewritten adds a rewritten extract under the name of its result, unless DuckDB cannot
// create it.
func (s *session) addRewritten(to map[string]string, name, flat, how string) {
	dir, err := s.rewritten(flat, how)
	if err != nil {
		fmt.Fprintf(os.Stderr, "   %s: skipped: %s\n", name, err)
		return
	}
	to[name] = dir
}

// rewritten creates an extract from another one with DuckDB. "typed" stores dates, amounts and
// numbers in typed columns; "sparse" has half of the values in columns that no rule requires.
func (s *session) rewritten(flat, how string) (string, error) {
	python, err := s.duckdb()
	if err != nil {
		return "", err
	}
	dir := flat + "-" + how
	if _, err := os.Stat(filepath.Join(dir, ".done")); err == nil {
		return dir, nil
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return "", err
	}
	if _, err := s.time(python, "bench/peers/duckdb_"+how+".py", flat, dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, ".done"), nil, 0o600)
}

func sorted(list []result) []result {
	slices.SortFunc(list, func(a, b result) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
