package forms

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
)

// words are the texts that belong to no form: of problems, of warnings, and of yes and no.
type words struct {
	Words map[string]Text `yaml:"words"`
}

func (w *words) text(key string) Text {
	if w == nil {
		return Text{}
	}
	return w.Words[key]
}

var verb = regexp.MustCompile(`%[a-z]`)

// words reads the built-in words, and over them those of the agency.
func (l *loader) words(s *Set) {
	if _, found := l.read(content, "content/words.yaml", "words.yaml", s.words); !found || len(s.words.Words) == 0 {
		return
	}
	if l.own == nil {
		return
	}
	var own words
	shown := filepath.Join(l.dir, "words.yaml")
	body, _ := l.read(l.own, "words.yaml", shown, &own)
	if body == nil {
		return
	}
	at := l.places(body, "words")
	for _, key := range slices.Sorted(maps.Keys(own.Words)) {
		old, ok := s.words.Words[key]
		text := own.Words[key]
		switch {
		case !ok:
			l.faults = append(l.faults, fmt.Errorf("%s: there is no text %s", at.of(key), key))
			continue
		case text.EN == "" || text.ES == "":
			l.faults = append(l.faults, fmt.Errorf("%s: %s needs en and es", at.of(key), key))
			continue
		}
		for _, t := range []string{text.EN, text.ES} {
			if !slices.Equal(verb.FindAllString(old.EN, -1), verb.FindAllString(t, -1)) {
				l.faults = append(l.faults, fmt.Errorf("%s: %s must have the places %v, in this order", at.of(key), key, verb.FindAllString(old.EN, -1)))
			}
		}
		s.words.Words[key] = text
	}
}
