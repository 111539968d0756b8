package csvio

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// charset is the encoding of a file's text. UTF-16 is decoded as a stream; in the others
// delimiters, quotes and line feeds are the same bytes, so the file is split as it is and only
// fields are decoded.
type charset uint8

const (
	utf8Text charset = iota
	latin1
	windows1252
	utf16 // the byte order is that of its mark
	utf16le
	utf16be
)

var charsetNames = [...]string{"UTF-8", "Latin-1", "Windows-1252", "UTF-16", "UTF-16", "UTF-16"}

func (c charset) String() string { return charsetNames[c] }

func charsetOf(name string) (charset, error) {
	switch strings.ToLower(name) {
	case "", "utf-8", "utf8":
		return utf8Text, nil
	case "latin1", "latin-1", "iso-8859-1":
		return latin1, nil
	case "windows-1252", "cp1252":
		return windows1252, nil
	case "utf-16", "utf16":
		return utf16, nil
	case "utf-16le":
		return utf16le, nil
	case "utf-16be":
		return utf16be, nil
	}
	return 0, fmt.Errorf("unknown encoding %q; use utf-8, latin1, windows-1252, utf-16, utf-16le or utf-16be", name)
}

// wide reports whether it is one of UTF-16.
func (c charset) wide() bool { return c >= utf16 }

// stream turns UTF-16 into UTF-8. A byte order mark takes precedence over the name.
func (c charset) stream(r io.Reader) io.Reader {
	if !c.wide() {
		return r
	}
	endian, mark := unicode.LittleEndian, unicode.UseBOM
	switch c {
	case utf16:
		mark = unicode.ExpectBOM
	case utf16be:
		endian = unicode.BigEndian
	}
	return transform.NewReader(r, unicode.UTF16(endian, mark).NewDecoder())
}

// wideText returns the encoding of text that is UTF-16 by its first bytes, "" if it is
// not.
func wideText(b []byte) string {
	switch {
	case len(b) < 2:
	case b[0] == 0xff && b[1] == 0xfe, b[0] == 0xfe && b[1] == 0xff:
		return "utf-16"
	case len(b) < 4:
	case b[0] != 0 && b[1] == 0 && b[2] != 0 && b[3] == 0:
		return "utf-16le"
	case b[0] == 0 && b[1] != 0 && b[2] == 0 && b[3] != 0:
		return "utf-16be"
	}
	return ""
}

// valid reports whether bytes of the scanner are valid in the encoding. The UTF-16 decoder replaces
// invalid input by U+FFFD.
func (c charset) valid(b []byte) bool {
	switch c {
	case utf8Text:
		return utf8.Valid(b)
	case utf16, utf16le, utf16be:
		return !strings.ContainsRune(view(b), utf8.RuneError)
	}
	return true
}

// perByte reports whether each byte is one character.
func (c charset) perByte() bool { return c == latin1 || c == windows1252 }

// appendField appends a field of a perByte encoding as UTF-8.
func (c charset) appendField(dst, field []byte) []byte {
	table := charmap.ISO8859_1
	if c == windows1252 {
		table = charmap.Windows1252
	}
	for _, b := range field {
		dst = utf8.AppendRune(dst, table.DecodeByte(b))
	}
	return dst
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// view returns b as a string without copying it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
