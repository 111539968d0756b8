package portal

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestRoomForDocuments counts what an organisation has given, also what it has removed, as long as its bytes are there.
func TestRoomForDocuments(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		r := k.put(lifecycle.Production, lifecycle.ChangesRequested)
		other := k.put(lifecycle.Production, lifecycle.Draft)
		upload := func(application string) (*Document, error) {
			return k.owner.Upload(ctx, application, "security_documents", "a.pdf", strings.NewReader("%PDF-1"))
		}
		big := func(size int64) {
			t.Helper()
			_, err := k.db.Change(ctx, `UPDATE portal_documents SET size = $1`, size)
			ok(t, err)
		}
		d, err := upload(other.ID)
		ok(t, err)
		big(roomOf - 6)
		_, err = upload(r.ID)
		ok(t, err)
		before := files(t, k.Uploads)
		_, err = upload(r.ID)
		input(t, err, "security_documents", "room")
		equal(t, files(t, k.Uploads), before)

		// Removing it makes room when it is gone, and not before.
		big(roomOf / 2)
		ok(t, k.owner.RemoveDocument(ctx, other.ID, d.ID))
		_, err = upload(r.ID)
		input(t, err, "security_documents", "room")
		k.clock.pass(2 * orphanFor)
		_, err = k.removeOrphans(ctx)
		ok(t, err)
		_, err = upload(r.ID)
		ok(t, err)

		// Nor can anybody fill an application with what they remove again.
		big(1)
		for i := range removedMost {
			_, err := k.db.Change(ctx, `INSERT INTO portal_documents (id, application, question, name, type, size, sha256, person, at, removed)
				VALUES ($1, $2, 'security_documents', 'a', 'text/plain', 1, '', '', 0, 1)`, fmt.Sprintf("%032x", i), other.ID)
			ok(t, err)
		}
		_, err = upload(other.ID)
		input(t, err, "security_documents", "many")
		n, err := k.removeOrphans(ctx)
		ok(t, err)
		if n < removedMost {
			t.Errorf("only %d were removed", n)
		}
		_, err = upload(other.ID)
		ok(t, err)
	})
}

// TestRemovedDocumentsThatWereSubmitted proves that those that stay keep none of the others from being removed.
func TestRemovedDocumentsThatWereSubmitted(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		r := k.put(lifecycle.Production, lifecycle.ChangesRequested)
		ids := make([]string, 120)
		for i := range ids {
			ids[i] = fmt.Sprintf("%032x", i)
		}
		r.Answers["security_documents"] = ids
		ok(t, k.tx(ctx, func(ctx context.Context, tx *step) error {
			m := &move{Portal: k.Portal, Move: &lifecycle.Move{}, r: r, at: k.clock.now(), seen: &outside{}, in: &Input{}, form: k.form(&r.Application), answers: r.Answers}
			return m.freeze(ctx, tx)
		}))
		for _, id := range slices.Concat(ids, []string{strings.Repeat("f", 32)}) {
			_, err := k.db.Change(ctx, `INSERT INTO portal_documents (id, application, question, name, type, size, sha256, person, at, removed)
				VALUES ($1, $2, 'security_documents', 'a', 'text/plain', 1, '', '', 0, 1)`, id, r.ID)
			ok(t, err)
		}
		_, err := k.removeOrphans(ctx)
		ok(t, err)
		kept, err := database.Column(ctx, k.db, `SELECT id FROM portal_documents ORDER BY id`)
		ok(t, err)
		equal(t, kept, ids)
	})
}

// TestOrganisationsOfAPerson lets nobody own more than a few, and counts none that they gave away.
func TestOrganisationsOfAPerson(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		a := k.stranger // who owns one
		add := func(name string) error {
			_, err := a.AddOrganisation(ctx, &Organisation{Name: name, Legal: name, Type: "company", Website: "https://www.apps.example/"})
			return err
		}
		for i := range orgsMost - 1 {
			ok(t, add(fmt.Sprint("Org ", i)))
		}
		input(t, add("One more"), "name", "organisations")
		org := a.Members[0].Org
		k.join(org, k.developer, Owner)
		ok(t, a.RemoveMember(ctx, org, a.Person.ID))
		ok(t, add("One more"))
		input(t, add("And one more"), "name", "organisations")
	})
}

// TestInvitationsOfAPerson counts them over all organisations of a person.
func TestInvitationsOfAPerson(t *testing.T) {
	each(t, func(c *Config) { c.Mail = nil }, func(k *team, _ string) {
		t := k.t
		o, owner := k.organisation(k.owner, "Second")
		invite := func(by *Actor, org string, i int) error {
			_, err := by.Invite(ctx, &Invitation{Org: org, Email: fmt.Sprintf("n%d@x.example", i), Family: "New", Role: Observer})
			return err
		}
		for i := range inviteMost - 5 {
			ok(t, invite(owner, k.org, i))
		}
		for i := range 5 {
			ok(t, invite(owner, o.ID, i))
		}
		input(t, invite(owner, o.ID, 100), "email", "many")
		input(t, invite(owner, k.org, 100), "email", "many")
		ok(t, invite(k.twin, k.org, 101)) // another owner may, up to what the organisation may
		wants(t, invite(k.twin, k.org, 101), accounts.ErrExists)
	})
}
