// Package bundle sends resources to a FHIR server in bundles of PUT and DELETE.
//
// What refers to others is sent after them: a Send goes in waves, one for each type, and the bundles of a
// wave are sent at the same time. A bundle that the server refuses is sent again as a batch, then by
// halves, until each entry has its own answer.
package bundle

import (
	"context"
	"sync"
	"sync/atomic"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/schemas/fhir"
)

// The kinds of bundles.
const (
	transaction = "transaction"
	batch       = "batch"
)

// Sender is a remote.Sender by bundles. It is safe for concurrent use.
type Sender struct {
	server fhirclient.Server

	// doubts counts transactions, one after the other, that were refused although nothing in them was
	// wrong. With maxDoubts the server is taken to know no transactions.
	doubts atomic.Int32

	// stored counts the entries that the server has accepted. It tells a server that fails from an
	// entry on which it fails.
	stored atomic.Int64
}

const maxDoubts = 3

// New makes a sender. Entries, bytes, order and kind of the bundles follow the settings of the server.
func New(server fhirclient.Server) *Sender { return &Sender{server: server} }

// Send implements remote.Sender. An error means that the fate of some entry could not be found out.
func (s *Sender) Send(ctx context.Context, entries []remote.Entry) ([]remote.Answer, error) {
	c := &call{
		Sender: s, settings: s.server.Settings(), entries: entries, answers: make([]remote.Answer, len(entries)),
		before: s.stored.Load(), missing: map[string]bool{},
	}
	for _, round := range rounds(entries) {
		for _, wave := range waves(entries, round) {
			if len(wave) == 0 {
				continue
			}
			if err := c.wave(ctx, wave); err != nil {
				return nil, err
			}
		}
	}
	return c.answers, nil
}

// kind is the kind of bundles to send.
func (s *Sender) kind(settings *fhirclient.Settings) string {
	if settings.Bundle == transaction && s.doubts.Load() < maxDoubts {
		return transaction
	}
	return batch
}

// call is one Send.
type call struct {
	*Sender
	settings fhirclient.Settings
	entries  []remote.Entry
	answers  []remote.Answer // by entry; each belongs to the one bundle that is under way with it
	before   int64           // what Sender.stored was

	missing map[string]bool // references to what was refused, and is not there; it changes between waves only
}

// rounds puts entries of the same resource into different rounds, in their order: a bundle must not
// have a resource twice. Each round is a list of indices.
func rounds(entries []remote.Entry) [][]int {
	type key struct {
		typ fhir.Type
		id  string
	}
	var list [][]int
	seen := make(map[key]int, len(entries))
	for i := range entries {
		k := key{entries[i].Type, entries[i].ID}
		n := seen[k]
		seen[k] = n + 1
		if n == len(list) {
			list = append(list, make([]int, 0, len(entries)))
		}
		list[n] = append(list[n], i)
	}
	return list
}

// waves sorts entries into what can be sent at the same time: upserts by type, then deletions, the other
// way round.
func waves(entries []remote.Entry, round []int) (list [2 * fhir.NumTypes][]int) {
	for _, i := range round {
		e := &entries[i]
		w := e.Type
		if e.Deleted {
			w = 2*fhir.NumTypes - 1 - e.Type
		}
		list[w] = append(list[w], i)
	}
	return list
}

// wave sends what does not refer to each other.
func (c *call) wave(ctx context.Context, wave []int) error {
	b, err := c.prepare(ctx, wave)
	if err != nil {
		return err
	}
	if err := c.sendAll(ctx, pack(b, c.settings.Entries, c.settings.Bytes, c.settings.Concurrency)); err != nil {
		return err
	}
	c.learn(wave)
	return nil
}

// sendAll sends bundles at the same time, no more than the server is ever asked for at once, so that
// bundles do not wait as text in memory. After an error no other bundle is begun.
func (c *call) sendAll(ctx context.Context, bundles []bundle) error {
	if len(bundles) == 1 {
		return c.deliver(ctx, bundles[0])
	}
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range min(len(bundles), max(c.settings.Concurrency, 1)) {
		wg.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(bundles) {
					return
				}
				if err := c.deliver(ctx, bundles[i]); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// learn remembers which references of later waves lead nowhere. What was refused in a new version is still
// there in the old one. Servers that give ids need no such memory: nobody has ids of what was refused.
func (c *call) learn(wave []int) {
	for _, i := range wave {
		e := &c.entries[i]
		if c.answers[i].Fate == remote.Refused && !e.Deleted && e.There == (remote.There{}) {
			c.missing[fhir.Reference(e.Type, e.ID)] = true
		}
	}
}
