package fhirclient

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
)

//go:embed servers/*.yaml
var serverFiles embed.FS

const generic = "generic"

// profile is what is known of a kind of server: servers/*.yaml.
type profile struct {
	key string // the name of its file

	Name      string `yaml:"name"`
	Recognise struct {
		Software       []string `yaml:"software"`       // how CapabilityStatement.software.name begins
		Implementation []string `yaml:"implementation"` // what implementation.description has in it
		Hosts          []string `yaml:"hosts"`          // patterns of the host of the base URL
	} `yaml:"recognise"`
	Refused string `yaml:"refused"` // why such a server is no target; "" if it is one

	IDs           string `yaml:"ids"`
	Bundle        string `yaml:"bundle"`
	Entries       int    `yaml:"entries"`
	Bytes         size   `yaml:"bytes"`
	ResourceBytes size   `yaml:"resource_bytes"`
	Concurrency   struct {
		Start int `yaml:"start"`
		Max   int `yaml:"max"`
	} `yaml:"concurrency"`
	Timeout     time.Duration     `yaml:"timeout"`
	IfMatch     bool              `yaml:"if_match"`
	SameVersion bool              `yaml:"same_version"`
	Ignore      []string          `yaml:"ignore"`
	Import      string            `yaml:"import"`
	Abilities   []string          `yaml:"abilities"` // that the server has, and does not mention
	Headers     map[string]string `yaml:"headers"`
	Gzip        bool              `yaml:"gzip"`  // requests are compressed, except on this machine
	Reads       string            `yaml:"reads"` // batch, or single: one GET for each resource
	Page        int               `yaml:"page"`  // resources of a page of a listing

	// RetryAfterMillis names a header that says in milliseconds what Retry-After says.
	RetryAfterMillis string `yaml:"retry_after_millis"`

	CodePattern string         `yaml:"code_pattern"` // of codes within diagnostics
	codes       *regexp.Regexp // of CodePattern, nil without
	Answers     []answerRule   `yaml:"answers"`
	Notes       []string       `yaml:"notes"`
}

// answerRule says what answers of a status mean.
type answerRule struct {
	Status   int    `yaml:"status"`
	Code     string `yaml:"code"` // that the outcome must have; "" is any
	Means    word   `yaml:"means"`
	Then     word   `yaml:"then"`
	Attempts int    `yaml:"attempts"`
	Slower   bool   `yaml:"slower"` // the server has too much to do
	Lost     bool   `yaml:"lost"`
}

// word is a Meaning in a profile.
type word Meaning

var words = map[string]Meaning{
	"done": Done, "retry": Later, "conflict": Conflict, "split": Split, "dangling": Dangling, "refuse": Refused, "absent": Absent, "unknown": Unclear,
}

// UnmarshalYAML implements yaml.BytesUnmarshaler.
func (w *word) UnmarshalYAML(text []byte) error {
	m, ok := words[strings.TrimSpace(string(text))]
	if !ok {
		return fmt.Errorf("%s is no meaning of an answer", text)
	}
	*w = word(m)
	return nil
}

// size is a number of bytes, with kB or MB in a profile.
type size int

// UnmarshalYAML implements yaml.BytesUnmarshaler.
func (s *size) UnmarshalYAML(text []byte) error {
	t, unit := strings.TrimSpace(string(text)), 1
	if rest, ok := strings.CutSuffix(t, "MB"); ok {
		t, unit = rest, 1_000_000
	} else if rest, ok := strings.CutSuffix(t, "kB"); ok {
		t, unit = rest, 1000
	}
	n, err := strconv.Atoi(t)
	if err != nil || n < 0 {
		return fmt.Errorf("%s is no number of bytes", text)
	}
	*s = size(n * unit)
	return nil
}

// profiles reads the embedded profiles, by name.
var profiles = sync.OnceValue(func() map[string]*profile {
	all, err := readProfiles(serverFiles)
	if err != nil {
		panic(err) // a test reads them all
	}
	return all
})

func readProfiles(files fs.FS) (map[string]*profile, error) {
	names, err := fs.Glob(files, "servers/*.yaml")
	if err != nil {
		return nil, err
	}
	all := map[string]*profile{}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		p := &profile{key: strings.TrimSuffix(path.Base(name), ".yaml")}
		if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(p); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if p.CodePattern != "" {
			if p.codes, err = regexp.Compile(p.CodePattern); err != nil {
				return nil, fmt.Errorf("%s: code_pattern: %w", name, err)
			}
		}
		all[p.key] = p
	}
	base := all[generic]
	if base == nil {
		return nil, errors.New("there is no generic profile")
	}
	for _, p := range all {
		if p != base {
			p.Answers = slices.Concat(p.Answers, base.Answers)
		}
		p.fill(base)
	}
	return all, nil
}

// fill gives a profile the numbers that it leaves open.
func (p *profile) fill(base *profile) {
	p.Name = cmp.Or(p.Name, "a FHIR server")
	p.IDs = cmp.Or(p.IDs, base.IDs)
	p.Bundle = cmp.Or(p.Bundle, base.Bundle)
	p.Entries = cmp.Or(p.Entries, base.Entries)
	p.Bytes = cmp.Or(p.Bytes, base.Bytes)
	p.Concurrency.Start = cmp.Or(p.Concurrency.Start, base.Concurrency.Start)
	p.Concurrency.Max = cmp.Or(p.Concurrency.Max, base.Concurrency.Max)
	p.Timeout = cmp.Or(p.Timeout, 2*time.Minute)
	p.Reads = cmp.Or(p.Reads, base.Reads)
	p.Page = cmp.Or(p.Page, base.Page)
}

// profileNames lists the names that Config.Profile can have, in order.
func profileNames() []string {
	var names []string
	for name, p := range profiles() {
		if p.Refused == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// recognise finds the profile of a server, by what it says of itself and else by its host.
func recognise(base *url.URL, s *statement) (p *profile, recognised bool) {
	all := profiles()
	names := slices.Sorted(maps.Keys(all))
	for _, name := range names {
		for _, begin := range all[name].Recognise.Software {
			if hasPrefixFold(s.Software.Name, begin) {
				return all[name], true
			}
		}
	}
	for _, name := range names {
		for _, part := range all[name].Recognise.Implementation {
			if strings.Contains(strings.ToLower(s.Implementation.Description), strings.ToLower(part)) {
				return all[name], true
			}
		}
		for _, pattern := range all[name].Recognise.Hosts {
			if ok, err := path.Match(pattern, strings.ToLower(base.Hostname())); ok && err == nil {
				return all[name], true
			}
		}
	}
	return all[generic], false
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// settings are those of a profile, changed by a config.
func (p *profile) settings(c *Config) Settings {
	s := Settings{
		IDs: p.IDs, Bundle: p.Bundle, Entries: p.Entries, Bytes: int(p.Bytes), ResourceMax: int(p.ResourceBytes), Concurrency: p.Concurrency.Max,
		IfMatch: p.IfMatch, SameVersion: p.SameVersion, Ignore: slices.Clone(p.Ignore), Import: p.Import, Timeout: p.Timeout,
		Patience: 15 * time.Minute, Conflicts: "report", Deletions: "delete",
	}
	s.IDs = cmp.Or(c.IDs, s.IDs)
	s.Bundle = cmp.Or(c.Bundle, s.Bundle)
	s.Entries = cmp.Or(c.Entries, s.Entries)
	s.Bytes = cmp.Or(c.Bytes, s.Bytes)
	s.Concurrency = cmp.Or(c.Concurrency, s.Concurrency)
	s.Timeout = cmp.Or(c.Timeout, s.Timeout)
	s.Patience = cmp.Or(c.Patience, s.Patience)
	s.Conflicts = cmp.Or(c.Conflicts, s.Conflicts)
	s.Deletions = cmp.Or(c.Deletions, s.Deletions)
	return s
}

// rule finds the row of the table for an answer; an answer without a row is done or refused.
func (p *profile) rule(status int, o *Outcome) answerRule {
	for _, r := range p.Answers {
		if r.Status == status && (r.Code == "" || o != nil && slices.Contains(o.Codes, r.Code)) {
			return r
		}
	}
	switch {
	case status == 0:
		return answerRule{Means: word(Unclear), Lost: true}
	case status/100 == 2:
		return answerRule{Status: status, Means: word(Done)}
	case status/100 == 5:
		return answerRule{Status: status, Means: word(Later), Then: word(Split), Attempts: 3, Lost: true}
	}
	return answerRule{Status: status, Means: word(Refused)}
}
