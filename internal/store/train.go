package store

import (
	"bytes"

	"github.com/klauspost/compress/s2"
)

const (
	trainAfter  = 2000    // resources of a type
	sampleBytes = 2 << 20 // samples kept of a type
)

// sampler keeps evenly spaced samples of the resources of one type: when there are too many, every
// other one is dropped and from then on half as many are taken.
type sampler struct {
	seen, stride, size int
	kept               [][]byte
}

// add adds a resource and reports whether it is time to train.
func (s *sampler) add(json []byte) bool {
	s.stride = max(s.stride, 1)
	if s.seen%s.stride == 0 {
		s.kept = append(s.kept, bytes.Clone(json))
		s.size += len(json)
	}
	s.seen++
	for s.size > sampleBytes && len(s.kept) > 1 {
		s.halve()
	}
	return s.seen >= trainAfter
}

func (s *sampler) halve() {
	s.stride *= 2
	n := 0
	s.size = 0
	for i := 0; i < len(s.kept); i += 2 {
		s.kept[n] = s.kept[i]
		s.size += len(s.kept[n])
		n++
	}
	clear(s.kept[n:])
	s.kept = s.kept[:n]
}

// train makes a dictionary of whole samples, evenly chosen, which blocks refer back to. Resources
// of a type are built from the same fragments, so whole samples work better than the substrings
// that a general trainer picks (measured on EOBs with zstd: 15:1 against 9:1), and training takes
// milliseconds. It returns nil if there are too few samples.
func train(samples [][]byte) *s2.Dict {
	total := 0
	for _, s := range samples {
		total += len(s)
	}
	if len(samples) < 8 || total < 4096 {
		return nil
	}
	content := make([]byte, 0, s2.MaxDictSize)
	step := max(1, len(samples)*(total/len(samples))/s2.MaxDictSize)
	for i := 0; i < len(samples) && len(content) < s2.MaxDictSize; i += step {
		content = append(content, samples[i][:min(len(samples[i]), s2.MaxDictSize-len(content))]...)
	}
	return s2.MakeDict(content, samples[0])
}
