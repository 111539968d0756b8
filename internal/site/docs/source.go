package docs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// source is the text of a page.
type source struct {
	name, lang string
	file       string // as errors name it
	title      string
	summary    string
	group      string
	order      int
	hidden     bool
	needs      string // placeholder without whose value there is no such page

	body  string
	first int // line of the file at which body begins
}

var pageName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// readSources reads the pages of a language: the built-in ones, and then those of the agency.
func readSources(lang string, override fs.FS) (map[string]*source, error) {
	all := map[string]*source{}
	if err := readFolder(all, builtIn, "content/"+lang, lang); err != nil {
		return nil, err
	}
	if override == nil {
		return all, nil
	}
	err := readFolder(all, override, lang, lang)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	return all, err
}

func readFolder(all map[string]*source, from fs.FS, folder, lang string) error {
	entries, err := fs.ReadDir(from, folder)
	if err != nil {
		return fmt.Errorf("pages of the documentation: %w", err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".md")
		if !ok || e.IsDir() {
			continue
		}
		file := path.Join(folder, e.Name())
		if !pageName.MatchString(name) {
			return fmt.Errorf("%s: names of pages have small letters, digits and hyphens", file)
		}
		text, err := fs.ReadFile(from, file)
		if err != nil {
			return fmt.Errorf("pages of the documentation: %w", err)
		}
		s := &source{name: name, lang: lang, file: file}
		if before := all[name]; before != nil {
			*s = *before
			s.file = file
		}
		if err := s.read(strings.ReplaceAll(string(text), "\r\n", "\n"), all[name] != nil); err != nil {
			return err
		}
		all[name] = s
	}
	return nil
}

// read reads a file: a front matter between two lines of ---, and Markdown. What a front matter leaves out stays as it
// was; so does the text if there is none.
func (s *source) read(text string, again bool) error {
	lines := strings.Split(text, "\n")
	body := 0
	if lines[0] == "---" {
		for i := 1; ; i++ {
			if i == len(lines) {
				return fmt.Errorf("%s:1: the front matter has no end; write a line of ---", s.file)
			}
			if lines[i] == "---" {
				body = i + 1
				break
			}
			if err := s.set(lines[i]); err != nil {
				return fmt.Errorf("%s:%d: %w", s.file, i+1, err)
			}
		}
	}
	rest := strings.Join(lines[body:], "\n")
	if strings.TrimSpace(rest) != "" || !again {
		s.body, s.first = rest, body+1
	}
	if s.title == "" || s.group == "" && s.name != HomeName {
		return fmt.Errorf("%s:1: the front matter must have a title and a group", s.file)
	}
	return nil
}

func (s *source) set(line string) error {
	if strings.TrimSpace(line) == "" {
		return nil
	}
	key, value, _ := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	var err error
	switch key {
	case "title":
		s.title = value
	case "summary":
		s.summary = value
	case "group":
		s.group = value
	case "order":
		if s.order, err = strconv.Atoi(value); err != nil {
			err = errors.New("order is a whole number")
		}
	case "hidden":
		if s.hidden, err = strconv.ParseBool(value); err != nil {
			err = errors.New("hidden is true or false")
		}
	case "needs":
		s.needs = value
	default:
		err = fmt.Errorf("%q is not known here; there are title, summary, group, order, hidden and needs", key)
	}
	return err
}

// at is the place of the first line that has a text, for errors.
func (s *source) at(text string) string {
	for i, line := range strings.Split(s.body, "\n") {
		if strings.Contains(line, text) {
			return fmt.Sprintf("%s:%d", s.file, s.first+i)
		}
	}
	return s.file
}
