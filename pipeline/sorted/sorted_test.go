package sorted

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// format returns a format with a 16-byte key in two halves, and a number.
func format(memory int) Format {
	return Format{Name: "test", Size: 20, Key: 16, Memory: memory, Merge: func(old, next []byte) {
		n := binary.BigEndian.Uint32(old[16:]) + 10*binary.BigEndian.Uint32(next[16:])
		binary.BigEndian.PutUint32(old[16:], n)
	}}
}

func record(first, second uint64, n uint32) []byte {
	b := binary.BigEndian.AppendUint64(nil, first)
	b = binary.BigEndian.AppendUint64(b, second)
	return binary.BigEndian.AppendUint32(b, n)
}

// TestTable compares tables in memory and in files with a map, both for random keys and for keys
// that are not random at all.
func TestTable(t *testing.T) {
	kinds := map[string]func(r *rand.Rand, i int) uint64{
		"random":    func(r *rand.Rand, _ int) uint64 { return r.Uint64() },
		"counted":   func(_ *rand.Rand, i int) uint64 { return uint64(i) },
		"few":       func(r *rand.Rand, _ int) uint64 { return uint64(r.IntN(5)) << 40 },
		"from ends": func(r *rand.Rand, i int) uint64 { return uint64(i%2)*(1<<64-1-100) + uint64(r.IntN(100)) },
	}
	for name, key := range kinds {
		for _, n := range []int{0, 1, 203, 204, 205, 3000} {
			for _, memory := range []int{1, 1 << 20} {
				t.Run(fmt.Sprint(name, n, "in", memory), func(t *testing.T) {
					r := rand.New(rand.NewPCG(1, uint64(n)))
					f := format(memory)
					b := NewBuilder(f, t.TempDir())
					want := map[string]uint32{}
					for i := range n {
						rec := record(key(r, i), r.Uint64N(3), uint32(i))
						if err := b.Add(rec); err != nil {
							t.Fatal(err)
						}
						k := string(rec[:16])
						if old, ok := want[k]; ok {
							want[k] = old + 10*uint32(i)
						} else {
							want[k] = uint32(i)
						}
					}
					table, err := b.Build()
					if err != nil {
						t.Fatal(err)
					}
					compare(t, table, want)
					path := filepath.Join(t.TempDir(), "folder", "saved")
					if err := table.Save(path); err != nil {
						t.Fatal(err)
					}
					if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
						t.Errorf("the file has mode %v (%v)", info.Mode(), err)
					}
					compare(t, table, want) // it must still be usable by readers
					opened, err := Open(f, path)
					if err != nil {
						t.Fatal(err)
					}
					compare(t, opened, want)
					again := NewBuilder(f, t.TempDir())
					if err := again.AddTable(opened); err != nil {
						t.Fatal(err)
					}
					copied, err := again.Build()
					if err != nil {
						t.Fatal(err)
					}
					compare(t, copied, want)
					for _, x := range []*Table{table, opened, copied} {
						x.Close()
					}
				})
			}
		}
	}
}

func compare(t *testing.T, table *Table, want map[string]uint32) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(want))
	var all []string
	if err := table.All(func(r []byte) error { all = append(all, string(r[:16])); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(all, keys) || table.Len() != int64(len(keys)) {
		t.Fatalf("%d records of %d, want %d in order", len(all), table.Len(), len(keys))
	}
	for _, k := range keys {
		var got []uint32
		if err := table.Find([]byte(k), func(r []byte) { got = append(got, binary.BigEndian.Uint32(r[16:])) }); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0] != want[k] {
			t.Fatalf("key %x: got %d, want %d", k, got, want[k])
		}
		var group, wantGroup []string
		if err := table.Find([]byte(k[:8]), func(r []byte) { group = append(group, string(r[:16])) }); err != nil {
			t.Fatal(err)
		}
		for _, x := range keys {
			if x[:8] == k[:8] {
				wantGroup = append(wantGroup, x)
			}
		}
		if !slices.Equal(group, wantGroup) {
			t.Fatalf("%d records begin with %x, want %d", len(group), k[:8], len(wantGroup))
		}
		if len(keys) > 1000 && len(wantGroup) > 100 {
			break // one key of a large group is enough
		}
	}
	for _, absent := range [][]byte{record(7<<50, 9, 0)[:16], bytes.Repeat([]byte{0xff}, 16), record(3, 1<<60, 0)[:16]} {
		if err := table.Find(absent, func([]byte) { t.Fatalf("key %x does not exist, but was found", absent) }); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	f := format(1)
	path := filepath.Join(t.TempDir(), "x")
	b := NewBuilder(f, t.TempDir())
	for i := range 100 {
		if err := b.Add(record(uint64(i), 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	table, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Save(path); err != nil {
		t.Fatal(err)
	}
	table.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := f
	other.Size = 24
	for name, x := range map[string]struct {
		f    Format
		data []byte
	}{
		"empty":          {f, nil},
		"no head":        {f, data[:headSize-1]},
		"a part record":  {f, data[:len(data)-3]},
		"another format": {other, data},
	} {
		if err := os.WriteFile(path, x.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(x.f, path); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, want %v", name, err, ErrFormat)
		}
	}
}

func TestUnreadableFileIsAnError(t *testing.T) {
	b := NewBuilder(format(1), t.TempDir())
	for i := range 100 {
		if err := b.Add(record(uint64(i), 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	table, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := table.file.Truncate(headSize + 30); err != nil {
		t.Fatal(err)
	}
	if err := table.Find(record(50, 0, 0)[:16], func([]byte) {}); err == nil {
		t.Error("a record that cannot be read was reported as missing")
	}
	gone := NewBuilder(format(1), filepath.Join(t.TempDir(), "gone"))
	if err := gone.Add(record(1, 0, 0)); err == nil {
		t.Error("wrote to a folder that does not exist")
	}
}

// TestTablesOfOneName reads a table while another one with the same name is created.
func TestTablesOfOneName(t *testing.T) {
	dir := t.TempDir()
	var tables []*Table
	for n := range 3 {
		b := NewBuilder(format(1), dir)
		for i := range 1000 - 300*n {
			if err := b.Add(record(uint64(i)<<54, uint64(n), 0)); err != nil {
				t.Fatal(err)
			}
		}
		table, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		tables = append(tables, table)
	}
	for n, table := range tables {
		count := 0
		err := table.All(func(r []byte) error {
			if binary.BigEndian.Uint64(r[8:]) != uint64(n) {
				t.Fatalf("table %d has a record of another one", n)
			}
			count++
			return nil
		})
		if err != nil || count != 1000-300*n {
			t.Errorf("table %d has %d records (%v)", n, count, err)
		}
	}
}

// BenchmarkFind looks up random records among a million, in memory and in a file.
func BenchmarkFind(b *testing.B) {
	const n = 1_000_000
	for name, memory := range map[string]int{"memory": 1 << 30, "file": 1} {
		b.Run(name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(5, 6))
			builder := NewBuilder(format(memory), b.TempDir())
			keys := make([][]byte, n)
			for i := range keys {
				keys[i] = record(r.Uint64(), r.Uint64(), 0)[:16]
				if err := builder.Add(append(keys[i][:16:16], 0, 0, 0, 0)); err != nil {
					b.Fatal(err)
				}
			}
			table, err := builder.Build()
			if err != nil {
				b.Fatal(err)
			}
			defer table.Close()
			b.ReportAllocs()
			for b.Loop() {
				found := false
				if err := table.Find(keys[r.IntN(n)], func([]byte) { found = true }); err != nil || !found {
					b.Fatal(err)
				}
			}
		})
	}
}
