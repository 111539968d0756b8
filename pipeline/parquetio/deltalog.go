package parquetio

import (
	"fmt"
	"os"

	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/pipeline/parquetio/deltacheckpoint"
	"cpcds2fhir/pipeline/parquetio/guarded"
)

// ReadDeltaCheckpoint reads a checkpoint of a Delta table's log, which is a Parquet file. It calls
// action with the JSON of each action, as a commit of the log would contain it, limited to the
// fields that a reader of the table needs. Actions that no reader needs are skipped.
func ReadDeltaCheckpoint(path string, action func(line []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open checkpoint: %w", err)
	}
	defer f.Close()
	p := &file{path: path, os: f}
	checkpoint, err := p.openCheckpoint()
	if err != nil {
		return err
	}
	return deltacheckpoint.Read(path, checkpoint, action)
}

// openCheckpoint opens the file with the library's own reader, which supports maps.
func (f *file) openCheckpoint() (p *parquet.File, err error) {
	info, err := f.os.Stat()
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	if _, err := f.checkMagic(info.Size()); err != nil {
		return nil, err
	}
	err = guarded.Call(func() error {
		p, err = parquet.OpenFile(f.os, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
		return err
	})
	if err != nil {
		return nil, f.fault("has a footer that cannot be read", "was the file written to the end and copied as binary?")
	}
	return p, nil
}
