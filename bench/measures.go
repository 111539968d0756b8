package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// measure is one numbered section of RESULTS.md.
type measure struct {
	number int
	name   string
	take   func(*session) ([]result, error)
}

// result is one figure and the bar that it is compared with.
type result struct {
	Measure int     `json:"measure"`
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Bar     float64 `json:"bar"`
	Unit    string  `json:"unit"`            // of value and bar: x, %, MiB, ms, bytes
	Least   bool    `json:"least,omitempty"` // smaller is better: the bar is an upper limit
	Detail  string  `json:"detail"`          // the absolute figures on this machine
}

func (r *result) meets() bool {
	if r.Least {
		return r.Value <= r.Bar
	}
	return r.Value >= r.Bar
}

var measures = []measure{
	{1, "load to NDJSON, against decoding the columns and writing the bytes", floorMeasure("ndjson", 60)},
	{2, "load to NDJSON with zstd, against the same with the same compression", floorMeasure("zstd", 75)},
	{3, "load into the store, against Pebble taking the same keys and bytes", storeMeasure},
	{4, "mapping and encoding, against google/fhir protos and jsonformat", googleMeasure},
	{5, "rules on, against rules off", rulesMeasure},
	{6, "load to NDJSON, against DuckDB making the resources in SQL", duckMeasure},
	{7, "two workers, against one", workersMeasure},
	{8, "peak memory", memoryMeasure},
	{9, "the shuffle: lines in random order, tables apart", shuffleMeasure},
	{10, "the same extract again, against the first load into the store", againMeasure},
	{11, "start", startMeasure},
	{12, "load of CSV, against encoding/csv splitting the fields", csvMeasure},
	{13, "nested and typed Parquet, against flat text", formsMeasure},
	{14, "stream from Kafka, against reading the messages and scanning their JSON", streamMeasure},
	{15, "API, against a handler that writes the same bytes from memory", apiMeasure},
	{16, "API with tokens of its authorization server, against the same without", authorizationMeasure},
	{17, "API beside the developers' portal, against the same without", portalMeasure},
	{18, "load into a FHIR server, against a plain program that posts the same bundles", serversMeasure},
}

// floorMeasure compares a load into files with its floor, in percent of the floor's rate.
func floorMeasure(kind string, bar float64) func(*session) ([]result, error) {
	return func(s *session) ([]result, error) {
		extract, err := s.extract(s.claims)
		if err != nil {
			return nil, err
		}
		share, detail, err := s.shareOfFloor(kind, extract)
		if err != nil {
			return nil, err
		}
		return []result{{Name: "rate of the floor's", Value: share, Bar: bar, Unit: "%", Detail: detail}}, nil
	}
}

// shareOfFloor returns the rate of a load of the extract in percent of the floor's rate.
func (s *session) shareOfFloor(kind, extract string) (share float64, detail string, err error) {
	written, sample, err := s.output(extract)
	if err != nil {
		return 0, "", err
	}
	ours, floor, err := s.pairs(s.load(extract, kind), s.floor(kind, extract, fmt.Sprint(written), sample))
	if err != nil {
		return 0, "", err
	}
	return ratio(ours, floor, wall) * 100, fmt.Sprintf("load %s, floor %s, %.1f GB of JSON", s.rate(ours), s.rate(floor), float64(written)/1e9), nil
}

// rate describes runs by their median time, claims per second, CPU time and memory.
func (s *session) rate(cs []cost) string {
	return fmt.Sprintf("%.1f s (%.0f claims/s, %.1f s of CPU, %d MiB)", medianOf(cs, wall), float64(s.claims)/medianOf(cs, wall),
		medianOf(cs, func(c cost) float64 { return c.CPU }), int64(medianOf(cs, func(c cost) float64 { return float64(c.RSS) }))>>20)
}

// output loads the extract once. It returns the number of bytes of JSON that the load writes,
// and the path of a file with the first of them.
func (s *session) output(extract string) (written int64, sample string, err error) {
	sample = filepath.Join(s.work, "sample.ndjson")
	target := filepath.Join(s.work, "target")
	x := s.load(extract, "ndjson")
	if err := x.before(); err != nil {
		return 0, "", err
	}
	if _, err := x.run(); err != nil {
		return 0, "", err
	}
	if written, err = size(target, "part-*"); err != nil {
		return 0, "", err
	}
	parts, err := filepath.Glob(filepath.Join(target, "ExplanationOfBenefit", "part-*"))
	if err != nil || len(parts) == 0 {
		return 0, "", fmt.Errorf("the load wrote no claims: %w", err)
	}
	return written, sample, copyStart(sample, parts[0], 128<<20)
}

// copyStart copies the beginning of a file without reading it into memory. This program must
// stay small, because the reported peak memory of a process is at least the memory that its
// parent had when the process started.
func copyStart(to, from string, bytes int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, bytes))
	return errors.Join(err, out.Close())
}

func storeMeasure(s *session) ([]result, error) {
	extract, err := s.extract(s.claims)
	if err != nil {
		return nil, err
	}
	written, _, err := s.output(extract)
	if err != nil {
		return nil, err
	}
	load := s.load(extract, "store")
	if err := load.before(); err != nil {
		return nil, err
	}
	if _, err := load.run(); err != nil {
		return nil, err
	}
	keys, err := exec.CommandContext(s.ctx, s.self, "floor", "count", filepath.Join(s.work, "target"), "").Output() //nolint:gosec // runs this program itself
	if err != nil {
		return nil, err
	}
	ours, floor, err := s.pairs(load, s.floor("pebble", append([]string{fmt.Sprint(written/batch + 1)}, strings.Fields(string(keys))...)...))
	if err != nil {
		return nil, err
	}
	return []result{{Name: "rate of raw Pebble's", Value: ratio(ours, floor, wall) * 100, Bar: 65, Unit: "%",
		Detail: fmt.Sprintf("load %s, Pebble %s", s.rate(ours), s.rate(floor))}}, nil
}

func googleMeasure(s *session) ([]result, error) {
	ns, allocs, err := s.benchmark("./mappers", "Map$|GoogleFHIR$")
	if err != nil {
		return nil, err
	}
	var list []result
	for name, ours := range ns {
		profile, ok := strings.CutPrefix(name, "BenchmarkMap/")
		google := ns["BenchmarkGoogleFHIR/"+profile]
		if !ok || google == 0 {
			continue
		}
		list = append(list,
			result{Name: profile, Value: google / ours, Bar: 300, Unit: "x", Detail: fmt.Sprintf("%.1f us, google/fhir %.0f us", ours/1e3, google/1e3)},
			result{Name: profile + ", allocations", Value: allocs[name], Bar: 0, Unit: "allocations", Least: true})
	}
	return sorted(list), nil
}

func rulesMeasure(s *session) ([]result, error) {
	ns, _, err := s.benchmark("./pipeline/batchrun", "Rules$")
	if err != nil {
		return nil, err
	}
	on, off := ns["BenchmarkRules/on"], ns["BenchmarkRules/off"]
	return []result{{Name: "rate of that without rules", Value: off / on * 100, Bar: 100 / 1.15, Unit: "%", // the rules make it at most 15% slower
		Detail: fmt.Sprintf("%.1f us per claim with rules, %.1f us without; includes decoding, mapping and encoding, without writing", on/1e3, off/1e3)}}, nil
}

func duckMeasure(s *session) ([]result, error) {
	python, err := s.duckdb()
	if err != nil {
		return nil, err
	}
	eighth := *s
	eighth.claims = s.claims / 8 // the peer would take minutes for all claims
	s = &eighth
	extract, err := s.extract(s.claims)
	if err != nil {
		return nil, err
	}
	var list []result
	for _, form := range []struct {
		name string
		bar  float64
	}{{"concat", 12}, {"struct", 30}} {
		peer := s.floor("", "")
		out := filepath.Join(s.work, "floor")
		peer.run = func() (cost, error) {
			if err := os.MkdirAll(out, 0o700); err != nil {
				return cost{}, err
			}
			return s.time(python, "bench/peers/duckdb_eob.py", form.name, extract, out)
		}
		ours, theirs, err := s.pairs(s.load(extract, "ndjson"), peer)
		if err != nil {
			return nil, err
		}
		bytes, err := size(out, "*")
		if err != nil {
			return nil, err
		}
		written, err := size(filepath.Join(s.work, "target"), "part-*")
		if err != nil {
			return nil, err
		}
		list = append(list, result{Name: form.name, Value: ratio(ours, theirs, wall), Bar: form.bar, Unit: "x",
			Detail: fmt.Sprintf("load %s, %.1f GB; DuckDB %s, %.1f GB", s.rate(ours), float64(written)/1e9, s.rate(theirs), float64(bytes)/1e9)})
	}
	return list, nil
}

// duckdb returns a Python that has DuckDB.
func (s *session) duckdb() (string, error) { return s.python("duckdb") }

// python returns a Python that has a package, and installs it if necessary.
func (s *session) python(name string) (string, error) {
	env := filepath.Join(s.work, "python")
	python := filepath.Join(env, "bin", "python")
	if exec.CommandContext(s.ctx, python, "-c", "import "+name).Run() == nil { //nolint:gosec // the names are fixed in this program
		return python, nil
	}
	for _, step := range [][]string{{"python3", "-m", "venv", env}, {python, "-m", "pip", "install", "--quiet", name}} {
		if out, err := exec.CommandContext(s.ctx, step[0], step[1:]...).CombinedOutput(); err != nil { //nolint:gosec // fixed commands
			return "", &skipError{fmt.Sprintf("the package %s of Python cannot be installed: %s: %s", name, err, out)}
		}
	}
	return python, nil
}

func workersMeasure(s *session) ([]result, error) {
	extract, err := s.extract(s.claims)
	if err != nil {
		return nil, err
	}
	// One worker gets half the memory, so that both loads have batches of the same size.
	two, one, err := s.pairs(s.load(extract, "zstd", "--workers", "2"), s.load(extract, "zstd", "--workers", "1", "--memory", "256MiB"))
	if err != nil {
		return nil, err
	}
	return []result{{Name: "faster", Value: ratio(two, one, wall), Bar: 1.8, Unit: "x", Detail: fmt.Sprintf("two %s, one %s", s.rate(two), s.rate(one))}}, nil
}

func memoryMeasure(s *session) ([]result, error) {
	sizes := []int{s.claims}
	if s.large {
		sizes = append(sizes, 10*s.claims, 50*s.claims)
	}
	var list []result
	least, most := 0.0, 0.0
	for _, claims := range sizes {
		extract, err := s.extract(claims)
		if err != nil {
			return nil, err
		}
		x := s.load(extract, "zstd")
		if err := x.before(); err != nil {
			return nil, err
		}
		c, err := x.run()
		if err != nil {
			return nil, err
		}
		mib := float64(c.RSS) / (1 << 20)
		if least == 0 {
			least = mib
		}
		least, most = min(least, mib), max(most, mib)
		list = append(list, result{Name: fmt.Sprintf("%d claims", claims), Value: mib, Bar: 512, Unit: "MiB", Least: true,
			Detail: fmt.Sprintf("%.0f s, %.0f claims/s", c.Wall, float64(claims)/c.Wall)})
	}
	if s.large {
		list = append(list, result{Name: "most against least", Value: (most/least - 1) * 100, Bar: 10, Unit: "%", Least: true})
	}
	return list, nil
}

func againMeasure(s *session) ([]result, error) {
	extract, err := s.extract(s.claims)
	if err != nil {
		return nil, err
	}
	first := s.load(extract, "store")
	again := s.load(extract, "store")
	again.before = syncDisk // the first load of the pair has just finished
	firsts, repeats, err := s.pairs(first, again)
	if err != nil {
		return nil, err
	}
	return []result{{Name: "faster", Value: ratio(repeats, firsts, wall), Bar: 3, Unit: "x", Detail: fmt.Sprintf("first %s, again %s", s.rate(firsts), s.rate(repeats))}}, nil
}

func csvMeasure(s *session) ([]result, error) {
	extract, err := s.extract(s.claims, "--format", "csv")
	if err != nil {
		return nil, err
	}
	ours, floor, err := s.pairs(s.load(extract, "zstd"), s.floor("csv", extract))
	if err != nil {
		return nil, err
	}
	return []result{{Name: "rate of encoding/csv's", Value: ratio(ours, floor, wall), Bar: 1, Unit: "x", Detail: fmt.Sprintf("load %s, encoding/csv %s", s.rate(ours), s.rate(floor))}}, nil
}
