package main

import (
	"context"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/audit"
	"cpcds2fhir/schemas/fhir"
)

// auditAnswer turns what an answer shows into a record.
func auditAnswer(l *audit.Log, read *readings, a *api.Answer) error {
	r := audit.Record{
		Action: a.Route, Request: a.Request, Client: a.Access.Client, User: a.Access.User, Status: a.Status,
		Type: a.Type, ID: a.ID, Params: a.Params, Resources: make([]string, 0, len(a.Shown)),
	}
	r.Operator = a.Access.Patient == ""
	if !r.Operator {
		r.Members = append(r.Members, a.Access.Patient)
	}
	for i := range a.Shown {
		x := &a.Shown[i]
		r.Resources = append(r.Resources, fhir.Reference(x.Type, x.ID))
		if x.Patient != "" && !slices.Contains(r.Members, x.Patient) {
			r.Members = append(r.Members, x.Patient)
		}
	}
	if err := l.Append(&r); err != nil {
		return err
	}
	read.add(&r)
	return nil
}

// noteHeads writes the end of the audit log into the log of the server, which is kept elsewhere: whoever cuts
// the audit off, or makes it anew, does not have these hashes.
func noteHeads(ctx context.Context, l *audit.Log, log *zap.Logger, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	noted := uint64(0)
	for {
		if n, hash := l.Head(); n > noted {
			noted = n
			log.Info("audit", zap.Uint64("records", n), zap.String("hash", hash))
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// openAudit opens the audit log of a served store. stop ends its use, after its end was noted.
func (c *serveConfig) openAudit(ctx context.Context, log *zap.Logger) (l *audit.Log, stop func(), err error) {
	if l, err = audit.Open(auditOf(c.Store, c.Audit)); err != nil {
		return nil, nil, environmentf("%w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		noteHeads(ctx, l, log, time.Hour)
	}()
	return l, func() {
		cancel()
		<-done
		if n, hash := l.Head(); n > 0 {
			log.Info("audit", zap.Uint64("records", n), zap.String("hash", hash))
		}
		if err := l.Close(); err != nil {
			log.Error("close the audit log", zap.String("error", message(err)))
		}
	}, nil
}

// newAccessLog is a log for the lines of requests, which reach the operating system within a second: a write for
// each takes a twentieth of a read's time. What the audit must not lose it writes itself.
func newAccessLog(form string) (log *zap.Logger, stop func() error) {
	w := &zapcore.BufferedWriteSyncer{WS: zapcore.Lock(os.Stderr), FlushInterval: time.Second}
	return zap.New(zapcore.NewCore(encoderOf(form), w, zap.InfoLevel)), w.Stop
}

// limit is a limit of the configuration, where 0 is none, as the API has it.
func limit(n int) int {
	if n == 0 {
		return -1
	}
	return n
}
