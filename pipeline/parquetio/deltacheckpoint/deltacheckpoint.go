// Package deltacheckpoint reads the actions in a checkpoint of a Delta table's log.
//
// The log of a table lists the files of the table as JSON, one action per line. A checkpoint
// combines many of these lines. It is a Parquet file of maps, lists and nested groups, with one
// row for each action. Read converts the rows back into lines, so that code that reads the log
// needs to support only JSON.
//
// A checkpoint is small compared to its table. It is read with the library's own reader, which
// supports maps. The package depends on the library and on the format of error messages. It knows
// nothing about the columns of extracts or how package parquetio reads them, and does not decide
// which files of the table are read.
package deltacheckpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/parquetio/guarded"
)

// Read calls action with the JSON of each action in a checkpoint, as a commit of the log would
// contain it, limited to the fields that a reader of the table needs. Actions that no reader needs
// are skipped. The caller may keep the lines.
//
// A *pipeline.FormatError with the given path describes what is wrong with the format of the
// checkpoint. Disk errors are wrapped. An error returned by action stops reading and is returned
// unchanged.
func Read(path string, p *parquet.File, action func(line []byte) error) error {
	c := checkpointOf(p.Root())
	if c.of("add.path") < 0 {
		return fault(path, "is not a checkpoint of a Delta table: it has no column add.path", "")
	}
	for _, g := range p.RowGroups() {
		var rows *checkpointRows
		err := guarded.Call(func() (err error) {
			rows, err = c.read(g)
			return err
		})
		var disk *os.PathError
		switch {
		case errors.As(err, &disk):
			return fmt.Errorf("read checkpoint: %w", err)
		case err != nil:
			return fault(path, "is a checkpoint that cannot be read", "was the copy complete?")
		}
		for i := range int(g.NumRows()) {
			if a := rows.action(i); a != nil {
				line, err := json.Marshal(a)
				if err != nil {
					return fmt.Errorf("read checkpoint: %w", err)
				}
				if err := action(line); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func fault(path, what, hint string) error {
	return &pipeline.FormatError{File: path, What: what, Hint: hint}
}

// checkpoint maps the name of a field, such as "add.path", to its column. For lists and maps the
// column contains the elements, or the keys and values, regardless of the names of the groups in
// between.
type checkpoint struct {
	leaves map[string]int
	vector []int // the columns of add.deletionVector
}

func (c *checkpoint) of(name string) int {
	if i, ok := c.leaves[name]; ok {
		return i
	}
	return -1
}

// checkpointLists are the lists and maps to read.
var checkpointLists = []string{"add.partitionValues", "protocol.readerFeatures", "metaData.partitionColumns", "metaData.configuration"}

// checkpointTexts are the other columns to read.
var checkpointTexts = []string{"add.path", "protocol.minReaderVersion", "metaData.id", "metaData.format.provider", "sidecar.path"}

func checkpointOf(root *parquet.Column) *checkpoint {
	c := &checkpoint{leaves: map[string]int{}}
	var visit func(col *parquet.Column)
	visit = func(col *parquet.Column) {
		for _, child := range col.Columns() {
			visit(child)
		}
		if !col.Leaf() {
			return
		}
		name := strings.Join(col.Path(), ".")
		for _, x := range checkpointTexts {
			if name == x {
				c.leaves[x] = col.Index()
			}
		}
		for _, x := range checkpointLists {
			if !strings.HasPrefix(name, x+".") {
				continue
			}
			if _, second := c.leaves[x]; second {
				x += " values" // a map has two leaves
			}
			c.leaves[x] = col.Index()
		}
		if strings.HasPrefix(name, "add.deletionVector.") {
			c.vector = append(c.vector, col.Index())
		}
	}
	visit(root)
	return c
}

// checkpointRows holds the values of a row group, by column and row.
type checkpointRows struct {
	columns *checkpoint
	values  map[int][][]parquet.Value
}

func (c *checkpoint) read(g parquet.RowGroup) (*checkpointRows, error) {
	r := &checkpointRows{c, map[int][][]parquet.Value{}}
	chunks := g.ColumnChunks()
	all := slices.Clone(c.vector)
	for _, i := range c.leaves {
		all = append(all, i)
	}
	for _, i := range all {
		values, err := valuesByRow(chunks[i], g.NumRows())
		if err != nil {
			return nil, err
		}
		r.values[i] = values
	}
	return r, nil
}

// valuesByRow reads a whole column chunk. An empty list is returned as one null value.
func valuesByRow(c parquet.ColumnChunk, rows int64) ([][]parquet.Value, error) {
	pages := c.Pages()
	defer pages.Close()
	var out [][]parquet.Value
	buf := make([]parquet.Value, 256)
	for {
		page, err := pages.ReadPage()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		for values := page.Values(); err == nil; {
			var n int
			n, err = values.ReadValues(buf)
			for _, v := range buf[:n] {
				if v.RepetitionLevel() == 0 {
					out = append(out, nil)
				} else if len(out) == 0 {
					return nil, parquet.ErrCorrupted
				}
				if v.Kind() == parquet.ByteArray && !utf8.Valid(v.ByteArray()) {
					return nil, parquet.ErrCorrupted // JSON encoding would change the text
				}
				out[len(out)-1] = append(out[len(out)-1], v.Clone())
			}
		}
		parquet.Release(page)
		if err != io.EOF {
			return nil, err
		}
	}
	if int64(len(out)) != rows {
		return nil, parquet.ErrCorrupted
	}
	return out, nil
}

// row returns the values of a column in a row, or none if the file has no such column.
func (r *checkpointRows) row(name string, i int) []parquet.Value {
	if c := r.columns.of(name); c >= 0 {
		return r.values[c][i]
	}
	return nil
}

// has reports whether a column has a value in a row.
func (r *checkpointRows) has(name string, i int) bool {
	v := r.row(name, i)
	return len(v) > 0 && !v[0].IsNull()
}

func (r *checkpointRows) text(name string, i int) string {
	if r.has(name, i) {
		return r.row(name, i)[0].String()
	}
	return ""
}

func (r *checkpointRows) list(name string, i int) []string {
	list := []string{}
	for _, v := range r.row(name, i) {
		if !v.IsNull() {
			list = append(list, v.String())
		}
	}
	return list
}

// entries returns the map in a row. A null value becomes nil.
func (r *checkpointRows) entries(name string, i int) map[string]any {
	m := map[string]any{}
	values := r.row(name+" values", i)
	for k, key := range r.row(name, i) {
		switch {
		case key.IsNull(): // the map is empty
		case k < len(values) && !values[k].IsNull():
			m[key.String()] = values[k].String()
		default:
			m[key.String()] = nil
		}
	}
	return m
}

// action returns the action in a row, or nil if no reader needs it.
func (r *checkpointRows) action(i int) map[string]any {
	switch {
	case r.has("add.path", i):
		add := map[string]any{"path": r.text("add.path", i), "partitionValues": r.entries("add.partitionValues", i)}
		for _, c := range r.columns.vector {
			if !r.values[c][i][0].IsNull() {
				add["deletionVector"] = struct{}{}
			}
		}
		return map[string]any{"add": add}
	case r.has("protocol.minReaderVersion", i):
		version := r.row("protocol.minReaderVersion", i)[0].Int32()
		return map[string]any{"protocol": map[string]any{"minReaderVersion": version, "readerFeatures": r.list("protocol.readerFeatures", i)}}
	case r.has("metaData.id", i):
		return map[string]any{"metaData": map[string]any{
			"format":           map[string]any{"provider": r.text("metaData.format.provider", i)},
			"partitionColumns": r.list("metaData.partitionColumns", i),
			"configuration":    r.entries("metaData.configuration", i),
		}}
	case r.has("sidecar.path", i):
		return map[string]any{"sidecar": struct{}{}}
	}
	return nil
}
