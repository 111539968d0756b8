package csvio

import (
	"archive/zip"
	"bytes"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func gz(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zst(t testing.TB, content string, opts ...zstd.EOption) string {
	t.Helper()
	w, err := zstd.NewWriter(nil, append(opts, zstd.WithEncoderCRC(true))...)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll([]byte(content), nil))
}

// TestStreams joins, lengthens and cuts compressed streams.
func TestStreams(t *testing.T) {
	f := func(name, content, want string) {
		t.Helper()
		if got := outcome(t, name, content, Options{}); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	const rows = "a|b\n1|2\n3|4"
	skippable := "\x53\x2a\x4d\x18\x03\x00\x00\x00abc"
	f("a.csv.gz", gz(t, "a,b\n1,")+gz(t, "")+gz(t, "2\n3,4\n"), rows)
	f("a.csv.zst", skippable+zst(t, "a,b\n1,")+skippable+zst(t, "")+zst(t, "2\n3,4\n"), rows)

	trailing := func(name string) string {
		return "has other bytes after the end of the " + name + " stream; was something appended to it, or the copy damaged?"
	}
	cut := func(name string) string {
		return "is truncated: the " + name + " stream ends early; was the copy complete?"
	}
	for _, tail := range []string{"\n", "x,y\n", "\x00\x00\x00", strings.Repeat("x,y\n", 100)} {
		f("a.csv.gz", gz(t, "a,b\n1,2\n")+tail, trailing("gzip"))
		f("a.csv.zst", zst(t, "a,b\n1,2\n")+tail, trailing("zstd"))
		f("a.csv.zst", zst(t, "a,b\n1,2\n")+skippable+tail, trailing("zstd"))
	}
	plain := string(sample(5000))
	for _, n := range []int{5, 11, 1000, len(gz(t, plain)) - 1} {
		f("a.csv.gz", gz(t, plain)[:n], cut("gzip"))
		f("a.csv.gz", gz(t, "a,b\n1,2\n")+gz(t, plain)[:n], cut("gzip"))
	}
	for _, n := range []int{3, 5, 1000, len(zst(t, plain)) - 1} {
		f("a.csv.zst", zst(t, plain)[:n], cut("zstd"))
		f("a.csv.zst", zst(t, "a,b\n1,2\n")+zst(t, plain)[:n], cut("zstd"))
	}
	damaged := []byte(gz(t, plain))
	damaged[len(damaged)/2] ^= 0x55
	f("a.csv.gz", string(damaged), "is not a valid gzip stream; was the copy complete?")
}

// TestWindows: frames with a window of more than 128 MiB are refused by its size.
func TestWindows(t *testing.T) {
	frame := func(log byte) string {
		// No content size, no checksum, a window of 2^log bytes, one last raw block.
		return "\x28\xb5\x2f\xfd\x00" + string([]byte{(log - 10) << 3, 8<<3 | 1, 0, 0}) + "a,b\n1,2\n"
	}
	within := func(memory int64, content, want string) {
		t.Helper()
		if got := outcome(t, "a.csv.zst", content, Options{Memory: memory}); got != want {
			t.Errorf("%d bytes of memory: got %q, want %q", memory, got, want)
		}
	}
	f := func(content, want string) {
		t.Helper()
		within(0, content, want)
	}
	f(frame(27), "a|b\n1|2")
	const large = "needs a window of 2048 MiB to decompress, but the limit is 128 MiB; it was compressed with a large zstd --long; compress it again with --long=27 or less"
	f(frame(31), large)
	f(zst(t, "a,b\n")+frame(31), large)
	within(1<<40, frame(31), large)
	within(1<<40, frame(27), "a|b\n1|2")

	// A lane must have room for the window.
	within(1<<20, frame(23), "a|b\n1|2")
	within(64<<20, frame(25), "a|b\n1|2")
	const more = " MiB; use more --memory or fewer --workers, or compress it again without --long and --ultra"
	within(64<<20, frame(26), "needs a window of 64 MiB to decompress, but the limit is 32"+more)
	within(1<<20, frame(24), "needs a window of 16 MiB to decompress, but the limit is 8"+more)
	within(64<<20, frame(31), strings.NewReplacer("128", "32", "27", "25").Replace(large))
}

// TestKinds: a file that is not what its name says is called what it is.
func TestKinds(t *testing.T) {
	archive := func(member string) string {
		t.Helper()
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		m, err := w.Create(member)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Write([]byte("a,b\n1,2\n")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	f := func(name, content, want string) {
		t.Helper()
		if got := outcome(t, name, content, Options{}); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	const text, asText, convert = "a,b\n1,2\n", ", though its name says that it is text", "; rename it to match its content, or convert it to CSV"
	f("a.csv", gz(t, text), "is gzip data"+asText+"; rename it to .csv.gz")
	f("a.csv", zst(t, text), "is zstd data"+asText+"; rename it to .csv.zst")
	f("a.csv", "\x53\x2a\x4d\x18\x00\x00\x00\x00"+zst(t, text), "is zstd data"+asText+"; rename it to .csv.zst")
	f("a.csv", "\xfd7zXZ\x00\x00\x04", "is xz data"+asText+"; decompress it first")
	f("a.csv", "BZh91AY&SY\x00", "is bzip2 data"+asText+"; decompress it first")
	f("a.csv", archive("claims.csv"), "is a zip archive"+asText+"; decompress it first")
	f("a.csv", archive("[Content_Types].xml"), "is an Excel workbook"+asText+"; save its sheet as CSV")
	f("a.csv", archive("xl/workbook.xml"), "is an Excel workbook"+asText+"; save its sheet as CSV")
	f("a.csv", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00", "is an old Excel workbook"+asText+"; save its sheet as CSV")
	f("a.csv", "PAR1\x15\x04", "is a Parquet file"+asText+convert)
	f("a.csv", "ARROW1\x00\x00", "is an Arrow file"+asText+convert)
	f("a.csv", "\xff\xff\xff\xff\x10\x00\x00\x00", "is an Arrow stream"+asText+convert)
	f("a.csv.gz", text, "is not compressed, though its name says gzip; rename it without .gz")
	f("a.csv.zst", "a\xe4,b\n", "is not a valid zstd stream; was the copy complete?")
	f("a.csv.zst", gz(t, text), "is gzip data, though its name says that it is zstd; rename it to .csv.gz")
	f("a.csv.gz", "PAR1\x15\x04", "is a Parquet file, though its name says that it is gzip"+convert)
	f("a.csv.gz", gz(t, gz(t, text)), "holds gzip data, not text")
	f("a.csv.gz", gz(t, "PAR1\x15\x04"), "holds a Parquet file, not text")
	f("a.csv.gz", strings.Repeat("ä", headBytes), "is not compressed, though its name says gzip; rename it without .gz")

	f("a.csv", "PAR1,PK\n1,2\n", "PAR1|PK\n1|2")
	f("a.csv", "BZh9,b\n1,2\n", "BZh9|b\n1|2")
}
