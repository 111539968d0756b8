package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
)

// streamClaims is how many claims a stream loads at most: the broker of the benchmark keeps its topics in
// memory.
const streamClaims = 200_000

// streamPartitions is how many partitions their topic has.
const streamPartitions = 12

// broker is a Kafka in this process, unless KAFKA_BROKERS names another one.
type broker struct {
	address string
	client  *kafka.Client
	close   func()
}

func startBroker() (*broker, error) {
	b := &broker{address: os.Getenv("KAFKA_BROKERS"), close: func() {}}
	if b.address == "" {
		fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0", "message.max.bytes": "20971520"}))
		if err != nil {
			return nil, err
		}
		b.address, b.close = strings.Join(fake.ListenAddrs(), ","), fake.Close
	}
	b.client = &kafka.Client{Addr: kafka.TCP(strings.Split(b.address, ",")...), Timeout: 10 * time.Second}
	return b, nil
}

// ends returns how many messages each partition of a topic has.
func (b *broker) ends(ctx context.Context, topic string) (map[int]int64, error) {
	r := &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{}}
	for p := range streamPartitions {
		r.Topics[topic] = append(r.Topics[topic], kafka.LastOffsetOf(p))
	}
	resp, err := b.client.ListOffsets(ctx, r)
	if err != nil {
		return nil, err
	}
	ends := map[int]int64{}
	for _, p := range resp.Topics[topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		ends[p.Partition] = p.LastOffset
	}
	return ends, nil
}

// committed reports whether a group has committed everything.
func (b *broker) committed(ctx context.Context, group, topic string, ends map[int]int64) bool {
	r := &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{}}
	for p := range ends {
		r.Topics[topic] = append(r.Topics[topic], p)
	}
	resp, err := b.client.OffsetFetch(ctx, r)
	if err != nil || len(resp.Topics[topic]) < len(ends) {
		return false
	}
	for _, p := range resp.Topics[topic] {
		if p.CommittedOffset < ends[p.Partition] {
			return false
		}
	}
	return true
}

// streamBench is a topic with the messages of an extract.
type streamBench struct {
	*session
	*broker
	extract  string
	topic    string
	ends     map[int]int64
	messages int64
	runs     int // streams so far: each has a group of its own
}

func streamMeasure(s *session) ([]result, error) {
	extract, err := s.extract(min(s.claims, streamClaims))
	if err != nil {
		return nil, err
	}
	k, err := startBroker()
	if err != nil {
		return nil, err
	}
	defer k.close()
	b := &streamBench{session: s, broker: k, extract: extract, topic: fmt.Sprint("bench-", time.Now().UnixNano())}
	if _, err := s.time(s.program, b.publish(b.topic)...); err != nil {
		return nil, err
	}
	if b.ends, err = k.ends(s.ctx, b.topic); err != nil {
		return nil, err
	}
	for _, n := range b.ends {
		b.messages += n
	}
	list, rate, err := b.rates()
	if err != nil {
		return nil, err
	}
	latencies, err := b.latencies(rate)
	return append(list, latencies...), err
}

func (b *streamBench) publish(topic string, flags ...string) []string {
	return append([]string{"kafka", "publish", b.extract, "--quiet", "--brokers", b.address, "--topic", topic, "--partitions", strconv.Itoa(streamPartitions)}, flags...)
}

// rates compares streams with their floor and with a simpler program. It also returns the messages per
// second that go into the store.
func (b *streamBench) rates() (list []result, rate float64, err error) {
	describe := func(cs []cost) string {
		return fmt.Sprintf("%.1f s (%.0f messages/s, %.1f s of CPU, %d MiB)", medianOf(cs, wall), float64(b.messages)/medianOf(cs, wall),
			medianOf(cs, func(c cost) float64 { return c.CPU }), int64(medianOf(cs, func(c cost) float64 { return float64(c.RSS) }))>>20)
	}
	floor, lines := b.floor("kafka", b.address, b.topic), b.floor("kafka-lines", b.address, b.topic)
	for _, x := range []struct {
		kind string
		bar  float64
	}{{"ndjson", 45}, {"store", 30}} {
		ours, floors, err := b.pairs(b.stream(x.kind, ""), floor)
		if err != nil {
			return nil, 0, err
		}
		list = append(list, result{Name: x.kind + ", rate of the floor's", Value: ratio(ours, floors, wall) * 100, Bar: x.bar, Unit: "%",
			Detail: fmt.Sprintf("stream %s, floor %s", describe(ours), describe(floors))})
		rate = float64(b.messages) / medianOf(ours, wall)
	}
	ours, simple, err := b.pairs(b.stream("ndjson", ""), lines)
	if err != nil {
		return nil, 0, err
	}
	list = append(list, result{Name: "ndjson, rate of a consumer that writes the messages", Value: ratio(ours, simple, wall) * 100, Unit: "%",
		Detail: fmt.Sprintf("stream %s; kafka-go, encoding/json, the raw lines with a sync for each batch %s", describe(ours), describe(simple))})
	return list, rate, nil
}

// stream is a run of 'stream' until everything in the topic is committed.
func (b *streamBench) stream(kind, settings string) side {
	return side{before: b.clear, run: func() (cost, error) {
		d, err := b.daemon(kind, b.topic, settings)
		if err != nil {
			return cost{}, err
		}
		for !b.committed(b.ctx, d.group, b.topic, b.ends) {
			if err := d.alive(); err != nil {
				return cost{}, err
			}
			time.Sleep(20 * time.Millisecond)
		}
		wall := time.Since(d.began).Seconds()
		c, err := d.stop()
		c.Wall = wall
		return c, err
	}}
}

// streamDaemon is a running stream.
type streamDaemon struct {
	command *exec.Cmd
	group   string
	log     *bytes.Buffer
	address chan string
	ended   chan error
	began   time.Time
}

// daemon starts a stream.
func (b *streamBench) daemon(kind, topic, settings string) (*streamDaemon, error) {
	b.runs++
	d := &streamDaemon{group: fmt.Sprintf("bench-%d-%d", os.Getpid(), b.runs), log: &bytes.Buffer{}, address: make(chan string, 1), ended: make(chan error, 1)}
	config := filepath.Join(b.work, "stream.yaml")
	text := fmt.Sprintf("brokers: [%s]\ntopics: [%s]\ngroup: %s\nto: %s:%s\n%s", strings.ReplaceAll(b.address, ",", ", "), topic, d.group, kind, b.target(), settings)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	d.command = b.command(b.ctx, b.program, "stream", "--config", config)
	out, err := d.command.StderrPipe()
	if err != nil {
		return nil, err
	}
	d.began = time.Now()
	if err := d.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			d.log.WriteString(lines.Text() + "\n")
			if _, rest, ok := strings.Cut(lines.Text(), `"address": "`); ok {
				address, _, _ := strings.Cut(rest, `"`)
				d.address <- address
			}
		}
		d.ended <- d.command.Wait()
	}()
	return d, nil
}

// alive fails if the stream has ended.
func (d *streamDaemon) alive() error {
	select {
	case err := <-d.ended:
		return fmt.Errorf("the stream has ended: %w\n%s", err, d.log)
	default:
		return nil
	}
}

// stop ends the stream as an operator does.
func (d *streamDaemon) stop() (cost, error) {
	if err := d.command.Process.Signal(syscall.SIGTERM); err != nil {
		return cost{}, err
	}
	if err := <-d.ended; err != nil {
		return cost{}, fmt.Errorf("the stream: %w\n%s", err, d.log)
	}
	return costOf(d.command.ProcessState)
}

// tradeOffs are settings of batches: larger ones are faster, and later.
var tradeOffs = []struct{ name, settings string }{
	{"linger 50ms", "batch: {linger: 50ms}\n"},
	{"linger 250ms, size 4MiB", "batch: {linger: 250ms, size: 4MiB}\n"},
	{"linger 1s, size 8MiB", "batch: {linger: 1s, size: 8MiB}\n"},
}

// latencies measures how long it takes from a message to its durability, at half of a rate.
func (b *streamBench) latencies(rate float64) ([]result, error) {
	p50, p99, err := b.latency("", rate/2)
	if err != nil {
		return nil, err
	}
	var others []string
	for _, t := range tradeOffs {
		c, err := b.stream("store", t.settings).once()
		if err != nil {
			return nil, err
		}
		half, most, err := b.latency(t.settings, rate/2)
		if err != nil {
			return nil, err
		}
		others = append(others, fmt.Sprintf("%s: %.0f and %.0f ms, at most %.0f messages/s", t.name, half, most, float64(b.messages)/c.Wall))
	}
	at := fmt.Sprintf("%.0f messages/s into the store, half of what it can take; all messages of a batch counted as its oldest", rate/2)
	return []result{
		{Name: "latency, half of the batches", Value: p50, Bar: 50, Unit: "ms", Least: true, Detail: at},
		{Name: "latency, 99 % of the batches", Value: p99, Bar: 500, Unit: "ms", Least: true, Detail: strings.Join(others, "; ")},
	}, nil
}

// once runs a side once.
func (x side) once() (cost, error) {
	if err := x.before(); err != nil {
		return cost{}, err
	}
	return x.run()
}

// latencySeconds is how long messages are published.
const latencySeconds = 20

// latency publishes at a rate while a stream loads, and returns quantiles of its histogram, in
// milliseconds.
func (b *streamBench) latency(settings string, rate float64) (p50, p99 float64, err error) {
	if err := b.clear(); err != nil {
		return 0, 0, err
	}
	topic := fmt.Sprint("bench-", time.Now().UnixNano())
	create := &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: streamPartitions, ReplicationFactor: 1}}}
	if _, err := b.client.CreateTopics(b.ctx, create); err != nil {
		return 0, 0, err
	}
	d, err := b.daemon("store", topic, settings)
	if err != nil {
		return 0, 0, err
	}
	address := <-d.address
	time.Sleep(2 * time.Second) // it joins the group
	ctx, cancel := context.WithTimeout(b.ctx, latencySeconds*time.Second)
	defer cancel()
	c := b.command(ctx, b.program, b.publish(topic, "--rate", fmt.Sprintf("%.0f/s", rate))...)
	if out, err := c.CombinedOutput(); err != nil && ctx.Err() == nil {
		return 0, 0, fmt.Errorf("publish: %w\n%s", err, out)
	}
	r, err := http.Get("http://" + address + "/metrics") //nolint:noctx // of a process of ours
	if err != nil {
		return 0, 0, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, 0, err
	}
	if _, err := d.stop(); err != nil {
		return 0, 0, err
	}
	return quantile(string(text), 0.5) * 1e3, quantile(string(text), 0.99) * 1e3, nil
}

// quantile reads a quantile from the histogram of latencies, between the edges of its bucket.
func quantile(metrics string, q float64) float64 {
	const name = `cpcds2fhir_stream_latency_seconds_bucket{le="`
	var edges, counts []float64
	for line := range strings.Lines(metrics) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok {
			continue
		}
		edge, count, _ := strings.Cut(rest, `"} `)
		e, err := strconv.ParseFloat(edge, 64)
		n, err2 := strconv.ParseFloat(strings.TrimSpace(count), 64)
		if err == nil && err2 == nil {
			edges, counts = append(edges, e), append(counts, n)
		}
	}
	if len(counts) == 0 {
		return 0
	}
	wanted, from, before := q*counts[len(counts)-1], 0.0, 0.0
	for i, n := range counts {
		if n >= wanted {
			if n == before {
				return edges[i]
			}
			return from + (edges[i]-from)*(wanted-before)/(n-before)
		}
		from, before = edges[i], n
	}
	return edges[len(edges)-1]
}
