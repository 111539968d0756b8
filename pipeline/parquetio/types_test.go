package parquetio

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"

	"cpcds2fhir/pipeline"
)

// typed has a column of every type. The same struct is written with and without
// dictionaries.
type typed struct {
	Text      string           `parquet:"text"`
	Maybe     *string          `parquet:"maybe,optional"`
	Enum      string           `parquet:"enum,enum"`
	Bytes     []byte           `parquet:"bytes"`
	Fixed     [3]byte          `parquet:"fixed"`
	Bool      bool             `parquet:"bool"`
	MaybeBool *bool            `parquet:"maybe_bool,optional"`
	Small     int8             `parquet:"small"`
	Int       int32            `parquet:"int"`
	Long      *int64           `parquet:"long,optional"`
	Unsigned  uint32           `parquet:"unsigned"`
	Huge      uint64           `parquet:"huge"`
	Float     float32          `parquet:"float"`
	Double    float64          `parquet:"double"`
	Money32   int32            `parquet:"money32,decimal(2:9)"`
	Money64   *int64           `parquet:"money64,decimal(2:18),optional"`
	Date      int32            `parquet:"date,date"`
	Millis    int64            `parquet:"millis,timestamp(millisecond)"`
	Micros    int64            `parquet:"micros,timestamp(microsecond)"`
	Nanos     int64            `parquet:"nanos,timestamp(nanosecond)"`
	Time      int64            `parquet:"time,time(microsecond)"`
	Int96     deprecated.Int96 `parquet:"int96"`
	UUID      [16]byte         `parquet:"uuid,uuid"`
}

// typedDict is typed with dictionary encoding for all columns that support it.
type typedDict struct {
	Text     string           `parquet:"text,dict"`
	Maybe    *string          `parquet:"maybe,optional,dict"`
	Int      int32            `parquet:"int,dict"`
	Long     *int64           `parquet:"long,optional,dict"`
	Unsigned uint32           `parquet:"unsigned,dict"`
	Double   float64          `parquet:"double,dict"`
	Money32  int32            `parquet:"money32,decimal(2:9),dict"`
	Money64  *int64           `parquet:"money64,decimal(2:18),optional,dict"`
	Date     int32            `parquet:"date,date,dict"`
	Int96    deprecated.Int96 `parquet:"int96,dict"`
	UUID     [16]byte         `parquet:"uuid,uuid,dict"`
}

func pick[T any](rnd *rand.Rand, v T) *T {
	if rnd.IntN(3) == 0 {
		return nil
	}
	return &v
}

func show[T any](v *T, text func(T) string) string {
	if v == nil {
		return ""
	}
	return text(*v)
}

func money(v int64) string {
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	return fmt.Sprintf("%s%d.%02d", sign, v/100, v%100)
}

func makeTyped(n int) ([]typed, [][]string) {
	rnd := rand.New(rand.NewPCG(7, 8))
	var rows []typed
	var want [][]string
	for i := range n {
		at := time.Unix(rnd.Int64N(4e9)-1e9, 0).UTC()
		amount := rnd.Int64N(2e8) - 1e8
		text := strings.Repeat("é", rnd.IntN(3)) + fmt.Sprint(rnd.IntN(500))
		if i%11 == 0 {
			text = ""
		}
		day := at.Unix() / 86400
		if at.Unix()%86400 < 0 {
			day--
		}
		inDay := uint64(at.Unix()-day*86400) * 1e9
		x := typed{
			Text: text, Maybe: pick(rnd, text), Enum: "e" + text, Bytes: []byte("b" + text),
			Fixed: [3]byte{'f', 'x', byte('a' + i%26)}, Bool: i%3 == 0, MaybeBool: pick(rnd, i%5 == 0), Small: int8(i),
			Int: int32(i) - 50, Long: pick(rnd, int64(i)*1e12), Unsigned: 4e9 + uint32(i), Huge: 1<<63 + uint64(i),
			Float: float32(i) / 4, Double: float64(i) / 8, Money32: int32(amount), Money64: pick(rnd, amount*1e3),
			Date: int32(day), Millis: at.UnixMilli() + 5, Micros: at.UnixMicro() + 5, Nanos: at.UnixNano() + 5, Time: 3600e6 + 1,
			Int96: deprecated.Int96{uint32(inDay), uint32(inDay >> 32), uint32(day + 2440588)},
			UUID:  [16]byte{byte(i), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		}
		const layout = "2006-01-02T15:04:05.999999999Z"
		rows = append(rows, x)
		want = append(want, []string{
			x.Text, show(x.Maybe, func(s string) string { return s }), x.Enum, string(x.Bytes), string(x.Fixed[:]),
			fmt.Sprint(x.Bool), show(x.MaybeBool, func(b bool) string { return fmt.Sprint(b) }), fmt.Sprint(x.Small),
			fmt.Sprint(x.Int), show(x.Long, func(v int64) string { return fmt.Sprint(v) }), fmt.Sprint(x.Unsigned), fmt.Sprint(x.Huge),
			fmt.Sprint(x.Float), fmt.Sprint(x.Double), money(int64(x.Money32)), show(x.Money64, money),
			at.Format(time.DateOnly), at.Add(5 * time.Millisecond).Format(layout), at.Add(5 * time.Microsecond).Format(layout),
			at.Add(5).Format(layout), "01:00:00.000001", at.Format("2006-01-02T15:04:05"), // no metadata says that an INT96 is an instant
			fmt.Sprintf("%02x010203-0405-0607-0809-0a0b0c0d0e0f", byte(i)),
		})
	}
	return rows, want
}

// TestTypes reads every type from plain pages of both versions, starting at various rows. The
// pages are so small that a row batch spans several of them.
func TestTypes(t *testing.T) {
	rows, want := makeTyped(9000)
	for version := 1; version <= 2; version++ {
		path := writeFile(t, rows, 5000, parquet.PageBufferSize(2000), parquet.DataPageVersion(version), parquet.Compression(&parquet.Zstd))
		f := open(t, path)
		got := readAll(t, f, nil)
		compareRows(t, fmt.Sprintf("version %d", version), want, got.rows)
		checkRanges(t, f, got)
	}
}

// TestDictionaryTypes reads the same data from dictionaries, where text is produced once per entry
// and row group rather than once per cell.
func TestDictionaryTypes(t *testing.T) {
	all, text := makeTyped(6000)
	column := map[string]int{}
	plain := open(t, writeFile(t, all[:1], 1))
	for i, x := range plain.Fields() {
		column[x.Name] = i
	}
	var rows []typedDict
	for _, x := range all {
		rows = append(rows, typedDict{x.Text, x.Maybe, x.Int, x.Long, x.Unsigned, x.Double, x.Money32, x.Money64, x.Date, x.Int96, x.UUID})
	}
	f := open(t, writeFile(t, rows, 5000))
	var want [][]string
	for _, row := range text {
		var w []string
		for _, x := range f.Fields() {
			w = append(w, row[column[x.Name]])
		}
		want = append(want, w)
	}
	got := readAll(t, f, nil)
	compareRows(t, "dictionaries", want, got.rows)
	checkRanges(t, f, got)
}

// TestProjection reads some of the columns in a different order.
func TestProjection(t *testing.T) {
	rows, want := makeTyped(100)
	f := open(t, writeFile(t, rows, 100))
	got := readAll(t, f, []int{8, 0, 8})
	for i, row := range got.rows {
		if diff := cmp.Diff([]string{want[i][8], want[i][0], want[i][8]}, row); diff != "" {
			t.Fatalf("row %d (-want +got):\n%s", i, diff)
		}
	}
}

// TestUnreadableColumns opens files with columns that cannot be converted to text. Errors name
// these columns, and occur only if they are requested.
func TestUnreadableColumns(t *testing.T) {
	check := func(path string, column int, name, fault string) {
		t.Helper()
		f := open(t, path)
		if got := f.Fields()[column]; got.Name != name || !strings.Contains(got.Fault, fault) {
			t.Errorf("got column %q with fault %q, want %q with fault %q", got.Name, got.Fault, name, fault)
		}
		_, err := readRange(f, 0, 1, []int{column})
		if got := (*pipeline.FormatError)(nil); !errors.As(err, &got) || got.Column != name {
			t.Errorf("got %v, want a fault in column %q", err, name)
		}
		if got := readAll(t, f, nil); len(got.rows) != 1 || got.rows[0][0] != "1" {
			t.Errorf("got %v from the readable columns", got.rows)
		}
	}
	check(writeFile(t, []struct {
		ID   string            `parquet:"id"`
		Tags map[string]string `parquet:"tags"`
		Last string            `parquet:"last"`
	}{{ID: "1"}}, 1), 1, "tags", "is a map")
	type inner struct {
		In []string `parquet:"in,list"`
	}
	check(writeFile(t, []struct {
		ID   string  `parquet:"id"`
		Deep []inner `parquet:"deep,list"`
		Last string  `parquet:"last"`
	}{{ID: "1"}}, 1), 1, "in", "is a list within a list")
}

func TestMissingFile(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "none.parquet"), Options{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an error of package os", err)
	}
}

// TestNotText checks that bytes that are not text are detected, in a dictionary and in a plain
// page.
func TestNotText(t *testing.T) {
	type dict struct {
		V string `parquet:"v,dict"`
	}
	type plain struct {
		V string `parquet:"v"`
	}
	for _, bad := range []string{"secret\xff", "secret\xc3("} {
		for _, path := range []string{writeFile(t, []dict{{"a"}, {bad}}, 2), writeFile(t, []plain{{"a"}, {bad}}, 2)} {
			_, err := readRange(open(t, path), 0, 2, nil)
			var fault *pipeline.FormatError
			if !errors.As(err, &fault) || fault.Column != "v" || fault.Row == 0 {
				t.Errorf("got %v, want a fault in column v", err)
			} else if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error quotes the value: %v", err)
			}
		}
	}
}

// TestDamage damages a file in many places. Reading it must return a *FormatError or the correct
// number of rows, and must never panic.
func TestDamage(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long, and one goroutine does most of it")
	}
	rows, want := makeTyped(300)
	good, err := os.ReadFile(writeFile(t, rows, 150, parquet.Compression(&parquet.Snappy)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	faults := 0
	check := func(name string, raw []byte, mustFail bool) {
		t.Helper()
		path := filepath.Join(dir, "damaged.parquet")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path, Options{})
		if err == nil {
			defer f.Close()
			var got *table
			if got, err = readRange(f, 0, int64(len(want)), nil); err == nil && !mustFail && len(got.rows) == len(want) {
				return
			}
		}
		var fault *pipeline.FormatError
		if !errors.As(err, &fault) {
			// If the footer has the wrong number of rows, the requested range may be invalid.
			if err != nil && strings.Contains(err.Error(), "are not in the file") {
				return
			}
			t.Fatalf("%s: got %v, want a format error", name, err)
		}
		faults++
	}
	for cut := 0; cut < len(good); cut += len(good)/60 + 1 {
		check(fmt.Sprintf("cut at %d", cut), good[:cut], true)
	}
	rnd := rand.New(rand.NewPCG(9, 10))
	for range 800 {
		raw := append([]byte(nil), good...)
		at := rnd.IntN(len(raw))
		raw[at] ^= 1 << rnd.IntN(8)
		check(fmt.Sprintf("bit at %d", at), raw, false)
	}
	if faults < 200 {
		t.Errorf("only %d faults were detected", faults)
	}
	check("magic", append([]byte("XXXX"), good[4:]...), true)
	check("empty", nil, true)
}
