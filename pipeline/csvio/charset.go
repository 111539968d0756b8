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

// charset is the encoding of a file's text. UTF-16 is decoded as a stream; in the
// others delimiters, quotes and line feeds are the same bytes, so that the file is
// taken apart as it is and only fields are decoded.
type charset uint8

const (
	utf8Text charset = iota
	latin1
	windows1252
	utf16
)

var charsetNames = [...]string{"UTF-8", "Latin-1", "Windows-1252", "UTF-16"}

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
	}
	return 0, fmt.Errorf("encoding %q is not known; known are utf-8, latin1, windows-1252 and utf-16", name)
}

// stream turns UTF-16 into UTF-8.
func (c charset) stream(r io.Reader) io.Reader {
	if c == utf16 {
		return transform.NewReader(r, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder())
	}
	return r
}

// valid reports whether bytes of the scanner are text of the encoding. The decoder
// of UTF-16 puts U+FFFD where its input is not.
func (c charset) valid(b []byte) bool {
	if strings.IndexByte(view(b), 0) >= 0 {
		return false
	}
	switch c {
	case utf8Text:
		return utf8.Valid(b)
	case utf16:
		return !strings.ContainsRune(view(b), utf8.RuneError)
	}
	return true
}

// perByte reports whether each byte is a character of its own.
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
