package csvio

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/unicode"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// outcome is what reading a text gives: its header and rows, joined, or the fault.
func outcome(t *testing.T, name, content string, opts Options) string {
	t.Helper()
	header, rows, err := parse(t, write(t, name, []byte(content)), opts)
	if err != nil {
		var fault *pipeline.FormatError
		if !errors.As(err, &fault) {
			t.Fatalf("%q: got %v, want a format error", content, err)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error quotes the data: %v", content, err)
		}
		fault.File = ""
		return strings.TrimPrefix(err.Error(), ": ")
	}
	var lines []string
	for _, row := range append([][]string{header}, rows...) {
		lines = append(lines, strings.Join(row, "|"))
	}
	return strings.Join(lines, "\n")
}

// checker returns a function that reads a text with options and compares what comes of
// it: the rows, or the beginning of the fault.
func checker(t *testing.T) func(content string, opts Options, want string) {
	return func(content string, opts Options, want string) {
		t.Helper()
		got := outcome(t, "a.csv", content, opts)
		if fault := strings.HasPrefix(want, ", row"); got != want && !(fault && strings.HasPrefix(got, want)) {
			t.Errorf("%q: got %q, want %q", content, got, want)
		}
	}
}

// TestTrailingDelimiters: an empty field at the end of rows is none if all rows have it.
func TestTrailingDelimiters(t *testing.T) {
	f := checker(t)
	none, short := Options{}, Options{ShortRows: true}
	f("a,b,\n1,2,\n3,,\n", none, "a|b\n1|2\n3|")
	f("a,b\n1,2,\n3,4,\n5,6,\"\"\n", none, "a|b\n1|2\n3|4\n5|6")
	f("a,b,\n1,2\n3,4\n", none, "a|b\n1|2\n3|4")
	f("a,b,\"\"\n1,2\n", none, "a|b\n1|2")
	f("a,b, \n1,2\n", none, "a|b\n1|2")
	f("a,b,\n", none, "a|b")
	f("a,b,,\n1,2,3,\n", none, "a|b|column 3\n1|2|3")

	const tooMany = "has 3 fields, but the header has 2"
	f("a,b\n1,2\nsecret, Jr,\n", none, ", row 2 (line 3): "+tooMany+"; it ends with a delimiter")
	f("a,b\nsecret, Jr,\n1,2\n", none, ", row 2 (line 3): has 2 fields, but the first row has 3")
	f("a,b,\n1,2\nsecret, Jr,\n", none, ", row 2 (line 3): "+tooMany)
	f("a,b,\nsecret, Jr,\n1,2\n", none, ", row 2 (line 3): has 2 fields, but the first row has 3")
	f("a,b,\n1,2,3\n", none, ", row 1 (line 2): "+tooMany)
	f("a,b\n1,2,\n3,4,5\n", none, ", row 2 (line 3): "+tooMany)
	f("a,b\n1,2,,\n", none, ", row 1 (line 2): has 4 fields, but the header has 2")

	f("a,b,c\n1,2,3,\n4,\n5,6,7,\n", short, "a|b|c\n1|2|3\n4||\n5|6|7")
	f("a,b,c,\n1\n2,3,4,\n5,6,7\n", short, "a|b|c\n1||\n2|3|4\n5|6|7")
	f("a,b,c\nsecret, Jr,1,\n2,3,4\n", short, ", row 2 (line 3): has 3 fields, but the first row has 4")
	f("a,b,c\n1,2,3\nsecret, Jr,1,\n", short, ", row 2 (line 3): has 4 fields, but the header has 3")
	f("a,b,c\n1,2,3,\n4\n", short, ", row 2 (line 3): has 1 fields, but the first row has 4")
}

// TestJoinedFiles: the beginning of a second file is no row.
func TestJoinedFiles(t *testing.T) {
	f := checker(t)
	again := ", row 2 (line 3): repeats the header line; were two files joined?"
	f("a,b\n1,2\na,b\n3,4\n", Options{}, again)
	f("a,b,\n1,2,\na,b,\n", Options{}, again)
	f("\"a\",\"b\"\n1,2\n\"a\",\"b\"\n", Options{}, again)
	f("\"a\",\"b\"\r\n1,2\r\na,b\r\n", Options{}, again)
	f("a,b\n1,2\na,\"b\"\n", Options{}, again)
	f("\"a \"\"x\"\"\",b\n1,2\n\"a \"\"x\"\"\",b\n", Options{}, again)
	f("ä,b\n1,2\nä,b\n", Options{}, again)
	f("\xe4,b\n1,2\n\xe4,b\n", Options{Encoding: "latin1"}, again)
	f("a,b\n1,2\n\ufeffa,b\n", Options{}, ", row 2 (line 3): begins with a byte order mark")
	f("\ufeffa,b\n1,2\n\ufeff\"a\",b\n", Options{}, ", row 2 (line 3): begins with a byte order mark")
	f("a,b\n1,\ufeff2\na,c\nb,c\n", Options{}, "a|b\n1|\ufeff2\na|c\nb|c")
	for _, line := range []string{"b,c,a", "c,b,a,", "c,\"b\",a", "\"b\",a,c"} {
		f("a,b,c\n1,2,3\n"+line+"\n4,5,6\n", Options{}, again)
	}
	f("a,b,b\n1,2,3\nb,a,b\n", Options{}, again)
	f(",b,c\n1,2,3\nb,,c\n", Options{}, again)
	f("b,,c\n1,2,3\n,b,c\n", Options{}, again)
	f("a,b,b\nb,a,a\na,b,x\nb,b,b\n", Options{}, "a|b|b\nb|a|a\na|b|x\nb|b|b")
	for _, line := range []string{"MEMBER_ID,First Name,last_name", "first-name,\"LAST_NAME\",Member ID", " member_id, first_name , last_name",
		"member_id,first_name,surname", "Member__Id,LAST NAME", "\u00a0member_id,First_Name,last_name"} {
		f("member_id,first_name,last_name\n1,2,3\n"+line+"\n4,5,6\n", Options{ShortRows: true}, again)
	}
	f("member_id,first_name,last_name\n1,2,3\nmember_id,Name,last\nM1,first_name,last_name\n", Options{},
		"member_id|first_name|last_name\n1|2|3\nmember_id|Name|last\nM1|first_name|last_name")
	f("a,b\n", Options{NoHeader: true, Columns: []string{"a", "b"}}, "a|b\na|b")
	f("\ufeffa,b\n1,2\n", Options{Encoding: "latin1"}, "is UTF-8 text: it begins with a UTF-8 byte order mark; set encoding: utf-8 under csv in the layout")
}

func TestExcelGuards(t *testing.T) {
	f := checker(t)
	on := Options{ExcelGuards: true}
	const content = "a,b\n=\"00123\",\"=\"\"0 \"\"\"\"4\"\"\"\n=\"\",=1+1\n"
	f(content, on, "a|b\n00123|0 \"4\n|=1+1")
	f("=\"a\",b\n1,2\n", on, "a|b\n1|2")
	f(content, Options{}, ", row 1 (line 2), column \"a\": is guarded for a spreadsheet, as in =\"...\"; set excel_guards: true")
	f("a,b\n1,\"=\"\"secret\"\"\"\n", Options{}, ", row 1 (line 2), column \"b\": is guarded for a spreadsheet")
	f("a,b\n=\"secret,2\n", on, ", row 1 (line 2), column \"a\": begins like =\"...\" but does not end like it")
	f("a,b\n=\"x\"secret\",2\n", on, ", row 1 (line 2), column \"a\": begins like =\"...\" but does not end like it")
	f("a,b\n=,=x\n", Options{}, "a|b\n=|=x")

	// Layouts drop the blanks around a value, so they hide no guard.
	for _, blanks := range []string{" ", "\t", "\u00a0", " \u2003"} {
		f("a,b\n1,"+blanks+"=\"secret\"\n", Options{}, ", row 1 (line 2), column \"b\": is guarded for a spreadsheet")
		f("a,b\n1,=\"secret\""+blanks+"\n", Options{}, ", row 1 (line 2), column \"b\": is guarded for a spreadsheet")
		f("a,b\n1,"+blanks+"=\"0 2\""+blanks+"\n", on, "a|b\n1|0 2")
		f("a,b\n1,="+blanks+"\"0 2\"\n", on, "a|b\n1|0 2")
		f("a,b\n1,="+blanks+"\"secret\"\n", Options{}, ", row 1 (line 2), column \"b\": is guarded for a spreadsheet")
		f("a,b\n1,"+blanks+"=\"secret\n", on, ", row 1 (line 2), column \"b\": begins like =\"...\" but does not end like it")
	}
	f("a,b\n1,=\"\\N\"\n", on, ", row 1 (line 2), column \"b\": is \\N, which")

	// In columns that nobody binds a guard is left out: a replay would take it as it stands.
	file, err := Open(write(t, "a.csv", []byte(content)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := read(file, 0, 9, pipeline.Columns{Kept: []int{0, 1}})
	if d := cmp.Diff([][]string{{"", ""}, {"", "=1+1"}}, rows); err != nil || d != "" {
		t.Errorf("kept columns: %v\n%s", err, d)
	}
}

func TestBlanksBesideQuotes(t *testing.T) {
	f := checker(t)
	on := Options{Trim: true}
	f("a, \"b\" ,c\n1, \"x, y\"\t,3\n\t\"4\" , 5 ,\"6\" \n", on, "a|b|c\n1|x, y|3\n4| 5 |6")
	f("a\tb\n1\t \"x\ty\" \n", on, "a|b\n1|x\ty")
	f("a,b\n1, \"x\n\ny\" \r\n \"2\" ,", on, "a|b\n1|x\n\ny\n2|")
	f("a,b\n1, \"secret, y\"\n", Options{}, ", row 1 (line 2), column \"b\": has blanks before a quote; set trim: true under csv in the layout")
	f("a,b\n\"secret\" ,2\n", Options{}, ", row 1 (line 2), column \"a\": has blanks after a closing quote; set trim: true under csv in the layout")
	f("a,b\n\"secret\" x,2\n", on, ", row 1 (line 2), column \"a\": has text after a closing quote")
	f("a,b\n 1 , x\"y\n", Options{}, "a|b\n 1 | x\"y")
	f("a,b\n1, \"x\n", Options{NoQuote: true}, "a|b\n1| \"x")
}

func TestEscapes(t *testing.T) {
	f := checker(t)
	on, doubled := Options{Escape: '\\'}, Options{Escape: '"'}
	f(`a,b
"Smith \"Jr\", the \\",x\,y
"it""s",\\
\N,"\""
1,5" pipe
`, on, "a|b\nSmith \"Jr\", the \\|x,y\nit\"s|\\\n|\"\n1|5\" pipe")
	f("a,b\n1\\\n2,\"3\\\n4\"\n5\\\r\n6,7\r\n", on, "a|b\n1\n2|3\n4\n5\r\n6|7")
	f("a,b\n1,2,\\N\n", on, ", row 1 (line 2): has 3 fields, but the header has 2")
	f("a,b\n1,secret\\", on, ", row 1 (line 2), column \"b\": ends with an escape character")
	f("a,b\n1,\"secret\\\"\n", on, ", row 1 (line 2), column \"b\": opens a quote that is never closed")
	f("a,b\n1,sec\\ret\n", on, ", row 1 (line 2), column \"b\": has an escape before a letter or digit")
	f("a,b\n\"\\0\",2\n", on, ", row 1 (line 2), column \"a\": has an escape before a letter or digit")

	const either = "column \"a\": has a backslash before a quote, which may end the field or be text; under csv in the layout, set escape: '\\' if a backslash escapes the quote, or escape: '\"' if it is text"
	f("a,b\n\"secret\\\",2\n", Options{}, ", row 1 (line 2), "+either)
	f("a,b\n\"secret\\\"x\\\"\",2\n", Options{}, ", row 1 (line 2), "+either)
	f("a,b\n\"C:\\\\\",2\n", Options{}, ", row 1 (line 2), "+either)
	f("a,b\n\"secret\\\"\"x\",2\n", Options{}, ", row 1 (line 2), "+either)
	f("a,b\n\"C:\\\",\"\\\"\"\"\n", doubled, "a|b\nC:\\|\\\"")
	f("a,b\n\"C:\\d\",x\\\"\n\\Nx,\\\n", Options{}, "a|b\nC:\\d|x\\\"\n\\Nx|\\")

	const mark = "a,b\n1,\\N\n"
	f(mark, Options{}, ", row 1 (line 2), column \"b\": is \\N, which many systems write for a missing value; add it to null in the layout")
	for _, hidden := range []string{" \\N", "\\N ", "\t\\N\t", "\u00a0\\N", "\" \\N\""} {
		f("a,b\n1,"+hidden+"\n", Options{}, ", row 1 (line 2), column \"b\": is \\N, which")
	}
	f(mark, on, "a|b\n1|")
	f(mark, doubled, "a|b\n1|\\N")
	f(mark, Options{NullMark: true}, "a|b\n1|\\N")
	f("a,b\n'C:\\',2\n", Options{Quote: '\'', Escape: '\''}, "a|b\nC:\\|2")
}

// TestBackslashes: a backslash that may be an escape is no text, unless someone says so.
func TestBackslashes(t *testing.T) {
	f := checker(t)
	none := Options{}
	const fault = ", row 1 (line 2), column \"b\": has a backslash before another, or before n, r or t; it may be an escape or text; " +
		"under csv in the layout, set escape: '\\' if a backslash escapes what follows it, or escape: '\"' if it is text"
	for _, v := range []string{`\\secret`, `secret\n`, `\t`, `secret\r.`, `\x\\`, `\\\`} {
		f("a,b\n1,"+v+"\n", none, fault)
		f("a,b\n1,\""+v+".\"\n", none, fault)
		f("a\tb\n1\t"+v+"\n", Options{NoQuote: true, Delimiter: '\t'}, fault)
		f("a,b\n1,"+v+"\n", Options{Encoding: "latin1"}, fault)
		f("a,b\n1,"+v+"\n", Options{Escape: '"'}, "a|b\n1|"+v)
		f("a,b\n1,"+v+"\n", Options{Escape: '"', NoQuote: true}, "a|b\n1|"+v)
	}
	f("a,b\n1,\\d\\T\\ \\N.\\\n", none, "a|b\n1|\\d\\T\\ \\N.\\")

	// Columns that nobody binds are kept as they are.
	file, err := Open(write(t, "a.csv", []byte("a,b\n1,x\\\\n\n")), none)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := read(file, 0, 9, pipeline.Columns{Bound: []int{0}, Kept: []int{1}})
	if d := cmp.Diff([][]string{{"1", `x\\n`}}, rows); err != nil || d != "" {
		t.Errorf("kept columns: %v\n%s", err, d)
	}
}

// TestEscapesAtTheEndOfTheBuffer moves a row of escapes over the end of the buffer.
func TestEscapesAtTheEndOfTheBuffer(t *testing.T) {
	const row = "\"p \\\"q\\\\\" , \"r\"\"s\" ,t\\,\\\r\nu\r\n"
	for shift := range len(row) + 1 {
		filler := strings.Repeat("x", bufferSize-len("a,b,c\n")-len(",,\n")-shift)
		path := write(t, "a.csv", []byte("a,b,c\n"+filler+",,\n"+row+row))
		_, rows, err := parse(t, path, Options{Escape: '\\', Trim: true})
		want := []string{`p "q\`, `r"s`, "t,\r\nu"}
		if err != nil || len(rows) != 3 || !cmp.Equal(rows[1], want) || !cmp.Equal(rows[2], want) {
			t.Fatalf("shift %d: %v, %q", shift, err, rows[min(1, len(rows)):])
		}
	}
}

func TestCarriageReturnsAlone(t *testing.T) {
	f := checker(t)
	const alone = " (line 1): has lines that end with only a carriage return; write it with LF or CRLF line ends"
	f("a,b\r1,secret\r", Options{}, alone)
	f("\"a\",\"b\"\r\"1\",\"secret\"\r", Options{}, alone)
	f("\r\n\na,b\rsecret,2\n", Options{}, alone)
	f("a,b\r\r\n1,2\r\r\n", Options{}, alone)
	f("a,b\r"+strings.Repeat("1,secret\r", 1<<18), Options{}, alone)
	f("a,b\n1,secret\r2,secret\r", Options{}, ", row 1 (line 2): has 3 fields, but the header has 2; do lines end with only a carriage return?")
	f("a,\"b\rc\"\n1,2\r3\n", Options{}, "a|b\rc\n1|2\r3")
	f("a,b\r\n1,\"2\r3\"\r\n", Options{}, "a|b\n1|2\r3")
	f("a\n1\r", Options{}, "a\n1")
}

// TestRowsWithoutEnd: a body whose line ends are not seen is not read as one row.
func TestRowsWithoutEnd(t *testing.T) {
	f := checker(t)
	const hint = "; do lines end with only a carriage return, or is a quote not closed?"
	f("a,b\n"+strings.Repeat("1,secret\r", 1<<19), Options{}, ", row 1 (line 2): has a row of more than 3 MB"+hint)
	f("a,b\n1,2\n"+strings.Repeat("\"1\",secret\r", 1<<19), Options{}, ", row 2 (line 3): has a row of more than 3 MB"+hint)
	f("a,b\n"+strings.Repeat("1,secret\r", 20), Options{MaxField: 16}, ", row 1 (line 2): has a row of more than 57 bytes"+hint)
	f("a,b\n"+strings.Repeat("1,secret\r", 20)+"\n", Options{MaxField: 16}, ", row 1 (line 2): has a row of more than 57 bytes"+hint)
	full := strings.Repeat("x", 1<<20)
	f("a,b\n\""+full+"\","+full+"\n1,2\n", Options{}, "a|b\n"+full+"|"+full+"\n1|2")

	// Many columns, and a header without an end: the limit is the same for all.
	if testing.Short() {
		return
	}
	names := strings.Repeat("a,", 200) + "a\n"
	path := write(t, "a.csv", []byte(names+strings.Repeat("1,secret\r", 8<<20)))
	_, _, err := parse(t, path, Options{})
	if fault, ok := errors.AsType[*pipeline.FormatError](err); !ok || fault.What != "has a row of more than 64 MB" {
		t.Errorf("200 columns: %v", err)
	}
}

func TestUTF16(t *testing.T) {
	f := checker(t)
	encode := func(s string, e unicode.Endianness, mark unicode.BOMPolicy) string {
		t.Helper()
		out, err := unicode.UTF16(e, mark).NewEncoder().String(s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	const text, want = "a,ä\n1,\"𝄞,\n\"\n", "a|ä\n1|𝄞,\n"
	for _, e := range []unicode.Endianness{unicode.LittleEndian, unicode.BigEndian} {
		marked, bare := encode(text, e, unicode.UseBOM), encode(text, e, unicode.IgnoreBOM)
		name := map[unicode.Endianness]string{unicode.LittleEndian: "utf-16le", unicode.BigEndian: "utf-16be"}[e]
		f(marked, Options{Encoding: "utf-16"}, want)
		f(marked, Options{Encoding: name}, want)
		f(bare, Options{Encoding: name}, want)
		f(bare, Options{Encoding: "utf-16"}, "has no UTF-16 byte order mark; set encoding: utf-16le or encoding: utf-16be under csv in the layout")
		f(marked, Options{}, "is UTF-16 text; set encoding: utf-16 under csv in the layout")
		f(bare, Options{}, "is UTF-16 text; set encoding: "+name+" under csv in the layout")
		f(marked+encode("\ufeffa,ä\n", e, unicode.IgnoreBOM), Options{Encoding: "utf-16"}, ", row 2 (line 4): begins with a byte order mark")
	}
	little := encode("a,b\n1,", unicode.LittleEndian, unicode.UseBOM)
	invalid := ", row 1 (line 2), column \"b\": is not valid UTF-16"
	f(little+"\x00\xd8x\x00", Options{Encoding: "utf-16"}, invalid)
	f(little+"x\x00\n\x00"+"y", Options{Encoding: "utf-16"}, ", row 2 (line 3), column \"a\": is not valid UTF-16")
}

// TestColumnsThatCannotBeBound: what is wrong with a name stops those who need it.
func TestColumnsThatCannotBeBound(t *testing.T) {
	f, err := Open(write(t, "a.csv", []byte("a,b,b, ,c\n1,2,3,4,5\n")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := func(name, fault string) cpcds.Field { return cpcds.Field{Name: name, Type: "string", Fault: fault} }
	want := []cpcds.Field{text("a", ""), text("b", ""), text("b", ""), text("column 4", "has no name"), text("c", "")}
	if d := cmp.Diff(want, f.Fields()); d != "" {
		t.Error(d)
	}
	rows, err := read(f, 0, 9, pipeline.ReadableColumns(f))
	if d := cmp.Diff([][]string{{"1", "2", "3", "5"}}, rows); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
}

func TestOptions(t *testing.T) {
	path := write(t, "a.csv", []byte("a,b\n1,2\n"))
	f := func(opts Options, want string) {
		t.Helper()
		_, err := Open(path, opts)
		var fault *OptionError
		if !errors.As(err, &fault) || fault.What != want || fault.File != path {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(Options{Encoding: "ebcdic"}, `unknown encoding "ebcdic"; use utf-8, latin1, windows-1252, utf-16, utf-16le or utf-16be`)
	f(Options{Delimiter: '\n'}, "the delimiter cannot be a line end")
	f(Options{Delimiter: 0xa7}, "the delimiter must be an ASCII character in UTF-8")
	f(Options{Quote: '\r'}, "the quote must be an ASCII character other than a line end")
	f(Options{Delimiter: '"'}, "the delimiter and the quote are the same character")
	f(Options{Escape: '^'}, "the escape must be a backslash or the quote character")
	f(Options{Escape: '\'', NoQuote: true}, "the escape must be a backslash or the quote character")
	f(Options{Escape: '\\', Delimiter: '\\'}, "an escaping backslash cannot be the delimiter or the quote")
	f(Options{NoHeader: true}, "neither a header line nor column names")
	if g, err := Open(path, Options{Delimiter: 0xa7, Encoding: "latin1"}); err != nil {
		t.Error(err)
	} else if _, err := g.Spans(context.Background()); err != nil || g.Close() != nil {
		t.Error(err)
	}
}
