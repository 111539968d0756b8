package main

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// serverBench compares ways to load an extract into a FHIR server. Before each run it deletes what the run
// before has put: a new index of a server that has resources asks for each of its own first, which the plain
// program does not. Each run has an id key of its own, so that it creates all resources anew.
type serverBench struct {
	*session
	extract string
	url     string
	what    string // the server, in words
}

// scriptShare is the part of the claims that the script is given: it is slow.
const scriptShare = 10

// serversMeasure loads into the server of --fhir-server, or into one in memory that takes its time.
func serversMeasure(s *session) ([]result, error) {
	small := *s
	small.claims = s.serverClaims
	extract, err := small.extract(small.claims)
	if err != nil {
		return nil, err
	}
	b := &serverBench{session: &small, extract: extract, url: s.fhirServer, what: "the server at " + s.fhirServer}
	if b.url == "" {
		p, err := s.startServer(true, `^(127\.0\.0\.1:\d+)$`, "http://", s.self, "floor", "fhir-server", filepath.Join(s.work, "floor"), "-")
		if err != nil {
			return nil, err
		}
		defer p.kill()
		b.url = p.url + "/fhir"
		b.what = fmt.Sprintf("a server in memory that works on %d requests at once, %s for each entry", serverAtOnce, serverEntry)
	}
	return b.results()
}

func (b *serverBench) results() (list []result, err error) {
	// The bundles of another session tell nothing of this server.
	if err := os.RemoveAll(b.bundles()); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.clean()) }()
	best, tried, err := b.bestConcurrency()
	if err != nil {
		return nil, err
	}
	ours, plain, err := b.alternate(b.ours(), b.plain(best))
	if err != nil {
		return nil, err
	}
	resources, err := countLines(filepath.Join(b.work, "server-ndjson"))
	if err != nil {
		return nil, err
	}
	rate := float64(resources) / medianOf(ours, wall)
	cpu := func(c cost) float64 { return c.CPU / c.Wall / float64(runtime.NumCPU()) * 100 }
	list = []result{
		{Name: "rate of a plain program's", Value: ratio(ours, plain, wall) * 100, Bar: 95, Unit: "%",
			Detail: fmt.Sprintf("%d resources: load %s, %.0f resources/s; plain program with %d requests at once %s (%s); into %s",
				resources, b.rate(ours), rate, best, b.rate(plain), tried, b.what)},
		{Name: "own CPU of all CPUs' time", Value: medianOf(ours, cpu), Bar: 20, Unit: "%", Least: true,
			Detail: fmt.Sprintf("the plain program, which maps nothing, %.1f%%", medianOf(plain, cpu))},
	}
	script, err := b.script()
	var skip *skipError
	switch {
	case errors.As(err, &skip):
		fmt.Fprintf(os.Stderr, "   without the script: %s\n", skip.why)
		return list, nil
	case err != nil:
		return nil, err
	}
	return append(list, result{Name: "faster than a script with one PUT each", Value: rate / script, Bar: 2, Unit: "x",
		Detail: fmt.Sprintf("the script puts %.0f resources/s of a %dth of the claims", script, scriptShare)}), nil
}

// bestConcurrency warms up the server and finds the fixed concurrency with which the plain program is fastest.
func (b *serverBench) bestConcurrency() (best int, tried string, err error) {
	for range 2 {
		if _, err := b.plain(4).once(); err != nil {
			return 0, "", err
		}
	}
	least := 0.0
	for _, n := range []int{8, 4, 2, 1} { // a server that still gets warmer would favour the last
		c, err := b.plain(n).once()
		if err != nil {
			return 0, "", err
		}
		if best == 0 || c.Wall < least {
			best, least = n, c.Wall
		}
		tried += fmt.Sprintf(", %d: %.1f s", n, c.Wall)
	}
	return best, "tried" + strings.TrimPrefix(tried, ","), nil
}

// alternate runs two sides in turn. Which one is first changes, because the server grows.
func (b *serverBench) alternate(x, y side) (xs, ys []cost, err error) {
	for i := range b.runs {
		order := []struct {
			side
			to *[]cost
		}{{x, &xs}, {y, &ys}}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, o := range order {
			c, err := o.once()
			if err != nil {
				return nil, nil, err
			}
			*o.to = append(*o.to, c)
		}
	}
	return xs, ys, nil
}

// prepare deletes what the run before has put, and makes the resources of an extract under another id key, in
// files and in bundles.
func (b *serverBench) prepare(extract string) error {
	if err := b.clean(); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(b.target()+".state"), os.RemoveAll(b.files()), os.RemoveAll(b.files()+".state"), os.RemoveAll(b.bundles())); err != nil {
		return err
	}
	if err := os.WriteFile(b.key(), []byte(rand.Text()), 0o600); err != nil {
		return err
	}
	if _, err := b.time(b.program, "load", "--quiet", "--id-key", b.key(), "--to", "ndjson:"+b.files(), extract); err != nil {
		return err
	}
	_, err := b.time(b.self, "floor", "fhir-pack", b.bundles(), b.files())
	return err
}

// clean deletes from the server what the last run has put.
func (b *serverBench) clean() error {
	if _, err := os.Stat(b.bundles()); err != nil {
		return nil //nolint:nilerr // there was no run
	}
	_, err := b.time(b.self, "floor", "fhir-delete", b.bundles(), b.url)
	return errors.Join(err, os.RemoveAll(b.bundles()))
}

func (b *serverBench) key() string     { return filepath.Join(b.work, "server-key") }
func (b *serverBench) files() string   { return filepath.Join(b.work, "server-ndjson") }
func (b *serverBench) bundles() string { return filepath.Join(b.work, "server-bundles") }

// ours is a load by cpcds2fhir.
func (b *serverBench) ours() side {
	return side{
		before: func() error { return b.prepare(b.extract) },
		run: func() (cost, error) {
			return b.time(b.program, "load", "--quiet", "--id-key", b.key(), "--to", "fhir:"+b.url, "--state", b.target()+".state", b.extract)
		},
	}
}

// plain is the plain program, whose bundles were made before.
func (b *serverBench) plain(atOnce int) side {
	return side{
		before: func() error { return b.prepare(b.extract) },
		run: func() (cost, error) {
			return b.time(b.self, "floor", "fhir-post", b.bundles(), b.url, fmt.Sprint(atOnce))
		},
	}
}

// script returns how many resources the Python script puts in a second.
func (b *serverBench) script() (rate float64, err error) {
	python, err := b.python("requests")
	if err != nil {
		return 0, err
	}
	few := *b.session
	few.claims = b.claims / scriptShare
	extract, err := few.extract(few.claims)
	if err != nil {
		return 0, err
	}
	if err := b.prepare(extract); err != nil {
		return 0, err
	}
	var complaint bytes.Buffer
	c := exec.CommandContext(b.ctx, python, "bench/peers/fhir_put.py", b.files(), b.url) //nolint:gosec // the script of this repository
	c.Stderr = &complaint
	out, err := c.Output()
	if err != nil {
		return 0, fmt.Errorf("fhir_put.py: %w\n%s", err, &complaint)
	}
	var put, seconds float64
	if _, err := fmt.Sscan(string(out), &put, &seconds); err != nil {
		return 0, fmt.Errorf("fhir_put.py: %w", err)
	}
	return put / seconds, nil
}

// countLines counts the resources of a folder of NDJSON files.
func countLines(dir string) (n int, err error) {
	for _, typ := range serverTypes {
		paths, err := filepath.Glob(filepath.Join(dir, typ, "part-*"))
		if err != nil {
			return 0, err
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return 0, err
			}
			n += bytes.Count(text, []byte("\n"))
		}
	}
	return n, nil
}

// fhirServerOf is the URL of the flag, or of the environment.
func fhirServerOf(flag string) string {
	return strings.TrimSuffix(cmp.Or(flag, os.Getenv("FHIR_SERVER")), "/")
}
