package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"golang.org/x/sync/errgroup"
)

// The floors do the work that no load can avoid, and nothing else.
//
//	floor ndjson DIR EXTRACT BYTES SAMPLE   decode all columns, write BYTES bytes of SAMPLE, sync
//	floor zstd DIR EXTRACT BYTES SAMPLE     the same, compressed in frames of 4 MB
//	floor pebble DIR ...                    see floor_pebble.go
//	floor csv DIR EXTRACT                   split the fields of every line
//	floor kafka DIR BROKERS TOPIC           read a topic and scan its JSON
//	floor kafka-lines DIR BROKERS TOPIC     a simple consumer: unmarshal the messages and write them
//	floor fhir-pack DIR NDJSON              not a floor: make bundles of the resources
//	floor fhir-post DIR URL CONCURRENCY     post them to a FHIR server
//	floor fhir-delete DIR URL               not a floor: delete there what the bundles have put
//	floor fhir-server DIR -                 not a floor: such a server in memory
//	floor count DIR -                       not a floor: print the size of a store's keys and values
func runFloor(args []string) error {
	if len(args) < 3 {
		return errors.New("floor needs a name, a folder and an extract")
	}
	name, dir, extract, rest := args[0], args[1], args[2], args[3:]
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	switch name {
	case "ndjson", "zstd":
		return floorFiles(dir, extract, name == "zstd", rest)
	case "pebble":
		return floorPebble(dir, args[2:])
	case "count":
		args, err := countKeys(dir)
		if err == nil {
			_, err = fmt.Println(strings.Join(args, " "))
		}
		return err
	case "csv":
		return floorCSV(extract)
	case "fhir-pack":
		return floorFHIRPack(dir, extract)
	case "fhir-post":
		if len(rest) == 0 {
			return errors.New("floor fhir-post needs a number of requests")
		}
		return floorFHIRPost(dir, extract, rest[0])
	case "fhir-delete":
		return floorFHIRDelete(dir, extract)
	case "fhir-server":
		return floorFHIRServer()
	case "http":
		return floorHTTP(args[2])
	case "kafka":
		return floorKafka("", args[2], args[3])
	case "kafka-lines":
		return floorKafka(dir, args[2], args[3])
	}
	return fmt.Errorf("unknown floor %s", name)
}

const (
	frame = 4 << 20   // the size of the pieces of a load's batches
	batch = 2 * frame // the batch size of two workers with the default memory
)

// rowGroup is the unit that a goroutine decodes at a time, like a lane of a load.
type rowGroup struct {
	parquet.RowGroup
	share float64 // of the rows of the extract
}

func floorFiles(dir, extract string, compress bool, args []string) error {
	if len(args) < 2 {
		return errors.New("floor ndjson and floor zstd need a number of bytes and a sample")
	}
	total, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	sample, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	groups, closeAll, err := rowGroups(extract)
	if err != nil {
		return err
	}
	defer closeAll()
	var next, frames atomic.Int64
	var g errgroup.Group
	for range 2 {
		g.Go(func() error {
			w := &floorWriter{dir: dir, sample: sample, frames: &frames}
			if compress {
				var err error
				if w.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)); err != nil {
					return err
				}
			}
			for {
				i := int(next.Add(1)) - 1
				if i >= len(groups) {
					return nil
				}
				if err := decode(groups[i]); err != nil {
					return err
				}
				if err := w.write(i, int64(groups[i].share*float64(total))); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

func rowGroups(extract string) (groups []rowGroup, closeAll func(), err error) {
	paths, err := filepath.Glob(filepath.Join(extract, "*.parquet"))
	if err != nil {
		return nil, nil, err
	}
	var files []*os.File
	closeAll = func() {
		for _, f := range files {
			f.Close()
		}
	}
	var rows int64
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, closeAll, err
		}
		files = append(files, f)
		info, err := f.Stat()
		if err != nil {
			return nil, closeAll, err
		}
		p, err := parquet.OpenFile(f, info.Size())
		if err != nil {
			return nil, closeAll, err
		}
		for _, rg := range p.RowGroups() {
			groups = append(groups, rowGroup{RowGroup: rg})
			rows += rg.NumRows()
		}
	}
	for i := range groups {
		groups[i].share = float64(groups[i].NumRows()) / float64(rows)
	}
	return groups, closeAll, nil
}

// decode reads every page of every column into typed values.
func decode(g rowGroup) error {
	for _, chunk := range g.ColumnChunks() {
		pages := chunk.Pages()
		for {
			p, err := pages.ReadPage()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return errors.Join(err, pages.Close())
			}
			_ = p.Data()
			_ = p.DefinitionLevels()
			parquet.Release(p)
		}
		if err := pages.Close(); err != nil {
			return err
		}
	}
	return nil
}

// floorWriter writes files with bytes of the sample.
type floorWriter struct {
	dir     string
	sample  []byte
	frames  *atomic.Int64
	encoder *zstd.Encoder
	packed  []byte
}

func (w *floorWriter) write(part int, bytes int64) error {
	f, err := os.OpenFile(filepath.Join(w.dir, fmt.Sprintf("part-%05d", part)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for bytes > 0 {
		n := min(bytes, frame)
		at := w.frames.Add(1) * frame % int64(len(w.sample)-int(n)+1)
		out := w.sample[at : at+n]
		if w.encoder != nil {
			w.packed = w.encoder.EncodeAll(out, w.packed[:0])
			out = w.packed
		}
		if _, err := f.Write(out); err != nil {
			return errors.Join(err, f.Close())
		}
		bytes -= n
	}
	return errors.Join(f.Sync(), f.Close())
}

// floorCSV splits the lines of the claims files into fields, one file per goroutine at a time.
func floorCSV(extract string) error {
	paths, err := filepath.Glob(filepath.Join(extract, "claims*.csv"))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("%s has no claims*.csv", extract)
	}
	work := make(chan string)
	var wait sync.WaitGroup
	failed := make([]error, 2)
	for i := range failed {
		wait.Go(func() {
			for path := range work {
				failed[i] = errors.Join(failed[i], splitCSV(path))
			}
		})
	}
	for _, path := range slices.Sorted(slices.Values(paths)) {
		work <- path
	}
	close(work)
	wait.Wait()
	return errors.Join(failed...)
}

func splitCSV(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := csv.NewReader(bufio.NewReaderSize(f, 1<<20))
	r.ReuseRecord = true
	for {
		if _, err := r.Read(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
