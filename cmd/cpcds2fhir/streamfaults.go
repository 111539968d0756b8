//go:build targetfaults

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// A program that is built with the tag targetfaults has a target that fails and hangs, as a test of
// the whole process needs it: each call of CPCDS2FHIR_FAIL_EVERY fails, half of them before and half
// after the work is done, and each call of CPCDS2FHIR_HANG_EVERY takes up to eight seconds longer.

var errInjected = errors.New("the test lets the target fail")

// faultyTarget is a target with faults.
type faultyTarget struct {
	pipeline.StreamTarget
	log        *zap.Logger
	fail, hang int64
	calls      atomic.Int64
}

func withFaults(t pipeline.StreamTarget, log *zap.Logger) pipeline.StreamTarget {
	every := func(name string) int64 {
		n, _ := strconv.ParseInt(os.Getenv(name), 10, 64)
		return n
	}
	return &faultyTarget{StreamTarget: t, log: log, fail: every("CPCDS2FHIR_FAIL_EVERY"), hang: every("CPCDS2FHIR_HANG_EVERY")}
}

// do makes a call, perhaps with a fault.
func (f *faultyTarget) do(ctx context.Context, call func() error) error {
	n := f.calls.Add(1)
	if f.hang > 0 && n%f.hang == 0 {
		f.log.Info("fault: the target hangs")
		select {
		case <-time.After(rand.N(8 * time.Second)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	failing := f.fail > 0 && n%f.fail == 0
	if failing {
		f.log.Info("fault: the target fails")
	}
	if failing && rand.IntN(2) == 0 {
		return errInjected
	}
	if err := call(); err != nil || !failing {
		return err
	}
	return errInjected
}

// Take implements pipeline.StreamTarget.
func (f *faultyTarget) Take(ctx context.Context, name string) (lane pipeline.StreamLane, at pipeline.Position, err error) {
	err = f.do(ctx, func() (err error) {
		lane, at, err = f.StreamTarget.Take(ctx, name)
		return err
	})
	return &faultyLane{lane, f}, at, err
}

// Recall implements pipeline.StreamTarget.
func (f *faultyTarget) Recall(ctx context.Context, names []string) (values [][]byte, err error) {
	err = f.do(ctx, func() (err error) {
		values, err = f.StreamTarget.Recall(ctx, names)
		return err
	})
	return values, err
}

type faultyLane struct {
	pipeline.StreamLane
	target *faultyTarget
}

// Load implements pipeline.StreamLane.
func (l *faultyLane) Load(ctx context.Context, b *fhir.Batch, seal pipeline.StreamSeal) error {
	return l.target.do(ctx, func() error { return l.StreamLane.Load(ctx, b, seal) })
}
