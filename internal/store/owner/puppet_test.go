package owner

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cpcds2fhir/internal/store"
)

// puppetVariable names the store that TestPuppet is to open.
const puppetVariable = "OWNER_PUPPET_STORE"

// TestPuppet is another process that shares a store, for the tests below. It does what it reads.
func TestPuppet(t *testing.T) {
	dir := os.Getenv(puppetVariable)
	if dir == "" {
		t.Skip("runs only inside other tests")
	}
	var out sync.Mutex
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf("\n@"+format+"\n", args...)
	}
	s, err := Open(dir, store.Options{}, Options{Events: Events{
		Owns: func(epoch uint64, alone error) { say("owns %d %v", epoch, alone) },
	}})
	if err != nil {
		say("err %v", err)
		return
	}
	say("open")
	leases := map[string]store.Lease{}
	enough, lanes := make(chan struct{}), make(chan error, 1)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		words := strings.Fields(in.Text())
		var err error
		switch words[0] {
		case "take":
			leases[words[1]], err = s.Take(background(), words[1])
		case "put": // an organization, under a lease
			c := put("last", words[1])
			c.Lease = leases[words[2]]
			err = s.Apply(background(), batchOf(organization(words[1], "x")), commit(c))
		case "hold": // an organization, with a seal that waits
			err = s.Apply(background(), batchOf(organization(words[1], "x")), func([]store.Outcome) (store.Commit, error) {
				say("holds")
				in.Scan()
				return put("last", words[1]), nil
			})
		case "count":
			n, _ := strconv.Atoi(words[2])
			err = countUp(background(), s, words[1], n)
		case "lanes":
			go func() { lanes <- runLanes(s, words[1:], enough) }()
		case "enough":
			close(enough)
			err = <-lanes
		case "close":
			err = s.Close()
		}
		switch {
		case errors.Is(err, store.ErrFenced):
			say("fenced")
		case err != nil:
			say("err %v", err)
		default:
			say("ok")
		}
	}
	_ = s.Close()
}

// runLanes loads lanes until it is enough. Each batch has a resource of its own, one that all lanes
// write, a record that must not be there yet, and the checkpoint.
func runLanes(s store.Handle, lanes []string, enough <-chan struct{}) error {
	var wait sync.WaitGroup
	errs := make([]error, len(lanes))
	for i, lane := range lanes {
		wait.Go(func() { errs[i] = runLane(s, lane, enough) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

func runLane(s store.Handle, lane string, enough <-chan struct{}) error {
	lease, err := s.Take(background(), lane)
	if err != nil {
		return err
	}
	at, err := checkpointOf(s, lane)
	if err != nil {
		return fmt.Errorf("lane %s: %w", lane, err)
	}
	for n := at; ; n++ {
		select {
		case <-enough:
			return nil
		default:
		}
		b := batchOf(organization(fmt.Sprintf("%s-%d", lane, n), "x"), organization(fmt.Sprint("common-", n%7), lane+strconv.Itoa(n)))
		c := put("at/"+lane, strconv.Itoa(n+1))
		c.Put = append(c.Put, store.MetaRecord{Name: fmt.Sprintf("once/%s/%d", lane, n), Value: []byte("x")})
		c.Guards = []store.MetaRecord{{Name: fmt.Sprintf("once/%s/%d", lane, n)}}
		c.Lease = lease
		err = s.Apply(background(), b, func(o []store.Outcome) (store.Commit, error) {
			if o[0] != store.Created {
				return c, fmt.Errorf("outcome %d of batch %d", o[0], n)
			}
			return c, nil
		})
		if err != nil {
			return fmt.Errorf("lane %s: %w", lane, err)
		}
	}
}

func checkpointOf(s store.Handle, lane string) (int, error) {
	v, err := s.Meta("at/" + lane)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(v))
}

// puppet is a process of TestPuppet.
type puppet struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	epoch atomic.Uint64 // as owner, 0 if it is not
}

// start starts a puppet with a store.
func start(t *testing.T, dir string) *puppet {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestPuppet$")
	cmd.Env = append(os.Environ(), puppetVariable+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &puppet{t: t, cmd: cmd, in: in, lines: make(chan string, 100)}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			line, ok := strings.CutPrefix(s.Text(), "@")
			if epoch, owns := strings.CutPrefix(line, "owns "); ok && owns {
				n, _, _ := strings.Cut(epoch, " ")
				v, _ := strconv.ParseUint(n, 10, 64)
				p.epoch.Store(v)
			} else if ok {
				p.lines <- line
			}
		}
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

func (p *puppet) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	if s == syscall.SIGSTOP {
		p.stopped()
	}
}

// stopped waits until the process has stopped: the signal is sent before all of its threads have.
func (p *puppet) stopped() {
	p.t.Helper()
	for range 1000 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil { // a system without such files
			time.Sleep(100 * time.Millisecond)
			return
		}
		if _, state, _ := bytes.Cut(stat, []byte(") ")); bytes.HasPrefix(state, []byte("T")) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	p.t.Fatal("the process has not stopped")
}

// kill kills the process and waits for its end.
func (p *puppet) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

func (p *puppet) tell(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *puppet) want(want string) {
	p.t.Helper()
	select {
	case got := <-p.lines:
		if got != want {
			p.t.Fatalf("the other process says %q, want %q", got, want)
		}
	case <-time.After(60 * time.Second):
		p.t.Fatalf("the other process does not say %q", want)
	}
}

func (p *puppet) do(want, format string, args ...any) {
	p.t.Helper()
	p.tell(format, args...)
	p.want(want)
}
