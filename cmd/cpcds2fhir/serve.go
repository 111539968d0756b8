package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/store"
	storeloader "cpcds2fhir/loaders/store"
)

func newServe() *cobra.Command {
	var config string
	var show bool
	flags := defaultServe()
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve a store as a Patient Access API (FHIR R4, CARIN Blue Button)",
		Long: `Serve answers apps from the store that 'load' and 'stream' fill, also while they fill
it: it shares the store with them, and a search sees what they have just made durable.
It runs until SIGTERM or Ctrl-C.

The API is at http://ADDRESS/fhir. /fhir/metadata says what it can do and
/fhir/openapi.json describes it for tools; see docs/api.md. Every answer that shows members'
data is accounted for in an audit log, which 'audit' reads.

With authorization.issuer in the configuration, an app needs a token of that
authorization server (OAuth 2, SMART), which says whose data it opens. Without one it
needs --open, which says that everybody who reaches the address may read everything, and
listens on loopback addresses only.`,
		Example: `  cpcds2fhir serve --store ./fhir-store --open
  curl http://127.0.0.1:8080/fhir/metadata
  cpcds2fhir serve --print-config > serve.yaml
  cpcds2fhir serve check --config serve.yaml
  cpcds2fhir serve --config serve.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if show {
				_, err := fmt.Fprint(c.OutOrStdout(), fullServeConfig)
				return err
			}
			cfg, err := readServe(config)
			if err != nil {
				return err
			}
			for name, set := range map[string]func(){
				"store":  func() { cfg.Store = flags.Store },
				"listen": func() { cfg.Listen = flags.Listen },
				"open":   func() { cfg.Open = flags.Open },
				"log":    func() { cfg.Log = flags.Log },
			} {
				if c.Flags().Changed(name) {
					set()
				}
			}
			if err := cfg.check(); err != nil {
				return err
			}
			err = runServe(c.Context(), cfg)
			if c.Context().Err() != nil && errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		},
	}
	c.Flags().StringVar(&config, "config", "", "read the configuration from `FILE`; flags count more")
	c.Flags().BoolVar(&show, "print-config", false, "print a configuration with all settings and their defaults")
	c.Flags().StringVar(&flags.Store, "store", flags.Store, "serve the store in `DIR`")
	c.Flags().StringVar(&flags.Listen, "listen", flags.Listen, "listen on `ADDRESS`")
	c.Flags().BoolVar(&flags.Open, "open", false, "serve without authorization, on a loopback address")
	choiceFlag(c, &flags.Log, "log", "format of the log", "console", "json")
	c.AddCommand(newServeCheck())
	cobra.CheckErr(c.MarkFlagDirname("store"))
	cobra.CheckErr(c.MarkFlagFilename("config", "yaml", "yml"))
	cobra.CheckErr(c.RegisterFlagCompletionFunc("listen", cobra.NoFileCompletions))
	return c
}

// cursorKeyRecord is the record of a store with the key that signs cursors: whoever serves the store
// understands the cursors of all others.
const cursorKeyRecord = "api/cursor-key"

// runServe serves until ctx ends.
func runServe(ctx context.Context, c *serveConfig) error {
	log := newLog(c.Log)
	memory, err := parseSize("memory", c.Memory)
	if err != nil {
		return err
	}
	if memory < leastMemory {
		return usagef("memory %q: at least 64MiB is needed", c.Memory)
	}
	limitHeap(memory, storeMemory(memory))
	collectSeldom()
	status := newServeStatus()
	st, err := openServed(c, memory, status, log)
	if err != nil {
		return err
	}
	defer st.Close()
	key, err := storeloader.Secret(ctx, st, cursorKeyRecord)
	if err != nil {
		return fmt.Errorf("read the key of cursors: %w", err)
	}
	access, stopAccess := newAccessLog(c.Log)
	defer func() { _ = stopAccess() }() // to standard error: nobody could be told
	auditLog, stopAudit, err := c.openAudit(ctx, log)
	if err != nil {
		return err
	}
	defer stopAudit()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return environmentf("listen: %w", err)
	}
	defer func() { _ = l.Close() }()        // the server has closed it, unless something else failed before
	if c.Embedded.Enabled && c.Base == "" { // on a loopback address
		c.Base = c.url(l.Addr().String())
	}
	who, err := c.authorizer(ctx, auditLog, status, log)
	if err != nil {
		return err
	}
	defer who.close(log)
	read := newReadings(ctx, auditLog, auditOf(c.Store, c.Audit), who.embedded != nil, log)
	server, err := api.New(&api.Config{
		Store: st, Authorizer: who.Authorizer, Security: who.security, SMART: who.configuration, Base: c.Base, Path: c.Path, Aliases: c.Aliases, CursorKey: key, Release: c.CARIN, Software: toolVersion(), SourceDates: c.Updated == "source",
		Limits: api.Limits{Rows: c.Limits.Rows, Included: c.Limits.Included, Time: c.Limits.Time, Parallel: c.Limits.Parallel,
			Memory: memory / 4, Client: limit(c.Limits.Client), Member: limit(c.Limits.Member)},
		Events: api.Events{
			Answered: func(a *api.Answer) {
				status.answered(a)
				logAnswer(access, a)
				if who.embedded != nil {
					who.embedded.requests.answered(a)
				}
			},
			Audit: func(a *api.Answer) error { return auditAnswer(auditLog, read, a) },
			Failed: func(request string, err error) {
				log.Error("failed", zap.String("request", request), zap.String("error", message(err)))
			},
		},
	})
	if err != nil {
		return err
	}
	stopAdmin, err := c.admin(ctx, status, log)
	if err != nil {
		return err
	}
	defer stopAdmin()
	var h http.Handler = server
	if e := who.embedded; e != nil {
		if err := e.servePages(ctx, c, st, read, status, log); err != nil {
			return err
		}
		if c.ready != nil {
			if err := c.ready(ctx, who, st); err != nil {
				return err
			}
		}
		if e.portal != nil {
			if err := e.servePortal(c, status, log); err != nil {
				return err
			}
		}
		h = e.handler(server)
	}
	return c.serve(ctx, l, h, watch(ctx, st), status, log)
}

// openServed opens the store, for reading and for the loads that come while it is served.
func openServed(c *serveConfig, memory int64, status *serveStatus, log *zap.Logger) (store.Handle, error) {
	t, err := parseTargetOf("serve", "store:"+c.Store, "a folder")
	if err != nil {
		return nil, err
	}
	dir := t.place()
	_, missing := os.Stat(dir)
	st, err := storeloader.OpenHandle(dir, &storeloader.Options{Memory: storeMemory(memory), Owner: ownership(log, status)})
	if err == nil && missing != nil {
		log.Warn("the store is new and empty; fill it with 'load' or 'stream'", zap.String("store", dir))
	}
	return st, err
}

// watch says when the store has failed, for example because the disk is full: it can do nothing any longer
// in this process.
func watch(ctx context.Context, st store.Handle) <-chan error {
	failed := make(chan error, 1)
	go func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			_, err := st.Watermark(ctx)
			if _, ok := errors.AsType[*store.FailedError](err); ok {
				failed <- err
				return
			}
		}
	}()
	return failed
}

// serve answers requests until ctx ends or the store fails, and then those that have begun.
func (c *serveConfig) serve(ctx context.Context, l net.Listener, h http.Handler, failed <-chan error, status *serveStatus, log *zap.Logger) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: c.Limits.Time + 30*time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10, BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog: zap.NewStdLog(log),
	}
	if c.TLS.Cert != "" {
		pair := &reloadedPair{cert: c.TLS.Cert, key: c.TLS.Key}
		if _, err := pair.get(nil); err != nil {
			return errors.Join(environmentf("read the certificate: %w", err), l.Close())
		}
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get}
	}
	log.Info("serving", zap.String("address", l.Addr().String()), zap.String("url", c.url(l.Addr().String())))
	if c.Open {
		log.Warn("open: whoever reaches this address may read everything")
	} else if c.TLS.Cert == "" && !isLoopback(hostOf(c.Listen)) {
		log.Warn("there is no TLS: a proxy in front must end it, or tokens and data can be read on their way")
	}
	status.serving(true)
	served := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			served <- server.ServeTLS(l, "", "")
			return
		}
		served <- server.Serve(l)
	}()
	var fault error
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case fault = <-failed:
		log.Error("the store has failed; start again when it can be written", zap.String("error", message(fault)))
	case <-ctx.Done():
	}
	status.serving(false)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Stop)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		log.Warn("requests were cut off", zap.Duration("after", c.Stop))
		_ = server.Close()
	}
	log.Info("stopped")
	return fault
}

// admin serves probes and metrics.
func (c *serveConfig) admin(ctx context.Context, status *serveStatus, log *zap.Logger) (stop func(), err error) {
	if c.Admin == "" {
		return func() {}, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Admin)
	if err != nil {
		return nil, environmentf("admin: %w", err)
	}
	log.Info("probes and metrics", zap.String("address", l.Addr().String()))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, "") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, status.ready()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(status.registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // it ends with stop
	return func() { _ = server.Close() }, nil
}

// reloadedPair is a certificate whose files are read again when they change.
type reloadedPair struct {
	cert, key string

	mu     sync.Mutex
	loaded *tls.Certificate
	stamp  [2]time.Time
}

func (p *reloadedPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var stamp [2]time.Time
	for i, path := range []string{p.cert, p.key} {
		if info, err := os.Stat(path); err == nil {
			stamp[i] = info.ModTime()
		}
	}
	if p.loaded != nil && stamp == p.stamp {
		return p.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(p.cert, p.key)
	switch {
	case err == nil:
		p.loaded, p.stamp = &pair, stamp
	case p.loaded == nil:
		return nil, err
	}
	return p.loaded, nil // files that are being replaced do not fit together for a moment
}

// logAnswer writes a line of the access log: ids of resources are pseudonyms, values of parameters do
// not appear.
func logAnswer(log *zap.Logger, a *api.Answer) {
	fields := []zap.Field{zap.String("request", a.Request), zap.String("method", a.Method), zap.String("route", a.Route), zap.String("type", a.Type)}
	if a.ID != "" {
		fields = append(fields, zap.String("id", a.ID))
	}
	if a.Access != nil && a.Access.Client != "" {
		fields = append(fields, zap.String("client", a.Access.Client))
	}
	log.Info("answered", append(fields, zap.Int("status", a.Status), zap.Int("entries", a.Entries), zap.Int("bytes", a.Bytes), zap.Duration("took", a.Took))...)
}
