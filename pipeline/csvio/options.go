package csvio

import (
	"fmt"
	"unicode/utf8"
)

// Options say how a file is read. The zero value means the header line's delimiter, double quotes,
// UTF-8 and a header line.
type Options struct {
	Delimiter byte   // 0: the most frequent of , ; | and tab in the first line
	Quote     byte   // 0: "
	NoQuote   bool   // quotes are text like any other
	Encoding  string // "utf-8", "latin1", "windows-1252", "utf-16", "utf-16le" or "utf-16be"; "": utf-8

	// Escape is the character that escapes the next one: a backslash, or the quote if quotes are
	// only doubled, so that a backslash is text. With 0 they are doubled too, but a backslash that
	// may be an escape is a fault: one before a quote, and in bound columns one before another or
	// before n, r or t.
	Escape byte

	// Trim skips blanks before an opening and after a closing quote. Without it they are a fault.
	Trim bool

	// ExcelGuards reads ="00123", which keeps spreadsheets from dropping zeros, as 00123. Without
	// it such a value is a fault in bound columns.
	ExcelGuards bool

	// NullMark says that the reader of the rows knows what the field \N is. Without it, and without
	// an Escape, it is a fault in bound columns.
	NullMark bool

	// NoHeader says that the first line is data; Columns then names its fields.
	NoHeader bool
	Columns  []string

	// ShortRows accepts rows that have fewer fields than the header; the missing
	// ones are absent.
	ShortRows bool

	// MaxField is the longest field in bytes, 0 for 1 MiB. A longer one is a fault:
	// it is nearly always an unclosed quote.
	MaxField int

	// Memory is what a source may hold in bytes, 0 for no limit. A zstd file whose window takes
	// more than half of it is refused, except for windows that every reader must support.
	Memory int64
}

const defaultMaxField = 1 << 20

// OptionError says that no file can be read with the options.
type OptionError struct {
	File string
	What string
}

func (e *OptionError) Error() string { return "open " + e.File + ": " + e.What }

// complete fills in the defaults, and rejects options that contradict each other.
func (o *Options) complete(path string) (charset, error) {
	if o.Quote == 0 {
		o.Quote = '"'
	}
	if o.MaxField == 0 {
		o.MaxField = defaultMaxField
	}
	refuse := func(format string, args ...any) (charset, error) {
		return 0, &OptionError{File: path, What: fmt.Sprintf(format, args...)}
	}
	c, err := charsetOf(o.Encoding)
	if err != nil {
		return refuse("%v", err)
	}
	ends := func(b byte) bool { return b == '\n' || b == '\r' }
	switch {
	case o.NoHeader && len(o.Columns) == 0:
		return refuse("neither a header line nor column names")
	case ends(o.Delimiter):
		return refuse("the delimiter cannot be a line end")
	case o.Delimiter >= utf8.RuneSelf && !c.perByte():
		return refuse("the delimiter must be an ASCII character in %s", c)
	case !o.NoQuote && (ends(o.Quote) || o.Quote >= utf8.RuneSelf && !c.perByte()):
		return refuse("the quote must be an ASCII character other than a line end")
	case !o.NoQuote && o.Quote == o.Delimiter:
		return refuse("the delimiter and the quote are the same character")
	case o.Escape != 0 && o.Escape != backslash && o.Escape != o.Quote:
		return refuse("the escape must be a backslash or the quote character")
	case o.Delimiter == backslash && o.Escape == backslash, o.Quote == backslash && !o.NoQuote:
		return refuse("an escaping backslash cannot be the delimiter or the quote")
	}
	return c, nil
}

// form returns how fields are separated. The delimiter may not be known yet.
func (o *Options) form() form {
	f := form{delimiter: o.Delimiter, quote: o.Quote, quoted: !o.NoQuote, trim: o.Trim}
	if o.Escape == backslash {
		f.escape = backslash
	} else {
		f.doubled = o.Escape != 0
	}
	return f
}
