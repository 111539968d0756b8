package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// apiClaims is how many claims the served store has at most.
const apiClaims = 100_000

// apiSeconds is how long each side is asked for.
const apiSeconds = 3

// process is a server under way.
type process struct {
	command *exec.Cmd
	url     string
}

// startServer starts a program and waits until a line of one of its outputs has its address.
func (s *session) startServer(stdout bool, pattern, prefix, program string, args ...string) (*process, error) {
	p := &process{command: s.command(s.ctx, program, args...)}
	open := p.command.StderrPipe
	if stdout {
		open = p.command.StdoutPipe
	}
	out, err := open()
	if err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	address := regexp.MustCompile(pattern)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := address.FindStringSubmatch(lines.Text()); m != nil {
			p.url = prefix + m[1]
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return p, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("%s does not say where it listens", program), p.stop())
}

func (p *process) stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM) // Wait says whether it has ended
	return p.command.Wait()
}

// kill ends a floor, which has nothing to finish.
func (p *process) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
}

// serve serves a store.
func (s *session) serve(store string) (*process, error) {
	return s.startServer(false, `"msg":"serving".*"url":"([^"]+)"`, "", s.program, "serve", "--store", store, "--listen", "127.0.0.1:0", "--open", "--log", "json")
}

// get reads an answer.
func get(client *http.Client, url string) ([]byte, error) {
	resp, err := client.Get(url) //nolint:noctx // of a process of ours
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d", url, resp.StatusCode)
	}
	return text, err
}

// asked is what clients got in a while.
type asked struct {
	rate     float64 // answers a second
	p50, p99 time.Duration
}

// ask asks with some clients at a time, each on its own connection, until stop is closed or some
// seconds are over.
func ask(url string, clients int, stop <-chan struct{}) (asked, error) {
	return askWith(url, "", clients, stop)
}

// askWith asks with an access token, unless it is "".
func askWith(url, token string, clients int, stop <-chan struct{}) (asked, error) {
	var wait sync.WaitGroup
	var mu sync.Mutex
	var all []time.Duration
	var failed atomic.Pointer[error]
	began := time.Now()
	for range clients {
		wait.Go(func() {
			client := &http.Client{Transport: bearer{token, &http.Transport{DisableCompression: true}}}
			var own []time.Duration
			for stop != nil || time.Since(began) < apiSeconds*time.Second {
				select {
				case <-stop:
					mu.Lock()
					defer mu.Unlock()
					all = append(all, own...)
					return
				default:
				}
				from := time.Now()
				if _, err := get(client, url); err != nil {
					failed.Store(&err)
					return
				}
				own = append(own, time.Since(from))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		return asked{}, *err
	}
	if len(all) == 0 {
		return asked{}, errors.New("nothing was answered")
	}
	slices.Sort(all)
	return asked{float64(len(all)) / time.Since(began).Seconds(), all[len(all)/2], all[len(all)*99/100]}, nil
}

// bearer adds a token to requests.
type bearer struct {
	token string
	http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.RoundTripper.RoundTrip(r)
}

// askFor is for programs that compare servers: it asks URL with CLIENTS for SECONDS, and prints the answers
// a second and the p50 and p99 of their times in milliseconds.
func askFor(args []string) error {
	if len(args) != 3 {
		return errors.New("ask needs a URL, a number of clients and seconds")
	}
	clients, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	seconds, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	time.AfterFunc(time.Duration(seconds)*time.Second, func() { close(stop) })
	a, err := ask(args[0], clients, stop)
	if err == nil {
		fmt.Printf("%.1f %.2f %.2f\n", a.rate, ms(a.p50), ms(a.p99))
	}
	return err
}

// loadServed loads what the API is measured with into the store of a target.
func (s *session) loadServed() (extract string, err error) {
	if extract, err = s.extract(min(s.claims, apiClaims)); err != nil {
		return "", err
	}
	if err := s.clear(); err != nil {
		return "", err
	}
	_, err = s.time(s.program, "load", "--quiet", "--to", "store:"+s.target(), extract)
	return extract, err
}

// apiMeasure measures the API against a handler that writes the same bytes, and beside a load.
func apiMeasure(s *session) ([]result, error) {
	extract, err := s.loadServed()
	if err != nil {
		return nil, err
	}
	server, err := s.serve(s.target())
	if err != nil {
		return nil, err
	}
	list, search, err := s.rates(server)
	if err == nil {
		var more []result
		more, err = s.besideLoad(search)
		list = append(list, more...)
	}
	if err := errors.Join(err, server.stop()); err != nil {
		return nil, err
	}
	shared, err := s.throughOwner(extract)
	return append(list, shared...), err
}

// rates compares a search of a member's claims and a read with their floors.
func (s *session) rates(server *process) (list []result, search string, err error) {
	member, claim, err := memberOf50(server.url)
	if err != nil {
		return nil, "", err
	}
	search = server.url + "/ExplanationOfBenefit?patient=" + member + "&_count=50&_total=none"
	for _, x := range []struct {
		name, url string
		bar       float64
	}{{"search of a member's 50 claims, rate of the floor's", search, 50}, {"read of a claim, rate of the floor's", server.url + "/ExplanationOfBenefit/" + claim, 70}} {
		text, err := get(http.DefaultClient, x.url)
		if err != nil {
			return nil, "", err
		}
		path := filepath.Join(s.work, "answer.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return nil, "", err
		}
		bare, err := s.startServer(true, `^(127\.0\.0\.1:[0-9]+)$`, "http://", s.self, "floor", "http", filepath.Join(s.work, "floor"), path)
		if err != nil {
			return nil, "", err
		}
		var ratios []float64
		var ours, floor asked
		for range s.runs + 1 {
			if ours, err = ask(x.url, 2, nil); err == nil {
				floor, err = ask(bare.url, 2, nil)
			}
			if err != nil {
				break
			}
			ratios = append(ratios, 100*ours.rate/floor.rate)
		}
		bare.kill()
		if err != nil {
			return nil, "", err
		}
		list = append(list, result{Name: x.name, Value: median(ratios[1:]), Bar: x.bar, Unit: "%",
			Detail: fmt.Sprintf("%d bytes; %.0f and %.0f a second, p99 %.1f and %.1f ms", len(text), ours.rate, floor.rate, ms(ours.p99), ms(floor.p99))})
	}
	return list, search, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// memberOf50 finds a member with at least 50 claims, and one of these.
func memberOf50(base string) (member, claim string, err error) {
	var page struct {
		Total int
		Entry []struct{ Resource struct{ ID string } }
	}
	read := func(url string) error {
		text, err := get(http.DefaultClient, url)
		if err != nil {
			return err
		}
		page.Entry = nil
		return json.Unmarshal(text, &page)
	}
	if err := read(base + "/Patient?_count=500&_elements=id"); err != nil {
		return "", "", err
	}
	for _, e := range slices.Clone(page.Entry) {
		if err := read(base + "/ExplanationOfBenefit?patient=" + e.Resource.ID + "&_count=1"); err != nil {
			return "", "", err
		}
		if page.Total >= 50 {
			return e.Resource.ID, page.Entry[0].Resource.ID, nil
		}
	}
	return "", "", errors.New("no member has 50 claims")
}

// besideLoad measures searches while a load works through the server, as fast as it can.
func (s *session) besideLoad(search string) ([]result, error) {
	idle, err := ask(search, 1, nil)
	if err != nil {
		return nil, err
	}
	other, err := s.extract(min(s.claims, apiClaims), "--seed", "2")
	if err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	var busy asked
	var askErr error
	var wait sync.WaitGroup
	wait.Go(func() { busy, askErr = ask(search, 1, stop) })
	_, err = s.time(s.program, "load", "--quiet", "--to", "store:"+s.target(), other)
	close(stop)
	wait.Wait()
	if err := errors.Join(err, askErr); err != nil {
		return nil, err
	}
	return []result{{Name: "p99 of searches while a load runs, to that of an idle server", Value: ms(busy.p99) / ms(idle.p99), Bar: 3, Unit: "x", Least: true,
		Detail: fmt.Sprintf("one client; %.1f and %.1f ms, %.0f and %.0f searches a second", ms(busy.p99), ms(idle.p99), busy.rate, idle.rate)}}, nil
}

// throughOwner compares a load through a server, which owns the store, with one of its own.
func (s *session) throughOwner(extract string) ([]result, error) {
	load := s.load(extract, "store")
	shared := side{before: s.clear, run: func() (cost, error) {
		server, err := s.serve(s.target())
		if err != nil {
			return cost{}, err
		}
		c, err := load.run()
		return c, errors.Join(err, server.stop())
	}}
	through, direct, err := s.pairs(shared, load)
	if err != nil {
		return nil, err
	}
	return []result{{Name: "load through a server that owns the store, rate of a direct one's", Value: ratio(through, direct, wall) * 100, Bar: 70, Unit: "%",
		Detail: fmt.Sprintf("%.1f s, direct %.1f s", medianOf(through, wall), medianOf(direct, wall))}}, nil
}
