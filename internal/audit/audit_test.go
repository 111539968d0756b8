package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t testing.TB, dir string) *Log {
	t.Helper()
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeIt(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func add(t testing.TB, l *Log, id string) {
	t.Helper()
	if err := l.Append(&Record{Action: "read", Client: "app", Type: "Patient", ID: id, Members: []string{id}, Status: 200}); err != nil {
		t.Fatal(err)
	}
}

// TestMain lets the test binary be a process that appends until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("AUDIT_APPEND"); dir != "" {
		l, err := Open(dir)
		for i := 0; err == nil; i++ {
			if err = l.Append(&Record{Action: "read", ID: fmt.Sprint(os.Getpid(), "-", i)}); err == nil {
				_, err = fmt.Println(os.Getpid(), i)
			}
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestSeveralWriters proves that logs of one folder make one chain, whoever appends, over several files.
func TestSeveralWriters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	var wait sync.WaitGroup
	const each = 300
	for w := range 3 {
		l := open(t, dir)
		l.max = 10 << 10
		wait.Go(func() {
			defer closeIt(t, l)
			for i := range each {
				add(t, l, fmt.Sprint(w, "-", i))
			}
		})
	}
	wait.Wait()
	list, err := files(dir)
	if err != nil || len(list) < 5 {
		t.Errorf("files %v (%v)", list, err)
	}
	next := map[string]int{}
	n := 0
	for r, err := range All(dir) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		w, i, _ := strings.Cut(r.ID, "-")
		if i != fmt.Sprint(next[w]) {
			t.Fatalf("record %d is %s, and %d is next of its writer", n, r.ID, next[w])
		}
		next[w]++
	}
	if number, hash, err := Verify(dir, ""); err != nil || number != 3*each || n != 3*each || len(hash) != 64 {
		t.Errorf("%d records, verified %d %s (%v)", n, number, hash, err)
	}
	for _, l := range list {
		if info, err := os.Stat(path(dir, l)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v (%v)", info.Mode(), err)
		}
	}
}

// TestTampering changes every third byte of a log in turn, and takes out, doubles and swaps lines and files.
func TestTampering(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	l.max = 600
	for i := range 12 {
		add(t, l, fmt.Sprint(i))
	}
	_, last := l.Head()
	closeIt(t, l)
	if _, hash, err := Verify(dir, last); err != nil || hash != last {
		t.Fatalf("%s, not %s (%v)", hash, last, err)
	}
	change := func(name, file string, text []byte) {
		t.Helper()
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Verify(dir, last); err == nil {
			t.Errorf("%s: nobody notices", name)
		}
		if err := os.WriteFile(file, before, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const step = 3 // bytes
	list, err := files(dir)
	if err != nil || len(list) < 3 {
		t.Fatal(list, err)
	}
	for _, n := range list {
		text, err := os.ReadFile(path(dir, n))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(text); i += step {
			other := bytes.Clone(text)
			other[i] ^= 1
			change(fmt.Sprintf("byte %d of file %d", i, n), path(dir, n), other)
		}
		lines := bytes.SplitAfter(text, []byte("\n"))
		lines = lines[:len(lines)-1]
		for i := range lines {
			change("a line is missing", path(dir, n), bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil))
			change("a line is doubled", path(dir, n), bytes.Join(append(append([][]byte{}, lines[:i+1]...), lines[i:]...), nil))
		}
		for i := 0; i < len(text); i += step {
			change(fmt.Sprintf("file %d is cut off at %d", n, i), path(dir, n), text[:i])
		}
		if err := os.Rename(path(dir, n), filepath.Join(dir, "x")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Verify(dir, last); err == nil {
			t.Errorf("file %d is missing: nobody notices", n)
		}
		if err := os.Rename(filepath.Join(dir, "x"), path(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKilled kills processes that append, several at a time, and proves that what they said was written is
// there once, and that the chain goes on.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	said := map[string]bool{}
	for range 5 {
		var procs []*exec.Cmd
		var outs []*bytes.Buffer
		for range 2 {
			c := exec.Command(os.Args[0])
			c.Env = append(os.Environ(), "AUDIT_APPEND="+dir)
			out := new(bytes.Buffer)
			c.Stdout = out
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			procs, outs = append(procs, c), append(outs, out)
		}
		time.Sleep(100 * time.Millisecond)
		for i, c := range procs {
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = c.Wait() // it was killed
			lines := strings.Split(outs[i].String(), "\n")
			for _, l := range lines[:len(lines)-1] { // the last may be half of one
				said[strings.Replace(l, " ", "-", 1)] = true
			}
		}
		// What a process did not live to complete.
		list, err := files(dir)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path(dir, list[len(list)-1]), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(`0123456789abcdef0123 {"n":`); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l := open(t, dir)
	add(t, l, "the end")
	closeIt(t, l)
	found := map[string]int{}
	for r, err := range All(dir) {
		if err != nil {
			t.Fatal(err)
		}
		found[r.ID]++
	}
	for id := range said {
		if found[id] != 1 {
			t.Errorf("%s is there %d times", id, found[id])
		}
	}
	if len(said) < 50 || found["the end"] != 1 {
		t.Errorf("only %d records", len(said))
	}
}

// TestWriteFails proves that a record that could not be written is not there, and that the log goes on once
// it can be written again.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	add(t, l, "1")
	good := l.file
	read, err := os.Open(path(dir, 1)) // it cannot be written
	if err != nil {
		t.Fatal(err)
	}
	l.file = read
	err = l.Append(&Record{Action: "read", ID: "2", Members: []string{"who"}})
	if err == nil || strings.Contains(err.Error(), "who") {
		t.Errorf("the error is %v", err)
	}
	l.file = good
	add(t, l, "3")
	if err := errors.Join(read.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	var ids []string
	for r, err := range All(dir) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	if fmt.Sprint(ids) != "[1 3]" {
		t.Errorf("records %v", ids)
	}
}

// TestNewFileFails begins a file in which the first record cannot be written: the chain goes on all the same.
func TestNewFileFails(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	add(t, l, "1")
	l.max = 1                                             // each record begins a file
	if err := os.Mkdir(path(dir, 2), 0o700); err != nil { // which cannot be one
		t.Fatal(err)
	}
	if err := l.Append(&Record{ID: "2"}); err == nil {
		t.Error("a folder was written to")
	}
	if err := os.Remove(path(dir, 2)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path(dir, 2), nil, 0o600); err != nil { // as if the disk was full after it was made
		t.Fatal(err)
	}
	add(t, l, "3")
	l.size, l.last = -1, head{} // as after another failure
	l.drop()
	if err := os.WriteFile(path(dir, 3), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	add(t, l, "4")
	closeIt(t, l)
	n := 0
	for _, err := range All(dir) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d records", n)
	}
}

// TestEvent proves that a record becomes an AuditEvent that says the same.
func TestEvent(t *testing.T) {
	r := Record{Number: 7, At: "2026-01-02T03:04:05.000Z", Action: "search", Client: "app", User: "u", Status: 200, Type: "ExplanationOfBenefit",
		Params: []string{"patient", "_count"}, Members: []string{"p1"}, Resources: []string{"Patient/p1", "ExplanationOfBenefit/e1"}, Request: "r"}
	var e struct {
		ResourceType, Action, Outcome, Recorded string
		Agent                                   []struct {
			AltID     string
			Requestor bool
		}
		Entity []struct{ What struct{ Reference string } }
	}
	if err := json.Unmarshal(r.AppendEvent(nil, "here"), &e); err != nil {
		t.Fatal(err)
	}
	if e.ResourceType != "AuditEvent" || e.Action != "E" || e.Outcome != "0" || len(e.Agent) != 2 || e.Agent[1].AltID != "u" || len(e.Entity) != 3 ||
		e.Entity[0].What.Reference != "Patient/p1" || e.Entity[1].What.Reference != "ExplanationOfBenefit/e1" {
		t.Errorf("%+v", e)
	}
}

func BenchmarkAppend(b *testing.B) {
	l := open(b, b.TempDir())
	defer closeIt(b, l)
	r := Record{Action: "search", Client: "app", Type: "ExplanationOfBenefit", Members: []string{"p3vljheqzvqsi6hocfr7u3qkana"}}
	for i := range 50 {
		r.Resources = append(r.Resources, fmt.Sprintf("ExplanationOfBenefit/e27l3ii6azlfpn3bnr53db6vu%d", i))
	}
	b.Run("read", func(b *testing.B) {
		one := Record{Action: "read", Type: "Patient", ID: "p3vljheqzvqsi6hocfr7u3qkana", Members: r.Members}
		for b.Loop() {
			if err := l.Append(&one); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("search", func(b *testing.B) {
		for b.Loop() {
			if err := l.Append(&r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
