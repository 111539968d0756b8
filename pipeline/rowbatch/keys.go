package rowbatch

import (
	"slices"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// KeyReader finds the claim keys of rows, and converts nothing else. It belongs to one goroutine.
type KeyReader struct {
	batch   Batch
	binding *layouts.Binding
	places  []int // where whole row batches have the columns that the binding needs
}

// NewKeyReader returns a KeyReader of an input of the claims table.
func NewKeyReader(in *Input) *KeyReader {
	k := &KeyReader{batch: Batch{Input: in}, binding: in.Binding.Only(in.Binding.Table().Key)}
	k.batch.plan = newPlan(k.binding)
	for _, c := range k.binding.Source() {
		k.places = append(k.places, slices.Index(in.order, c))
	}
	return k
}

// Columns are the columns that rows must have for Read.
func (k *KeyReader) Columns() pipeline.Columns { return pipeline.Columns{Bound: k.binding.Source()} }

// Read calls f for every run of rows with the same key: the key, which is valid as long as the
// rows, the rows [from, to), and how many input rows begin there.
func (k *KeyReader) Read(rows *cpcds.Rows, f func(key string, from, to int, inputRows int64) error) error {
	b := &k.batch
	b.raw = *rows
	k.binding.Convert(&b.canonical, rows)
	for i := 0; i < b.Len(); {
		j := i + 1
		for j < b.Len() && b.SameKey(i, j) {
			j++
		}
		if err := f(b.Key(i), i, j, b.InputRows(i, j)); err != nil {
			return err
		}
		i = j
	}
	return nil
}

// ReadWhole is Read of rows that have all columns of the input.
func (k *KeyReader) ReadWhole(rows *cpcds.Rows, f func(key string, from, to int, inputRows int64) error) error {
	narrow := *rows
	narrow.Columns = nil
	for _, place := range k.places {
		narrow.Columns = append(narrow.Columns, rows.Columns[place])
	}
	return k.Read(&narrow, f)
}
