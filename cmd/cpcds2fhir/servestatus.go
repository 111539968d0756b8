package main

import (
	"context"
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
	steps    *prometheus.CounterVec // of the portal

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
	s.steps = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cpcds2fhir_portal_events_total", Help: "Steps in the developers' portal, and mails, by action."}, []string{"action"})
	s.registry.MustRegister(s.steps, s.accounts, s.requests, s.took, s.bytes, s.owner, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

func (s *serveStatus) answered(a *api.Answer) {
	s.requests.WithLabelValues(a.Route, strconv.Itoa(a.Status)).Inc()
	s.took.WithLabelValues(a.Route).Observe(a.Took.Seconds())
	s.bytes.Add(float64(a.Bytes))
}

// decided counts an event of the authorization server. The code is "" but for refusals.
func (s *serveStatus) decided(event, code string) { s.accounts.WithLabelValues(event, code).Inc() }

// happened counts a step in the portal.
func (s *serveStatus) happened(action string) { s.steps.WithLabelValues(action).Inc() }

// portal lets metrics say what there is in the portal, as count says when they are asked for.
func (s *serveStatus) portal(count func(context.Context) (map[string]int, error)) {
	s.registry.MustRegister(&portalItems{count: count,
		items: prometheus.NewDesc("cpcds2fhir_portal_items", "What there is in the developers' portal: applications by kind and state, overdue ones, open requests for support, mails.", []string{"kind"}, nil)})
}

// portalItems asks the portal what there is, each time that somebody asks for metrics.
type portalItems struct {
	count func(context.Context) (map[string]int, error)
	items *prometheus.Desc
}

func (p *portalItems) Describe(to chan<- *prometheus.Desc) { to <- p.items }

func (p *portalItems) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	counts, err := p.count(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(p.items, err)
		return
	}
	for kind, n := range counts {
		to <- prometheus.MustNewConstMetric(p.items, prometheus.GaugeValue, float64(n), kind)
	}
}

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
