package layouts

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// Sample is a file that needs a layout: its columns, with some values of each.
type Sample struct {
	Path      string
	Fields    []cpcds.Field
	Values    [][]string // may be shorter than Fields
	Delimiter string     // of a text file, as in a layout's csv block; "" if unknown
	Fault     string     // what is wrong with the form of the file, "" if nothing is
}

// Infer proposes a layout for one or more files that no layout fits. It uses the headers first, and
// the values where the headers leave something open. Comments say what was guessed and what is
// still to do; it contains no values except well-known sentinels. It passes Check if every table
// has its key and the elements that all its rows need.
func Infer(name string, samples []Sample) []byte {
	drafts := map[cpcds.Table]*draft{}
	for _, s := range samples {
		t := guessTable(s)
		if drafts[t] == nil {
			drafts[t] = &draft{table: t, places: map[string]int{}}
		}
		drafts[t].add(s)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Proposed from the headers and some values. Review every line, above all those marked\n# \"guess\". Then run \"layout check\" on it.\n")
	for _, s := range samples {
		if s.Fault != "" {
			fmt.Fprintf(&b, "# %s\n", strings.ReplaceAll(s.Fault, "\n", " "))
		}
	}
	fmt.Fprintf(&b, "layout: %s\nabout: proposed from %s\n", layoutNameOf(name), count(len(samples), "file"))
	writeSystems(&b, layoutNameOf(name), drafts)
	writeCSV(&b, samples)
	nulls := map[string]bool{}
	for _, d := range drafts {
		d.guess()
		maps.Copy(nulls, d.nulls())
	}
	if len(nulls) > 0 {
		fmt.Fprintf(&b, "# Texts that seem to mean a missing value.\nnull: [%s]\n", quoteAll(slices.Sorted(maps.Keys(nulls))))
	}
	b.WriteString("tables:\n")
	for _, t := range slices.Sorted(maps.Keys(drafts)) {
		drafts[t].write(&b)
	}
	return []byte(b.String())
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// writeSystems proposes systems for the identifiers of the tables.
func writeSystems(b *strings.Builder, name string, drafts map[cpcds.Table]*draft) {
	b.WriteString("# Examples: replace them with your own, because apps tell identifiers apart by them.\nsystems:\n")
	seen := map[string]bool{}
	for _, x := range identified {
		if drafts[x.element.Info().Level.Table()] != nil && !seen[x.key] {
			seen[x.key] = true
			fmt.Fprintf(b, "  %s: https://example.org/%s/%s\n", x.key, name, strings.ReplaceAll(x.key, "_", "-"))
		}
	}
}

// writeCSV names the delimiter of the text files.
func writeCSV(b *strings.Builder, samples []Sample) {
	var all []string
	for _, s := range samples {
		if s.Delimiter != "" && !slices.Contains(all, s.Delimiter) {
			all = append(all, s.Delimiter)
		}
	}
	if len(all) == 0 {
		return
	}
	if len(all) > 1 {
		b.WriteString("# The text files have different delimiters, but a layout has only one: make a layout for each.\n")
	}
	fmt.Fprintf(b, "csv: {delimiter: %q}\n", all[0])
}

// guessTable picks the table that fits most columns; the file's name breaks ties.
func guessTable(s Sample) cpcds.Table {
	best, most := cpcds.Claims, -1.0
	cols := columnsOfSample(s)
	file := meaning(filepath.Base(s.Path))
	for t, v := range vocabularies() {
		n := 0.0
		for _, p := range guess(v, cols).bound {
			n += p.score * float64(len(p.columns))
			if p.exact {
				n++
			}
		}
		if slices.Contains(file, strings.TrimSuffix(cpcds.Table(t).String(), "s")) {
			n += 3
		}
		if n > most {
			best, most = cpcds.Table(t), n
		}
	}
	return best
}

// columnsOfSample returns the columns of one file.
func columnsOfSample(s Sample) []seen {
	claims := vocabularies()[cpcds.Claims]
	cols := make([]seen, len(s.Fields))
	lined := false
	for i, f := range s.Fields {
		cols[i] = seen{header: f.Name, files: 1}
		if i < len(s.Values) {
			cols[i].values = s.Values[i]
		}
		form := formOf(cols[i].values)
		cols[i].form = &form // shared by all tables that the file could be
		lined = lined || claims.names(f.Name, cpcds.LineNumber)
	}
	for i := range cols {
		cols[i].lined = lined
	}
	return cols
}

// names reports whether a header is one of those that are known to mean the element.
func (v *vocabulary) names(header string, el cpcds.Element) bool {
	words := v.read(header)
	return slices.ContainsFunc(v.phrases, func(p phrase) bool { return p.element == el && v.alike(words, &p) > sure })
}

// draft is a table being proposed.
type draft struct {
	table  cpcds.Table
	files  []string
	cols   []seen
	places map[string]int // of folded headers among cols
	*guesser
}

// add adds the columns of a file. A column that another file also has is the same column.
func (d *draft) add(s Sample) {
	d.files = append(d.files, filepath.Base(s.Path))
	own := map[string]bool{}
	for _, c := range columnsOfSample(s) {
		folded := cpcds.FoldHeader(c.header)
		if own[folded] {
			continue
		}
		own[folded] = true
		if i, ok := d.places[folded]; ok {
			d.cols[i].values, d.cols[i].form = slices.Concat(d.cols[i].values, c.values), nil
			d.cols[i].files++
			continue
		}
		d.places[folded] = len(d.cols)
		d.cols = append(d.cols, c)
	}
}

func (d *draft) guess() { d.guesser = guess(vocabularies()[d.table], d.cols) }

// nulls returns the sentinels that bound columns have.
func (d *draft) nulls() map[string]bool {
	out := map[string]bool{}
	for i := range d.used {
		for _, v := range d.cols[i].values {
			if v = strings.TrimSpace(v); slices.Contains(anySentinels, v) {
				out[v] = true
			}
		}
	}
	return out
}

// tableKeys are the elements that tell the records of a table apart.
var tableKeys = [cpcds.NumTables][]cpcds.Element{
	cpcds.Members:       {cpcds.MembersMemberID},
	cpcds.Coverages:     {cpcds.CoveragesCoverageID},
	cpcds.Providers:     {cpcds.ProvidersProviderID, cpcds.ProvidersProviderNPI},
	cpcds.Organizations: {cpcds.OrganizationsOrganizationID, cpcds.OrganizationsOrganizationNPI, cpcds.OrganizationsOrganizationPayerIdentifier},
	cpcds.Claims:        {cpcds.ClaimUniqueIdentifier},
}

// requiredOf are the elements that distinguish the files of a table.
var requiredOf = [cpcds.NumTables][]cpcds.Element{
	cpcds.Members:   {cpcds.MembersMemberID},
	cpcds.Coverages: {cpcds.CoveragesCoverageID, cpcds.CoveragesMemberID},
	cpcds.Claims:    {cpcds.ClaimUniqueIdentifier, cpcds.MemberID, cpcds.CoverageID},
}

func (d *draft) write(b *strings.Builder) {
	fmt.Fprintf(b, "  %s:\n    files: [%s]\n", d.table, quoteAll(d.files))
	var key, required []cpcds.Element
	for _, el := range tableKeys[d.table] {
		if d.bound[el] != nil {
			key = append(key, el)
		}
	}
	for _, el := range requiredOf[d.table] {
		// A file with only headers or only lines does not have all columns of the table.
		if p := d.bound[el]; p != nil && d.cols[p.columns[0]].files == len(d.files) {
			required = append(required, el)
		}
	}
	if required == nil && len(key) == 1 {
		required = key
	}
	if len(required) > 0 {
		fmt.Fprintf(b, "    required: [%s]\n", names(required))
	}
	if len(key) > 0 {
		fmt.Fprintf(b, "    key: [%s]\n", names(key))
	} else {
		fmt.Fprintf(b, "    # No column looks like the key (%s): bind one and add it under key.\n", names(tableKeys[d.table]))
	}
	if d.table == cpcds.Claims && d.bound[cpcds.LineNumber] == nil {
		b.WriteString("    # No column looks like line_number: set line_when to say which rows are service lines.\n")
	}
	var lacking []cpcds.Element
	for _, n := range needs[d.table] {
		if !slices.ContainsFunc(n.elements, func(el cpcds.Element) bool { return d.bound[el] != nil || slices.Contains(tableKeys[d.table], el) }) {
			lacking = append(lacking, n.elements[0])
		}
	}
	if len(lacking) > 0 {
		fmt.Fprintf(b, "    # Still to be bound, or set with const: %s.\n", names(lacking))
	}
	if len(d.bound) == 0 {
		b.WriteString("    # Nothing looks like an element of this table: bind its columns.\n    columns: {}\n")
	} else {
		b.WriteString("    columns:\n")
	}
	for _, el := range slices.Sorted(maps.Keys(d.bound)) {
		d.column(b, el)
	}
	d.unbound(b)
}

// column writes one column with the options that its values suggest.
func (d *draft) column(b *strings.Builder, el cpcds.Element) {
	p := d.bound[el]
	f := d.forms[p.columns[0]]
	if len(p.columns) > 1 {
		var values []string
		for _, i := range p.columns {
			values = append(values, d.cols[i].values...)
		}
		f = formOf(values)
	}
	options, notes := inferForm(el, &f)
	if other := d.otherOrder(f.date); other != "" {
		notes = append(notes, "guess: other dates of the table are "+other)
	}
	for i := range notes {
		if !p.exact {
			notes[i] = strings.TrimPrefix(notes[i], "guess: ")
		}
	}
	switch {
	case p.open:
		notes = append([]string{"guess: or " + p.or.Column()}, notes...)
	case !p.exact:
		notes = append([]string{"guess"}, notes...)
	}
	headers := make([]string, len(p.columns))
	for i, c := range p.columns {
		headers[i] = d.cols[c].header
	}
	fmt.Fprintf(b, "      %s: ", el)
	switch {
	case len(headers) > 1:
		fmt.Fprintf(b, "{%s}", strings.Join(append([]string{"each: [" + quoteAll(headers) + "]"}, options...), ", "))
	case len(options) == 0:
		b.WriteString(strconv.Quote(headers[0]))
	default:
		fmt.Fprintf(b, "{from: [%s], %s}", strconv.Quote(headers[0]), strings.Join(options, ", "))
	}
	if len(notes) > 0 {
		b.WriteString(" # " + strings.Join(notes, "; "))
	}
	b.WriteByte('\n')
}

// otherOrder returns the order of day and month that other columns of the table have,
// "" if none differs.
func (d *draft) otherOrder(format string) string {
	orders := map[string]string{"DD/MM/YYYY": "MM/DD/YYYY", "MM/DD/YYYY": "DD/MM/YYYY"}
	for i := range d.used {
		if f := d.forms[i]; f.date != "" && f.date == orders[format] {
			return f.date
		}
	}
	return ""
}

// unbound writes the columns without an element, with the form of their values.
func (d *draft) unbound(b *strings.Builder) {
	first := true
	for i, c := range d.cols {
		if d.used[i] {
			continue
		}
		if first {
			b.WriteString("    # Bind these, or say why they are not needed.\n    ignore:\n")
			first = false
		}
		reason := "not bound yet: " + d.forms[i].String()
		if el, ok := d.looksLike(i); ok {
			reason += fmt.Sprintf("; looks like %s", el)
			if p := d.bound[el]; p != nil {
				reason += ", which is bound"
			}
		}
		fmt.Fprintf(b, "      %s: %s\n", strconv.Quote(c.header), strconv.Quote(reason))
	}
}

func quoteAll(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, ", ")
}

// layoutNameOf makes a valid layout name.
func layoutNameOf(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	s := strings.Join(words, "-")
	if !layoutName.MatchString(s) {
		return strings.TrimSuffix("layout-"+s, "-")
	}
	return s
}
