package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
	"go.uber.org/zap"

	"cpcds2fhir/internal/api"
	upstream "cpcds2fhir/internal/identity" // identity is this program's key of ids
	"cpcds2fhir/internal/site"
	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// readRules reads the file of rules that say which member a person is.
func readRules(path string) ([]upstream.Rule, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, environmentf("read the rules for members: %w", err)
	}
	var file struct {
		Rules []upstream.Rule `yaml:"rules"`
	}
	if err := yaml.UnmarshalWithOptions(text, &file, yaml.Strict()); err != nil {
		return nil, usagef("%s: %s", path, describeYAML(text, err))
	}
	if len(file.Rules) == 0 {
		return nil, usagef("%s: it has no rules", path)
	}
	if err := upstream.CheckRules(file.Rules); err != nil {
		return nil, usagef("%s: %s", path, err)
	}
	return file.Rules, nil
}

// storeMembers finds the members of a store for the rules of logins. Identifiers are in an index of the store. Birth
// dates are not: they are kept in memory, 12 bytes and an id for each member, from the first login that asks for one.
// What is found is read from the store each time, so an entry that is out of date costs a read and nothing else. It
// is safe for concurrent use.
type storeMembers struct {
	store store.Handle
	life  context.Context // of the server: the first reading of birth dates ends with it; nil is that of whoever asks

	mu     sync.Mutex // held while birth dates are read
	births births
	until  time.Time // all that was committed before is in births; zero before they were read
}

var (
	_ upstream.Members = (*storeMembers)(nil)
	_ site.Upstream    = (*upstream.Login)(nil)
)

// idsAtOnce is how many Patients one search names.
const idsAtOnce = 200

// Find implements identity.Members.
func (m *storeMembers) Find(ctx context.Context, query url.Values) (list []upstream.Member, err error) {
	add := func(text []byte) error {
		x, err := readMember(text)
		if err == nil {
			list = append(list, *x)
		}
		return err
	}
	switch {
	case len(query) == 1 && query.Get("identifier") != "":
		l := &api.Local{Store: m.store}
		if err := l.Each(ctx, "Patient?"+query.Encode(), add); err != nil {
			return nil, fmt.Errorf("search members by identifier: %w", err)
		}
	case len(query) == 1 && query.Get("birthdate") != "":
		day, err := dayOf(query.Get("birthdate"))
		if err != nil {
			return nil, err
		}
		ids, err := m.born(ctx, day)
		if err != nil {
			return nil, fmt.Errorf("search members by birth date: %w", err)
		}
		if err := m.each(ctx, ids, func(_ string, text []byte) error { return add(text) }); err != nil {
			return nil, fmt.Errorf("search members by birth date: %w", err)
		}
	default:
		return nil, errors.New("members are searched by an identifier or a birth date")
	}
	return list, nil
}

// each calls yield with the Patients of some ids that are there.
func (m *storeMembers) each(ctx context.Context, ids []string, yield func(id string, text []byte) error) error {
	for some := range slices.Chunk(ids, idsAtOnce) {
		for e, err := range m.store.Search(ctx, &store.Query{Type: fhir.Patient, IDs: some}) {
			if err == nil {
				err = yield(e.ID, e.JSON)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// learn reads the birth dates before somebody signs in: with millions of members it takes a minute or more.
func (m *storeMembers) learn(ctx context.Context, log *zap.Logger) {
	if _, err := m.born(ctx, 0); err != nil && ctx.Err() == nil {
		log.Warn("the birth dates of members cannot be read; the first login tries again", zap.String("error", message(err)))
	}
}

// born returns the ids of the members that were born on a day, and maybe of others.
func (m *storeMembers) born(ctx context.Context, day int32) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	until, err := m.store.Watermark(ctx)
	if err != nil {
		return nil, err
	}
	if m.until.IsZero() {
		if m.life != nil { // whoever asked first may go away; what is read is for all
			ctx = m.life
		}
		var b births
		for e, err := range m.store.Search(ctx, &store.Query{Type: fhir.Patient}) {
			if err == nil {
				err = b.add(e.ID, e.JSON)
			}
			if err != nil {
				return nil, err
			}
		}
		b.sort()
		m.births = b
	} else if err := m.follow(ctx); err != nil {
		return nil, err
	}
	m.until = until
	return m.births.of(day), nil
}

// follow reads the members that have changed.
func (m *storeMembers) follow(ctx context.Context) error {
	var changed []string
	for c, err := range m.store.Changes(ctx, fhir.Patient, m.until.UnixMilli(), nil) {
		if err != nil {
			return err
		}
		changed = append(changed, c.ID)
	}
	slices.Sort(changed)
	return m.each(ctx, slices.Compact(changed), m.births.later)
}

// births are birth dates and ids.
type births struct {
	list []birth // by day
	ids  []byte
	new  map[int32][]string // members that came later
}

type birth struct {
	day int32 // since 1970
	at  uint32
	n   uint8
}

func (b *births) add(id string, text []byte) error {
	day, ok, err := birthOf(text)
	if err != nil || !ok {
		return err
	}
	if len(id) > 255 || len(b.ids) > 1<<32-256 {
		return errors.New("there are too many members to search by birth date")
	}
	b.list = append(b.list, birth{day, uint32(len(b.ids)), uint8(len(id))})
	b.ids = append(b.ids, id...)
	return nil
}

func (b *births) sort() {
	slices.SortStableFunc(b.list, func(x, y birth) int { return int(x.day) - int(y.day) })
	b.list, b.ids, b.new = slices.Clip(b.list), slices.Clip(b.ids), map[int32][]string{}
}

func (b *births) later(id string, text []byte) error {
	day, ok, err := birthOf(text)
	if err == nil && ok && !slices.Contains(b.of(day), id) {
		b.new[day] = append(b.new[day], id)
	}
	return err
}

func (b *births) of(day int32) []string {
	list := slices.Clone(b.new[day])
	i, _ := slices.BinarySearchFunc(b.list, day, func(x birth, day int32) int { return int(x.day) - int(day) })
	for ; i < len(b.list) && b.list[i].day == day; i++ {
		x := b.list[i]
		list = append(list, string(b.ids[x.at:x.at+uint32(x.n)]))
	}
	return list
}

// birthOf is the day of birth of a Patient; it fails to be one if only the year or month is known.
func birthOf(text []byte) (day int32, ok bool, err error) {
	var p struct{ BirthDate string }
	if json.Unmarshal(text, &p) != nil {
		return 0, false, errors.New("a Patient of the store is not JSON")
	}
	if day, err = dayOf(p.BirthDate); err != nil {
		return 0, false, nil //nolint:nilerr // a year is no birth date that a person can be found by
	}
	return day, true, nil
}

func dayOf(date string) (int32, error) {
	t, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return 0, errors.New("it is not a day")
	}
	return int32(t.Unix() / (24 * 60 * 60)), nil
}

// readMember reads what rules compare of a Patient.
func readMember(text []byte) (*upstream.Member, error) {
	var p struct {
		ID         string
		Identifier []struct{ System, Value string }
		Name       []struct {
			Family string
			Given  []string
		}
		BirthDate        string
		DeceasedBoolean  bool
		DeceasedDateTime string
	}
	if json.Unmarshal(text, &p) != nil {
		return nil, errors.New("a Patient of the store is not as FHIR has it")
	}
	m := &upstream.Member{Patient: p.ID, Birth: p.BirthDate, Deceased: p.DeceasedBoolean || p.DeceasedDateTime != ""}
	for _, i := range p.Identifier {
		m.Identifiers = append(m.Identifiers, upstream.Identifier{System: i.System, Value: i.Value})
	}
	for _, n := range p.Name {
		m.Names = append(m.Names, upstream.Name{Family: n.Family, Given: n.Given})
	}
	return m, nil
}
