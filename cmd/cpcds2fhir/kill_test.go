package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/rejects"
)

// TestKill kills loads at random moments. Whatever the moment, the same command
// given again ends with the bytes and the account of a load that nothing disturbed.
// Delays are drawn from the seed that is logged; the moment they hit is the
// machine's. KILLS=N kills each target N times.
func TestKill(t *testing.T) {
	skipBuilt(t)
	p := newProgram(t)
	kills := 2
	if s := os.Getenv("KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("KILLS: %v", err)
		}
		kills = n
	}
	for _, to := range []string{"ndjson:", "ndjson:?compress=zstd", "store:"} {
		t.Run(to, func(t *testing.T) {
			want := p.undisturbed(t, to)
			seed := uint64(time.Now().UnixNano())
			r := rand.New(rand.NewPCG(seed, 0))
			t.Logf("seed %d; an undisturbed load takes %s", seed, want.took)
			within := want.took
			for n := 0; n < kills; {
				l := p.load(t, to)
				if l.kill(t, r, within) {
					n++
				} else {
					within = within * 3 / 4
				}
				l.goOn(t)
				l.check(t, want)
			}
			// Several times in a row, each time a little further.
			l := p.load(t, to)
			for range 5 {
				if !l.kill(t, r, want.took*2/3) {
					break
				}
			}
			l.finish(t)
			l.check(t, want)
		})
	}
}

// TestKillAgain kills a second load of what is loaded: the third goes on where it was.
func TestKillAgain(t *testing.T) {
	skipBuilt(t)
	p := newProgram(t)
	l := p.load(t, "store:")
	l.finish(t)
	start := time.Now()
	l.finish(t)
	delay := time.Since(start) * 7 / 10
	for range 30 {
		c, _ := p.start(t, l.args()...)
		time.Sleep(delay)
		_ = c.Process.Kill() // it may be over
		if c.Wait() == nil {
			delay = delay * 9 / 10
			continue
		}
		again := exec.Command(p.path, slices.DeleteFunc(l.args(), func(s string) bool { return s == "--quiet" })...)
		again.Env = p.env
		out, err := again.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if strings.Contains(string(out), "Resumed: ") {
			return
		}
		delay = delay * 11 / 10 // it was killed before its first checkpoint: the machine is slower than it was
	}
	t.Error("no load went on where the one before was killed")
}

// TestInterrupt interrupts loads as a person does with Ctrl-C.
func TestInterrupt(t *testing.T) {
	skipBuilt(t)
	p := newProgram(t)
	for _, to := range []string{"ndjson:", "store:"} {
		t.Run(to, func(t *testing.T) {
			want := p.undisturbed(t, to)
			l := p.load(t, to)
			c, stderr := l.start(t, l.args("--workers", "1")...)
			for { // from here on the target is open, so signals are heard
				if _, err := os.Stat(filepath.Join(l.state(), "directory")); err == nil {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if err := c.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			err := c.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
				t.Fatalf("the interrupted load ended with %v, want exit code %d\n%s", err, exitFailed, stderr)
			}
			if !strings.Contains(stderr.String(), "Run the same command again to resume") {
				t.Errorf("the interrupted load does not say how to go on: %s", stderr)
			}
			if list, err := manifest.All(l.state()); err != nil || len(list) > 0 {
				t.Errorf("the interrupted load left %d manifests, error %v", len(list), err)
			}
			l.finish(t)
			l.check(t, want)
		})
	}
}

// program is the built command and an extract of several lanes of several batches, with
// rejects and with claims whose rows are scattered.
type program struct {
	path, extract string
	env           []string
}

// skipBuilt skips, in short runs, what runs a program that newProgram has built: it is built without the race
// detector, which short runs are for.
func skipBuilt(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the program, without the race detector")
	}
}

func newProgram(t *testing.T) *program {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not there to build the program that is to be killed")
	}
	dir := t.TempDir()
	p := &program{path: filepath.Join(dir, "cpcds2fhir"), extract: filepath.Join(dir, "extract"),
		env: append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "KILL_TEST_KEY=the-key-of-the-kill-test")}
	if out, err := exec.Command("go", "build", "-o", p.path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p.run(t, "synth", "--claims", "3000", "--seed", "11", "--faults", "5%", "--row-group", "3000", "--out", p.extract)
	return p
}

// run runs a command, which must succeed.
func (p *program) run(t *testing.T, args ...string) {
	t.Helper()
	c := exec.Command(p.path, args...)
	c.Env = p.env
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// loading is a load into a folder of its own.
type loading struct {
	*program
	kind, options string
	dir           string
}

// load prepares a load into a new target of the form of to, which has no folder.
func (p *program) load(t *testing.T, to string) *loading {
	kind, options, _ := strings.Cut(to, ":")
	return &loading{p, kind, options, filepath.Join(t.TempDir(), "target")}
}

func (l *loading) to() string    { return l.kind + ":" + l.dir + l.options }
func (l *loading) state() string { return l.dir + ".state" }

func (l *loading) args(more ...string) []string {
	return append([]string{"load", "--quiet", "--id-key", "env:KILL_TEST_KEY", "--to", l.to(), l.extract}, more...)
}

// start starts a command; what it says on standard error is in the buffer when it
// has ended.
func (p *program) start(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	c := exec.Command(p.path, args...)
	c.Env = p.env
	stderr := new(bytes.Buffer)
	c.Stderr = stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c, stderr
}

// kill starts the load and kills it after a random part of took. It reports false
// if the load was over before.
func (l *loading) kill(t *testing.T, r *rand.Rand, took time.Duration) bool {
	t.Helper()
	return l.killAfter(t, r, took, l.args()...)
}

// killAfter does as kill does with any command.
func (p *program) killAfter(t *testing.T, r *rand.Rand, took time.Duration, args ...string) bool {
	t.Helper()
	delay := time.Duration(r.Int64N(int64(took)))
	c, stderr := p.start(t, args...)
	time.Sleep(delay)
	_ = c.Process.Kill() // it may be over
	err := c.Wait()
	if err == nil {
		t.Logf("killed after %s: it was over", delay.Round(time.Millisecond))
		return false
	}
	if c.ProcessState.Exited() {
		t.Fatalf("%s failed before it was killed: %v\n%s", args[0], err, stderr)
	}
	t.Logf("killed after %s", delay.Round(time.Millisecond))
	return true
}

func (l *loading) finish(t *testing.T) {
	t.Helper()
	l.run(t, l.args()...)
}

// goOn finishes a load that was killed with batches of another size: what is left is the same.
func (l *loading) goOn(t *testing.T) {
	t.Helper()
	l.run(t, l.args("--memory", "256MiB")...)
}

// result is what a load leaves.
type result struct {
	took     time.Duration
	manifest *manifest.Manifest
	output   map[string][]byte // the NDJSON folder, or the export of the store
	rejects  map[string][]byte
}

func (p *program) undisturbed(t *testing.T, to string) *result {
	t.Helper()
	l := p.load(t, to)
	start := time.Now()
	l.finish(t)
	took := time.Since(start)
	r := l.result(t)
	r.took = took
	if c := r.manifest.Claims; c.Loaded == 0 || c.Rejected == 0 {
		t.Fatalf("the undisturbed load has claims %+v, want loaded and rejected ones", c)
	}
	return r
}

// result is what the load left. Its manifest is the first: if the load was killed
// after its end, the run that followed has an account of its own, in which all is
// unchanged.
func (l *loading) result(t *testing.T) *result {
	t.Helper()
	return l.resultOf(t, 0)
}

// resultOf reads what is there now, with the n-th manifest.
func (l *loading) resultOf(t *testing.T, n int) *result {
	t.Helper()
	manifests, err := manifest.All(l.state())
	if err != nil {
		t.Fatal(err)
	}
	if len(manifests) <= n {
		t.Fatalf("there are %d manifests, want more than %d", len(manifests), n)
	}
	r := &result{manifest: manifests[n]}
	dir := l.dir
	if l.kind == "store" {
		dir = l.dir + "-export"
		l.run(t, "store", "export", "--store", l.dir, "ndjson:"+dir)
	}
	if r.output, err = readTree(dir); err != nil {
		t.Fatal(err)
	}
	r.rejects = l.rejects(t)
	return r
}

// rejects reads the rejects of all runs: their files have other frames after a resume.
func (l *loading) rejects(t *testing.T) map[string][]byte {
	t.Helper()
	s, err := rejects.OpenStore(l.state())
	if err != nil {
		t.Fatal(err)
	}
	runs, err := s.Runs()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, run := range runs {
		err := s.Each(run, func(x *pipeline.Reject) error {
			text, err := json.Marshal(x)
			all[run+"/"+x.ID] = append(text, s.State(run, x.ID)...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// check compares what a disturbed load left with the result of an undisturbed one.
func (l *loading) check(t *testing.T, want *result) {
	t.Helper()
	l.compare(t, want, l.result(t))
}

func (l *loading) compare(t *testing.T, want, got *result) {
	t.Helper()
	if d := diffTrees(want.output, got.output); d != "" {
		t.Errorf("the output differs (first: undisturbed): %s", d)
	}
	if d := diffTrees(want.rejects, got.rejects); d != "" {
		t.Errorf("the rejects differ (first: undisturbed): %s", d)
	}
	ignore := cmpopts.IgnoreFields(manifest.Manifest{}, "Started", "Finished", "Target")
	if d := cmp.Diff(want.manifest, got.manifest, ignore); d != "" {
		t.Errorf("the manifest differs (-undisturbed +killed):\n%s", d)
	}
	l.run(t, "reconcile", "--to", l.to())
}
