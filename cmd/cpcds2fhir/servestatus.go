package main

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"cpcds2fhir/internal/api"
)

// serveStatus is what probes and metrics of a server say.
type serveStatus struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	bytes    prometheus.Counter
	owner    prometheus.Gauge
	accounts *prometheus.CounterVec

	mu               sync.Mutex
	accepts, stalled bool
}

func newServeStatus() *serveStatus {
	const prefix = "cpcds2fhir_api_"
	s := &serveStatus{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "requests_total", Help: "Requests by route and status."}, []string{"route", "status"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + "request_seconds", Help: "Time to answer a request, by route.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)}, []string{"route"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "answered_bytes_total", Help: "Bytes of answers, compressed if they were."}),
		owner: prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "store_owner", Help: "1 if this process owns the store, 0 if it works through another one."}),
	}
	s.accounts = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cpcds2fhir_authorization_events_total",
		Help: "What the authorization server and its pages did, by event; for refusals with their code."}, []string{"event", "code"})
	s.registry.MustRegister(s.accounts, s.requests, s.took, s.bytes, s.owner, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

func (s *serveStatus) answered(a *api.Answer) {
	s.requests.WithLabelValues(a.Route, strconv.Itoa(a.Status)).Inc()
	s.took.WithLabelValues(a.Route).Observe(a.Took.Seconds())
	s.bytes.Add(float64(a.Bytes))
}

// decided counts an event of the authorization server. The code is "" but for refusals.
func (s *serveStatus) decided(event, code string) { s.accounts.WithLabelValues(event, code).Inc() }

// own notes whether this process owns the store, which answers then.
func (s *serveStatus) own(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = false
	s.owner.Set(0)
	if is {
		s.owner.Set(1)
	}
}

// stall notes that the owner of the store does not answer.
func (s *serveStatus) stall(time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = true
}

// serving notes whether requests are taken.
func (s *serveStatus) serving(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepts = is
}

// ready says why the server should get no requests now, "" if it should.
func (s *serveStatus) ready() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.accepts:
		return "it does not take requests"
	case s.stalled:
		return "the owner of the store does not answer"
	}
	return ""
}
