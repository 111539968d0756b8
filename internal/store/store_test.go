package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cpcds2fhir/schemas/fhir"
)

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	for _, o := range []Options{{}, {ReadOnly: true}} {
		_, err := Open(dir, o)
		want, ok := errors.AsType[*InUseError](err)
		if !ok || want.Dir != dir {
			t.Fatalf("second Open with %+v: %v, want *InUseError", o, err)
		}
		if got := err.Error(); got != "store "+dir+" is in use by another process" {
			t.Errorf("message %q", got)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{})
}

func TestReadersShare(t *testing.T) {
	dir := t.TempDir()
	put(t, open(t, dir, Options{}), organization("a", "one"))
	if _, err := Open(dir, Options{ReadOnly: true}); err == nil {
		t.Fatal("a reader opens a store that is being written")
	}
	dir2 := t.TempDir()
	s := open(t, dir2, Options{})
	put(t, s, organization("a", "one"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r1, r2 := open(t, dir2, Options{ReadOnly: true}), open(t, dir2, Options{ReadOnly: true})
	for _, r := range []*Store{r1, r2} {
		if e, err := r.Get(t.Context(), fhir.Organization, "a"); err != nil || e.Version != 1 {
			t.Fatalf("Get: %v, %v", e, err)
		}
		if err := r.PutMeta(map[string][]byte{"x": {1}}); !errors.Is(err, ErrReadOnly) {
			t.Errorf("PutMeta: %v, want ErrReadOnly", err)
		}
	}
	if _, err := Open(dir2, Options{}); err == nil {
		t.Fatal("a writer opens a store that is being read")
	}
	if err := r1.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir2, Options{}); err == nil {
		t.Fatal("the end of one reader lets a writer in beside the other")
	}
}

func TestReadOnlySeesUnflushedLog(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	put(t, s, organization("a", "one"))
	left := t.TempDir() // the folder as a killed writer leaves it
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	before := files(t, left)
	r := open(t, left, Options{ReadOnly: true})
	if e, err := r.Get(t.Context(), fhir.Organization, "a"); err != nil || e.Version != 1 {
		t.Fatalf("Get: %v, %v", e, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if after := files(t, left); after != before {
		t.Errorf("reading changed the folder:\n%s\nwas\n%s", after, before)
	}
}

func files(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		b.WriteString(path + " " + string(text) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, schemaFile), []byte(schemaPrefix+"7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	for _, readOnly := range []bool{false, true} {
		if err := os.WriteFile(filepath.Join(dir, "LOCK"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir, Options{ReadOnly: readOnly})
		if v, ok := errors.AsType[*VersionError](err); !ok || v.Found != 7 || v.Known != schemaVersion {
			t.Fatalf("Open: %v, want *VersionError", err)
		}
		want := "store " + dir + " has schema version 7, but this program knows only up to 6; use a newer cpcds2fhir"
		if err.Error() != want {
			t.Errorf("message %q, want %q", err, want)
		}
	}
	if err := os.Remove(filepath.Join(dir, "LOCK")); err != nil {
		t.Fatal(err)
	}
	if after := files(t, dir); after != before {
		t.Errorf("the refusal changed the folder:\n%s", after)
	}
}

func TestOlderSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, schemaFile), []byte(schemaPrefix+"1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "store " + dir + " has schema version 1, but this program needs 6; load a new store"
	if _, err := Open(dir, Options{}); err == nil || err.Error() != want {
		t.Errorf("Open: %v, want %q", err, want)
	}
}

func TestForeignFolderIsRefused(t *testing.T) {
	refused := func(name, file, text string, o Options) {
		t.Helper()
		dir := t.TempDir()
		if file != "" {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Open(dir, o)
		if _, ok := errors.AsType[*NotStoreError](err); !ok {
			t.Errorf("%s: %v, want *NotStoreError", name, err)
		}
	}
	refused("other files", "claims.csv", "a,b\n", Options{})
	refused("a log of another program", "000001.log", "", Options{})
	refused("a database of another program", "MANIFEST-000001", "", Options{})
	refused("a schema file of another program", schemaFile, "schema 1\n", Options{})
	refused("reading an empty folder", "", "", Options{ReadOnly: true})
	if _, err := Open(filepath.Join(t.TempDir(), "none"), Options{ReadOnly: true}); err == nil {
		t.Error("reading a folder that is missing succeeds")
	}
}

func TestUnfinishedCreation(t *testing.T) {
	write := func(dir, file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The first file was not finished: nothing of Pebble is there.
	dir := t.TempDir()
	write(dir, newSchemaFile, schemaPrefix)
	put(t, open(t, dir, Options{}), organization("a", "one"))

	// Pebble was not finished.
	dir = t.TempDir()
	write(dir, newSchemaFile, schemaPrefix+"3\n")
	write(dir, "MANIFEST-000001", "half a manifest")
	write(dir, "marker.manifest.000001.MANIFEST-000002", "")
	put(t, open(t, dir, Options{}), organization("a", "one"))

	// What is not ours stays, and the folder is refused.
	for _, schema := range []string{schemaPrefix + "3\n", schemaPrefix} {
		dir = t.TempDir()
		write(dir, newSchemaFile, schema)
		write(dir, "claims.csv", "a,b\n")
		if _, err := Open(dir, Options{}); err == nil {
			t.Error("a folder with other files is taken")
		}
		if _, err := os.Stat(filepath.Join(dir, "claims.csv")); err != nil {
			t.Error(err)
		}
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "store")
	s := open(t, dir, Options{})
	for _, b := range batches(2) {
		apply(t, s, b)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", filepath.Base(path), got, want)
		}
		seen++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 6 {
		t.Errorf("only %d files and folders, the test sees too little", seen)
	}
}

func TestClosed(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	put(t, s, organization("a", "one"))
	for e, err := range s.Export(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		defer func() {
			if err := <-closed; err != nil {
				t.Error(err)
			}
			if _, err := s.Get(t.Context(), fhir.Organization, "a"); !errors.Is(err, ErrClosed) {
				t.Errorf("Get after Close: %v, want ErrClosed", err)
			}
		}()
		if e.ID != "a" {
			t.Errorf("exported %s", e.ID)
		}
	}
}

// TestFolderVanishes takes the folder away from under a store: writing and
// closing must return an error, and neither hang nor end the process.
func TestFolderVanishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, organization("a", "one"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	err = s.Compact(t.Context())
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Compact: %v, want that a file does not exist", err)
	}
	if again := s.Apply(t.Context(), batchOf(organization("b", "two")), nil); again == nil {
		t.Error("a store that failed takes a batch")
	}
	if err := s.Close(); err == nil {
		t.Error("Close of a store that failed returns no error")
	}
}
