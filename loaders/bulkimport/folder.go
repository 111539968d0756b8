package bulkimport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// folderStage offers the files of a folder over HTTP, below a path that nobody can guess.
type folderStage struct {
	dir    string
	secret string
	base   string // URL as the server sees it, without a slash at the end
	server *http.Server

	mu      sync.Mutex
	fetches map[string]bool // by token of the job
}

func openFolder(o *Options, dir string, j *journal) (*folderStage, error) {
	s := &folderStage{dir: filepath.Join(dir, "import-"+j.Secret[:13]), secret: j.Secret, fetches: map[string]bool{}}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the stage: %w", err)
	}
	listener, err := listen(o, j)
	if err != nil {
		return nil, err
	}
	if s.base, err = offered(o, listener.Addr()); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	j.Listen = listener.Addr().String()
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	if cert, key := o.Start["files_cert"], o.Start["files_key"]; cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, errors.Join(&SettingError{"files_cert", "and files_key must be a certificate and its key in PEM"}, listener.Close())
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	}
	go func() { _ = s.server.Serve(listener) }() // it ends with Close
	return s, nil
}

// listen takes the address that the files had before: a job that an earlier process started fetches them
// from there.
func listen(o *Options, j *journal) (net.Listener, error) {
	asked := o.Listen
	if asked == "" {
		asked = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(asked)
	if err != nil {
		return nil, &SettingError{"listen", "must be host:port"}
	}
	if o.Start["files_cert"] == "" && o.Start["files_url"] == "" && !loopback(host) {
		return nil, &SettingError{"listen", "must be an address of this machine alone, such as 127.0.0.1:0; others need files_cert and files_key, or a files_url that is https"}
	}
	var list net.ListenConfig
	ctx := context.Background()
	if before, _, err := net.SplitHostPort(j.Listen); err == nil && before == host {
		l, err := list.Listen(ctx, "tcp", j.Listen)
		if err == nil {
			return l, nil
		}
		if j.busy() {
			return nil, fmt.Errorf("offer the staged files: a job fetches them from %s, but that address is taken: %w", j.Listen, err)
		}
	}
	l, err := list.Listen(ctx, "tcp", asked)
	if err != nil {
		return nil, fmt.Errorf("offer the staged files: %w", err)
	}
	return l, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// offered is the URL that the server finds the files at.
func offered(o *Options, addr net.Addr) (string, error) {
	if at := o.Start["files_url"]; at != "" {
		u, err := url.Parse(at)
		if err != nil || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
			return "", &SettingError{"files_url", "must be an https URL"}
		}
		return strings.TrimSuffix(at, "/"), nil
	}
	scheme := "http://"
	if o.Start["files_cert"] != "" {
		scheme = "https://"
	}
	return scheme + addr.String(), nil
}

// ServeHTTP implements http.Handler: /secret/token of the job/name.
func (s *folderStage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only files can be had here", http.StatusMethodNotAllowed)
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/"+s.secret+"/")
	token, name, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || !stagedName(name) {
		http.NotFound(w, r)
		return
	}
	f, err := os.Open(filepath.Join(s.dir, filepath.FromSlash(name)))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	s.fetches[token] = true
	s.mu.Unlock()
	w.Header().Set("Content-Type", contentType(name))
	w.Header().Set("Cache-Control", "no-store")
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// stagedName reports whether a name is one of a staged file: no hidden one, and nowhere else.
func stagedName(name string) bool {
	if name == "" || path.Clean("/"+name) != "/"+name {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") {
			return false
		}
	}
	return true
}

func contentType(name string) string {
	if strings.HasSuffix(name, ".json") {
		return "application/json"
	}
	return "application/fhir+ndjson"
}

func (s *folderStage) folder() string { return s.dir }

func (s *folderStage) put(_ context.Context, f *file) error {
	info, err := os.Stat(filepath.Join(s.dir, filepath.FromSlash(f.Name)))
	if err == nil && info.Size() != f.Bytes {
		err = fmt.Errorf("%s has %d bytes; it had %d when it was staged", f.Name, info.Size(), f.Bytes)
	}
	return err
}

func (s *folderStage) putText(_ context.Context, name string, text []byte) error {
	at := filepath.Join(s.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	return writeDurably(at, text)
}

func (s *folderStage) url(_ context.Context, j *job, name string) (string, error) {
	return s.base + "/" + s.secret + "/" + j.Token + "/" + name, nil
}

func (s *folderStage) place(string) string { return "" }

func (s *folderStage) version(context.Context, string) (string, error) { return "", nil }

func (s *folderStage) fetched(j *job) (yes, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches[j.Token], true
}

func (s *folderStage) read(context.Context, string) (io.ReadCloser, bool, error) {
	return nil, false, nil
}

func (s *folderStage) list(context.Context, string) ([]string, error) { return nil, nil }

func (s *folderStage) remove(context.Context, []string) error { return os.RemoveAll(s.dir) }

func (s *folderStage) close() error { return s.server.Close() }
