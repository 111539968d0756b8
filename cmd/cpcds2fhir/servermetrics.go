package main

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// serverMetrics are the metrics of a stream into a server. A nil one counts nothing.
type serverMetrics struct {
	requests, backoffs *prometheus.CounterVec
	seconds            prometheus.Histogram
	concurrency        prometheus.Gauge
}

// newServerMetrics registers the metrics.
func newServerMetrics(r *prometheus.Registry) *serverMetrics {
	const prefix = "cpcds2fhir_stream_server_"
	m := &serverMetrics{
		requests:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "requests_total", Help: "Requests that the FHIR server answered, by HTTP status."}, []string{"status"}),
		backoffs:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "backoffs_total", Help: "Pauses before a request was tried again, by HTTP status; 0 is no answer."}, []string{"status"}),
		seconds:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + "request_seconds", Help: "Time of the FHIR server to answer a request.", Buckets: prometheus.ExponentialBuckets(0.002, 2, 15)}),
		concurrency: prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "concurrency", Help: "Requests that may be under way at once now."}),
	}
	r.MustRegister(m.requests, m.backoffs, m.seconds, m.concurrency)
	return m
}

func (m *serverMetrics) request(status int, took time.Duration) {
	if m == nil {
		return
	}
	m.requests.WithLabelValues(strconv.Itoa(status)).Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *serverMetrics) backoff(status int) {
	if m != nil {
		m.backoffs.WithLabelValues(strconv.Itoa(status)).Inc()
	}
}

func (m *serverMetrics) concurrent(now int) {
	if m != nil {
		m.concurrency.Set(float64(now))
	}
}
