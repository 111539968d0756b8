package synth

import "math/rand/v2"

// stream separates random numbers by purpose, so that one more random choice about a person does
// not change their claims.
type stream uint64

const (
	countStream stream = iota + 1
	personStream
	claimStream
	faultStream
	directoryStream
	shuffleStream
)

// rng is a source of random choices. It is not safe for concurrent use.
type rng struct {
	pcg  rand.PCG
	rand *rand.Rand
}

// start makes all later choices a function of seed, stream and number.
func (d *rng) start(seed uint64, s stream, number uint64) {
	d.pcg.Seed(scramble(seed+uint64(s)<<56), scramble(number+uint64(s)))
	if d.rand == nil {
		d.rand = rand.New(&d.pcg)
	}
}

// below returns a number from 0 to n-1.
func (d *rng) below(n int) int { return d.rand.IntN(n) }

// between returns a number from low to high.
func (d *rng) between(low, high int) int { return low + d.rand.IntN(high-low+1) }

// chance is true in permille of a thousand cases.
func (d *rng) chance(permille int) bool { return d.rand.IntN(1000) < permille }

func pick[T any](d *rng, from []T) T { return from[d.below(len(from))] }

// scramble spreads neighbouring numbers over all 64 bits; it is the finaliser of
// SplitMix64 and loses nothing.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
