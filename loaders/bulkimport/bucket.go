package bulkimport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob:
	_ "gocloud.dev/blob/gcsblob"   // gs:
	_ "gocloud.dev/blob/s3blob"    // s3:
	"gocloud.dev/gcerrors"
)

// bucketOpener opens the bucket of a URL: its scheme, host and query.
type bucketOpener func(ctx context.Context, bucket string) (*blob.Bucket, error)

func openBucket(ctx context.Context, bucket string) (*blob.Bucket, error) {
	return blob.OpenBucket(ctx, bucket)
}

const (
	digestKey  = "sha256"       // metadata of an object
	signedFor  = 24 * time.Hour // how long a URL is good that a server fetches a file by
	errorsKept = 64 << 20       // bytes of one report of errors that are read
)

// bucketStage puts files into an object store.
type bucketStage struct {
	dir     string
	u       *url.URL
	prefix  string // of all objects of the import, with a slash at the end
	bucket  *blob.Bucket
	open    bucketOpener
	signs   bool   // the server fetches by URLs that are good for a while
	account string // host of azblob:
}

func openBuckets(ctx context.Context, o *Options, u *url.URL, j *journal, t *traits, open bucketOpener) (*bucketStage, error) {
	if u.Host == "" {
		return nil, &SettingError{"stage", "must name a bucket: " + u.Scheme + "://bucket/path"}
	}
	s := &bucketStage{dir: filepath.Join(o.State, filesFolder), u: u, open: open, signs: t.pulls,
		prefix: path.Join(strings.Trim(u.Path, "/"), "import-"+j.Secret[:13]) + "/"}
	s.prefix = strings.TrimPrefix(s.prefix, "/")
	if u.Scheme == "azblob" {
		account := o.Start["storage_account"]
		if account == "" {
			account = u.Query().Get("storage_account")
		}
		if account == "" && !s.signs {
			return nil, &SettingError{"storage_account", "must name the account of the container"}
		}
		domain := u.Query().Get("domain")
		if domain == "" {
			domain = "blob.core.windows.net"
		}
		s.account = account + "." + domain
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the stage: %w", err)
	}
	var err error
	if s.bucket, err = open(ctx, s.bucketURL(u.Host)); err != nil {
		return nil, fmt.Errorf("open the stage: %w", plain(err))
	}
	return s, nil
}

func (s *bucketStage) bucketURL(name string) string {
	at := url.URL{Scheme: s.u.Scheme, Host: name, RawQuery: s.u.RawQuery}
	return at.String()
}

func (s *bucketStage) folder() string { return s.dir }

// put uploads a file unless an object of this content is there already. An upload that breaks off leaves
// nothing.
func (s *bucketStage) put(ctx context.Context, f *file) error {
	key := s.prefix + f.Name
	a, err := s.bucket.Attributes(ctx, key)
	switch {
	case err == nil && a.Size == f.Bytes && a.Metadata[digestKey] == f.SHA256:
		return nil
	case err != nil && gcerrors.Code(err) != gcerrors.NotFound:
		return plain(err)
	}
	in, err := os.Open(filepath.Join(s.dir, filepath.FromSlash(f.Name)))
	if err != nil {
		return err
	}
	defer in.Close()
	return s.write(ctx, key, in, f.Bytes, map[string]string{digestKey: f.SHA256})
}

func (s *bucketStage) putText(ctx context.Context, name string, text []byte) error {
	return s.write(ctx, s.prefix+name, strings.NewReader(string(text)), int64(len(text)), nil)
}

func (s *bucketStage) write(ctx context.Context, key string, in io.Reader, size int64, metadata map[string]string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, err := s.bucket.NewWriter(ctx, key, &blob.WriterOptions{ContentType: contentType(key), Metadata: metadata})
	if err != nil {
		return plain(err)
	}
	n, err := io.Copy(out, in)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes instead of %d", n, size)
	}
	if err != nil {
		cancel() // otherwise Close completes what there is
	}
	return plain(errors.Join(err, out.Close()))
}

func (s *bucketStage) url(ctx context.Context, _ *job, name string) (string, error) {
	key := s.prefix + name
	switch {
	case s.signs:
		at, err := s.bucket.SignedURL(ctx, key, &blob.SignedURLOptions{Expiry: signedFor})
		if err != nil {
			return "", fmt.Errorf("make a URL that the server can fetch a staged file by: %w", plain(err))
		}
		return at, nil
	case s.account != "":
		return "https://" + s.account + "/" + s.u.Host + "/" + key, nil
	}
	return s.u.Scheme + "://" + s.u.Host + "/" + key, nil
}

func (s *bucketStage) place(typ string) string {
	return s.u.Scheme + "://" + s.u.Host + "/" + s.prefix + typ + "/"
}

func (s *bucketStage) version(ctx context.Context, name string) (string, error) {
	a, err := s.bucket.Attributes(ctx, s.prefix+name)
	if err != nil {
		return "", plain(err)
	}
	return strings.Trim(strings.TrimPrefix(a.ETag, "W/"), `"`), nil
}

func (s *bucketStage) fetched(*job) (yes, known bool) { return false, false }

// locate finds the bucket and the key of a URL that a server gives.
func (s *bucketStage) locate(at string) (bucket, key string, ok bool) {
	u, err := url.Parse(at)
	if err != nil {
		return "", "", false
	}
	key = strings.TrimPrefix(u.Path, "/")
	switch {
	case u.Scheme == s.u.Scheme:
		return u.Host, key, u.Host != ""
	case s.account != "" && u.Host == s.account:
		return strings.Cut(key, "/")
	}
	return "", "", false
}

func (s *bucketStage) read(ctx context.Context, at string) (io.ReadCloser, bool, error) {
	name, key, ok := s.locate(at)
	if !ok {
		return nil, false, nil
	}
	b, err := s.open(ctx, s.bucketURL(name))
	if err != nil {
		return nil, true, plain(err)
	}
	r, err := b.NewReader(ctx, key, nil)
	if err != nil {
		return nil, true, errors.Join(plain(err), b.Close())
	}
	return &objectReader{r, b}, true, nil
}

// objectReader closes the bucket with the object.
type objectReader struct {
	io.ReadCloser
	bucket *blob.Bucket
}

func (r *objectReader) Close() error { return errors.Join(r.ReadCloser.Close(), r.bucket.Close()) }

func (s *bucketStage) list(ctx context.Context, at string) ([]string, error) {
	name, key, ok := s.locate(at)
	if !ok {
		return nil, errUnreachable
	}
	b, err := s.open(ctx, s.bucketURL(name))
	if err != nil {
		return nil, plain(err)
	}
	defer func() { _ = b.Close() }() // nothing was written
	var list []string
	base := strings.TrimSuffix(at, key)
	for it := b.List(&blob.ListOptions{Prefix: key}); ; {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, plain(err)
		}
		list = append(list, base+o.Key)
	}
}

func (s *bucketStage) remove(ctx context.Context, names []string) error {
	for _, name := range names {
		if err := s.bucket.Delete(ctx, s.prefix+name); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
			return plain(err)
		}
	}
	return nil
}

func (s *bucketStage) close() error { return s.bucket.Close() }
