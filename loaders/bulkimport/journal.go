package bulkimport

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	journalName   = "import.json"
	journalSchema = 1
)

// journal is what an import remembers. It is durable before anything is started that it tells of, and
// holds no values of a member. Only its owner can read it: who knows the path of a file stage can read
// the files.
type journal struct {
	Schema int    `json:"schema"`
	Run    string `json:"run"`
	Server string `json:"server"`
	Kind   string `json:"kind"`
	Stage  string `json:"stage"` // without credentials
	Time   string `json:"transaction_time"`
	Secret string `json:"secret"`           // path of the files of a file stage, and folder of an object store
	Listen string `json:"listen,omitempty"` // address that the files of a file stage had last

	Phase phase    `json:"phase"`
	Files []file   `json:"files,omitempty"`
	Extra []string `json:"extra,omitempty"` // what else was put into the stage
	Jobs  []*job   `json:"jobs,omitempty"`  // in the order in which they were started

	path string
}

type phase string

const (
	phaseStaging  phase = "staging"
	phaseStaged   phase = "staged"
	phaseUploaded phase = "uploaded"
	phaseImported phase = "imported"
)

// file is a staged file.
type file struct {
	Type     string `json:"type"`
	Name     string `json:"name"` // in the stage, with slashes
	Lines    int64  `json:"lines"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`
	Uploaded bool   `json:"uploaded,omitempty"`
}

// job is one attempt to import the files of a type.
type job struct {
	Type    string    `json:"type"`
	First   string    `json:"first"` // name of its first file
	Attempt int       `json:"attempt"`
	Token   string    `json:"token"` // ours, unique
	Begun   time.Time `json:"begun"`
	Handle  string    `json:"handle,omitempty"` // the server's: a URL or an id; "" until the server has answered
	State   jobState  `json:"state"`
	Lines   int64     `json:"lines"`

	Imported int64 `json:"imported"` // -1: the server does not say
	Failed   int64 `json:"failed"`   // -1: the server does not say
	Named    int64 `json:"named"`    // of Failed, those that the server has named

	fresh bool // this process is the first that starts it
	ours  bool // this process knows that it has been started, and has offered the files all the time
}

type jobState string

const (
	jobIntended jobState = "intended" // it may have been started
	jobRunning  jobState = "running"
	jobEnded    jobState = "ended"
	jobGone     jobState = "gone" // it was not started, or could not read the files
)

// name is what events call a job.
func (j *job) name() string { return fmt.Sprintf("%s-%d", j.Type, j.Attempt) }

// extra remembers that a further text was put into the stage.
func (j *journal) extra(name string) error {
	if slices.Contains(j.Extra, name) {
		return nil
	}
	j.Extra = append(j.Extra, name)
	return j.save()
}

// busy reports whether a job may be under way.
func (j *journal) busy() bool {
	for _, k := range j.Jobs {
		if k.State == jobIntended || k.State == jobRunning {
			return true
		}
	}
	return false
}

// openJournal reads the journal of a state folder, or begins one.
func openJournal(o *Options, kindName string) (*journal, error) {
	at := o.TransactionTime
	if at.IsZero() {
		at = time.Now()
	}
	path := filepath.Join(o.State, journalName)
	j, err := readJournal(path)
	if err != nil || j != nil {
		return j, err
	}
	return &journal{
		Schema: journalSchema, Run: o.Run, Server: o.Server.URL(), Kind: kindName, Stage: publicURL(o.Stage),
		Time: at.UTC().Format("2006-01-02T15:04:05.000Z"), Secret: newToken(), Phase: phaseStaging, path: path,
	}, nil
}

// readJournal reads a journal; nil if there is none.
func readJournal(path string) (*journal, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	j := &journal{path: path}
	if err := json.Unmarshal(text, j); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if j.Schema > journalSchema {
		return nil, fmt.Errorf("%s has schema %d, but this program knows only up to %d; use a newer cpcds2fhir", path, j.Schema, journalSchema)
	}
	return j, nil
}

// save makes the journal durable.
func (j *journal) save() error {
	text, err := json.MarshalIndent(j, "", " ")
	if err == nil {
		err = writeDurably(j.path, text)
	}
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// writeDurably replaces a file as a whole. Only its owner can read it.
func writeDurably(path string, text []byte) error {
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// newToken is an identifier that nobody can guess: 128 random bits, as UUIDs are written.
func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
