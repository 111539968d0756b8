package api

import (
	"context"
	"math"
	"strings"

	"cpcds2fhir/internal/store"
)

// Local searches a store for whoever owns it, without a server: everything is seen, and nothing costs too
// much. Searches are written as in a URL, "Type?name=value&…", with or without Base in front.
type Local struct {
	Store store.Handle
	Base  string // URL for links and fullUrls
}

// localKey signs the cursors of Local. They protect nothing: whoever searches sees everything.
var localKey = []byte("the owner's own searches")

// parse reads a search. It fails with *Error.
func (l *Local) parse(search string) (*query, error) {
	name, params, _ := strings.Cut(strings.TrimPrefix(search, l.Base+"/"), "?")
	t := typeNamed(name)
	if t == nil {
		return nil, unsupported("", "%s is not a resource type of the store", clean(name))
	}
	pairs, err := parsePairs(params)
	if err != nil {
		return nil, err
	}
	p := parser{base: l.Base}
	return p.parse(t, pairs)
}

func (l *Local) finder() *finder {
	return &finder{store: l.Store, access: &Access{}, limits: &Limits{Rows: math.MaxInt, Included: math.MaxInt}, memory: new(memory)}
}

// Bundle returns a page of a search as a searchset Bundle, as a server would. It fails with *Error if the
// search is not valid.
func (l *Local) Bundle(ctx context.Context, search string) ([]byte, error) {
	q, err := l.parse(search)
	if err != nil {
		return nil, err
	}
	c := cursors{localKey}
	q.total = "accurate"
	_, text, err := l.finder().page(ctx, q, &c, l.Base)
	return text, err
}

// Each calls yield with the JSON of each resource that a search finds, as it was loaded, or as a server would
// answer with it if the search has _elements or _summary: of all pages, or of one if the search has a _count.
// What is included comes last. The JSON is valid during the call.
func (l *Local) Each(ctx context.Context, search string, yield func(json []byte) error) error {
	q, err := l.parse(search)
	if err != nil {
		return err
	}
	var part []byte
	shaped := func(e *store.Entry) error {
		if q.shape.whole() {
			return yield(e.JSON)
		}
		if part, err = appendShaped(part[:0], e, &q.shape); err != nil {
			return err
		}
		return yield(part)
	}
	paged := len(q.sort)+len(q.includes)+len(q.reverses) > 0 || q.cursor != ""
	for _, p := range q.kept {
		paged = paged || p.name == "_count"
	}
	if !paged {
		for e, err := range l.Store.Search(ctx, q.search()) {
			if err != nil {
				return err
			}
			if err := shaped(e); err != nil {
				return err
			}
		}
		return nil
	}
	c := cursors{localKey}
	from, err := c.of(q, "")
	if err != nil {
		return err
	}
	found, err := l.finder().run(ctx, q, from)
	if err != nil {
		return err
	}
	for _, e := range found.entries {
		if err := shaped(&e.Entry); err != nil {
			return err
		}
	}
	return nil
}
