package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"cpcds2fhir/internal/verify"
	"cpcds2fhir/loaders/ndjson"
	"cpcds2fhir/schemas/fhir"
)

// idSeed is the seed of the hashes of one process.
var idSeed = maphash.MakeSeed()

// countNDJSON counts the resources of a folder by type. A duplicate is an error.
func countNDJSON(dir string) (counts [fhir.NumTypes]int64, err error) {
	if _, err := os.Stat(dir); err != nil {
		return counts, fmt.Errorf("open NDJSON folder: %w", err)
	}
	for t := range fhir.NumTypes {
		var ids []uint64 // hashes; a collision is unlikely below billions of ids
		if err := eachID(dir, t, func(id []byte) { ids = append(ids, maphash.Bytes(idSeed, id)) }); err != nil {
			return counts, fmt.Errorf("count %w", err)
		}
		counts[t] = int64(len(ids))
		slices.Sort(ids)
		if distinct := len(slices.Compact(ids)); int64(distinct) != counts[t] {
			return counts, fmt.Errorf("%s: %s too many: some occur more than once", filepath.Join(dir, t.String()), many(counts[t]-int64(distinct), "resource"))
		}
	}
	return counts, nil
}

// countStreamed counts the resources of the folder of a stream by type: the last line of an id counts,
// and deletions delete what comes before them.
func countStreamed(dir string) (counts [fhir.NumTypes]int64, err error) {
	parts, err := filepath.Glob(filepath.Join(dir, "*", "part-*"))
	if err != nil {
		return counts, err
	}
	slices.SortFunc(parts, func(a, b string) int { return ndjson.Number(a) - ndjson.Number(b) })
	var there [fhir.NumTypes]map[uint64]bool // by hash of the id
	for t := range there {
		there[t] = map[uint64]bool{}
	}
	for _, p := range parts {
		t, ok := fhir.ParseType(filepath.Base(filepath.Dir(p)))
		if ok {
			err = eachIDOf(p, `"id":"`, func(id []byte) { there[t][maphash.Bytes(idSeed, id)] = true })
		} else {
			err = eachIDOf(p, `"url":"`, func(reference []byte) {
				if t, id, err := fhir.SplitReference(string(reference)); err == nil {
					delete(there[t], maphash.String(idSeed, id))
				}
			})
		}
		if err != nil {
			return counts, fmt.Errorf("count %s: %w", p, err)
		}
	}
	for t := range there {
		counts[t] = int64(len(there[t]))
	}
	return counts, nil
}

// findNDJSON returns which of the wanted resources a folder has.
func findNDJSON(dir string, wanted map[string]bool) (map[string]bool, error) {
	var types [fhir.NumTypes]bool
	for ref := range wanted {
		if t, _, err := fhir.SplitReference(ref); err == nil {
			types[t] = true
		}
	}
	found := map[string]bool{}
	for t := range fhir.NumTypes {
		if !types[t] {
			continue
		}
		err := eachID(dir, t, func(id []byte) {
			if ref := fhir.Reference(t, string(id)); wanted[ref] {
				found[ref] = true
			}
		})
		if err != nil {
			return nil, fmt.Errorf("search %w", err)
		}
	}
	return found, nil
}

// eachID calls f with the id of every resource of a type in a folder.
func eachID(dir string, t fhir.Type, f func(id []byte)) error {
	parts, err := filepath.Glob(filepath.Join(dir, t.String(), "part-*"))
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := eachIDOf(p, `"id":"`, f); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

// eachIDOf calls f with what follows a text near the beginning of each line, up to the next quote.
func eachIDOf(path, after string, f func(id []byte)) error {
	r, end, err := verify.Open(path)
	if err != nil {
		return err
	}
	defer end()
	lines := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		head, err := lines.ReadSlice('\n')
		if err == io.EOF && len(head) == 0 {
			return nil
		}
		_, rest, ok := bytes.Cut(head[:min(len(head), 200)], []byte(after))
		id, _, closed := bytes.Cut(rest, []byte(`"`))
		if !ok || !closed {
			return fmt.Errorf("line %d has no id", n)
		}
		f(id)
		for errors.Is(err, bufio.ErrBufferFull) { // a line longer than the buffer
			_, err = lines.ReadSlice('\n')
		}
		if err != nil {
			return fmt.Errorf("line %d is incomplete: %w", n, err)
		}
	}
}
