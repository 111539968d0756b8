package portal

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"unicode"
)

//go:embed letters
var ownLetters embed.FS

// letterLanguages are those of letters; the first one stands in for others.
var letterLanguages = []string{"en", "es"}

// letter is the text of a mail with places for values. The first line is its subject.
type letter struct {
	*template.Template
	fields []string
}

// letters are all of them, by language and name.
type letters struct {
	own    map[string]*letter // of the program, by LANGUAGE/NAME
	agency map[string]*letter // what the agency has in their place
}

// CheckLetters reads the letters of an agency's folder, "" for none, as Open does.
func CheckLetters(dir string) error {
	_, err := readLetters(dir)
	return err
}

// readLetters reads the letters of the program, and those of the agency's folder in their place. A letter of the agency
// may use the values that the program's has, and no others.
func readLetters(dir string) (*letters, error) {
	l := &letters{own: map[string]*letter{}, agency: map[string]*letter{}}
	sub, err := fs.Sub(ownLetters, "letters")
	if err != nil {
		return nil, fmt.Errorf("portal: read letters: %w", err)
	}
	if err := readFolder(sub, l.own); err != nil {
		return nil, fmt.Errorf("portal: %w", err)
	}
	if dir == "" {
		return l, nil
	}
	if _, err := os.Stat(dir); err != nil { // else it would be a folder without letters
		return nil, fmt.Errorf("portal: letters of the agency: %w", err)
	}
	if err := readFolder(os.DirFS(dir), l.agency); err != nil {
		return nil, fmt.Errorf("portal: letters of the agency in %s: %w", dir, err)
	}
	for name, own := range l.agency {
		_, kind, _ := strings.Cut(name, "/")
		of := l.own["en/"+kind]
		if of == nil {
			return nil, fmt.Errorf("portal: letters of the agency in %s: there is no letter of the name %s", dir, kind)
		}
		for _, f := range own.fields {
			if !slices.Contains(of.fields, f) && f != "Agency" && f != "URL" {
				return nil, fmt.Errorf("portal: letters of the agency in %s: %s has the value %s, but there are only %s", dir, name, f,
					strings.Join(append(slices.Clone(of.fields), "Agency", "URL"), ", "))
			}
		}
	}
	return l, nil
}

// readFolder reads all letters of a folder with a folder for each language.
func readFolder(from fs.FS, into map[string]*letter) error {
	files, err := fs.Glob(from, "*/*.txt")
	if err != nil {
		return err
	}
	for _, file := range files {
		if !slices.Contains(letterLanguages, path.Dir(file)) {
			return fmt.Errorf("%s: letters are written in %s", file, strings.Join(letterLanguages, ", "))
		}
		text, err := fs.ReadFile(from, file)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(file, ".txt")
		t, err := template.New(name).Option("missingkey=error").Parse(strings.ReplaceAll(string(text), "\r\n", "\n"))
		if err != nil {
			return err
		}
		first, rest, _ := strings.Cut(string(text), "\n")
		if !strings.HasPrefix(first, subjectPrefix) || strings.TrimSpace(rest) == "" {
			return fmt.Errorf("%s: its first line must begin with %q, and its text must follow", file, subjectPrefix)
		}
		fields := map[string]bool{}
		fieldsOf(t.Root, fields)
		l := &letter{Template: t}
		for f := range fields {
			l.fields = append(l.fields, f)
		}
		slices.Sort(l.fields)
		into[name] = l
	}
	return nil
}

const subjectPrefix = "Subject: "

// fieldsOf finds the values that a template uses.
func fieldsOf(n parse.Node, into map[string]bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, c := range n.Nodes {
				fieldsOf(c, into)
			}
		}
	case *parse.ActionNode:
		fieldsOf(n.Pipe, into)
	case *parse.PipeNode:
		if n != nil {
			for _, c := range n.Cmds {
				for _, arg := range c.Args {
					fieldsOf(arg, into)
				}
			}
		}
	case *parse.IfNode:
		fieldsOf(n.Pipe, into)
		fieldsOf(n.List, into)
		fieldsOf(n.ElseList, into)
	case *parse.FieldNode:
		into[strings.Join(n.Ident, ".")] = true
	}
}

// write fills a letter in. A letter of the agency that cannot be filled in gives way to the program's, and err says so
// although there is a text.
func (l *letters) write(kind, language string, data map[string]string) (subject, text string, err error) {
	var list []*letter
	for _, lang := range []string{language, letterLanguages[0]} {
		for _, from := range []map[string]*letter{l.agency, l.own} {
			if t := from[lang+"/"+kind]; t != nil {
				list = append(list, t)
			}
		}
	}
	if len(list) == 0 {
		return "", "", fmt.Errorf("portal: there is no letter %s", kind)
	}
	var errs []error
	for _, t := range list {
		var b strings.Builder
		if err := t.Execute(&b, data); err != nil {
			errs = append(errs, fmt.Errorf("portal: letter %s: %w", t.Name(), err))
			continue
		}
		subject, text, _ = strings.Cut(b.String(), "\n")
		subject = strings.Join(strings.Fields(strings.TrimPrefix(subject, subjectPrefix)), " ")
		return subject, strings.TrimSpace(text) + "\n", errors.Join(errs...)
	}
	return "", "", errors.Join(errs...)
}

// written is a value as letters have it: without anything that is not text. One line stays one, so that no value
// writes into the subject what belongs to the text.
func written(value string, lines bool) string {
	value = strings.ReplaceAll(value, "\r\n", "\n")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' && lines:
			return r
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, value))
}
