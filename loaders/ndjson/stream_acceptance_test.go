package ndjson

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/loaders/loadertest"
	storeloader "cpcds2fhir/loaders/store"
)

// streamFolder is a folder that streams load into.
type streamFolder struct{ dir string }

// openedStream closes the ledger with the stream.
type openedStream struct {
	*Stream
	ledger *storeloader.Loader
}

func (s openedStream) Close() error { return errors.Join(s.Stream.Close(), s.ledger.Close()) }

func (f streamFolder) OpenStream(t *testing.T) loadertest.Stream {
	t.Helper()
	ledger, err := storeloader.Open(filepath.Join(f.dir+".state", "ledger"), storeloader.Options{Run: "stream"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenStream(t.Context(), f.dir, ledger, StreamOptions{KeyFingerprint: "key-1"})
	if err != nil {
		t.Fatal(err)
	}
	return openedStream{s, ledger}
}

// Resources reads the folder as a consumer does: parts by number, the last line of an id counts.
func (f streamFolder) Resources(t *testing.T) map[string]string {
	t.Helper()
	var parts []string
	eachFile(t, f.dir, func(path string, _ os.FileInfo) {
		if strings.HasSuffix(path, ".ndjson") {
			parts = append(parts, path)
		}
	})
	number := func(path string) string { return path[strings.LastIndexByte(path, '-')+1:] }
	slices.SortFunc(parts, func(a, b string) int { return strings.Compare(number(a), number(b)) })
	out := map[string]string{}
	for _, path := range parts {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var r struct {
				ResourceType, ID string
				Entry            []struct{ Request struct{ URL string } }
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			if r.ResourceType == "Bundle" {
				delete(out, r.Entry[0].Request.URL)
				continue
			}
			out[r.ResourceType+"/"+r.ID] = line
		}
	}
	return out
}

func TestStreamAcceptance(t *testing.T) {
	loadertest.RunStream(t, func(t *testing.T) loadertest.StreamTarget {
		return streamFolder{filepath.Join(t.TempDir(), "out")}
	})
}
