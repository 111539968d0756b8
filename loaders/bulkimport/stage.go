package bulkimport

import (
	"context"
	"errors"
	"io"
	"net/url"
	"path/filepath"
	"strings"
)

// stage is where files are put for a server to fetch.
type stage interface {
	// folder is the local folder that the files are written to.
	folder() string

	// put makes a file of the folder available under its name; what is there already is left.
	put(ctx context.Context, f *file) error

	// putText makes a small text available under a name.
	putText(ctx context.Context, name string, text []byte) error

	// url is where the server fetches a file during a job. It may hold a secret.
	url(ctx context.Context, j *job, name string) (string, error)

	// place is the folder of a type as the object store names it, with a slash at its end; "" if there is
	// none.
	place(typ string) string

	// version identifies the content of a file in the object store; "" if there is no such thing.
	version(ctx context.Context, name string) (string, error)

	// fetched reports whether the server has begun to fetch files of a job, if that can be known.
	fetched(j *job) (yes, known bool)

	// read opens an object that the server has written, by the URL that the server gives; ok is false if
	// it is not in reach.
	read(ctx context.Context, at string) (r io.ReadCloser, ok bool, err error)

	// list lists the objects below a URL.
	list(ctx context.Context, at string) ([]string, error)

	// remove removes everything that was put.
	remove(ctx context.Context, names []string) error

	close() error
}

// filesFolder is where files are until they are uploaded.
const filesFolder = "files"

// errUnreachable says that an object is not in a store that the stage knows.
var errUnreachable = errors.New("it is not in the object store of the stage")

// openStage opens the stage of an import. The files of each import have a folder of their own.
func openStage(ctx context.Context, o *Options, j *journal, t *traits, buckets bucketOpener) (stage, error) {
	u, err := url.Parse(o.Stage)
	if err != nil || u.Scheme == "" {
		return nil, &SettingError{"stage", "must be a URL: file:///folder, s3://bucket/path, gs://bucket/path or azblob://container/path"}
	}
	switch u.Scheme {
	case "file":
		if !t.pulls {
			return nil, &SettingError{"stage", "must be an object store that the server reads: " + t.store}
		}
		if u.Host != "" && u.Host != "localhost" || !filepath.IsAbs(u.Path) {
			return nil, &SettingError{"stage", "file: needs an absolute path, such as file:///var/stage"}
		}
		return openFolder(o, u.Path, j)
	case "s3", "gs", "azblob":
		if t.store != "" && t.store != u.Scheme {
			return nil, &SettingError{"stage", "must be one that the server reads: " + t.store + "://…"}
		}
		return openBuckets(ctx, o, u, j, t, buckets)
	}
	return nil, &SettingError{"stage", "must be file:, s3:, gs: or azblob:"}
}

// publicURL is a URL without what may be a secret.
func publicURL(at string) string {
	u, err := url.Parse(at)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// plain is an error of a library without URLs: they may hold credentials, or our own secret paths.
func plain(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	text := err.Error()
	for _, mark := range []string{"https://", "http://", "sig=", "X-Amz-", "X-Goog-"} {
		if strings.Contains(text, mark) {
			return errors.New("the object store does not accept the request")
		}
	}
	return err
}
