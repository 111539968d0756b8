package portal

import (
	"bytes"
	"strings"
	"testing"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/lifecycle"
)

// emptyWorld is another portal, with another seal and nobody in it.
func (k *team) emptyWorld() *world {
	k.t.Helper()
	return newWorld(k.t, "sqlite:"+k.t.TempDir()+"/empty.db", func(c *Config) {
		rules(c)
		a, err := accounts.Open(ctx, "sqlite:"+k.t.TempDir()+"/other.db", &accounts.Options{Seal: [32]byte{1}, Now: k.clock.now})
		ok(k.t, err)
		k.t.Cleanup(func() { ok(k.t, a.Close()) })
		c.Accounts, c.Production.Accounts, c.Sandbox.Accounts, c.Now = a, a, a, k.clock.now
	})
}

// TestExportWithoutDocuments leaves documents out of both, so that what is there can be imported; rows of documents that are
// not given are refused with words.
func TestExportWithoutDocuments(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		r := k.put(lifecycle.Production, lifecycle.ChangesRequested)
		d, err := k.owner.Upload(ctx, r.ID, "security_documents", "a.pdf", strings.NewReader("%PDF-1"))
		ok(t, err)

		var with, tar, without bytes.Buffer
		ok(t, k.admin.Export(ctx, &with, &tar))
		ok(t, k.admin.Export(ctx, &without, nil))
		if !strings.Contains(with.String(), d.SHA256) || strings.Contains(without.String(), d.SHA256) {
			t.Error("the rows of documents are not where they belong")
		}

		operator := k.emptyWorld().Operator("test")
		before := operator.Portal
		if err := operator.Import(ctx, bytes.NewReader(with.Bytes()), nil); err == nil || !strings.Contains(err.Error(), "tar") {
			t.Fatalf("got %v", err)
		}
		ok(t, before.empty(ctx, before.db))

		ok(t, operator.Import(ctx, bytes.NewReader(without.Bytes()), nil))
		back, err := operator.application(ctx, operator.db, r.ID)
		ok(t, err)
		if v := back.Answers["security_documents"]; len(v) > 0 {
			t.Errorf("the draft still counts a document that is not there: %v", v)
		}
	})
}
