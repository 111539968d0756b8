package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/s2"

	"cpcds2fhir/schemas/fhir"
)

// TestDictionary loads enough for a dictionary, and reads what was written before
// and after it, in this process and the next.
func TestDictionary(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	c := newClaims(3)
	want := map[string][]byte{}
	b := &fhir.Batch{}
	for number := 0; number < trainAfter+200; {
		b.Reset()
		for range 100 {
			c.add(b, number, c.money())
			number++
		}
		for _, r := range b.All() {
			want[string([]byte(r.ID))] = bytes.Clone(r.JSON)
		}
		apply(t, s, b)
	}
	check := func(s *Store) {
		t.Helper()
		n := 0
		for e, err := range s.Export(fhir.ExplanationOfBenefit) {
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(e.JSON, want[e.ID]) {
				t.Fatalf("resource %s comes back changed", e.ID)
			}
			n++
		}
		if n != len(want) {
			t.Errorf("%d resources, want %d", n, len(want))
		}
		st, err := s.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if st.Types[fhir.ExplanationOfBenefit].Dictionary == 0 || st.Types[fhir.Patient].Dictionary != 0 {
			t.Errorf("dictionaries: %+v", st.Types)
		}
	}
	check(s)
	if s.codec.types[fhir.ExplanationOfBenefit].dict.Load() == nil {
		t.Error("the dictionary is not used")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	check(s)
	if s.codec.types[fhir.ExplanationOfBenefit].dict.Load() == nil {
		t.Error("the dictionary is not used after it was opened again")
	}
}

func TestDictionaryOfNoise(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	for _, size := range []int{0, 1, 7, 100, 5000} {
		var samples [][]byte
		for range 100 {
			samples = append(samples, noise(size))
		}
		dict := train(samples)
		if dict == nil {
			continue
		}
		again := s2.NewDict(dict.Bytes())
		text := samples[0]
		if got, err := again.Decode(nil, appendBlock(nil, dict, text)); err != nil || !bytes.Equal(got, text) {
			t.Errorf("dictionary of %d random bytes: %v", size, err)
		}
	}
}

func TestSamplerIsBounded(t *testing.T) {
	var s sampler
	doc := make([]byte, 14<<10)
	for i := range trainAfter {
		if done := s.add(doc); done != (i == trainAfter-1) {
			t.Fatalf("after %d resources: done is %v", i+1, done)
		}
		if s.size > sampleBytes {
			t.Fatalf("%d bytes of samples", s.size)
		}
	}
	if len(s.kept) < 50 {
		t.Errorf("only %d samples are kept", len(s.kept))
	}
}

// BenchmarkCompress measures ratio and time per body on EOBs of 14 KB, without
// and with a dictionary of other EOBs, and on the published examples of the guide.
func BenchmarkCompress(b *testing.B) {
	made := func(seed uint64, n int) [][]byte {
		c, batch := newClaims(seed), &fhir.Batch{}
		for i := range n {
			c.add(batch, i, c.money())
		}
		var docs [][]byte
		for _, r := range batch.All() {
			docs = append(docs, r.JSON)
		}
		return docs
	}
	run := func(name string, docs, samples [][]byte) {
		for _, dict := range []*s2.Dict{nil, train(samples)} {
			b.Run(fmt.Sprintf("%s/dictionary=%v", name, dict != nil), func(b *testing.B) {
				var buf []byte
				raw, packed := 0, 0
				for b.Loop() {
					d := docs[raw%len(docs)]
					buf = appendBlock(buf[:0], dict, d)
					raw += len(d)
					packed += len(buf)
				}
				b.SetBytes(int64(raw / b.N))
				b.ReportMetric(float64(raw)/float64(packed), "ratio")
			})
		}
	}
	run("made", made(1, 200), made(2, 200))

	files, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "data", "carin-bb-examples", "Explanation*.json"))
	var examples [][]byte
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		examples = append(examples, text)
	}
	if len(examples) < 16 {
		b.Log("the examples of the guide are not there")
		return
	}
	// Every other example trains, the rest are measured.
	var docs, samples [][]byte
	for i, d := range examples {
		if i%2 == 0 {
			docs = append(docs, d)
		} else {
			samples = append(samples, d)
		}
	}
	run("examples", docs, samples)
}
