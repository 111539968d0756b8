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
		if err := eachIDOf(p, f); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

func eachIDOf(path string, f func(id []byte)) error {
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
		_, rest, ok := bytes.Cut(head[:min(len(head), 200)], []byte(`"id":"`))
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
