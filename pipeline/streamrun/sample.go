package streamrun

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/schemas/layouts"
)

// Sample reads messages through a layout and loads nothing.
type Sample struct {
	Layout *layouts.Layout
	Topic  Topic
	Name   string // of the topic

	Read, Fit int // messages

	maker  *maker
	faults map[string]int
}

// sampled is the partition of a sample.
type sampled struct {
	Partition
	name string
}

func (p sampled) Topic() string   { return p.name }
func (p sampled) Number() int     { return 0 }
func (p sampled) TopicID() string { return "" }

// Add reads a message. An error is one that may pass, such as a registry that is down.
func (s *Sample) Add(ctx context.Context, m *Message) error {
	if s.maker == nil {
		e := &Engine{Config: Config{Layout: s.Layout, Topics: map[string]Topic{s.Name: s.Topic}}}
		s.maker, s.faults = &maker{Engine: e, part: sampled{name: s.Name}}, map[string]int{}
		s.maker.dir = directory.NewLive(nil, nil)
		s.maker.kit = e.newKit()
	}
	s.Read++
	it := item{Message: m}
	if err := s.maker.read(ctx, &it); err != nil {
		return err
	}
	s.maker.kit.reset()
	if it.fault == nil {
		s.Fit++
		return nil
	}
	s.faults[fmt.Sprintf("%s, %s", it.fault.Stage, it.fault.Problems[0].Rule)]++
	return nil
}

// Faults says what was wrong with messages that do not fit.
func (s *Sample) Faults() (list []string) {
	for _, f := range slices.Sorted(maps.Keys(s.faults)) {
		list = append(list, fmt.Sprintf("%d: %s", s.faults[f], f))
	}
	return list
}
