package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/schemas/fhir"
)

// serverConnection is a FHIR server that has answered.
type serverConnection struct {
	fhirclient.Server
	probe *fhirclient.Probe
}

// connectServer connects to a server. Whatever keeps it from answering is a fault of the environment.
func connectServer(ctx context.Context, url string, c *fhirclient.Config, meter *serverMeter, log *zap.Logger) (*serverConnection, error) {
	server, probe, err := fhirclient.Connect(ctx, url, c, &fhirclient.Options{
		Environment: os.Getenv, UserAgent: "cpcds2fhir/" + toolVersion(), Events: meter.client(log),
	})
	if err != nil {
		return nil, unreachable(ctx, url, err)
	}
	return &serverConnection{server, probe}, nil
}

// unreachable is the error of a server that cannot be spoken to.
func unreachable(ctx context.Context, url string, err error) error {
	if ctx.Err() != nil || exitCode(err) == exitUsage {
		return err
	}
	return environmentf("server %s: %w", url, err)
}

// serverMeter counts what a server does. The zero value is ready.
type serverMeter struct {
	requests, entries, bytes  atomic.Int64
	backoffs, concurrency     atomic.Int64
	most                      atomic.Int64 // requests at once
	changed, adopted, settled atomic.Int64
	began                     atomic.Int64 // of the first request, in Unix nanoseconds
	told                      atomic.Int64 // when a back-off was logged

	metrics *serverMetrics // of a stream
}

// tellEvery is how often back-offs are logged: an overloaded server causes many.
const tellEvery = int64(time.Second)

// client counts and logs what the client of the server meets.
func (m *serverMeter) client(log *zap.Logger) fhirclient.Events {
	return fhirclient.Events{
		Backoff: func(status, attempt int, wait time.Duration) {
			n := m.backoffs.Add(1)
			m.metrics.backoff(status)
			now, last := time.Now().UnixNano(), m.told.Load()
			if now-last >= tellEvery && m.told.CompareAndSwap(last, now) {
				log.Warn("the server makes us wait", zap.Int("status", status), zap.Int("attempt", attempt), zap.Duration("wait", wait), zap.Int64("times", n))
			}
		},
		Concurrency: func(now int) {
			m.concurrency.Store(int64(now))
			for most := m.most.Load(); int64(now) > most && !m.most.CompareAndSwap(most, int64(now)); most = m.most.Load() {
			}
			m.metrics.concurrent(now)
		},
		Request: func(status, entries, bytes int, took time.Duration) {
			m.began.CompareAndSwap(0, time.Now().Add(-took).UnixNano())
			m.requests.Add(1)
			m.entries.Add(int64(entries))
			m.bytes.Add(int64(bytes))
			m.metrics.request(status, took)
		},
	}
}

// index counts and logs what the index of the server finds out.
func (m *serverMeter) index(log *zap.Logger) remote.Events {
	return remote.Events{
		Changed: func(t fhir.Type, id string) {
			m.changed.Add(1)
			log.Warn("somebody else has changed it on the server", zap.String("resource", t.String()+"/"+id))
		},
		Adopted: func(t fhir.Type, n int) {
			m.adopted.Add(int64(n))
			log.Info("the server had them already", zap.Stringer("type", t), zap.Int("resources", n))
		},
		Settled: func(n int) {
			m.settled.Add(int64(n))
			log.Info("what an earlier process sent is known now", zap.Int("resources", n))
		},
		TakenBack: func(n int) {
			log.Info("what an interrupted batch had brought, and nothing accounts for, was deleted", zap.Int("resources", n))
		},
	}
}

// now describes the pace of the server for a line of progress.
func (m *serverMeter) now() string {
	if m.requests.Load() == 0 {
		return ""
	}
	s := max(time.Since(time.Unix(0, m.began.Load())).Seconds(), 0.1)
	text := fmt.Sprintf("server: %s resources a second", comma(int64(float64(m.entries.Load())/s)))
	if n := m.concurrency.Load(); n > 0 {
		text += fmt.Sprintf(", %s at once", many(n, "request"))
	}
	if n := m.backoffs.Load(); n > 0 {
		text += ", " + many(n, "back-off")
	}
	return text
}

// summary describes what a run did with the server.
func (w *serverWork) summary() string {
	m := &w.meter
	if w.server == nil {
		return "Server: it was not asked."
	}
	text := fmt.Sprintf("Server: %s; %s sent in %s", describeSoftware(w.server.probe), many(m.entries.Load(), "resource"), many(m.requests.Load(), "request"))
	if n := m.most.Load(); n > 0 {
		text += fmt.Sprintf(", at most %d at once", n)
	}
	if n := m.backoffs.Load(); n > 0 {
		text += ", " + many(n, "back-off")
	}
	text += "."
	if n := m.adopted.Load(); n > 0 {
		text += fmt.Sprintf("\n%s there already before the index knew of them.", wasWere(n, "resource"))
	}
	if n := m.settled.Load(); n > 0 {
		text += fmt.Sprintf("\nWhat became of %s that an earlier process had sent was read from the server.", many(n, "resource"))
	}
	if n := m.changed.Load(); n > 0 {
		text += fmt.Sprintf("\n%s changed on the server by somebody else.", wasWere(n, "resource"))
	}
	return text
}

// describeSoftware names what a server is.
func describeSoftware(p *fhirclient.Probe) string {
	name := p.Software
	if name == "" {
		name = "unnamed software"
	}
	if p.Version != "" {
		name += " " + p.Version
	}
	return fmt.Sprintf("%s, profile %s", name, p.Profile)
}
