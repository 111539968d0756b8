package batchrun_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// difference is one between an example and our resource, as found or as listed.
type difference struct {
	sign byte   // '-' only the example has it, '+' only we have it, '~' they differ
	path string // of elements that repeat: with what tells them apart in brackets
	what string // the values, or the reason

	pattern *regexp.Regexp // of a listed one
	found   int            // how often it occurs
}

func (d difference) String() string { return fmt.Sprintf("%c %s: %s", d.sign, d.path, d.what) }

// readDifferences reads a list: a sign, a path and the reason on each line. In a
// path * stands for anything within an element, ** for anything.
func readDifferences(t *testing.T, file, text string) []*difference {
	t.Helper()
	if text == "" {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	var list []*difference
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		path, reason, ok := strings.Cut(line[1:], ": ")
		if !ok || !strings.ContainsRune("-+~", rune(line[0])) || strings.TrimSpace(reason) == "" {
			t.Fatalf("%s: %q: want a sign (- + ~), a path, a colon and a reason", file, line)
		}
		path = strings.TrimSpace(path)
		p := regexp.QuoteMeta(path)
		p = strings.NewReplacer(`\*\*`, `.*`, `\*`, `[^.]*`).Replace(p)
		list = append(list, &difference{sign: line[0], path: path, what: reason, pattern: regexp.MustCompile(`^` + p + `$`)})
	}
	return list
}

func differencesOf(t *testing.T, a *txtar.Archive, section string) []*difference {
	t.Helper()
	for _, f := range a.Files {
		if f.Name == section && len(f.Data) > 0 {
			return readDifferences(t, section, string(f.Data))
		}
	}
	return nil
}

// judgeDifferences reports what is not listed.
func judgeDifferences(t *testing.T, found []difference, lists ...[]*difference) {
	t.Helper()
	for _, d := range found {
		listed := false
		for _, l := range slices.Concat(lists...) {
			if l.sign == d.sign && l.pattern.MatchString(d.path) {
				l.found, listed = l.found+1, true
				break
			}
		}
		if !listed {
			t.Errorf("not listed: %s", d)
		}
	}
}

// unused reports what is listed and does not occur, and says of the rest how often.
func unused(t *testing.T, list []*difference) {
	t.Helper()
	for _, d := range list {
		if d.found == 0 {
			t.Errorf("listed and no longer so: %s", d)
		} else {
			t.Logf("%d times %s", d.found, d)
		}
	}
}

// compareResources finds the differences of an example and of our resource. What
// has no meaning is none: ids, the order of elements that a code tells apart, the
// numbers by which items refer to supportingInfo, zeros at the end of a number.
func compareResources(example, ours map[string]any) []difference {
	for _, r := range []map[string]any{example, ours} {
		delete(r, "id")
		unnumber(r)
	}
	var c comparison
	c.objects("", example, ours)
	return c.found
}

// unnumber replaces the sequences of supportingInfo and careTeam by what they count.
func unnumber(r map[string]any) {
	keys := map[string]any{}
	if list, ok := r["supportingInfo"].([]any); ok {
		for i, k := range keysOf("supportingInfo", list) {
			info := list[i].(map[string]any)
			keys[fmt.Sprint(info["sequence"])] = k
			delete(info, "sequence")
		}
	}
	if list, ok := r["careTeam"].([]any); ok {
		for _, member := range list {
			delete(member.(map[string]any), "sequence")
		}
	}
	items, _ := r["item"].([]any)
	for _, item := range items {
		links, _ := item.(map[string]any)["informationSequence"].([]any)
		for i, n := range links {
			if links[i] = keys[fmt.Sprint(n)]; links[i] == nil {
				links[i] = fmt.Sprintf("none, %v", n)
			}
		}
	}
}

type comparison struct{ found []difference }

func (c *comparison) add(sign byte, path string, what any) {
	text, _ := json.Marshal(what)
	c.found = append(c.found, difference{sign: sign, path: path, what: string(text)})
}

func (c *comparison) objects(path string, example, ours map[string]any) {
	all := maps.Clone(example)
	maps.Copy(all, ours)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		at := name
		if path != "" {
			at = path + "." + name
		}
		e, inExample := example[name]
		o, inOurs := ours[name]
		switch {
		case !inOurs:
			c.add('-', at, e)
		case !inExample:
			c.add('+', at, o)
		default:
			c.values(at, name, e, o)
		}
	}
}

func (c *comparison) values(path, name string, example, ours any) {
	switch e := example.(type) {
	case map[string]any:
		if o, ok := ours.(map[string]any); ok {
			c.objects(path, e, o)
			return
		}
	case []any:
		if o, ok := ours.([]any); ok {
			c.lists(path, name, e, o)
			return
		}
	default:
		if sameValue(name, example, ours) {
			return
		}
	}
	c.add('~', path, []any{example, ours})
}

func (c *comparison) lists(path, name string, example, ours []any) {
	theirKeys, ourKeys := keysOf(name, example), keysOf(name, ours)
	for i, k := range theirKeys {
		at := path + "[" + k + "]"
		if j := slices.Index(ourKeys, k); j >= 0 {
			c.values(at, name, example[i], ours[j])
		} else {
			c.add('-', at, example[i])
		}
	}
	for j, k := range ourKeys {
		if !slices.Contains(theirKeys, k) {
			c.add('+', path+"["+k+"]", ours[j])
		}
	}
}

// keysOf tells the elements of a list apart: by their code, by code and value where
// a code repeats, or by their place.
func keysOf(name string, list []any) []string {
	keys := make([]string, len(list))
	count := map[string]int{}
	for i, v := range list {
		keys[i] = fmt.Sprint(i)
		if name == "informationSequence" {
			keys[i] = fmt.Sprint(v)
		}
		if m, ok := v.(map[string]any); ok {
			for _, field := range []string{"category", "role", "type"} {
				if code := codeOf(m[field]); code != "" && name != "diagnosis" && name != "procedure" && name != "telecom" && name != "address" {
					keys[i] = code
					break
				}
			}
			if s, ok := m["system"].(string); ok && name == "identifier" && m["type"] == nil {
				keys[i] = path.Base(s)
			}
		}
		count[keys[i]]++
	}
	for i, v := range list {
		if count[keys[i]] > 1 {
			keys[i] += "=" + valueOf(v.(map[string]any))
		}
	}
	return keys
}

func codeOf(concept any) string {
	m, _ := concept.(map[string]any)
	codings, _ := m["coding"].([]any)
	if len(codings) == 0 {
		return ""
	}
	code, _ := codings[0].(map[string]any)["code"].(string)
	return code
}

// valueOf is the value of a supportingInfo.
func valueOf(info map[string]any) string {
	if s, ok := info["valueString"].(string); ok {
		return s
	}
	if q, ok := info["valueQuantity"].(map[string]any); ok {
		return fmt.Sprint(q["value"])
	}
	return codeOf(info["code"])
}

func sameValue(name string, a, b any) bool {
	if x, ok := a.(json.Number); ok {
		y, ok := b.(json.Number)
		if !ok {
			return false
		}
		p, _ := new(big.Rat).SetString(x.String())
		q, _ := new(big.Rat).SetString(y.String())
		return p.Cmp(q) == 0
	}
	if name == "lastUpdated" {
		x, errX := time.Parse(time.RFC3339, fmt.Sprint(a))
		y, errY := time.Parse(time.RFC3339, fmt.Sprint(b))
		return errX == nil && errY == nil && x.Equal(y)
	}
	return a == b
}
