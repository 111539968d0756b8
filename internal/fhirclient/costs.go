package fhirclient

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// costs compares how long requests take with how long they took at the server's best. Requests of
// different sizes are compared with their like only.
type costs struct {
	best    [classes]float64 // seconds; 0 is unknown
	ratios  []float64        // of this round: how many times slower than the best
	answers int
	full    int  // answers during which all places were taken
	fresh   bool // a class has come up
	rounds  int  // since the best was forgotten
}

// classes are powers of two of bytes, beginning below 1 kB.
const classes = 16

func class(size int) int { return min(bits.Len(uint(max(size, 0))>>10), classes-1) }

// add counts an answer, and returns how many this round has.
func (c *costs) add(size int, took time.Duration, full bool) int {
	seconds := max(took.Seconds(), 1e-6)
	best := &c.best[class(size)]
	if *best == 0 || seconds < *best {
		if *best == 0 {
			*best, c.fresh = seconds, true
		} else {
			// One lucky answer does not make all others slow.
			*best = max(seconds, *best*0.8)
		}
	}
	c.ratios = append(c.ratios, max(1, seconds/(*best)))
	c.answers++
	if full {
		c.full++
	}
	return c.answers
}

// turn ends a round: the median of how many times slower its answers were, NaN without any, and whether
// most of them came while all places were taken, and whether there was a new class.
func (c *costs) turn() (ratio float64, busy, fresh bool, rounds int) {
	ratio = math.NaN()
	if len(c.ratios) > 0 {
		slices.Sort(c.ratios)
		ratio = c.ratios[len(c.ratios)/2]
	}
	busy, fresh = c.full*2 > c.answers, c.fresh
	c.rounds++
	c.restart()
	return ratio, busy, fresh, c.rounds
}

// restart begins a round anew.
func (c *costs) restart() { c.ratios, c.answers, c.full, c.fresh = c.ratios[:0], 0, 0, false }

// forget lets the best be found again.
func (c *costs) forget() { c.best, c.rounds = [classes]float64{}, 0 }
