package layouts

import (
	"fmt"
	"slices"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// Finding is one fault of a layout file.
type Finding struct {
	File    string
	Line    int // from 1; 0 if the fault is not at one place
	Column  int // in characters from 1; 0 if the fault concerns a whole line
	Message string
	Hint    string // what to do, "" if there is nothing to say
	Warning bool   // the layout can still be read
	Refused bool   // of a warning: an error for a check, while a load continues without the part
}

// String returns "file:line:column: message; hint", with "warning: " before the
// message of a warning.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
		if f.Column > 0 {
			fmt.Fprintf(&b, ":%d", f.Column)
		}
	}
	b.WriteString(": ")
	if f.Warning && !f.Refused {
		b.WriteString("warning: ")
	}
	b.WriteString(f.Message)
	if f.Hint != "" {
		b.WriteString("; " + f.Hint)
	}
	return b.String()
}

// faults returns the findings other than warnings.
func faults(findings []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Warning })
}

// FileError holds everything that is wrong with a layout file.
type FileError struct {
	Findings []Finding // at least one, in the order of the file
}

func (e *FileError) Error() string {
	lines := make([]string, len(e.Findings))
	for i, f := range e.Findings {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Nearest returns the candidate most similar to name, "" if none is similar: at most a third of its
// letters differ, or one contains the other.
func Nearest(name string, candidates []string) string {
	best, found := "", len(name)/3+1
	folded := cpcds.FoldHeader(name)
	for _, c := range candidates {
		if d := distance(folded, cpcds.FoldHeader(c), found); d < found || d == found && best == "" {
			best, found = c, d
		}
	}
	if best != "" {
		return best
	}
	for _, c := range candidates {
		f := cpcds.FoldHeader(c)
		if len(folded) > 3 && len(f) > 3 && (strings.Contains(f, folded) || strings.Contains(folded, f)) && (best == "" || len(c) < len(best)) {
			best = c
		}
	}
	return best
}

// meant returns a hint with the nearest candidate, "" if there is none.
func meant(name string, candidates []string) string {
	if n := Nearest(name, candidates); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	return ""
}

// distance is the edit distance of a and b in bytes; any number above limit means more than limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := left
			if a[i] != b[j] {
				cost++
			}
			left = row[j+1]
			row[j+1] = min(cost, row[j]+1, left+1)
		}
	}
	return row[len(b)]
}
