package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
	rpprof "runtime/pprof"
	"runtime/trace"
	"time"

	"github.com/spf13/cobra"
)

// profileFlags say where a load writes profiles of the Go runtime. Profiles hold function names and
// counts, never data values.
type profileFlags struct {
	cpu, mem, trace, listen string
}

func (p *profileFlags) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&p.cpu, "cpuprofile", "", "write a CPU profile to `FILE` (read it with 'go tool pprof')")
	fl.StringVar(&p.mem, "memprofile", "", "write a profile of allocations to `FILE`")
	fl.StringVar(&p.trace, "trace", "", "write an execution trace to `FILE` (read it with 'go tool trace')")
	fl.StringVar(&p.listen, "pprof", "", "serve live profiles on loopback `PORT` while the load runs")
}

// start starts profiling. The returned stop ends it and writes the remaining profiles.
func (p *profileFlags) start() (stop func() error, err error) {
	var ends []func() error
	stop = func() error {
		var errs []error
		for i := len(ends) - 1; i >= 0; i-- {
			errs = append(errs, ends[i]())
		}
		ends = nil
		return errors.Join(errs...)
	}
	file := func(path string, begin func(*os.File) error, end func(*os.File) error) {
		if path == "" || err != nil {
			return
		}
		f, e := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if e != nil {
			err = fmt.Errorf("write profile: %w", e)
			return
		}
		if err = begin(f); err != nil {
			err = errors.Join(fmt.Errorf("write profile %s: %w", path, err), f.Close())
			return
		}
		ends = append(ends, func() error { return errors.Join(end(f), f.Close()) })
	}
	file(p.mem, func(*os.File) error { return nil }, func(f *os.File) error {
		runtime.GC() // so that the profile is complete
		return rpprof.Lookup("allocs").WriteTo(f, 0)
	})
	file(p.trace, func(f *os.File) error { return trace.Start(f) }, func(*os.File) error { trace.Stop(); return nil })
	file(p.cpu, func(f *os.File) error { return rpprof.StartCPUProfile(f) }, func(*os.File) error { rpprof.StopCPUProfile(); return nil })
	if p.listen != "" && err == nil {
		var end func() error
		if end, err = serveProfiles(p.listen); err == nil {
			ends = append(ends, end)
		}
	}
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// serveProfiles serves net/http/pprof on the loopback interface, which other machines cannot reach.
func serveProfiles(port string) (end func() error, err error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port)) //nolint:noctx // binding a loopback port does not wait
	if err != nil {
		return nil, fmt.Errorf("serve profiles: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }() // ends with Close
	fmt.Fprintf(os.Stderr, "profiles: http://%s/debug/pprof/\n", l.Addr())
	return s.Close, nil
}
