package bulkimport

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/pipeline"
)

// stagedBed is a load that is staged, and not started.
func stagedBed(t *testing.T) (*bed, *Import) {
	t.Helper()
	b := hapiBed(t, nil)
	i, index := b.must()
	t.Cleanup(func() { shut(t, i, index) })
	if _, err := run(t.Context(), i.Staging(index), extract(4, 4)); err != nil {
		t.Fatal(err)
	}
	return b, i
}

// answered is an answer that was read.
type answered struct {
	status int
	header http.Header
	length int64
}

func request(t *testing.T, method, at, ranged string) (answered, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ranged != "" {
		r.Header.Set("Range", ranged)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{res.StatusCode, res.Header, res.ContentLength}, string(text)
}

func TestFilesAreOffered(t *testing.T) {
	_, i := stagedBed(t)
	s := i.stage.(*folderStage)
	f := i.journal.filesOf("Patient")[0]
	at, err := s.url(t.Context(), &job{Token: "t1"}, f.Name)
	if err != nil {
		t.Fatal(err)
	}
	res, text := request(t, http.MethodGet, at, "")
	sum := sha256.Sum256([]byte(text))
	if res.status != http.StatusOK || res.header.Get("Content-Type") != "application/fhir+ndjson" || hex.EncodeToString(sum[:]) != f.SHA256 {
		t.Errorf("%d %s: %s", res.status, res.header.Get("Content-Type"), text)
	}
	if res, part := request(t, http.MethodGet, at, "bytes=10-19"); res.status != http.StatusPartialContent || part != text[10:20] {
		t.Errorf("%d: %q", res.status, part)
	}
	if res, none := request(t, http.MethodHead, at, ""); res.length != f.Bytes || none != "" {
		t.Errorf("HEAD: %d bytes", res.length)
	}
	if yes, known := s.fetched(&job{Token: "t1"}); !yes || !known {
		t.Error("the fetch was not noticed")
	}
	if yes, _ := s.fetched(&job{Token: "t2"}); yes {
		t.Error("a fetch of another job was noticed")
	}
	base := "http://" + i.journal.Listen
	for _, bad := range []string{
		"/", "/" + s.secret, "/" + s.secret + "/t1/", "/" + s.secret + "/t1/Patient", "/" + s.secret + "/t1/Patient/",
		"/" + s.secret[1:] + "/t1/" + f.Name, "/x/t1/" + f.Name, "/" + s.secret + "/t1/nothing",
		"/" + s.secret + "/t1/../t1/" + f.Name + "/..", "/" + s.secret + "/t1/%2e%2e/%2e%2e/etc/passwd", "/" + s.secret + "/t1/.hidden",
	} {
		if res, _ := request(t, http.MethodGet, base+bad, ""); res.status != http.StatusNotFound {
			t.Errorf("%s: %d", bad, res.status)
		}
	}
	if res, _ := request(t, http.MethodDelete, at, ""); res.status != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: %d", res.status)
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	b, i := stagedBed(t)
	if err := i.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{i.stage.folder(), b.o.State} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %o", path, info.Mode().Perm())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestListen(t *testing.T) {
	for _, c := range []struct {
		listen string
		start  map[string]string
		want   string // of the error
	}{
		{"127.0.0.1:0", nil, ""},
		{"localhost:0", nil, ""},
		{"[::1]:0", nil, ""},
		{"0.0.0.0:0", nil, "listen"},
		{":0", nil, "listen"},
		{"nothing", nil, "listen"},
		{"0.0.0.0:0", map[string]string{"files_url": "https://loader.example/files"}, ""},
		{"127.0.0.1:0", map[string]string{"files_url": "http://loader.example/files"}, "files_url"},
		{"0.0.0.0:0", map[string]string{"files_cert": "nothing", "files_key": "nothing"}, "files_cert"},
	} {
		b := hapiBed(t, nil)
		b.o.Listen, b.o.Start = c.listen, c.start
		i, index, err := b.open()
		if c.want == "" {
			if err != nil {
				if c.listen != "[::1]:0" { // a machine may have no IPv6
					t.Errorf("%+v: %v", c, err)
				}
				continue
			}
			shut(t, i, index)
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: error %v", c, err)
		}
	}
}

func TestStageURLs(t *testing.T) {
	for at, want := range map[string]string{
		"nowhere": "stage must be a URL", "ftp://x/y": "stage must be file:", "file://host/x": "stage file: needs", "file:x": "stage file: needs", "s3:///x": "stage must name a bucket",
	} {
		b := hapiBed(t, nil)
		b.o.Stage = at
		if _, _, err := b.open(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v", at, err)
		}
	}
	if got := publicURL("s3://key:secret@bucket/path?sig=secret#x"); got != "s3://bucket/path" {
		t.Errorf("public URL %s", got)
	}
}

// TestUploadGoesOn uploads what is not there yet, and nothing twice.
func TestUploadGoesOn(t *testing.T) {
	c := azureCloud(t)
	b := c.bed("azure", azureStage, nil)
	b.o.RollBytes = 1500
	i, index := b.must()
	if _, err := run(t.Context(), i.Staging(index), extract(20, 20)); err != nil {
		t.Fatal(err)
	}
	first, second := &i.journal.Files[0], &i.journal.Files[1]
	if err := i.stage.put(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	s := i.stage.(*bucketStage)
	before, err := s.bucket.Attributes(t.Context(), s.prefix+first.Name)
	if err != nil {
		t.Fatal(err)
	}
	// Of the second there is something else, of the same size.
	c.write("azblob", "stage", s.prefix+second.Name, strings.Repeat("x", int(second.Bytes)))
	time.Sleep(5 * time.Millisecond)
	if err := i.upload(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := s.bucket.Attributes(t.Context(), s.prefix+first.Name)
	if err != nil || !after.ModTime.Equal(before.ModTime) {
		t.Errorf("%s was uploaded again: %v", first.Name, err)
	}
	for n := range i.journal.Files {
		f := &i.journal.Files[n]
		sum := sha256.Sum256(c.object("azblob", "stage", s.prefix+f.Name))
		if hex.EncodeToString(sum[:]) != f.SHA256 {
			t.Errorf("%s is not what was staged", f.Name)
		}
		a, err := s.bucket.Attributes(t.Context(), s.prefix+f.Name)
		if err != nil || a.ContentType != "application/fhir+ndjson" {
			t.Errorf("%s: %v, %v", f.Name, a, err)
		}
	}
	shut(t, i, index)
}

func TestShortUpload(t *testing.T) { // nothing is left of an upload that breaks off
	c := azureCloud(t)
	b := c.bed("azure", azureStage, nil)
	i, index := b.must()
	defer shut(t, i, index)
	if _, err := run(t.Context(), i.Staging(index), extract(4, 4)); err != nil {
		t.Fatal(err)
	}
	f := &i.journal.Files[0]
	if err := os.Truncate(i.local(f), 10); err != nil {
		t.Fatal(err)
	}
	if err := i.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "10 bytes") {
		t.Errorf("error %v", err)
	}
	if list := c.keys("azblob", "stage", ""); len(list) > 0 {
		t.Errorf("there is %s", list)
	}
}

func TestErrorsHoldNoSecrets(t *testing.T) {
	secret := &http.ProtocolError{ErrorString: "PUT https://account.blob.core.windows.net/x?sig=secret: 403"} //nolint:staticcheck // any error
	if got := plain(secret).Error(); strings.Contains(got, "secret") {
		t.Error(got)
	}
	if plain(nil) != nil {
		t.Error("no error became one")
	}
}

func TestJournalOfNewerProgram(t *testing.T) {
	b := hapiBed(t, nil)
	if err := os.MkdirAll(b.o.State, 0o700); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{`{"schema":99}`: "schema 99", `{`: "unexpected end"} {
		if err := os.WriteFile(filepath.Join(b.o.State, journalName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.open(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", text, err)
		}
	}
}

func TestServerGivesIDs(t *testing.T) {
	b := hapiBed(t, nil)
	b.config.IDs = "conditional"
	if _, _, err := b.open(); err == nil || !strings.HasPrefix(err.Error(), "ids") {
		t.Errorf("error %v", err)
	}
}

func TestKindOfServer(t *testing.T) {
	b := hapiBed(t, nil)
	b.config.Profile = "generic"
	if _, _, err := b.open(); err == nil || !strings.HasPrefix(err.Error(), "import") {
		t.Errorf("error %v", err)
	}
	b.o.Start = map[string]string{"kind": "teapot"}
	if _, _, err := b.open(); err == nil || !strings.HasPrefix(err.Error(), "kind") {
		t.Errorf("error %v", err)
	}
}

func TestNothingToImport(t *testing.T) {
	b := hapiBed(t, nil)
	all := b.whole(nil)
	if len(all) != 0 || len(b.events) != 0 {
		t.Errorf("%v, %q", all, b.events)
	}
	_ = pipeline.Created
}
