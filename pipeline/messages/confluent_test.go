package messages

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline/messages/registry"
)

func TestFrame(t *testing.T) {
	var c Collector
	f := Confluent(schemas{1: {Type: registry.JSON, Text: "{}"}, 2: {Type: "XML"}})
	checkRejected(t, &c, f, []rejected{
		{"", RuleEmpty, "", -1},
		{`{"a":1}`, RuleFrameUnknown, "", 0},
		{"\x01\x00\x00\x00\x01{}", RuleFrameUnknown, "", 0},
		{"\x00\x00\x00\x00", RuleFrameTruncated, "", 4},
		{"\x00\x00\x00\x00\x03{}", RuleSchemaUnknown, "", 1},
		{"\x00\xff\xff\xff\xff{}", RuleSchemaUnknown, "", 1},
		{"\x00\x00\x00\x00\x02{}", RuleSchemaUnsupported, "", 1},
		{framed(""), RuleTruncated, "", 5},
		{framed(`{"a":x}`), RuleNotJSON, "a", 10},
		{framed(`[]`), RuleNotAnObject, "", 5},
	})
	if got := showPlace(&c, add(t, &c, f, framed(`{"a":1}`), 0)); got[0] != "* a=1" {
		t.Error(got)
	}
}

// A message whose schema is named by a header has no frame, even if it begins with a zero byte.
func TestFrameInHeader(t *testing.T) {
	f := Confluent(schemas{1: {Type: registry.JSON, Text: "{}"}})
	with := func(name string) func(string) bool { return func(s string) bool { return s == name } }
	for _, h := range []string{"__value_schema_id", "apicurio.value.globalId"} {
		var e *Error
		if err := CheckHeaders(f, with(h)); !errors.As(err, &e) || e.Rule != RuleFrameHeader {
			t.Errorf("header %s: %v", h, err)
		}
		if err := CheckHeaders(JSON(), with(h)); err != nil {
			t.Errorf("header %s, JSON: %v", h, err)
		}
	}
	if err := CheckHeaders(f, with("cpcds-table")); err != nil {
		t.Error(err)
	}
}

// failing is a registry that fails with an error and counts.
type failing struct {
	mu    sync.Mutex
	err   error
	calls int
}

func (f *failing) Schema(context.Context, int32) (*registry.Schema, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.err != nil {
		return nil, f.err
	}
	return &registry.Schema{Type: registry.JSON}, nil
}

func TestRegistryFailures(t *testing.T) {
	r := &failing{}
	f := Confluent(r)
	var c Collector
	for _, err := range []error{
		&registry.Error{Status: 401}, &registry.Error{Status: 500}, &registry.Error{Status: 404, Code: 404}, &registry.Error{Err: context.DeadlineExceeded},
		errors.New("anything else"), context.DeadlineExceeded,
	} {
		r.err = err
		_, got := c.Add(t.Context(), f, []byte(framed(`{"a":1}`)), 0)
		var e *Error
		if !errors.As(got, &e) || e.Rule != RuleSchemaUnavailable || e.Stage != StageSchema || !IsRetriable(got) || !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Add(ctx, f, []byte(framed(`{}`)), 0); err != context.Canceled {
		t.Errorf("canceled: %v", err)
	}
	r.err, r.calls = nil, 0
	for range 3 {
		add(t, &c, f, framed(`{"a":1}`), 0)
	}
	if r.calls != 1 {
		t.Errorf("%d calls", r.calls)
	}
}

// panicking is a format with a fault.
type panicking struct{}

func (panicking) decode(context.Context, []byte, *sink) error { panic("SECRET") }

func TestPanic(t *testing.T) {
	var c Collector
	checkRejected(t, &c, panicking{}, []rejected{{"x", RuleDecoderFailed, "", -1}})
	if got := showPlace(&c, add(t, &c, JSON(), `{"a":1}`, 0)); got[0] != "* a=1" {
		t.Error(got)
	}
}

// TestConcurrent shares one format between collectors.
func TestConcurrent(t *testing.T) {
	all, formats, s := encoders(t, columns, inLines)
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(5, seed))
			var c Collector
			for range 50 {
				r := randomRecord(rnd)
				for name, e := range all {
					message, err := e.Append(nil, r)
					if err != nil {
						t.Error(err)
						return
					}
					for id, x := range s {
						if x.Type == e.Schema().Type {
							message = append(AppendFrame(nil, id), message...)
						}
					}
					p, err := c.Add(t.Context(), formats[name], message, 0)
					if err != nil {
						t.Error(err)
						return
					}
					if diff := cmp.Diff(cells(r), readCells(&c, p)); diff != "" {
						t.Errorf("%s (-want +got):\n%s", name, diff)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestRealRegistry registers the schemas of the encoders in the registry whose URL is in
// SCHEMA_REGISTRY, and reads messages with them.
func TestRealRegistry(t *testing.T) {
	url := os.Getenv("SCHEMA_REGISTRY")
	if url == "" {
		t.Skip("SCHEMA_REGISTRY is not set")
	}
	client, err := registry.New(registry.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(7, 8))
	all, _, _ := encoders(t, columns, inLines)
	delete(all, "plain")
	format := Confluent(client)
	var c Collector
	for name, e := range all {
		subject := fmt.Sprintf("test-%s-%d-value", strings.ToLower(name), time.Now().UnixNano())
		if _, _, err := client.Latest(t.Context(), subject); !registry.IsUnknown(err) {
			t.Errorf("%s: a subject that does not exist: %v", name, err)
		}
		id, err := client.Register(t.Context(), subject, e.Schema())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if again, err := client.Register(t.Context(), subject, e.Schema()); err != nil || again != id {
			t.Errorf("%s: registered again as %d, not %d: %v", name, again, id, err)
		}
		latest, version, err := client.Latest(t.Context(), subject)
		if err != nil || version != 1 || latest.ID != id || latest.Type != name {
			t.Errorf("%s: latest is %v, version %d, %v", name, latest, version, err)
		}
		for range 20 {
			r := randomRecord(rnd)
			message, err := e.Append(AppendFrame(nil, id), r)
			if err != nil {
				t.Fatal(err)
			}
			p, err := c.Add(t.Context(), format, message, 1)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(cells(r), readCells(&c, p)); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
	_, err = c.Add(t.Context(), format, append(AppendFrame(nil, 1<<30), 0), 1)
	var e *Error
	if !errors.As(err, &e) || e.Rule != RuleSchemaUnknown || e.Retriable {
		t.Errorf("an unknown id: %v", err)
	}
	referred(t, client)
}

// referred reads a message whose schema refers to another one.
func referred(t *testing.T, client *registry.Client) {
	t.Helper()
	stamp := time.Now().UnixNano()
	inner := registry.Schema{Type: registry.Protobuf, Text: fmt.Sprintf("syntax = \"proto3\";\npackage p%d;\n\nmessage Line {\n  optional string n = 1;\n}\n", stamp)}
	subject := fmt.Sprintf("test-line-%d", stamp)
	if _, err := client.Register(t.Context(), subject, inner); err != nil {
		t.Fatal(err)
	}
	outer := registry.Schema{
		Type:       registry.Protobuf,
		Text:       fmt.Sprintf("syntax = \"proto3\";\npackage q%d;\n\nimport \"line.proto\";\n\nmessage Claim {\n  repeated p%d.Line lines = 1;\n}\n", stamp, stamp),
		References: []registry.Reference{{Name: "line.proto", Subject: subject, Version: 1}},
	}
	id, err := client.Register(t.Context(), fmt.Sprintf("test-claim-%d", stamp), outer)
	if err != nil {
		t.Fatal(err)
	}
	var c Collector
	p := add(t, &c, Confluent(client), string(AppendFrame(nil, id))+"\x00"+field(1, field(1, "x")), 0)
	if got := showPlace(&c, p); got[0] != "* lines.n=x" {
		t.Error(got)
	}
}
