package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"cpcds2fhir/internal/fhirtest"
)

// floorFHIRPost is a plain program that loads a server: it posts bundles that were made before, with so many
// requests at once. The bundles of a type are posted when those of the type before are stored.
func floorFHIRPost(dir, base, concurrency string) error {
	atOnce, err := strconv.Atoi(concurrency)
	if err != nil {
		return err
	}
	return eachBundle(dir, atOnce, false, func(ctx context.Context, client *http.Client, text []byte) error {
		status, answer, err := postBundle(ctx, client, base, text)
		if err != nil {
			return err
		}
		compact := bytes.ReplaceAll(answer, []byte(" "), nil)
		if sent, created := bytes.Count(text, []byte(`"request":{`)), bytes.Count(compact, []byte(`"status":"201`)); status/100 != 2 || created != sent {
			return fmt.Errorf("the server answers %d, and has created %d of %d resources", status, created, sent)
		}
		return nil
	})
}

var bundleURL = regexp.MustCompile(`"request":\{"method":"PUT","url":"([A-Za-z]+/[A-Za-z0-9.-]+)"`)

// floorFHIRDelete deletes what bundles have put, so that the next run finds the server as it was.
func floorFHIRDelete(dir, base string) error {
	return eachBundle(dir, 4, true, func(ctx context.Context, client *http.Client, text []byte) error {
		var entries []string
		for _, m := range bundleURL.FindAllSubmatch(text, -1) {
			entries = append(entries, fmt.Sprintf(`{"request":{"method":"DELETE","url":"%s"}}`, m[1]))
		}
		status, _, err := postBundle(ctx, client, base, []byte(`{"resourceType":"Bundle","type":"batch","entry":[`+strings.Join(entries, ",")+`]}`))
		if err == nil && status/100 != 2 {
			err = fmt.Errorf("delete: the server answers %d", status)
		}
		return err
	})
}

// eachBundle calls f with the bundles of a folder, type by type, and for so many of a type at once.
func eachBundle(dir string, atOnce int, reverse bool, f func(ctx context.Context, client *http.Client, text []byte) error) error {
	types, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if reverse {
		slices.Reverse(types)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}}
	for _, typ := range types {
		paths, err := filepath.Glob(filepath.Join(dir, typ.Name(), "*.json"))
		if err != nil {
			return err
		}
		g, ctx := errgroup.WithContext(context.Background())
		g.SetLimit(atOnce)
		for _, path := range paths {
			g.Go(func() error {
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				return f(ctx, client, text)
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func postBundle(ctx context.Context, client *http.Client, base string, text []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/fhir+json")
	req.Header.Set("Accept", "application/fhir+json")
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}

// bundleLimits are those that the profile of HAPI has.
const (
	bundleEntries = 100
	bundleBytes   = 8e6
)

// serverTypes are the types in the order in which a server needs them.
var serverTypes = []string{"Organization", "Practitioner", "Patient", "RelatedPerson", "Coverage", "ExplanationOfBenefit"}

// floorFHIRPack makes bundles of a folder of NDJSON files: the work that the plain program has behind it.
func floorFHIRPack(dir, from string) error {
	for i, typ := range serverTypes {
		paths, err := filepath.Glob(filepath.Join(from, typ, "part-*"))
		if err != nil {
			return err
		}
		slices.Sort(paths)
		p := &bundlePacker{dir: filepath.Join(dir, fmt.Sprintf("%d-%s", i, typ)), typ: typ}
		if err := os.MkdirAll(p.dir, 0o700); err != nil {
			return err
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for line := range bytes.Lines(text) {
				if err := p.add(bytes.TrimSpace(line)); err != nil {
					return err
				}
			}
		}
		if err := p.end(); err != nil {
			return err
		}
	}
	return nil
}

type bundlePacker struct {
	dir, typ string
	text     []byte
	entries  int
	bundles  int
}

func (p *bundlePacker) add(resource []byte) error {
	_, rest, ok := bytes.Cut(resource, []byte(`"id":"`))
	id, _, closed := bytes.Cut(rest, []byte(`"`))
	if !ok || !closed {
		return errors.New("a resource has no id")
	}
	if p.entries == bundleEntries || len(p.text)+len(resource) > bundleBytes {
		if err := p.end(); err != nil {
			return err
		}
	}
	if p.entries > 0 {
		p.text = append(p.text, ',')
	}
	p.text = append(append(p.text, `{"resource":`...), resource...)
	p.text = fmt.Appendf(p.text, `,"request":{"method":"PUT","url":"%s/%s"}}`, p.typ, id)
	p.entries++
	return nil
}

func (p *bundlePacker) end() error {
	if p.entries == 0 {
		return nil
	}
	text := slices.Concat([]byte(`{"resourceType":"Bundle","type":"transaction","entry":[`), p.text, []byte("]}"))
	p.bundles++
	p.text, p.entries = p.text[:0], 0
	return os.WriteFile(filepath.Join(p.dir, fmt.Sprintf("%06d.json", p.bundles)), text, 0o600)
}

// The capacity of the server of floorFHIRServer: about what a real one has on two cores.
const (
	serverAtOnce = 2
	serverEntry  = 3 * time.Millisecond
)

// floorFHIRServer is a server in memory that takes its time: it works on so many requests at once, and has so
// long for each entry. It prints its address first.
func floorFHIRServer() error {
	memory := fhirtest.Listen(&fhirtest.Options{})
	defer memory.Close()
	busy := make(chan struct{}, serverAtOnce)
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is ended with the process
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	s := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if r.Method == http.MethodPost || r.Method == http.MethodPut {
			busy <- struct{}{}
			defer func() { <-busy }()
			time.Sleep(time.Duration(max(1, strings.Count(string(body), `"request":`))) * serverEntry)
		}
		memory.ServeHTTP(w, r)
	})}
	return s.Serve(l)
}
