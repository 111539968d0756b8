package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline/kafkaio"
	"cpcds2fhir/pipeline/messages"
	"cpcds2fhir/pipeline/streamrun"
	"cpcds2fhir/pipeline/where"
)

// dlqFlags are the flags of the kafka dlq commands.
type dlqFlags struct {
	kafkaFlags
	topic  string
	where  string
	output string
	values bool
	dryRun bool
}

func newDLQ() *cobra.Command {
	c := &cobra.Command{
		Use:   "dlq",
		Short: "List, show and replay messages that a stream could not load",
		Long: `A stream writes what it cannot load to the topic of dead letters: the message as it
came, and headers that say where it was and which rule it broke. Its position is the
key, so a compacted topic has each message once.`,
	}
	list := &dlqFlags{}
	l := &cobra.Command{Use: "list --config stream.yaml", Short: "Count dead letters by stage, rule and table", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return list.list(c.Context(), c.OutOrStdout()) }}
	list.registerAll(l)
	choiceFlag(l, &list.output, "output", "text counts them, json prints one line each", "text", "json")
	show := &dlqFlags{}
	s := &cobra.Command{Use: "show POSITION --config stream.yaml", Short: "Show why a message is a dead letter",
		Long: `Show prints where a message was, and each rule that it broke. POSITION is TOPIC/PARTITION/OFFSET,
as list prints it. The message itself holds a member's data; it is printed only with
--show-values.`, Args: needs("a position: TOPIC/PARTITION/OFFSET", false),
		RunE: func(c *cobra.Command, args []string) error { return show.show(c.Context(), args[0], c.OutOrStdout()) }}
	show.registerAll(s)
	s.Flags().BoolVar(&show.values, "show-values", false, "also print the message, which holds a member's data")
	replay := &dlqFlags{}
	r := &cobra.Command{Use: "replay --config stream.yaml", Short: "Publish dead letters again to the topics they came from",
		Long: `Replay publishes dead letters again, after a fix of the layout or the source. The stream removes
each from the topic of dead letters when it has loaded it, so until then list still counts
it. A replayed record never replaces one that is as new as itself. If it breaks a rule
again, it stays a dead letter, under the same key.`,
		Example: `  cpcds2fhir kafka dlq replay --config stream.yaml --where 'rule == "unknown-member"'
  cpcds2fhir kafka dlq replay --config stream.yaml --dry-run`, Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return replay.replay(c.Context(), c.OutOrStdout()) }}
	replay.registerAll(r)
	r.Flags().BoolVar(&replay.dryRun, "dry-run", false, "only count what would be replayed")
	c.AddCommand(l, s, r)
	return c
}

func (f *dlqFlags) registerAll(c *cobra.Command) {
	f.register(c)
	c.Flags().StringVar(&f.topic, "topic", "", "`TOPIC` of dead letters (default: that of --config)")
	c.Flags().StringVar(&f.where, "where", "", "only those for which this CEL `EXPRESSION` is true; it knows stage, rule, element, table, topic, partition and offset")
}

// letter is a dead letter as it stands in its topic.
type letter struct {
	Position  string          `json:"position"`
	Topic     string          `json:"topic"`
	Partition int             `json:"partition"`
	Offset    int64           `json:"offset"`
	Table     string          `json:"table,omitempty"`
	Stage     string          `json:"stage"`
	Rule      string          `json:"rule"`
	Element   string          `json:"element,omitempty"`
	Problems  json.RawMessage `json:"problems,omitempty"`
	Replays   int             `json:"replays,omitempty"`
	Size      int             `json:"size"` // bytes of the message

	left   bool // its value is not here
	record kafkaio.Record
}

func letterOf(r *kafkaio.Record) *letter {
	l := &letter{Position: string(r.Key), Size: len(r.Value)}
	l.record = kafkaio.Record{Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)}
	for _, h := range r.Headers {
		h = kafkaio.Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)}
		l.record.Headers = append(l.record.Headers, h)
		v := string(h.Value)
		switch h.Key {
		case deadTopic:
			l.Topic = v
		case deadPartition:
			l.Partition, _ = strconv.Atoi(v)
		case deadOffset:
			l.Offset, _ = strconv.ParseInt(v, 10, 64)
		case deadTable:
			l.Table = v
		case deadStage:
			l.Stage = v
		case deadRule:
			l.Rule = v
		case deadElement:
			l.Element = v
		case deadProblems:
			l.Problems = h.Value
		case deadSize:
			l.Size, _ = strconv.Atoi(v)
			l.left = true
		case streamrun.ReplayHeader:
			l.Replays, _ = strconv.Atoi(v)
		}
	}
	return l
}

// letters reads the topic of dead letters. Of several with one position the last one counts.
func (f *dlqFlags) letters(ctx context.Context) (*streamConfig, *kafkaio.Client, []*letter, error) {
	c, err := f.read()
	if err != nil {
		return nil, nil, nil, err
	}
	if f.topic != "" {
		c.DeadLetters.Topic = f.topic
	}
	if c.deadTopic() == "" {
		return nil, nil, nil, usagef("set --topic, or --config with a stream.yaml")
	}
	filter, err := where.Compile(f.where, "stage", "rule", "element", "table", "topic", "partition int", "offset int")
	if err != nil {
		return nil, nil, nil, usagef("--where: %w", err)
	}
	client, err := c.client(kafkaio.Events{})
	if err != nil {
		return nil, nil, nil, err
	}
	byPosition := map[string]*letter{}
	bounds, err := client.Bounds(ctx, c.deadTopic())
	for _, b := range bounds {
		if err == nil {
			err = readLetters(ctx, client, c.deadTopic(), b, byPosition)
		}
	}
	if err != nil {
		client.Close()
		return nil, nil, nil, err
	}
	var list []*letter
	for _, position := range slices.Sorted(maps.Keys(byPosition)) {
		l := byPosition[position]
		ok, err := filter.Match(map[string]any{"stage": l.Stage, "rule": l.Rule, "element": l.Element, "table": l.Table,
			"topic": l.Topic, "partition": l.Partition, "offset": l.Offset})
		if err != nil {
			client.Close()
			return nil, nil, nil, usagef("--where: %w", err)
		}
		if ok {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b *letter) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		if a.Partition != b.Partition {
			return a.Partition - b.Partition
		}
		return int(a.Offset - b.Offset)
	})
	return c, client, list, nil
}

// readLetters reads a partition up to where it ends now.
func readLetters(ctx context.Context, client *kafkaio.Client, topic string, b kafkaio.Bounds, to map[string]*letter) error {
	r := client.Reader(topic, b.Partition, b.Earliest, kafkaio.ReaderConfig{})
	defer r.Close()
	for at := b.Earliest; at < b.LastStable; {
		f, err := r.Fetch(ctx)
		if err != nil {
			return err
		}
		for i := range f.Records {
			if x := &f.Records[i]; x.Value == nil {
				delete(to, string(x.Key))
			} else {
				l := letterOf(x)
				to[l.Position] = l
			}
		}
		at = f.Next
	}
	return nil
}

func (f *dlqFlags) list(ctx context.Context, out io.Writer) error {
	_, client, list, err := f.letters(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if f.output == "json" {
		return jsonLines(out, list)
	}
	type kind struct{ stage, table, rule string }
	counts, first := map[kind]int64{}, map[kind]string{}
	for _, l := range list {
		k := kind{l.Stage, l.Table, l.Rule}
		if counts[k]++; first[k] == "" {
			first[k] = l.Position
		}
	}
	kinds := slices.SortedFunc(maps.Keys(counts), func(a, b kind) int {
		if counts[a] != counts[b] {
			return int(counts[b] - counts[a])
		}
		return strings.Compare(a.stage+a.table+a.rule, b.stage+b.table+b.rule)
	})
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "COUNT\tSTAGE\tTABLE\tRULE\tFIRST")
	for _, k := range kinds {
		table := k.table
		if table == "" {
			table = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", comma(counts[k]), k.stage, table, k.rule, first[k])
	}
	fmt.Fprintf(w, "%s\tin all\n", comma(int64(len(list))))
	return w.Flush()
}

func (f *dlqFlags) show(ctx context.Context, position string, out io.Writer) error {
	_, client, list, err := f.letters(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	at := slices.IndexFunc(list, func(l *letter) bool { return l.Position == position })
	if at < 0 {
		return fmt.Errorf("there is no dead letter of %s", position)
	}
	l := list[at]
	var b bytes.Buffer
	fmt.Fprintf(&b, "position  %s/%d/%d\nstage     %s\nrule      %s\n", l.Topic, l.Partition, l.Offset, l.Stage, l.Rule)
	if l.Table != "" {
		fmt.Fprintf(&b, "table     %s\n", l.Table)
	}
	if l.Replays > 0 {
		fmt.Fprintf(&b, "replayed  %s\n", times(l.Replays))
	}
	var problems []struct {
		Rule, Element string
		Columns       []string
	}
	if json.Unmarshal(l.Problems, &problems) == nil {
		for _, p := range problems {
			fmt.Fprintf(&b, "  %s", p.Rule)
			if p.Element != "" {
				fmt.Fprintf(&b, ", %s", p.Element)
			}
			if text := ruleText(p.Rule); text != "" {
				fmt.Fprintf(&b, ": %s", text)
			}
			fmt.Fprintln(&b)
		}
	}
	switch {
	case l.left:
		fmt.Fprintf(&b, "message   %s bytes, too large for this topic; it is still in %s, at its position\n", comma(int64(l.Size)), l.Topic)
	case f.values:
		fmt.Fprintf(&b, "message\n%s\n", l.record.Value)
	default:
		fmt.Fprintf(&b, "message   %s bytes; --show-values prints it\n", comma(int64(l.Size)))
	}
	_, err = out.Write(b.Bytes())
	return err
}

// ruleText explains a rule, "" if it is unknown.
func ruleText(rule string) string {
	for _, texts := range []map[string]string{streamrun.Rules, messages.Rules, ruleTexts()} {
		if text := texts[rule]; text != "" {
			return text
		}
	}
	return ""
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func (f *dlqFlags) replay(ctx context.Context, out io.Writer) error {
	_, client, list, err := f.letters(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	producer := client.Producer(kafkaio.ProducerConfig{Compression: kafkaio.Zstd})
	defer func() { _ = producer.Close() }()
	var replayed, left int64
	for _, l := range list {
		if l.left {
			left++
			continue
		}
		if replayed++; f.dryRun {
			continue
		}
		if err := producer.Write(ctx, l.Topic, kafkaio.ByKey, []kafkaio.Record{l.message()}); err != nil {
			return fmt.Errorf("%s were replayed: %w", many(replayed-1, "message"), err)
		}
	}
	verb := "replayed"
	if f.dryRun {
		verb = "would be replayed"
	}
	fmt.Fprintf(out, "%s %s\n", many(replayed, "message"), verb)
	if left > 0 {
		fmt.Fprintf(out, "%s too large for the topic of dead letters; publish them again from their source\n", many(left, "message"))
	}
	return nil
}

// message is the message as it was, with a count of its replays.
func (l *letter) message() kafkaio.Record {
	m := kafkaio.Record{Value: l.record.Value}
	for _, h := range l.record.Headers {
		switch {
		case h.Key == deadKey:
			m.Key = h.Value
		case h.Key == deadPrefix+"null":
			m.Value = nil
		case h.Key == streamrun.ReplayHeader, h.Key == deadSource, strings.HasPrefix(h.Key, deadPrefix):
		default:
			m.Headers = append(m.Headers, h)
		}
	}
	m.Headers = append(m.Headers, kafkaio.Header{Key: streamrun.ReplayHeader, Value: []byte(strconv.Itoa(l.Replays + 1))},
		kafkaio.Header{Key: deadSource, Value: l.record.Key})
	return m
}
