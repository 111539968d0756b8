package lifecycle

import (
	"fmt"
	"slices"
	"strings"
)

// Diagram draws the table of a kind, for docs/portal.md: a state diagram (Mermaid), and a table of moves with roles,
// needs and effects (Markdown).
func Diagram(kind Kind) string {
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n")
	for _, s := range starts(kind) {
		fmt.Fprintf(&b, "    [*] --> %s\n", s)
	}
	for _, line := range arrows(kind) {
		b.WriteString("    " + line + "\n")
	}
	for _, s := range States(kind) {
		if Final(kind, s) {
			fmt.Fprintf(&b, "    %s --> [*]\n", s)
		}
	}
	b.WriteString("```\n\n| Action | From | To | By | Needs | Effects |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, m := range Moves {
		if m.Kind == kind {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", m.Action, words(m.From), m.To, words(m.By), words(m.Needs), words(m.Effects))
		}
	}
	return b.String()
}

// arrows are the lines of the diagram, one for each pair of states.
func arrows(kind Kind) (lines []string) {
	type pair struct{ from, to State }
	var order []pair
	labels := map[pair][]string{}
	for _, m := range Moves {
		if m.Kind != kind {
			continue
		}
		for _, from := range m.From {
			p := pair{from, m.To}
			if labels[p] == nil {
				order = append(order, p)
			}
			if !slices.Contains(labels[p], string(m.Action)) {
				labels[p] = append(labels[p], string(m.Action))
			}
		}
	}
	for _, p := range order {
		lines = append(lines, fmt.Sprintf("%s --> %s: %s", p.from, p.to, strings.Join(labels[p], ", ")))
	}
	return lines
}

// starts are the states in which an application begins.
func starts(kind Kind) []State {
	if kind == Production {
		return []State{Draft, Unconfirmed}
	}
	return []State{Draft}
}

// Final reports whether nothing can happen to an application of a kind in a state any more.
func Final(kind Kind, s State) bool {
	return !slices.ContainsFunc(Moves, func(m Move) bool { return m.Kind == kind && slices.Contains(m.From, s) })
}

func words[T ~string](list []T) string {
	if len(list) == 0 {
		return "-"
	}
	all := make([]string, len(list))
	for i, x := range list {
		all[i] = string(x)
	}
	return strings.Join(all, ", ")
}
