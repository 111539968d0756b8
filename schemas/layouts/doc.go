// Package layouts says how source formats become CPCDS: which column is which
// element, and how its values are written.
//
// A layout is a YAML file, built in or written by whoever has the extract. Open
// compiles one, Recognise finds the one that fits a set of files, Bind joins a
// table of it to the columns of a file, and Convert turns the rows of that file
// into canonical text. What a layout says of whole claims (ClaimRules) is carried
// out by the engine.
//
// Errors and findings name files, lines, headers and elements, never a value of
// the data.
package layouts
