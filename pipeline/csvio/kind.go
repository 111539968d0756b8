package csvio

import (
	"bytes"
	"io"

	"cpcds2fhir/pipeline"
)

// magics are the first bytes of files that are not text.
var magics = []struct{ begin, name string }{
	{"\x1f\x8b", "gzip data"},
	{"\x28\xb5\x2f\xfd", "zstd data"},
	{"\xfd7zXZ\x00", "xz data"},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook"},
	{"ARROW1\x00", "an Arrow file"},
	{"\xff\xff\xff\xff", "an Arrow stream"},
	{"FEA1\x00", "a Feather file"},
	{"PK\x03\x04", "a zip archive"},
	{"PK\x05\x06", "a zip archive"},
	{"SQLite format 3\x00", "an SQLite database"},
}

// kindOf names the kind of a file by its first bytes, "" if it may be text.
func kindOf(b []byte) string {
	for _, m := range magics {
		if !bytes.HasPrefix(b, []byte(m.begin)) {
			continue
		}
		if m.name == "a zip archive" && (bytes.Contains(b, []byte("[Content_Types].xml")) || bytes.Contains(b, []byte("xl/"))) {
			return "an Excel workbook"
		}
		return m.name
	}
	switch {
	case len(b) >= 4 && b[0]&0xf0 == 0x50 && string(b[1:4]) == "\x2a\x4d\x18": // a frame to be skipped
		return "zstd data"
	case len(b) >= 10 && string(b[:3]) == "BZh" && string(b[4:10]) == "\x31\x41\x59\x26\x53\x59":
		return "bzip2 data"
	case len(b) > 4 && (string(b[:4]) == "PAR1" || string(b[:4]) == "PARE") && b[4] < ' ' && !bytes.Contains([]byte("\t\r\n"), b[4:5]):
		return "a Parquet file"
	}
	return ""
}

// headBytes is how much of a file is read to find out what it is.
const headBytes = 4096

// checkKind rejects a file that is not what its name says.
func (f *file) checkKind() error {
	head := make([]byte, headBytes)
	n, err := f.os.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return readError(f.path, err)
	}
	head = head[:n]
	kind := kindOf(head)
	want := &packings[f.packed]
	refuse := func(what, hint string) error {
		return &pipeline.FormatError{File: f.path, What: what, Hint: hint}
	}
	switch {
	case kind == want.kind, n < 4 && f.packed != unpacked:
		return nil // for the shortest files the decoder finds out whether they are truncated
	case kind == "" && f.charset.valid(head[:textEnd(head)]) || wideText(head) != "":
		return refuse("is not compressed, though its name says "+want.name, "rename it without "+want.end)
	case kind == "":
		return refuse("is not a valid "+want.name+" stream", "was the copy complete?")
	}
	hint := "rename it to match its content, or convert it to CSV"
	switch kind {
	case packings[gzipped].kind:
		hint = "rename it to .csv.gz"
	case packings[zstandard].kind:
		hint = "rename it to .csv.zst"
	case "an Excel workbook", "an old Excel workbook":
		hint = "save its sheet as CSV"
	case "xz data", "bzip2 data", "a zip archive":
		hint = "decompress it first"
	}
	return refuse("is "+kind+", though its name says that it is "+want.name, hint)
}

// textEnd returns the end of the last whole character: what was read may end within one.
func textEnd(b []byte) int {
	end := len(b)
	for end > 0 && end > len(b)-4 && b[end-1] >= 0x80 {
		end--
	}
	return end
}
