package streamrun

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/schemas/fhir"
)

// A record whose member or coverage has not arrived waits in the target:
//
//	held/<lane>/<offset>          the message, and the keys that it waits for (type held)
//	wait/<key>/<lane>/<offset>    one for each of these keys; the value is when it began to wait
//	queue/<claim>                 the last of several messages of one claim that wait, so that a later one waits behind them
//
// A record that is loaded, but refers to a provider, payer or person that no table has yet, is
// provisional: it stands there too, and is made again when such a key arrives, because it may then
// refer to something else.
//
//	latest/<type><key>            the provisional record of a claim or row, which a later message of it ends
//	only/<id>                     a resource that only claims mention
//	aged/<id>                     one that a provisional record still mentions when it has waited too long
//	parts/<claim>                 the resources that a claim has become, if they are several
//
// Whoever makes a key known looks for what waits for it once the key is durable. Whoever lets a
// record wait looks for the key once that is durable. So if both happen in the same moment, at least
// one of them sees the other. A sweep finds what a killed process has left.
const (
	heldSpace  = "held/"
	waitSpace  = "wait/"
	queueSpace = "queue/"
	partsSpace = "parts/"
	onlySpace  = "only/"
	agedSpace  = "aged/"
	lastSpace  = "latest/"
)

// waitingRules are broken by a record that refers to something which may still arrive, with the types
// of what it may be.
var waitingRules = map[string][]fhir.Type{
	"unknown-member":           {fhir.Patient},
	"unknown-coverage":         {fhir.Coverage},
	"unknown-payer":            {fhir.Coverage},
	"unknown-billing-provider": {fhir.Organization, fhir.Practitioner},
	pipeline.RuleUnknownMember: {fhir.Patient},
}

// awaited returns the keys that a record waits for, nil if it need not wait: those of one kind, the
// coverage first, because a coverage itself waits for its member. What else is wrong with the record
// may follow from what is missing, so that is judged when it goes on.
func awaited(problems []pipeline.RejectProblem, unresolved []directory.Unresolved) (keys []directory.Unresolved) {
	for _, t := range [...]fhir.Type{fhir.Coverage, fhir.Patient, fhir.Organization, fhir.Practitioner} {
		for _, p := range problems {
			if !slices.Contains(waitingRules[p.Rule], t) {
				continue
			}
			for _, u := range unresolved {
				if u.Type == t && !slices.Contains(keys, u) {
					keys = append(keys, u)
				}
			}
		}
		if len(keys) > 0 && t != fhir.Organization {
			break
		}
	}
	return keys
}

// held is a message that waits, as it stands in the target: this header as a line of JSON, then the
// value.
type held struct {
	Topic       string    `json:"topic"`
	Partition   int       `json:"partition"`
	Offset      int64     `json:"offset"`
	LeaderEpoch int32     `json:"leader_epoch"`
	Time        time.Time `json:"time"`
	Key         []byte    `json:"key"`
	Headers     []Header  `json:"headers,omitempty"`
	Deletes     bool      `json:"deletes,omitempty"` // it has no value
	Since       time.Time `json:"since"`
	For         [][]byte  `json:"for"` // keys, as in names of records
	Claim       []byte    `json:"claim,omitempty"`

	Provisional bool     `json:"provisional,omitempty"`
	Record      []byte   `json:"record,omitempty"` // type and key of the record, if it is provisional
	Version     string   `json:"version,omitempty"`
	Only        []string `json:"only,omitempty"` // ids of resources that it and other claims mention
}

// since is the value of a record in waitSpace. Only the first key of a message that waits says so, so
// that they can be counted.
func (h *held) since(key []byte) []byte {
	kind := "waits "
	switch {
	case h.Provisional:
		kind = "provisional "
	case !bytes.Equal(key, h.For[0]):
		kind = "waits-too "
	}
	return []byte(kind + h.Since.Format(time.RFC3339))
}

// keyOf is a key in names of records.
func keyOf(u directory.Unresolved) []byte { return append([]byte{waitKind(u.Type)}, u.Key[:]...) }

func waitKind(t fhir.Type) byte {
	switch t {
	case fhir.Patient:
		return 'm'
	case fhir.Coverage:
		return 'c'
	}
	return 'p'
}

// unresolvedOf is the key that keyOf has written.
func unresolvedOf(key []byte) directory.Unresolved {
	u := directory.Unresolved{Key: fhir.Raw(key[1:]), Type: fhir.Organization}
	switch key[0] {
	case 'm':
		u.Type = fhir.Patient
	case 'c':
		u.Type = fhir.Coverage
	}
	return u
}

const keySize = 1 + len(fhir.Raw{})

// at names a message in names of records; offsets sort as numbers.
func at(lane string, offset int64) string {
	return lane + "/" + string(binary.BigEndian.AppendUint64(nil, uint64(offset)))
}

func waitName(key []byte, at string) string { return waitSpace + string(key) + "/" + at }

// wait lets a record wait for keys. claim is the claim key of a claim.
func (m *maker) wait(b *batch, it *item, claim string, keys []directory.Unresolved) {
	h, place := m.hold(b, it)
	m.waitFor(b, &h, place, keys)
	if claim != "" {
		raw := m.raw.Raw(fhir.ExplanationOfBenefit, claim)
		h.Claim = raw[:]
		if it.waited == nil {
			q := queue{Last: []byte(place), For: h.For}
			m.dir.Change(queueSpace+string(raw[:]), q.record())
		}
	}
	b.hold(place, &h, it.Value)
	if it.waited == nil {
		b.messages.Waiting++
	} else {
		b.releases = append(b.releases, *it.waited)
	}
}

// hold begins the record of a message that waits, or waits on, perhaps for something else.
func (m *maker) hold(b *batch, it *item) (h held, place string) {
	if it.waited == nil {
		return held{Topic: m.part.Topic(), Partition: m.part.Number(), Offset: it.Offset, LeaderEpoch: it.LeaderEpoch, Time: it.Time,
			Key: it.Key, Headers: it.Headers, Deletes: it.Value == nil, Since: m.Now().UTC()}, at(m.lane, it.Offset)
	}
	h, place = it.waited.held, strings.TrimPrefix(it.waited.name, heldSpace)
	for _, k := range h.For {
		name := waitName(k, place)
		b.put[name] = nil
		b.guards[name] = h.since(k) // nobody else has let it go meanwhile
	}
	h.For = nil
	return h, place
}

// waitFor adds the keys that a message waits for.
func (m *maker) waitFor(b *batch, h *held, place string, keys []directory.Unresolved) {
	for _, u := range keys {
		k := keyOf(u)
		if slices.ContainsFunc(h.For, func(x []byte) bool { return bytes.Equal(x, k) }) {
			continue
		}
		h.For = append(h.For, k)
		b.put[waitName(k, place)] = h.since(k)
		b.awaited = append(b.awaited, u)
	}
}

// with is the record of a message with its value.
func (h *held) with(value []byte) []byte {
	head, err := json.Marshal(h)
	if err != nil {
		panic(err) // strings, bytes and times always marshal
	}
	return append(append(head, '\n'), value...)
}

// queue is what waits of one claim.
type queue struct {
	Last []byte   `json:"last"` // place of the last message
	For  [][]byte `json:"for"`
}

func (q *queue) record() []byte {
	b, err := json.Marshal(q)
	if err != nil {
		panic(err) // bytes always marshal
	}
	return b
}

func readQueue(v []byte) (q queue, ok bool) {
	ok = v != nil && json.Unmarshal(v, &q) == nil
	return q, ok
}

// ahead returns the keys for which earlier messages of a claim wait, nil if there are none.
func (m *maker) ahead(claim fhir.Raw) (keys []directory.Unresolved) {
	q, ok := readQueue(m.dir.Other(queueSpace + string(claim[:])))
	if !ok {
		return nil
	}
	for _, k := range q.For {
		keys = append(keys, unresolvedOf(k))
	}
	return keys
}

// went removes what the target has of a record that waits no longer.
func (m *maker) went(b *batch, it *item) {
	r := it.waited
	if r == nil {
		return
	}
	place := strings.TrimPrefix(r.name, heldSpace)
	b.put[r.name] = nil
	for _, k := range r.For {
		name := waitName(k, place)
		b.put[name] = nil
		b.guards[name] = r.since(k) // nobody else has let it go meanwhile
	}
	if r.Claim != nil {
		name := queueSpace + string(r.Claim)
		if q, ok := readQueue(m.dir.Other(name)); ok && string(q.Last) == place {
			m.dir.Change(name, nil)
		}
	}
	b.releases = append(b.releases, *r)
	switch {
	case r.Provisional:
	case it.expired:
		b.messages.Expired++
	default:
		b.messages.Released++
	}
}

// died says that a record that went on became a dead letter all the same.
func (m *maker) died(b *batch, it *item) {
	if it.waited != nil && !it.waited.Provisional && !it.expired {
		b.messages.Released--
		b.messages.ReleasedDead++
	}
}
