package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestServeOnFullDisk fills the disk of a served store by a load: the load and the server end with exit code 3
// and say why, and with more room both can go on.
func TestServeOnFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0700,size=8m"); err != nil {
		t.Skip("this process may not mount a small file system")
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	b := newStreamBench(t, "--claims", "3000", "--seed", "8")
	store, state := filepath.Join(disk, "store"), filepath.Join(t.TempDir(), "state")
	s := b.serve(t, store)
	_, errs, code := b.do(t, "load", "--quiet", "--to", "store:"+store, "--state", state, b.extract)
	if code != 3 || !strings.Contains(errs, "no space left on device") {
		t.Errorf("load: exit code %d, %s", code, errs)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.c.Wait() }()
	select {
	case <-ended:
		if code := s.c.ProcessState.ExitCode(); code != 3 || !strings.Contains(s.text(), "no space left on device") {
			t.Errorf("serve: exit code %d\n%s", code, s.text())
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("the server goes on without its store:\n%s", s.text())
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT|syscall.MS_NOSUID|syscall.MS_NODEV, "size=400m"); err != nil {
		t.Fatal(err)
	}
	s = b.serve(t, store)
	b.run(t, "load", "--quiet", "--to", "store:"+store, "--state", state, b.extract)
	if s.total("ExplanationOfBenefit?_summary=count") == 0 {
		t.Error("the claims cannot be found")
	}
	s.stop()
	b.same(t, store)
}

// TestServeSlowReaders has clients that ask for much and do not read, while others are answered as always; and
// the server ends in time although they are still there.
func TestServeSlowReaders(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	b := newStreamBench(t, "--claims", "1500", "--seed", "8")
	store := filepath.Join(t.TempDir(), "store")
	b.run(t, "load", "--quiet", "--to", "store:"+store, b.extract)
	config := filepath.Join(t.TempDir(), "serve.yaml")
	if err := os.WriteFile(config, []byte("stop: 1s\nlimits: {parallel: 60}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := b.serve(t, store, "--config", config)
	host := strings.TrimSuffix(strings.TrimPrefix(s.base, "http://"), "/fhir")
	for range 10 {
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET /fhir/ExplanationOfBenefit?_count=1000 HTTP/1.1\r\nHost: %s\r\n\r\n", host)
		line, err := bufio.NewReaderSize(c, 16).ReadString('\n') // and no more
		if err != nil || !strings.Contains(line, "200") {
			t.Fatalf("%q %v", line, err)
		}
	}
	began := time.Now()
	for range 100 {
		if s.total("Patient?_summary=count") == 0 {
			t.Fatal("nobody is found")
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("100 searches beside slow readers took %s", took)
	}
	began = time.Now()
	s.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the server took %s to stop", took)
	}
	if !strings.Contains(s.text(), "requests were cut off") {
		t.Errorf("the log does not say that requests were cut off:\n%s", s.text())
	}
}

// TestServeMany has 200 clients at a time, and stays within its memory.
func TestServeMany(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	b := newStreamBench(t, "--claims", "3000", "--seed", "8")
	store := filepath.Join(t.TempDir(), "store")
	b.run(t, "load", "--quiet", "--to", "store:"+store, b.extract)
	s := b.serve(t, store)
	var ids []string
	for part := range bytes.SplitSeq(s.get("/Patient?_count=200&_elements=id"), []byte(`"fullUrl":"`)) {
		if id, _, ok := bytes.Cut(part, []byte(`"`)); ok && bytes.Contains(id, []byte("/Patient/")) {
			ids = append(ids, string(id[bytes.LastIndexByte(id, '/')+1:]))
		}
	}
	done := make(chan error)
	for i := range 200 {
		go func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for n := range 4 {
				resp, err := client.Get(s.base + "/ExplanationOfBenefit?_count=100&_include=*&patient=" + ids[(i+n)%len(ids)])
				if err == nil {
					_, err = bufio.NewReader(resp.Body).WriteTo(discard{})
					_ = resp.Body.Close()
				}
				if err == nil && resp.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %d", resp.StatusCode)
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 200 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.c.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var peak int
	for line := range strings.SplitSeq(string(status), "\n") {
		if n, err := fmt.Sscanf(line, "VmHWM: %d kB", &peak); n == 1 && err == nil {
			break
		}
	}
	t.Logf("%d MiB at most", peak>>10)
	if peak == 0 || peak > 512<<10 {
		t.Errorf("the server took %d kB", peak)
	}
	s.stop()
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
