package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"cpcds2fhir/pipeline/streamrun"
	"cpcds2fhir/schemas/fhir"
)

// streamStatus turns the events of a stream into metrics and answers to probes.
type streamStatus struct {
	registry *prometheus.Registry

	lag, position, oldest                 *prometheus.GaugeVec
	messages, deadRules, outcomes, claims *prometheus.CounterVec
	load                                  prometheus.Histogram
	age                                   prometheus.Histogram
	commit                                prometheus.Histogram
	loadedBytes                           prometheus.Counter
	waiting, blockedLanes, lanes, owns    prometheus.Gauge
	again, rebalances                     prometheus.Counter

	mu      sync.Mutex
	joined  time.Time            // zero: not a member of the group now
	blocked map[string]error     // lanes that wait
	ends    map[string]int64     // the end of each partition that this process reads
	next    map[string]int64     // how far it is durable
	undone  map[string]time.Time // age of the oldest message of each partition that is not durable
	stalled time.Duration        // for how long the owner of the store has not answered
	stuck   func() time.Duration // of the engine; nil before there is one
}

func newStreamStatus() *streamStatus {
	s := &streamStatus{registry: prometheus.NewRegistry(), blocked: map[string]error{}, ends: map[string]int64{}, next: map[string]int64{}, undone: map[string]time.Time{}}
	const prefix = "cpcds2fhir_stream_"
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, labels)
		s.registry.MustRegister(v)
		return v
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
		s.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets})
		s.registry.MustRegister(h)
		return h
	}
	s.lag = gauge("lag_messages", "Messages of a partition that are not durable yet.", "topic", "partition")
	s.position = gauge("position", "Offset before which everything of a partition is durable.", "topic", "partition")
	s.oldest = gauge("oldest_message_seconds", "Age of the oldest message of the last batch of a partition when it became durable.", "topic", "partition")
	s.messages = counter("messages_total", "Messages by what became of them: records, deletions, dead_letters, waiting, skipped, released, expired.", "outcome")
	s.deadRules = counter("rejected_total", "Messages that became dead letters, by the first rule that they broke.", "rule")
	s.outcomes = counter("resources_total", "Resources by type and by what the target did with them.", "type", "outcome")
	s.claims = counter("claims_total", "Claims by what became of them.", "outcome")
	s.load = histogram("load_seconds", "Time to make a batch durable.", prometheus.ExponentialBuckets(0.001, 2, 15))
	s.age = histogram("latency_seconds", "Time from the oldest message of a batch to its durability.", prometheus.ExponentialBuckets(0.005, 2, 18))
	s.commit = histogram("commit_seconds", "Time to commit an offset.", prometheus.ExponentialBuckets(0.001, 2, 13))
	s.loadedBytes = prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "loaded_bytes_total", Help: "Bytes of the resources that were loaded."})
	s.waiting = gauge("waiting_records", "Records that wait for a member or coverage, by the last sweep.").WithLabelValues()
	s.blockedLanes = gauge("blocked_partitions", "Partitions that cannot go on now, because the target, the brokers or the registry do not answer.").WithLabelValues()
	s.lanes = gauge("partitions", "Partitions that this process reads.").WithLabelValues()
	s.again = prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "batches_again_total", Help: "Batches that were made again because another partition changed what they were made from."})
	s.rebalances = prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "rebalances_total", Help: "Generations of the consumer group that this process has joined."})
	s.owns = gauge("store_owner", "1 if this process owns the store, 0 if it works through another one.").WithLabelValues()
	s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + "oldest_unloaded_seconds",
		Help: "Age of the oldest message that was read and is not durable; 0 if there is none."}, s.oldestUndone))
	s.registry.MustRegister(s.loadedBytes, s.again, s.rebalances, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

func laneOf(topic string, partition int) string { return topic + "/" + strconv.Itoa(partition) }

// loaded counts a batch.
func (s *streamStatus) loaded(topic string, partition int, b *streamrun.Batch) {
	part := strconv.Itoa(partition)
	m := &b.Messages
	for name, n := range map[string]int64{"records": m.Records, "deletions": m.Deletions, "dead_letters": m.DeadLetters, "waiting": m.Waiting,
		"skipped": m.Skipped, "released": m.Released, "released_dead_letters": m.ReleasedDead, "expired": m.Expired} {
		s.messages.WithLabelValues(name).Add(float64(n))
	}
	for rule, n := range b.Dead {
		s.deadRules.WithLabelValues(rule).Add(float64(n))
	}
	for i, c := range b.Account.Resources {
		t := fhir.Type(i).String()
		for name, n := range map[string]int64{"created": c.Created, "updated": c.Updated, "unchanged": c.Unchanged, "stale": c.Stale, "deleted": c.Deleted, "refused": c.Refused} {
			if n > 0 {
				s.outcomes.WithLabelValues(t, name).Add(float64(n))
			}
		}
	}
	c := &b.Account.Claims
	for name, n := range map[string]int64{"loaded": c.Loaded, "unchanged": c.Unchanged, "stale": c.Stale, "rejected": c.Rejected, "skipped": c.Skipped} {
		s.claims.WithLabelValues(name).Add(float64(n))
	}
	s.load.Observe(b.Took.Seconds())
	s.loadedBytes.Add(float64(b.Bytes))
	s.position.WithLabelValues(topic, part).Set(float64(b.Next))
	if !b.Oldest.IsZero() {
		age := max(time.Since(b.Oldest).Seconds(), 0) // the producer's clock may be ahead
		s.age.Observe(age)
		s.oldest.WithLabelValues(topic, part).Set(age)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	lane := laneOf(topic, partition)
	s.next[lane] = b.Next
	if b.Next >= s.ends[lane] {
		delete(s.undone, lane)
	} else if !b.Oldest.IsZero() {
		s.undone[lane] = b.Oldest
	}
	s.stalled = 0
	s.lag.WithLabelValues(topic, part).Set(float64(max(s.ends[lane]-b.Next, 0)))
	s.unblock(lane)
}

// fetched notes how far a partition goes.
func (s *streamStatus) fetched(topic string, partition int, next, end int64, oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lane := laneOf(topic, partition)
	if _, ok := s.undone[lane]; !ok && !oldest.IsZero() {
		s.undone[lane] = oldest
	}
	s.ends[lane] = end
	s.lag.WithLabelValues(topic, strconv.Itoa(partition)).Set(float64(max(end-s.next[lane], 0)))
}

func (s *streamStatus) opened(topic string, partition int, from int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next[laneOf(topic, partition)] = from
	s.position.WithLabelValues(topic, strconv.Itoa(partition)).Set(float64(from))
	s.unblock(laneOf(topic, partition))
}

func (s *streamStatus) block(topic string, partition int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocked[laneOf(topic, partition)] = err
	s.blockedLanes.Set(float64(len(s.blocked)))
}

// unblock is called with the lock held.
func (s *streamStatus) unblock(lane string) {
	delete(s.blocked, lane)
	s.blockedLanes.Set(float64(len(s.blocked)))
}

// ended forgets a partition that this process does not read any longer.
func (s *streamStatus) ended(topic string, partition int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lane := laneOf(topic, partition)
	s.unblock(lane)
	delete(s.ends, lane)
	delete(s.next, lane)
	delete(s.undone, lane)
	for _, g := range []*prometheus.GaugeVec{s.lag, s.position, s.oldest} {
		g.DeleteLabelValues(topic, strconv.Itoa(partition))
	}
}

// oldestUndone is the age in seconds of the oldest message that is not durable.
func (s *streamStatus) oldestUndone() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := 0.0
	for _, at := range s.undone {
		age = max(age, time.Since(at).Seconds())
	}
	return age
}

// own notes whether this process owns the store.
func (s *streamStatus) own(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = 0
	s.owns.Set(0)
	if is {
		s.owns.Set(1)
	}
}

// stall notes that the owner of the store does not answer.
func (s *streamStatus) stall(silent time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = silent
}

func (s *streamStatus) join(lanes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.joined = time.Now()
	s.lanes.Set(float64(lanes))
	s.rebalances.Inc()
}

func (s *streamStatus) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.joined = time.Time{}
	s.lanes.Set(0)
}

// ready says why the stream cannot do its work now, "" if it can.
func (s *streamStatus) ready() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joined.IsZero() {
		return "not a member of the consumer group"
	}
	if s.stalled > 0 {
		return fmt.Sprintf("the owner of the store has not answered for %s", s.stalled.Round(time.Second))
	}
	for lane, err := range s.blocked {
		return fmt.Sprintf("%s waits: %s", lane, message(err))
	}
	return ""
}

// stuckAfter is how long a lane may work without waiting for anything.
const stuckAfter = 5 * time.Minute

// watch lets the liveness probe see whether the engine is stuck.
func (s *streamStatus) watch(stuck func() time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stuck = stuck
}

// alive says why the process should be restarted, "" if it need not be.
func (s *streamStatus) alive() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stuck == nil {
		return ""
	}
	if d := s.stuck(); d > stuckAfter {
		return fmt.Sprintf("a partition has made no progress for %s, and waits for nothing", d.Round(time.Second))
	}
	return ""
}

// answer writes the answer to a probe.
func answer(w http.ResponseWriter, why string) {
	if why != "" {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// serve answers probes, metrics and, if wanted, profiles, until the listener is closed.
func (s *streamStatus) serve(l net.Listener, profiles bool) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.alive()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.ready()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	if profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	_ = server.Serve(l)
}
