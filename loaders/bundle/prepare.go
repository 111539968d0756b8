package bundle

import (
	"context"
	"time"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
)

// bundle is what is sent at once.
type bundle struct {
	entries []int // indices into the entries of the call
	writes  []fhirclient.Write

	halving bool // batches of it were refused as a whole, so that halves are not tried as batches first

	tries int       // how often this has been sent again without an answer
	since time.Time // when that began
}

func (b *bundle) len() int { return len(b.writes) }

func (b *bundle) add(i int, w fhirclient.Write) {
	b.entries = append(b.entries, i)
	b.writes = append(b.writes, w)
}

// part is a part of a bundle, with what is known of the whole.
func (b *bundle) part(from, to int) bundle {
	return bundle{entries: b.entries[from:to:to], writes: b.writes[from:to:to], halving: b.halving}
}

// prepare makes the writes of a wave, and answers the entries that cannot be sent.
func (c *call) prepare(ctx context.Context, wave []int) (b bundle, err error) {
	b = bundle{entries: make([]int, 0, len(wave)), writes: make([]fhirclient.Write, 0, len(wave))}
	for _, i := range wave {
		e := &c.entries[i]
		if !e.Deleted && len(c.missing) > 0 && refersTo(e.JSON, c.missing) {
			c.refuse(i, &pipeline.Refusal{Rule: pipeline.RuleReferenceGone})
			continue
		}
		w, there, err := c.write(ctx, e)
		switch {
		case err != nil:
			return b, err
		case !there: // a deletion of what the server does not have
		case c.settings.ResourceMax > 0 && len(w.JSON) > c.settings.ResourceMax:
			c.refuse(i, &pipeline.Refusal{Rule: pipeline.RuleTooLarge})
		default:
			b.add(i, w)
		}
	}
	return b, nil
}

// write makes the write of an entry; there is false if there is nothing to do.
func (c *call) write(ctx context.Context, e *remote.Entry) (w fhirclient.Write, there bool, err error) {
	w = fhirclient.Write{Reference: fhirclient.Reference{Type: e.Type.String(), ID: e.ID}}
	if !e.Deleted {
		w.JSON = e.JSON
	}
	if c.settings.IfMatch {
		w.IfMatch = e.There.Version
	}
	if c.settings.IDs != conditional {
		return w, true, nil
	}
	return c.byServersID(ctx, e, w)
}

// conditional is the setting of a server that gives ids itself.
const conditional = "conditional"

// byServersID completes a write for a server that gives ids itself: a resource is written under the id
// that it is known to have, else by its identifier.
func (c *call) byServersID(ctx context.Context, e *remote.Entry, w fhirclient.Write) (_ fhirclient.Write, there bool, err error) {
	w.ID = e.There.ID
	switch {
	case w.ID != "":
	case e.Deleted:
		found, err := c.server.Find(ctx, w.Type, remote.Search(e.ID))
		if err != nil || len(found) == 0 {
			return w, false, err
		}
		w.ID = found[0].Location.ID
	default:
		w.Search, w.IfMatch = remote.Search(e.ID), ""
	}
	return w, true, nil
}

// overhead is what an entry has beside the resource and its references, at most: the names of the
// members, a full URL, and the request.
const overhead = 400

func sizeOf(w *fhirclient.Write) int {
	return overhead + len(w.JSON) + 2*(len(w.Type)+len(w.ID)) + len(w.Search) + len(w.IfMatch)
}

// A quarter of what is left goes into the next bundle, but no less than a quarter of a full one: towards the
// end of a wave bundles get smaller, so that they end at about the same time, and the server does not wait
// for the last of them with nothing else to do.
const tail = 4

// pack cuts a wave into bundles within the limits, 0 being none. A write that is larger than a bundle may be
// is alone. With one bundle at a time they are as large as they may be.
func pack(wave bundle, entries, bytes, atOnce int) (list []bundle) {
	if entries <= 0 {
		entries = max(wave.len(), 1)
	}
	least := (entries + tail - 1) / tail
	for from := 0; from < wave.len(); {
		left := wave.len() - from
		most := min(left, entries)
		if atOnce > 1 {
			most = min(most, max(least, (left+tail-1)/tail))
		}
		if rest := left - most; rest < least/2 && left <= entries {
			most = left // a few more are no bundle of their own
		}
		to, size := from, 0
		for to < from+most {
			s := sizeOf(&wave.writes[to])
			if to > from && bytes > 0 && size+s > bytes {
				break
			}
			size += s
			to++
		}
		list = append(list, wave.part(from, to))
		from = to
	}
	return list
}
