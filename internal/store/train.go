package store

import (
	"bytes"

	"github.com/klauspost/compress/zstd"
)

const (
	trainAfter  = 2000     // resources of a type
	sampleBytes = 2 << 20  // samples kept of a type
	historySize = 64 << 10 // content of a dictionary
)

// sampler keeps evenly spaced samples of the resources of one type: when they
// become too many, every other one goes and half as many are taken from then on.
type sampler struct {
	seen, stride, size int
	kept               [][]byte
}

// add shows a resource and reports whether it is time to train.
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

// train makes a dictionary: whole samples, evenly chosen, as the content that
// frames refer back to, and entropy tables from all samples. Resources of a type
// are built from the same fragments, so whole samples serve better than the
// substrings that a general trainer picks (measured on EOBs: 15:1 against 9:1),
// and training takes milliseconds. It returns nil if there is too little to learn
// from.
func train(id uint32, samples [][]byte) []byte {
	total := 0
	for _, s := range samples {
		total += len(s)
	}
	if len(samples) < 8 || total < 4096 {
		return nil
	}
	history := make([]byte, 0, historySize)
	step := max(1, len(samples)*(total/len(samples))/historySize)
	for i := 0; i < len(samples) && len(history) < historySize; i += step {
		history = append(history, samples[i][:min(len(samples[i]), historySize-len(history))]...)
	}
	dict, err := zstd.BuildDict(zstd.BuildDictOptions{
		ID:       id,
		Contents: samples,
		History:  history,
		Offsets:  [3]int{1, 4, 8},
		Level:    zstd.SpeedFastest,
	})
	if err != nil {
		return nil // such samples do not compress; neither would the bodies
	}
	return dict
}
