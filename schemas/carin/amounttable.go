package carin

import "cpcds2fhir/schemas/cpcds"

// amountTable is all amounts of a claim as numbers. Half a dozen rules compare them;
// parsing each once made judging a claim take a third of the time.
type amountTable struct {
	header amountRecord
	lines  []amountRecord

	// odd says that an amount does not fit: sums must be made of the text then.
	odd bool

	negative bool // an amount is less than nothing, or odd
}

// amountRecord is the amounts of the header or of a line, by their place in Amounts.
type amountRecord struct {
	there uint32 // a bit for each that is filled
	units [len(Amounts)]int64
}

// mostLines is how many amounts can be added without overflow, see cpcds.Units.
const mostLines = 1 << 12

func (t *amountTable) fill(c *cpcds.Claim) {
	t.odd = len(c.Lines) > mostLines
	t.negative = t.odd
	t.lines = t.lines[:0]
	t.header.there = 0
	for i := range Amounts {
		t.add(&t.header, i, c.Header.Get(Amounts[i].Header))
	}
	for j := range c.Lines {
		if len(t.lines) < cap(t.lines) {
			t.lines = t.lines[:j+1]
		} else {
			t.lines = append(t.lines, amountRecord{})
		}
		x := &t.lines[j]
		x.there = 0
		for i := range Amounts {
			t.add(x, i, c.Lines[j].Get(Amounts[i].Line))
		}
	}
}

func (t *amountTable) add(x *amountRecord, i int, v string) {
	if v == "" {
		return
	}
	n, ok := cpcds.Units(v)
	x.units[i] = n
	x.there |= 1 << i
	t.odd = t.odd || !ok
	t.negative = t.negative || n < 0 || !ok
}

// has reports whether all amounts of the mask are filled.
func (x *amountRecord) has(mask uint32) bool { return x.there&mask == mask }

// sum adds the amounts of places that are filled.
func (x *amountRecord) sum(places []int) (n int64) {
	for _, i := range places {
		if x.there&(1<<i) != 0 {
			n += x.units[i]
		}
	}
	return n
}
