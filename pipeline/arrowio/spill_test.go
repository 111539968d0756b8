package arrowio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"cpcds2fhir/schemas/cpcds"
)

// slab makes rows with a dictionary column and a plain one, unfolded or not.
func slab(rnd *rand.Rand, first int64, n int, unfolded bool) *cpcds.Rows {
	r := &cpcds.Rows{First: first, N: n, Columns: make([]cpcds.Column, 2)}
	r.Columns[0] = cpcds.Column{Values: []string{"red", "green"}, Dict: 7}
	for i := range n {
		r.Columns[0].Index = append(r.Columns[0].Index, int32(rnd.IntN(3))-1)
		v := ""
		if rnd.IntN(4) > 0 {
			v = fmt.Sprint("value ", rnd.IntN(1000))
		}
		r.Columns[1].AppendPlain(v)
		if unfolded {
			r.Whole = append(r.Whole, i == 0 || rnd.IntN(3) == 0)
		}
	}
	return r
}

type spilled struct {
	lane  int32
	row   int64
	whole bool
	text  [2]string
}

func writeSpill(t testing.TB, w io.Writer) []spilled {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	s := NewSpillWriter(w, []string{"a", "_lane"})
	var want []spilled
	for k := range 60 {
		r := slab(rnd, int64(k)*1000, 1+rnd.IntN(1000), k%2 == 0)
		var pick []int32
		for i := range r.N {
			if rnd.IntN(2) == 0 {
				pick = append(pick, int32(i))
			}
		}
		slices.Reverse(pick)
		for _, i := range pick {
			x := spilled{lane: int32(k), row: r.InputRow(int(i)), whole: r.Whole == nil || r.Whole[i]}
			x.text = [2]string{r.Columns[0].Value(int(i)), r.Columns[1].Value(int(i))}
			want = append(want, x)
		}
		if err := s.Append(r, pick, int32(k)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

func readSpill(r io.Reader) ([]spilled, error) {
	s, err := NewSpillReader(r)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if !slices.Equal(s.Columns(), []string{"a", "_lane"}) {
		return nil, fmt.Errorf("columns %q", s.Columns())
	}
	var got []spilled
	var rows cpcds.Rows
	var lanes []int32
	var inputRows []int64
	var whole []bool
	for {
		err := s.Next(&rows, &lanes, &inputRows, &whole)
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		if len(lanes) != rows.N || len(inputRows) != rows.N || len(whole) != rows.N || rows.N > spillRows {
			return nil, fmt.Errorf("a batch of %d rows has %d lanes", rows.N, len(lanes))
		}
		for i := range rows.N {
			x := spilled{lane: lanes[i], row: inputRows[i], whole: whole[i]}
			x.text = [2]string{string([]byte(rows.Columns[0].Value(i))), string([]byte(rows.Columns[1].Value(i)))}
			got = append(got, x)
		}
	}
}

func TestSpill(t *testing.T) {
	var file bytes.Buffer
	want := writeSpill(t, &file)
	if len(want) < 2*spillRows {
		t.Fatalf("%d rows are not enough for several batches", len(want))
	}
	got, err := readSpill(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(want, got) {
		t.Error("the rows read are not the rows written")
	}
}

func TestSpillEmpty(t *testing.T) {
	var file bytes.Buffer
	if err := NewSpillWriter(&file, []string{"a", "_lane"}).Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := readSpill(&file); err != nil || len(got) != 0 {
		t.Errorf("got %d rows, %v", len(got), err)
	}
}

// TestSpillCut cuts a spill file everywhere: no cut is taken for its end.
func TestSpillCut(t *testing.T) {
	var file bytes.Buffer
	want := writeSpill(t, &file)
	for cut := 0; cut < file.Len(); cut += 997 {
		if got, err := readSpill(bytes.NewReader(file.Bytes()[:cut])); err == nil {
			t.Fatalf("cut at %d: %d of %d rows and no error", cut, len(got), len(want))
		}
	}
	if _, err := readSpill(bytes.NewReader(file.Bytes()[:file.Len()-8])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without the end mark: %v", err)
	}
}

func TestSpillColumns(t *testing.T) {
	s := NewSpillWriter(io.Discard, []string{"a"})
	if err := s.Append(slab(rand.New(rand.NewPCG(1, 2)), 0, 3, false), []int32{0}, 0); err == nil {
		t.Error("a slab with other columns was accepted")
	}
}

// BenchmarkSpill writes and reads 60 columns.
func BenchmarkSpill(b *testing.B) {
	const rows, columns = 4096, 60
	rnd := rand.New(rand.NewPCG(1, 2))
	r := &cpcds.Rows{N: rows, Columns: make([]cpcds.Column, columns)}
	var names []string
	var pick []int32
	for c := range columns {
		names = append(names, fmt.Sprint("c", c))
		for range rows {
			v := ""
			if c%2 == 0 {
				v = fmt.Sprint(rnd.IntN(100000))
			}
			r.Columns[c].AppendPlain(v)
		}
	}
	for i := range rows {
		pick = append(pick, int32(i))
	}
	var file bytes.Buffer
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		file.Reset()
		s := NewSpillWriter(&file, names)
		n := 0
		for b.Loop() {
			if err := s.Append(r, pick, 1); err != nil {
				b.Fatal(err)
			}
			n += rows
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
	})
	file.Reset()
	s := NewSpillWriter(&file, names)
	for range 20 {
		if err := s.Append(r, pick, 1); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			in, err := NewSpillReader(bytes.NewReader(file.Bytes()))
			if err != nil {
				b.Fatal(err)
			}
			var got cpcds.Rows
			var lanes []int32
			var inputRows []int64
			var whole []bool
			for in.Next(&got, &lanes, &inputRows, &whole) == nil {
				n += got.N
			}
			in.Close()
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
	})
}
