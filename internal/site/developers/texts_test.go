package developers

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/internal/portal/lifecycle"
)

// made are keys that are put together of a part that stands in the code, and of another that does not.
var made = regexp.MustCompile(`^(done|do|guide|next|move|role|invitation|proof|contact|service|track|scope|upstream|org\.type|org\.hipaa|app\.(kind|auth|category|platforms|audience)|credentials\.lead|requests\.status|where|rotate\.hours|checklist\.missing|submit\.more)\.`)

// TestTexts has no text that no page shows, and none that is the same in both languages by mistake. frame.New holds the
// languages together: the same keys with the same values.
func TestTexts(t *testing.T) {
	var code strings.Builder
	for _, pattern := range []string{"*.go", "templates/*.html"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasPrefix(f, "texts") || strings.HasSuffix(f, "_test.go") {
				continue
			}
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(b)
		}
	}
	all := code.String()
	said := regexp.MustCompile(`\.(said|asking)\(v, "([a-z.]+)"`)
	whole := map[string]bool{}
	for _, m := range said.FindAllStringSubmatch(all, -1) {
		whole[m[2]] = true
	}
	known := map[string]bool{}
	same := 0
	for _, list := range texts {
		for _, key := range slices.Sorted(maps.Keys(list["en"])) {
			known[key] = true
			base, _, _ := cutLast(key)
			if !strings.Contains(all, `"`+key+`"`) && !made.MatchString(key) && !whole[base] {
				t.Errorf("no page shows %s", key)
			}
			if list["en"][key] == list["es"][key] && strings.Contains(list["en"][key], " ") && !strings.HasPrefix(list["en"][key], "%") {
				t.Errorf("%s is the same in both languages", key)
				same++
			}
			if tu.MatchString(list["es"][key]) {
				t.Errorf("%s says tú: %q", key, list["es"][key])
			}
		}
	}
	for base := range whole {
		if !known[base+".title"] || !known[base+".text"] {
			t.Errorf("there is no text for %s", base)
		}
	}
	for _, kind := range []lifecycle.Kind{lifecycle.Sandbox, lifecycle.Production} {
		for _, s := range lifecycle.States(kind) {
			if key := "next." + string(kind) + "." + string(s); !known[key] {
				t.Errorf("there is no text %s", key)
			}
		}
	}
	for _, m := range lifecycle.Moves {
		for _, r := range m.By {
			if (r == lifecycle.Owner || r == lifecycle.Developer) && m.Action != lifecycle.Submit && m.Action != lifecycle.Resubmit && m.Action != lifecycle.Change && m.Action != lifecycle.Claim && !known["move."+string(m.Action)] {
				t.Errorf("there is no text move.%s", m.Action)
			}
		}
	}
}

// tu finds the familiar form of address.
var tu = regexp.MustCompile(`(?i)(^|[^a-záéíóúñ])(tú|tu|tus|ti|puedes|tienes|quieres|haz)([^a-záéíóúñ]|$)`)

func cutLast(key string) (before, after string, found bool) {
	i := strings.LastIndexByte(key, '.')
	if i < 0 {
		return key, "", false
	}
	return key[:i], key[i+1:], true
}
