// Package layouts says how source formats become CPCDS: which column is which
// element, and how its values are written.
//
// A layout is a YAML file, built in or written by the user. Open compiles one, Recognise finds the
// one that fits a set of files, Bind joins one of its tables to the columns of a file, and Convert
// turns the rows of that file into canonical text. The engine applies a layout's rules about whole
// claims (ClaimRules).
//
// # The file
//
// At the top: layout (its name), about, source (namespace of its keys), systems (Identifier.system
// by kind of identifier), csv (delimiter, quote, encoding, short_rows), null (texts that mean no
// value, in all columns), code_maps (names of CSV files with codes), tables, constants (rows that
// no file has), claims (rules about whole claims) and leave_out (names of files that are not
// tables, each with the reason).
//
// A table has files (patterns of names), headers (that a file must have), required and key
// (elements), columns, repeat, ignore (headers, or prefixes of headers with an asterisk, each with
// the reason) and refuse (headers of formats that the layout does not support, with the reason);
// claims may have line_when and split, the small tables row_when, collapse and rows_of (other
// tables whose files they are also read from).
//
// A table may have forms: files that hold it in different columns. A form has the keys of its table
// except key, split and collapse, and adds to the table; its entry for an element replaces the
// table's. If several forms fit a file, one that matches its name is preferred.
//
// repeat is a list of sets of columns. A set has columns, whose headers have {n} for a
// number, and n (1..25); each repetition is one diagnosis, procedure or provider.
//
// A column is an element with its header or list of headers; or a block with
//
//	from       one column: aliases of its header
//	all        several columns that expr joins
//	each       one column for each repetition in a row
//	const      no column, a value of the layout
//	default    a value for rows where the source has none
//	null       more texts that mean no value
//	expr       CEL over value, or over values where all is used
//	map        codes of the source to those of the element
//	code_map   the same from a CSV file that code_maps names
//	else       what a code becomes that is in neither; bad rejects it
//	formats    dates: YYYY MM Mon M DD D hh mm ss and separators
//	decimals   numbers: implied decimal places
//	round      numbers: places to round to, half away from zero
//	sign       numbers: trailing, if the sign may be at the end
//	invalid    null drops unreadable values in lenient mode, as a repair
//	repair     the name of that repair, if it is not invalid-dropped
//	lenient    another reading in lenient mode: repair (its name), and
//	           from, expr, map, code_map, else as above
//
// Headers are compared without case, and with spaces, hyphens and underscores alike.
//
// Errors and findings name files, lines, headers and elements, never a value of
// the data.
package layouts
