package owner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// whole writes a batch with its JSON.
func (e *encoder) whole(b *fhir.Batch) {
	e.batch(b)
	_ = lines(b, func(piece []byte) error {
		e.buf = append(e.buf, piece...)
		return nil
	})
}

// FuzzMessages gives the owner's side of a connection what a user could send.
func FuzzMessages(f *testing.F) {
	own, err := Open(filepath.Join(f.TempDir(), "store"), store.Options{}, Options{limits: quick()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = own.Close() })
	var all []byte
	add := func(kind byte, body func(e *encoder)) {
		var e encoder
		e.begin(kind)
		body(&e)
		_ = e.end(0)
		f.Add(e.buf)
		all = append(all, e.buf...)
	}
	add(askMetas, func(e *encoder) { e.uint(1); e.text("a") })
	add(askPut, func(e *encoder) { c := put("a", "b"); e.commit(&c) })
	add(askTake, func(e *encoder) { e.text("lane") })
	add(askAllMeta, func(e *encoder) { e.text("") })
	add(askGet, func(e *encoder) { e.resource(fhir.Organization, "a"); e.uint(0) })
	add(askSourceVersion, func(e *encoder) { e.resource(fhir.Organization, "a") })
	add(askHistory, func(e *encoder) { e.resource(fhir.Organization, "a") })
	add(askSearch, func(e *encoder) { e.query(&store.Query{IDs: []string{"a"}, Patients: []string{}}) })
	add(askExport, func(e *encoder) { e.bytes([]byte{0, 1}) })
	add(askStats, func(*encoder) {})
	add(askCompare, func(e *encoder) { e.whole(claims(0, 1)) })
	add(askApply, func(e *encoder) { e.whole(batchOf(organization("a", "x"))) })
	add(askCommit, func(e *encoder) { c := put("a", "b"); e.commit(&c) })
	f.Add(all)
	var hello encoder
	hello.greeting(greeting{protocol: protocolVersion})
	hello.buf[4] = askHello
	_ = hello.end(0)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := dial(t.Context(), own.dir)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() {
			_, _ = c.Write(append(bytes.Clone(hello.buf), data...))
			_ = c.CloseWrite()
		}()
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the owner does not close the connection")
		}
		if _, err := own.Metas([]string{"a"}); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzDecode reads what is no message with all decoders; they must end without a panic.
func FuzzDecode(f *testing.F) {
	var e encoder
	e.whole(claims(0, 1))
	f.Add(e.buf)
	f.Fuzz(func(_ *testing.T, data []byte) {
		d := func() *decoder { return &decoder{rest: data} }
		decodeBatch(d(), new(fhir.Batch))
		d().commit()
		d().entry(new(store.Entry))
		_, _ = d().query()
		_ = d().error()
		d().outcomes(nil)
		_, _ = d().greeting()
	})
}

// TestBatchSurvives proves that a batch arrives as it was sent, with deletions among its resources.
func TestBatchSurvives(t *testing.T) {
	b := claims(3, 300<<10)
	b.Delete(fhir.Coverage, "c", "2024", "v")
	b.Add(organization("o", strings.Repeat("n", 200)))
	b.Add(&fhir.Resource{Type: fhir.Patient, ID: "p", JSON: []byte{}})
	var e encoder
	b.Delete(fhir.Coverage, "c2", "2024", "v")
	e.whole(b)
	var got fhir.Batch
	d := &decoder{rest: e.buf}
	decodeBatch(d, &got)
	if err := d.end(); err != nil || got.Len() != b.Len() {
		t.Fatalf("%d of %d resources, %v", got.Len(), b.Len(), err)
	}
	want := map[int]string{}
	for i, r := range b.All() {
		want[i] = fmt.Sprintf("%+v", *r)
	}
	for i, r := range got.All() {
		if s := fmt.Sprintf("%+v", *r); s != want[i] {
			t.Errorf("resource %d is %s\nwant %s", i, s, want[i])
		}
	}
}
