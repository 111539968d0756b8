package accounts

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"
)

// told is a grant with a receipt.
func (w *world) told() *Grant {
	g := w.newGrant()
	g.Receipt = &Receipt{Statement: Statement{Version: "1", Language: "es", Words: "Usted decide."}, Role: "self", Requested: []string{"patient/*.read", "offline_access", "openid"}}
	return g
}

// TestReceipt reads back what was agreed to, also after it was revoked and has ended.
func TestReceipt(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		g := w.told()
		ok(t, w.Approve(ctx, w.request(), g, w.newCode()))
		sum := sha256.Sum256([]byte("Usted decide."))
		want := &Receipt{
			Statement: Statement{Version: "1", Language: "es", Words: "Usted decide."}, Digest: hex.EncodeToString(sum[:]),
			Grant: g.ID, Client: "app", User: w.user.ID, Role: "self", Patient: "p1",
			Requested: []string{"patient/*.read", "offline_access", "openid"}, Granted: []string{"patient/*.read", "offline_access"},
			Created: w.now(), Expires: w.now().Add(90 * 24 * time.Hour),
		}
		read := func() {
			t.Helper()
			got, err := w.Receipt(ctx, g.ID)
			ok(t, err)
			want.Created, got.Created = want.Created.UTC(), got.Created.UTC()
			want.Expires, got.Expires = want.Expires.UTC(), got.Expires.UTC()
			same(t, got, want)
		}
		read()
		ok(t, w.Approve(ctx, w.request(), w.told(), w.newCode())) // the same words are kept once
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM receipts`), 2)
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM statements`), 1)
		ok(t, w.RevokeGrant(ctx, g.ID))
		w.pass(400 * 24 * time.Hour)
		ok(t, w.Expire(ctx))
		read()

		none, _ := w.allow()
		_, err := w.Receipt(ctx, none.ID)
		wants(t, err, ErrNotFound)
		_, err = w.Receipt(ctx, "nothing")
		wants(t, err, ErrNotFound)
	})
}

// TestReceiptComesWithItsGrant fails each statement of a consent once: there is never a grant without its receipt.
func TestReceiptComesWithItsGrant(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w, f := faultyWorld(t, address)
		state := func() string {
			return fmt.Sprint(count(t, w.Accounts, `SELECT COUNT(*) FROM grants`), count(t, w.Accounts, `SELECT COUNT(*) FROM receipts`), count(t, w.Accounts, `SELECT COUNT(*) FROM statements`))
		}
		request := w.request()
		if n := f.EachFails(t, "a consent with a receipt", state, func() error { return w.Approve(ctx, request, w.told(), w.newCode()) }); n < 8 {
			t.Errorf("a consent has %d statements to fail", n)
		}
		same(t, state(), "1 1 1")
	})
}
