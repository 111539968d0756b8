package owner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// seen is what a handle shows of a store.
func seen(t *testing.T, h store.Handle) map[string]any {
	t.Helper()
	ctx := t.Context()
	out := map[string]any{}
	note := func(name string, v any, err error) {
		if err != nil {
			v = fmt.Sprintf("%v %v", errors.Is(err, store.ErrNotFound), err)
		}
		out[name] = v
	}
	for _, id := range []string{"o1", "gone", "none", "not/an/id"} {
		e, err := h.Get(ctx, fhir.Organization, id)
		note("get "+id, e, err)
		for v := range uint32(4) {
			e, err := h.GetVersion(ctx, fhir.Organization, id, v)
			note(fmt.Sprint("version ", id, v), e, err)
		}
		version, err := h.SourceVersion(ctx, fhir.Organization, id)
		note("source "+id, version, err)
		entries(t, out, "history "+id, h.History(ctx, fhir.Organization, id))
	}
	filter := func(name, value string) []store.Filter {
		f, err := store.ParseFilter(name, value)
		if err != nil {
			t.Fatal(err)
		}
		return []store.Filter{f}
	}
	for name, q := range map[string]*store.Query{
		"all":          {Type: fhir.ExplanationOfBenefit},
		"patient":      {Type: fhir.ExplanationOfBenefit, Patients: []string{"p1"}, Count: 3},
		"nobody":       {Type: fhir.ExplanationOfBenefit, Patients: []string{}},
		"identifier":   {Type: fhir.ExplanationOfBenefit, Filters: filter("identifier", "urn:claims|eob-00000007,eob-00000009")},
		"escaped":      {Type: fhir.Organization, Filters: filter("identifier", `urn:test\|o1`)},
		"service date": {Type: fhir.ExplanationOfBenefit, Filters: filter("service-date", "ge2024-03-02"), After: "eob-00000060", Count: 2},
		"updated":      {Type: fhir.Organization, Filters: filter("_lastUpdated", "2024"), NoJSON: true},
		"ids":          {Type: fhir.Organization, IDs: []string{"o2", "o1", "none"}},
		"no ids":       {Type: fhir.Organization, IDs: []string{}},
		"no type":      {Type: fhir.NumTypes + 3},
	} {
		entries(t, out, "search "+name, h.Search(ctx, q))
	}
	entries(t, out, "export", h.Export(ctx))
	entries(t, out, "export types", h.Export(ctx, fhir.Patient, fhir.Organization))
	for _, prefix := range []string{"a/", "none", "large"} {
		var list []store.MetaRecord
		for r, err := range h.AllMeta(prefix) {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, store.MetaRecord{Name: r.Name, Value: slices.Clone(r.Value)})
		}
		out["all meta "+prefix] = list
	}
	values, err := h.Metas([]string{"a/2", "none", "a/empty"})
	note("metas", values, err)
	for _, name := range []string{"a/1", "none", "a/empty"} {
		v, err := h.Meta(name)
		note("meta "+name, v, err)
	}
	stats, err := h.Stats(ctx)
	note("stats", stats, err)
	outcomes, err := h.Compare(ctx, batchOf(organization("o1", "three"), organization("o1", "four"), organization("o9", "")))
	note("compare", outcomes, err)
	return out
}

// entries notes copies of entries.
func entries(t *testing.T, out map[string]any, name string, all func(yield func(*store.Entry, error) bool)) {
	t.Helper()
	list := []store.Entry{}
	for e, err := range all {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := *e
		c.JSON, c.Keys = append([]byte{}, e.JSON...), append([]fhir.Key{}, e.Keys...)
		list = append(list, c)
	}
	out[name] = list
}

// TestSameThroughSocket proves that a user sees and writes exactly what the owner does.
func TestSameThroughSocket(t *testing.T) {
	own, user := pair(t)
	reader, err := OpenReader(user.dir, store.Options{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, reader)
	apply := func(h store.Handle, b *fhir.Batch, c store.Commit) []store.Outcome {
		t.Helper()
		var got []store.Outcome
		err := h.Apply(t.Context(), b, func(o []store.Outcome) (store.Commit, error) {
			got = slices.Clone(o)
			return c, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	gone := &fhir.Resource{Type: fhir.Organization, ID: "gone", LastUpdated: "2024-05-06T07:08:09Z", SourceVersion: "2", Deleted: true}
	big := claims(0, 1<<20)
	apply(user, big, put("a/1", "1"))
	got := apply(user, batchOf(organization("o1", "one"), organization("o2", "one"), organization("gone", "x"), gone, organization("o1", "two")), store.Commit{})
	if diff := cmp.Diff([]store.Outcome{store.Created, store.Created, store.Created, store.Deleted, store.Updated}, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if got := apply(own, batchOf(organization("o1", "two"), organization("o2", "two")), put("a/2", "2")); !slices.Equal(got, []store.Outcome{store.Unchanged, store.Updated}) {
		t.Errorf("outcomes at the owner: %v", got)
	}
	records := map[string][]byte{"a/empty": {}, "a/2": []byte("two")}
	for i := range 40 {
		records[fmt.Sprint("large", i)] = []byte(strings.Repeat("x", 10000))
	}
	if err := user.PutMeta(records); err != nil {
		t.Fatal(err)
	}
	if err := user.PutMeta(map[string][]byte{"large7": nil}); err != nil {
		t.Fatal(err)
	}
	if err := user.Apply(t.Context(), batchOf(organization("o3", "x")), nil); err != nil {
		t.Fatal(err)
	}
	want := seen(t, own)
	for name, h := range map[string]store.Handle{"user": user, "reader": reader} {
		got := seen(t, h)
		delete(got, "stats") // the files change as they are looked at
		for what, v := range got {
			if !reflect.DeepEqual(want[what], v) { // faster than cmp
				t.Errorf("%s, %s (-owner +other):\n%s", name, what, cmp.Diff(want[what], v))
			}
		}
	}
	a, b := want["stats"].(*store.Stats), seen(t, user)["stats"].(*store.Stats)
	if a.Types != b.Types || a.SchemaVersion != b.SchemaVersion {
		t.Errorf("stats %+v, through the socket %+v", a, b)
	}
	for name, err := range map[string]error{
		"Apply": reader.Apply(t.Context(), big, nil), "PutMeta": reader.PutMeta(records), "Take": func() error { _, err := reader.Take(t.Context(), "x"); return err }(),
	} {
		if !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("%s of a reader: %v, want ErrReadOnly", name, err)
		}
	}
}

// TestErrorsKeepIdentity proves that errors are the same at both ends of the socket.
func TestErrorsKeepIdentity(t *testing.T) {
	_, user := pair(t)
	ctx := t.Context()
	first, err := user.Take(ctx, "lane")
	if err != nil {
		t.Fatal(err)
	}
	second, err := user.Take(ctx, "lane")
	if err != nil || second.Epoch != first.Epoch+1 {
		t.Fatalf("second lease %+v after %+v: %v", second, first, err)
	}
	no := errors.New("seal says no")
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"fenced", func() error { return user.Apply(ctx, batchOf(), commit(store.Commit{Lease: first})) }, store.ErrFenced},
		{"lease", func() error { return user.Apply(ctx, batchOf(), commit(store.Commit{Lease: second})) }, nil},
		{"guard", func() error {
			return user.Apply(ctx, batchOf(), commit(store.Commit{Guards: []store.MetaRecord{{Name: "x", Value: []byte("1")}}}))
		}, store.ErrChanged},
		{"guard of none", func() error {
			return user.Apply(ctx, batchOf(), commit(store.Commit{Guards: []store.MetaRecord{{Name: "x"}}}))
		}, nil},
		{"seal", func() error {
			return user.Apply(ctx, batchOf(organization("a", "x")), func([]store.Outcome) (store.Commit, error) { return store.Commit{}, no })
		}, no},
	} {
		if err := c.do(); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := user.Get(ctx, fhir.Organization, "a"); err != store.ErrNotFound {
		t.Errorf("Get of what seal refused: %v, want ErrNotFound", err)
	}
	bad := batchOf(organization("not an id", "x"))
	if err := user.Apply(ctx, bad, nil); err == nil || !strings.HasPrefix(err.Error(), "apply batch: resource 0") {
		t.Errorf("Apply of a bad id: %v", err)
	}
	if err := user.Apply(ctx, batchOf(&fhir.Resource{Type: 77, ID: "a", JSON: []byte("{}")}), nil); err == nil || !strings.Contains(err.Error(), "its type is unknown") {
		t.Errorf("Apply of an unknown type: %v", err)
	}
	for _, err := range []error{
		&store.CorruptError{Dir: "d", What: "a head"}, fmt.Errorf("search: %w", &store.CorruptError{Dir: "d", What: "a head"}),
		fmt.Errorf("read: %w", context.DeadlineExceeded), &fs.PathError{Op: "write", Path: "p", Err: fs.ErrPermission}, store.ErrNotFound, errors.New("other"),
	} {
		var e encoder
		e.error(err)
		got := (&decoder{rest: e.buf}).error()
		if got.Error() != err.Error() {
			t.Errorf("%v becomes %v", err, got)
		}
		if want, ok := errors.AsType[*store.CorruptError](err); ok {
			if c, ok := errors.AsType[*store.CorruptError](got); !ok || *c != *want {
				t.Errorf("%v is no longer a CorruptError", err)
			}
		}
		for _, is := range []error{context.DeadlineExceeded, store.ErrNotFound} {
			if errors.Is(err, is) != errors.Is(got, is) {
				t.Errorf("%v: is %v: %v", err, is, errors.Is(got, is))
			}
		}
	}
}

// TestSealAgain proves that seal runs without a lock, and again if the outcomes have changed.
func TestSealAgain(t *testing.T) {
	own, user := pair(t)
	var calls [][]store.Outcome
	err := user.Apply(t.Context(), batchOf(organization("a", "one"), organization("b", "one")), func(o []store.Outcome) (store.Commit, error) {
		calls = append(calls, slices.Clone(o))
		if len(calls) == 1 {
			// With a lock this would wait forever.
			if err := own.Apply(t.Context(), batchOf(organization("a", "other")), nil); err != nil {
				return store.Commit{}, err
			}
		}
		return put("calls", strconv.Itoa(len(calls))), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]store.Outcome{{store.Created, store.Created}, {store.Updated, store.Created}}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("outcomes of the calls of seal (-want +got):\n%s", diff)
	}
	if got := text(t, own, "calls"); got != "2" {
		t.Errorf("what is durable is of call %s of seal", got)
	}
}

// TestCountInProcess counts up a record from goroutines of the owner and of users.
func TestCountInProcess(t *testing.T) {
	own, user := pair(t)
	other := share(t, own.dir, Options{})
	const rounds = 25
	var wait sync.WaitGroup
	for i, h := range []store.Handle{own, own, user, user, other, other} {
		wait.Go(func() {
			if err := countUp(t.Context(), h, fmt.Sprint("o", i), rounds); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if got := text(t, own, "sum"); got != strconv.Itoa(6*rounds) {
		t.Errorf("the sum is %s, want %d", got, 6*rounds)
	}
}

// countUp adds to the record "sum", which it guards.
func countUp(ctx context.Context, h store.Handle, id string, rounds int) error {
	for n := 0; n < rounds; {
		was, err := h.Meta("sum")
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		sum, _ := strconv.Atoi(string(was))
		c := put("sum", strconv.Itoa(sum+1))
		c.Guards = []store.MetaRecord{{Name: "sum", Value: was}}
		switch err := h.Apply(ctx, batchOf(organization(id, strconv.Itoa(n))), commit(c)); {
		case err == nil:
			n++
		case !errors.Is(err, store.ErrChanged):
			return err
		}
	}
	return nil
}

// TestTakeOver proves that a user becomes the owner when the owner closes, and that others notice by
// the epoch.
func TestTakeOver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	var all []*Shared
	var joined []uint64
	for i := range 3 {
		o := Options{}
		if i == 2 {
			o.Events.Joined = func(epoch uint64, pid int) {
				if pid != os.Getpid() {
					t.Errorf("the owner is process %d", pid)
				}
				joined = append(joined, epoch)
			}
		}
		s, err := Open(dir, store.Options{}, o)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	lease, err := all[1].Take(t.Context(), "lane")
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range all {
		wantOwner(t, s, i == 0)
	}
	closeIt(t, all[0])
	for n := range 3 {
		c := put("n", strconv.Itoa(n))
		c.Lease = lease
		if err := all[1].Apply(t.Context(), batchOf(organization("a", strconv.Itoa(n))), commit(c)); err != nil {
			t.Fatal(err)
		}
	}
	wantOwner(t, all[1], true)
	if got := text(t, all[2], "n"); got != "2" {
		t.Errorf("the record is %q", got)
	}
	wantOwner(t, all[2], false)
	closeIt(t, all[1])
	if got := text(t, all[2], "n"); got != "2" {
		t.Errorf("the record is %q", got)
	}
	wantOwner(t, all[2], true)
	if epoch, _ := all[2].Owner(); epoch != 3 || !slices.Equal(joined, []uint64{1, 2}) {
		t.Errorf("epoch %d, joined %v", epoch, joined)
	}
	closeIt(t, all[2])
	if _, err := all[2].Meta("n"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Meta after Close: %v", err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "owner.sock*")); names != nil {
		t.Errorf("left in the store: %v", names)
	}
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for r := range s.AllMeta(receiptSpace) {
		t.Errorf("left in the store: %s", r.Name)
	}
}

// TestReaderAlone proves that readers share a store that nobody writes, and follow a writer.
func TestReaderAlone(t *testing.T) {
	own, user := pair(t)
	if err := user.PutMeta(map[string][]byte{"a": []byte("1")}); err != nil {
		t.Fatal(err)
	}
	reader := func() *Shared {
		r, err := OpenReader(own.dir, store.Options{}, Options{Wait: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	through := reader()
	closeIt(t, user)
	closeIt(t, own)
	alone := reader()
	for _, r := range []*Shared{through, alone} {
		if got := text(t, r, "a"); got != "1" {
			t.Errorf("the record is %q", got)
		}
		wantOwner(t, r, false)
	}
	_, err := Open(own.dir, store.Options{}, Options{Wait: 50 * time.Millisecond})
	if _, ok := errors.AsType[*store.InUseError](err); !ok {
		t.Errorf("Open beside readers: %v, want *store.InUseError", err)
	}
	closeIt(t, through)
	closeIt(t, alone)
	share(t, own.dir, Options{})
}

// TestStoreReplaced proves that a process does not go on with an older store.
func TestStoreReplaced(t *testing.T) {
	own, user := pair(t)
	closeIt(t, own)
	old := own.dir + ".old"
	if err := os.CopyFS(old, os.DirFS(own.dir)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		closeIt(t, share(t, own.dir, Options{}))
	}
	third := share(t, own.dir, Options{})
	if _, err := user.Metas(nil); err != nil {
		t.Fatal(err)
	}
	closeIt(t, third)
	if err := errors.Join(os.RemoveAll(own.dir), os.Rename(old, own.dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := user.Metas(nil); !errors.Is(err, ErrReplaced) {
		t.Errorf("Metas after the store was replaced: %v, want ErrReplaced", err)
	}
}
