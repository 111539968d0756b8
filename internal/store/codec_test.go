package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
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
		for e, err := range s.Export(t.Context(), fhir.ExplanationOfBenefit) {
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
		st, err := s.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Types[fhir.ExplanationOfBenefit].Dictionary == 0 || st.Types[fhir.Patient].Dictionary != 0 {
			t.Errorf("dictionaries: %+v", st.Types)
		}
	}
	check(s)
	if with, without := blocks(t, s); with < 100 || without == 0 {
		t.Errorf("%d bodies are written with a dictionary, %d without", with, without)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	check(s)
	before, _ := blocks(t, s)
	b.Reset()
	c.add(b, trainAfter+500, c.money())
	apply(t, s, b)
	if after, _ := blocks(t, s); after <= before {
		t.Error("the dictionary is not used after the store was opened again")
	}
}

// blocks counts the bodies of a store that need a dictionary, and those that do not.
func blocks(t *testing.T, s *Store) (with, without int) {
	t.Helper()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{bodySpace}, UpperBound: []byte{bodySpace + 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if it.Value()[0]&flagDictionary != 0 {
			with++
		} else {
			without++
		}
	}
	return with, without
}

// TestDamagedBodies decodes bodies that no store of ours can hold.
func TestDamagedBodies(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	whole := s.codec.appendBody(nil, fhir.Patient, &body{lastUpdated: "2026-01-01"}, bytes.Repeat([]byte("abc"), 100))
	var good body
	if !good.decode(whole) {
		t.Fatal("a body does not decode")
	}
	huge := binary.AppendUvarint(nil, maxBody+1)
	for name, v := range map[string]body{
		"a dictionary that is not there": {withDictionary: true, block: good.block},
		"cut off":                        {block: good.block[:len(good.block)-1]},
		"empty":                          {},
		"too large":                      {block: append(huge, good.block...)},
	} {
		got, err := s.codec.decode([]byte("x"), fhir.Patient, &v)
		if _, ok := errors.AsType[*CorruptError](err); !ok || string(got) != "x" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestLittleMemory loads a store with the least memory that a load gives it.
func TestLittleMemory(t *testing.T) {
	s := open(t, t.TempDir(), Options{Memory: 14 << 20})
	c := newClaims(5)
	n := 0
	for batch := range 40 {
		b := &fhir.Batch{}
		for range 100 {
			c.add(b, batch*100+n%100, c.money())
			n++
		}
		apply(t, s, b)
	}
	st, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := st.Types[fhir.ExplanationOfBenefit].Resources; got != 4000 {
		t.Errorf("%d resources, want 4000", got)
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
		var samples []sample
		for range 100 {
			samples = append(samples, sample{json: noise(size)})
		}
		dict := train(samples)
		if dict == nil {
			continue
		}
		again := s2.NewDict(dict.Bytes())
		text := samples[0].json
		if got, err := again.Decode(nil, appendBlock(nil, dict, text)); err != nil || !bytes.Equal(got, text) {
			t.Errorf("dictionary of %d random bytes: %v", size, err)
		}
	}
}

func TestSamplerIsBounded(t *testing.T) {
	var s sampler
	doc := make([]byte, 14<<10)
	for i := range trainAfter {
		if done := s.add(doc, "p"); done != (i == trainAfter-1) {
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
		var whole, shared []sample
		for i, s := range samples {
			whole = append(whole, sample{json: s})
			shared = append(shared, sample{s, fmt.Sprint(i)})
		}
		for kind, dict := range map[string]*s2.Dict{"none": nil, "whole": train(whole), "shared": train(shared)} {
			b.Run(name+"/dictionary="+kind, func(b *testing.B) {
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
