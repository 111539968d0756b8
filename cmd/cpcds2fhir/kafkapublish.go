package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline/kafkaio"
	"cpcds2fhir/pipeline/messages"
	"cpcds2fhir/pipeline/publish"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/streamrun"
	"cpcds2fhir/pipeline/where"
	"cpcds2fhir/schemas/cpcds"
)

// publishFlags are the flags of kafka publish.
type publishFlags struct {
	kafkaFlags
	topic, layout            string
	key, format, grain       string
	where, rate, compression string
	partitions               int
	output                   string
	quiet                    bool
}

func newPublish() *cobra.Command {
	f := &publishFlags{}
	c := &cobra.Command{
		Use:   "publish EXTRACT... --brokers HOST:PORT --topic TOPIC",
		Short: "Publish the records of an extract to a topic",
		Long: `Publish reads an extract like 'load' does, and writes a message for each record: first the
organizations, providers, members and coverages, then the claims, each with all its
lines. The header cpcds-table names the table. A stream with this topic, and otherwise
the defaults, makes the same resources of it as 'load' of the extract.

--key says which messages go to the same partition, in order: those of one record
(claim), of a claim and its adjustments (family), or of a member (member). With claim,
the key is that of the record, as a compacted topic needs it.

With avro, protobuf and json-schema the schemas are registered first, as subject
TOPIC-TABLE; a stream reads them with the format registry.`,
		Example: `  cpcds2fhir kafka publish ./extract --brokers 127.0.0.1:9092 --topic cpcds
  cpcds2fhir kafka publish ./extract --brokers 127.0.0.1:9092 --topic cpcds --rate 500/s
  cpcds2fhir kafka publish ./extract --config stream.yaml --topic cpcds --where 'table == "claims" && record.claim_type == "pharmacy"'`,
		Args: needs("an extract: files, folders or globs", true),
		RunE: func(c *cobra.Command, args []string) error { return f.publish(c.Context(), args, c.OutOrStdout()) },
	}
	f.register(c)
	c.Flags().StringVar(&f.topic, "topic", "", "publish to this `TOPIC`, which is created if it does not exist")
	c.Flags().StringVar(&f.layout, "layout", "", "use this `LAYOUT`, a built-in name or a file (default: recognised from the headers)")
	choiceFlag(c, &f.key, "key", "which messages share a partition", "claim", "family", "member")
	choiceFlag(c, &f.format, "format", "how messages are written", "json", "avro", "protobuf", "json-schema")
	choiceFlag(c, &f.grain, "grain", "a claim with its lines per message, or a line of it", "claim", "line")
	c.Flags().StringVar(&f.rate, "rate", "", "publish at most `N/s` messages (default: no limit)")
	c.Flags().StringVar(&f.where, "where", "", "publish only records for which this CEL `EXPRESSION` is true; it knows table, key, member, record and lines")
	c.Flags().StringVar(&f.registry, "registry", "", "`URL` of the schema registry")
	c.Flags().IntVar(&f.partitions, "partitions", 3, "partitions of a topic that is created")
	choiceFlag(c, &f.compression, "compression", "of batches of messages", "zstd", "lz4", "snappy", "gzip", "none")
	choiceFlag(c, &f.output, "output", "format of the account", "text", "json")
	c.Flags().BoolVar(&f.quiet, "quiet", false, "print no progress and no account")
	return c
}

// perSecond reads N/s.
func perSecond(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(s, "/s"), 64)
	if err != nil || !(n > 0 && n < 1e9) {
		return 0, usagef("--rate %q: use a number of messages per second, such as 500/s", s)
	}
	return n, nil
}

func (f *publishFlags) publish(ctx context.Context, args []string, out io.Writer) error {
	c, err := f.read()
	if err != nil {
		return err
	}
	if f.topic == "" {
		return usagef("set --topic")
	}
	if f.partitions < 1 {
		return usagef("--partitions %d: use at least 1", f.partitions)
	}
	rate, err := perSecond(f.rate)
	if err != nil {
		return err
	}
	filter, err := where.Compile(f.where, "table", "key", "member", "record map", "lines list")
	if err != nil {
		return usagef("--where: %w", err)
	}
	if f.format != "json" && c.Registry.URL == "" {
		return usagef("--format %s needs a schema registry: set --registry or registry.url in --config", f.format)
	}
	if f.format != "json" && f.grain == "line" {
		return usagef("--grain line goes with --format json only")
	}
	x, err := openExtract(args, nil, f.layout, false, nil, roomOf(512<<20, 1))
	if err != nil {
		return err
	}
	defer x.close()
	client, err := c.client(kafkaio.Events{})
	if err != nil {
		return err
	}
	defer client.Close()
	if err := f.ensureTopic(ctx, client); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "cpcds2fhir-")
	if err != nil {
		return environmentf("make a folder for temporary files: %w", err)
	}
	defer os.RemoveAll(scratch)
	compression := f.compression
	if compression == "none" {
		compression = kafkaio.Uncompressed
	}
	p := &publisher{publishFlags: f, ctx: ctx, filter: filter, rate: rate, start: time.Now(), last: time.Now(),
		producer: client.Producer(kafkaio.ProducerConfig{Compression: compression}), counts: map[string]int64{}}
	defer func() { _ = p.producer.Close() }()
	extract := &publish.Extract{Inputs: x.inputs, Layout: x.layout, Scratch: scratch, Workers: runtime.NumCPU(), Lines: f.grain == "line"}
	if f.key == "family" {
		p.families = &publish.Families{}
		if err := extract.Each(ctx, func(m *publish.Message) error { p.families.Add(m.Claims); return nil }); err != nil {
			return err
		}
	}
	if err := extract.Place(ctx); err != nil {
		return err
	}
	if p.encoders, err = f.encoders(ctx, c, x.inputs); err != nil {
		return err
	}
	if err := extract.Each(ctx, p.add); err != nil {
		return err
	}
	if err := p.flush(); err != nil {
		return err
	}
	return p.report(out)
}

// ensureTopic creates the topic if it does not exist.
func (f *publishFlags) ensureTopic(ctx context.Context, client *kafkaio.Client) error {
	_, err := client.Describe(ctx, f.topic)
	missing, ok := errors.AsType[*kafkaio.TopicError](err)
	if err == nil || !ok || !missing.Missing {
		return err
	}
	err = client.CreateTopic(ctx, f.topic, f.partitions, -1, nil)
	if exists, ok := errors.AsType[*kafkaio.TopicError](err); ok && exists.Exists {
		return nil
	}
	return err
}

// encoding writes the records of a table.
type encoding struct {
	encoder messages.Encoder
	frame   []byte
	fields  []string // of all records; nil: those that a record has
	lines   []string
}

// encoders makes the encoders, and registers their schemas.
func (f *publishFlags) encoders(ctx context.Context, c *streamConfig, inputs []*rowbatch.Input) (map[cpcds.Table]*encoding, error) {
	list := map[cpcds.Table]*encoding{}
	if f.format == "json" {
		for t := range cpcds.NumTables {
			list[t] = &encoding{encoder: messages.NewJSON()}
		}
		return list, nil
	}
	registry, err := c.registry()
	if err != nil {
		return nil, err
	}
	for t := range cpcds.NumTables {
		fields, lines := publish.Columns(inputs, t)
		if len(fields)+len(lines) == 0 {
			continue
		}
		x := &encoding{fields: fields, lines: lines}
		switch f.format {
		case "avro":
			x.encoder, err = messages.NewAvro(fields, lines)
		case "protobuf":
			x.encoder, err = messages.NewProtobuf(fields, lines)
		default:
			x.encoder, err = messages.NewJSONSchema(fields, lines)
		}
		if err != nil {
			return nil, err
		}
		id, err := registry.Register(ctx, f.topic+"-"+t.String(), x.encoder.Schema())
		if err != nil {
			return nil, fmt.Errorf("register the schema of the %s: %w", t, err)
		}
		x.frame = messages.AppendFrame(nil, id)
		list[t] = x
	}
	return list, nil
}

// publisher writes messages in batches.
type publisher struct {
	*publishFlags
	ctx      context.Context
	filter   *where.Filter
	rate     float64
	start    time.Time
	last     time.Time
	producer *kafkaio.Producer
	families *publish.Families
	encoders map[cpcds.Table]*encoding

	records []kafkaio.Record
	size    int
	sent    int64
	counts  map[string]int64
	left    int64 // records that --where leaves out
}

// add publishes a record.
func (p *publisher) add(m *publish.Message) error {
	if ok, err := p.wanted(m); err != nil || !ok {
		if err == nil {
			p.left++
		}
		return err
	}
	x := p.encoders[m.Table]
	r := &messages.Record{Fields: m.Fields, Values: m.Values, Lines: m.Lines, Rows: m.Rows}
	if x.fields != nil {
		var err error
		if r, err = arranged(m, x.fields, x.lines); err != nil {
			return err
		}
	}
	value, err := x.encoder.Append(slices.Clone(x.frame), r)
	if err != nil {
		return fmt.Errorf("write a message of the %s: %w", m.Table, err)
	}
	key := m.Key
	switch {
	case p.key == "member" && m.Member != "":
		key = m.Member
	case p.key == "family" && m.Table == cpcds.Claims:
		key = p.families.Of(m.Key)
	}
	headers := []kafkaio.Header{{Key: streamrun.TableHeader, Value: []byte(m.Table.String())}}
	if key != m.Key {
		headers = append(headers, kafkaio.Header{Key: streamrun.RecordHeader, Value: []byte(m.Key)})
	}
	if m.Count > 0 {
		headers = append(headers, kafkaio.Header{Key: streamrun.LinesHeader, Value: []byte(strconv.Itoa(m.Count))})
	}
	p.records = append(p.records, kafkaio.Record{Key: []byte(key), Value: value, Headers: headers})
	p.size += len(value) + len(key)
	p.counts[m.Table.String()]++
	most := 1000
	if p.rate > 0 {
		most = max(1, int(p.rate/20))
	}
	if len(p.records) >= most || p.size >= 4<<20 {
		return p.flush()
	}
	return nil
}

// wanted reports whether --where selects a record.
func (p *publisher) wanted(m *publish.Message) (bool, error) {
	if p.filter == nil {
		return true, nil
	}
	record, lines := map[string]string{}, []map[string]string{}
	for i, name := range m.Fields {
		if m.Values[i] != "" {
			record[name] = m.Values[i]
		}
	}
	for _, row := range m.Rows {
		line := map[string]string{}
		for i, v := range row {
			if v != "" {
				line[m.Lines[i]] = v
			}
		}
		lines = append(lines, line)
	}
	ok, err := p.filter.Match(map[string]any{"table": m.Table.String(), "key": m.Key, "member": m.Member, "record": record, "lines": lines})
	if err != nil {
		return false, usagef("--where: %w", err)
	}
	return ok, nil
}

// arranged is a record in the columns of a schema.
func arranged(m *publish.Message, fields, lines []string) (*messages.Record, error) {
	r := &messages.Record{Fields: fields, Values: make([]string, len(fields)), Lines: lines}
	for i, name := range m.Fields {
		at := slices.Index(fields, name)
		if at < 0 {
			return nil, fmt.Errorf("a record of the %s has the column %q, which the others do not have", m.Table, name)
		}
		r.Values[at] = m.Values[i]
	}
	to := make([]int, len(m.Lines))
	for i, name := range m.Lines {
		if to[i] = slices.Index(lines, name); to[i] < 0 {
			return nil, fmt.Errorf("the rows of a claim have different values of the header column %q, which a schema cannot have among the lines; use --format json", name)
		}
	}
	for _, row := range m.Rows {
		line := make([]string, len(lines))
		for i, v := range row {
			line[to[i]] = v
		}
		r.Rows = append(r.Rows, line)
	}
	return r, nil
}

// flush writes the messages that are held, and waits if the rate is limited.
func (p *publisher) flush() error {
	if len(p.records) == 0 {
		return nil
	}
	if err := p.producer.Write(p.ctx, p.topic, kafkaio.ByKey, p.records); err != nil {
		return err
	}
	p.sent += int64(len(p.records))
	p.records, p.size = p.records[:0], 0
	if p.rate > 0 {
		due := p.start.Add(time.Duration(float64(p.sent) / p.rate * float64(time.Second)))
		select {
		case <-time.After(time.Until(due)):
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
	}
	if !p.quiet && time.Since(p.last) >= quietEvery {
		p.last = time.Now()
		fmt.Fprintf(os.Stderr, "%s published (%s a second)\n", many(p.sent, "message"), comma(int64(float64(p.sent)/time.Since(p.start).Seconds())))
	}
	return p.ctx.Err()
}

// report prints what was published.
func (p *publisher) report(out io.Writer) error {
	seconds := time.Since(p.start).Seconds()
	if p.output == "json" {
		return json.NewEncoder(out).Encode(map[string]any{"topic": p.topic, "messages": p.sent, "tables": p.counts, "left_out": p.left, "seconds": seconds})
	}
	if p.quiet {
		return nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "published %s to topic %s in %.1f s\n", many(p.sent, "message"), p.topic, seconds)
	for t := range cpcds.NumTables {
		if n := p.counts[t.String()]; n > 0 {
			fmt.Fprintf(&b, "  %-14s %s\n", t, comma(n))
		}
	}
	if p.left > 0 {
		fmt.Fprintf(&b, "  left out       %s\n", comma(p.left))
	}
	_, err := out.Write(b.Bytes())
	return err
}
