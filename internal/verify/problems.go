package verify

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
)

// place is where a resource was read. Places are ordered as the inputs are.
type place struct {
	input int
	line  int64
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.input, q.input), cmp.Compare(p.line, q.line))
}

// problems counts all problems and keeps the first ones, in whatever order they are found. It is
// safe for concurrent use.
type problems struct {
	keep int // 0 keeps all

	mu    sync.Mutex
	found int64
	first []Problem
}

func (p *problems) add(x Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found++
	p.first = append(p.first, x)
	if p.keep > 0 && len(p.first) >= 2*p.keep+1024 {
		p.cut()
	}
}

// cut drops all but the first ones.
func (p *problems) cut() {
	slices.SortFunc(p.first, func(a, b Problem) int {
		return cmp.Or(a.at.compare(b.at), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Check, b.Check), cmp.Compare(a.Message, b.Message))
	})
	if p.keep > 0 && len(p.first) > p.keep {
		p.first = slices.Clip(p.first[:p.keep])
	}
}

// list returns how many there are, and the first ones with their inputs.
func (p *problems) list(inputs []*input) (int64, []Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
	for i := range p.first {
		x := &p.first[i]
		x.Input, x.Line = inputs[x.at.input].name, x.at.line
		if x.first != nil {
			x.Message += fmt.Sprintf(": %s:%d", inputs[x.first.input].name, x.first.line)
		}
	}
	return p.found, p.first
}
