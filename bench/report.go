package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func (r *result) value() string {
	format := "%.0f"
	if r.Unit == "x" && r.Value < 20 {
		format = "%.2f"
	}
	return fmt.Sprintf(format+" %s", r.Value, r.Unit)
}

func (r *result) bar() string {
	if r.Bar == 0 && !r.Least {
		return "no bar"
	}
	word := "at least"
	if r.Least {
		word = "at most"
	}
	return fmt.Sprintf("%s %.3g %s", word, r.Bar, r.Unit)
}

func (r *result) line() string {
	if r.Bar == 0 && !r.Least {
		return fmt.Sprintf("%s: %s. %s", r.Name, r.value(), r.Detail)
	}
	verdict := "meets the bar"
	if !r.meets() {
		verdict = "misses the bar"
	}
	return fmt.Sprintf("%s: %s (%s): %s. %s", r.Name, r.value(), r.bar(), verdict, r.Detail)
}

// report writes the results and keeps the last figures of measures that were not run.
func report(dir string, s *session, results []result) error {
	results = slices.Clone(results) // the caller continues to use its own slice
	path := filepath.Join(dir, "results.json")
	var earlier []result
	if err := readJSON(path, &earlier); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	taken := map[int]bool{}
	for _, r := range results {
		taken[r.Measure] = true
	}
	for _, r := range earlier {
		if !taken[r.Measure] {
			results = append(results, r)
		}
	}
	slices.SortStableFunc(results, func(a, b result) int { return cmp.Compare(a.Measure, b.Measure) })
	if err := writeJSON(path, results); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "RESULTS.md"), table(s, results), 0o644); err != nil { //nolint:gosec // figures, no data
		return err
	}
	return os.WriteFile(filepath.Join(dir, "chart.svg"), chart(results), 0o644) //nolint:gosec // figures, no data
}

func writeJSON(path string, results []result) error {
	text, err := json.MarshalIndent(results, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644) //nolint:gosec // figures, no data
}

func table(s *session, results []result) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measured\n\nWritten by `make bench` on %s: %d CPUs, %s, %d claims, each figure the median of %d pairs of runs.\n"+
		"[docs/performance.md](../docs/performance.md) explains the rows and what limits those that miss their bar.\n\n![how close each figure is to its bar](chart.svg)\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), s.claims, s.runs)
	last := 0
	for i := range results {
		r := &results[i]
		if r.Measure != last {
			last = r.Measure
			fmt.Fprintf(&b, "\n## %d. %s\n\n| | measured | bar | | |\n|---|---|---|---|---|\n", r.Measure, nameOf(r.Measure))
		}
		verdict := "met"
		switch {
		case r.Bar == 0 && !r.Least:
			verdict = ""
		case !r.meets():
			verdict = "**missed**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.Name, r.value(), r.bar(), verdict, r.Detail)
	}
	return []byte(b.String())
}

func nameOf(number int) string {
	for _, m := range measures {
		if m.number == number {
			return m.name
		}
	}
	return ""
}

// nearness is the ratio of a figure to its bar: 1 is exactly at the bar, higher is better.
func (r *result) nearness() float64 {
	if r.Bar == 0 && !r.Least {
		return 1
	}
	if !r.Least {
		return r.Value / r.Bar
	}
	if r.Value <= 0 {
		return math.Inf(1)
	}
	return r.Bar / r.Value
}

// chart draws one rectangle per figure, on a scale from a quarter of its bar to four times it.
func chart(results []result) []byte {
	const left, width, row = 330, 420, 22
	var b strings.Builder
	height := row*len(results) + 50
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", left+width+90, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	at := func(nearness float64) float64 {
		n := min(max(nearness, 0.25), 4)
		return (math.Log2(n) + 2) / 4 * width
	}
	for i := range results {
		r := &results[i]
		color := "#2a7f5f"
		if !r.meets() {
			color = "#c0504d"
		}
		y := 30 + i*row
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%d. %s</text>`+"\n", left-8, y+13, r.Measure, r.Name)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", left, y, at(r.nearness()), row-6, color)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d">%s</text>`+"\n", left+at(r.nearness())+6, y+13, r.value())
	}
	x := left + at(1)
	fmt.Fprintf(&b, `<line x1="%.1f" y1="24" x2="%.1f" y2="%d" stroke="black" stroke-dasharray="4 3"/>`+"\n", x, x, height-14)
	fmt.Fprintf(&b, `<text x="%.1f" y="18" text-anchor="middle">the bar</text>`+"\n</svg>\n", x)
	return []byte(b.String())
}

// tolerance is how much worse than the baseline a figure may be, as a fraction.
const tolerance = 0.20

// attempts is how often check measures at most what is worse than in the baseline.
const attempts = 4

// check fails if a figure is worse than in the baseline each time. A bad figure can be chance on a
// machine that also does other work; what has become slower is worse every time.
func (s *session) check(path string, numbers []int) error {
	var baseline []result
	if err := readJSON(path, &baseline); err != nil {
		return err
	}
	results, err := s.take(numbers, nil)
	if err != nil {
		return err
	}
	bad, compared := worse(results, baseline)
	if compared == 0 {
		return fmt.Errorf("none of the figures are in %s", path)
	}
	for range attempts - 1 {
		if len(bad) == 0 {
			break
		}
		numbers = nil
		for _, r := range bad {
			numbers = append(numbers, r.Measure)
		}
		fmt.Fprintf(os.Stderr, "\nmeasuring again the figures that are more than %.0f%% worse than in %s\n", tolerance*100, path)
		if results, err = s.take(numbers, nil); err != nil {
			return err
		}
		again, _ := worse(results, baseline)
		// Only what has not once been good counts: a figure that was good before may be bad by chance now.
		bad = slices.DeleteFunc(bad, func(r *result) bool {
			return !slices.ContainsFunc(again, func(x *result) bool { return x.Measure == r.Measure && x.Name == r.Name })
		})
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d of %d figures are more than %.0f%% worse than in %s, %d times in a row", len(bad), compared, tolerance*100, path, attempts)
	}
	fmt.Fprintf(os.Stderr, "%d figures, none more than %.0f%% worse than in %s\n", compared, tolerance*100, path)
	return nil
}

// worse returns the figures that are worse than in the baseline by more than tolerance, and
// the number of figures that the baseline also has.
func worse(results, baseline []result) (bad []*result, compared int) {
	for i := range results {
		r := &results[i]
		at := slices.IndexFunc(baseline, func(b result) bool { return b.Measure == r.Measure && b.Name == r.Name })
		if at < 0 {
			continue
		}
		compared++
		if r.nearness() < (1-tolerance)*baseline[at].nearness() {
			bad = append(bad, r)
			fmt.Fprintf(os.Stderr, "   %d. %s: %s; baseline: %s\n", r.Measure, r.Name, r.value(), baseline[at].value())
		}
	}
	return bad, compared
}
