package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
)

// progress turns a run's events into one bar per input on a terminal, an occasional line elsewhere,
// and log entries on request.
type progress struct {
	run      *batchrun.Config
	quiet    bool
	unlogged bool // nothing is logged
	bars     *mpb.Progress
	inputs   []*mpb.Bar
	survey   *mpb.Bar // nil until there is one
	log      *zap.Logger
	claims   atomic.Int64
	rejects  atomic.Int64
	rows     atomic.Int64
	surveyed atomic.Int64
	total    int64
	start    time.Time
	server   func() string // the pace of a target that is a server; nil of others

	mu   sync.Mutex
	last time.Time
}

// quietEvery is how often a line is printed where there is no terminal.
const quietEvery = 10 * time.Second

func newProgress(f *loadFlags, run *batchrun.Config, log *zap.Logger) *progress {
	p := &progress{run: run, quiet: f.quiet, unlogged: f.logLevel == "", log: log, start: time.Now(), last: time.Now()}
	if !f.quiet && f.logLevel == "" && term.IsTerminal(int(os.Stderr.Fd())) {
		p.bars = mpb.New(mpb.WithOutput(os.Stderr), mpb.WithRefreshRate(200*time.Millisecond))
	}
	return p
}

// newLog makes the logger: none, JSON lines or console.
func newLog(form string) *zap.Logger {
	if form == "" {
		return zap.NewNop()
	}
	return zap.New(zapcore.NewCore(encoderOf(form), zapcore.Lock(os.Stderr), zap.InfoLevel))
}

func encoderOf(form string) zapcore.Encoder {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.ISO8601TimeEncoder
	if form == "console" {
		return zapcore.NewConsoleEncoder(c)
	}
	return zapcore.NewJSONEncoder(c)
}

func (p *progress) events(m *manifest.Manifest) pipeline.Events {
	return pipeline.Events{
		Start: func(rows []int64) {
			for i, n := range rows {
				p.total += n
				m.Inputs[i].Rows = n
				p.addBar(i, n)
				p.log.Info("input", zap.String("path", p.run.Inputs[i].Path), zap.Stringer("table", p.run.Inputs[i].Table), zap.Int64("rows", n))
			}
		},
		Progress: func(input int, rows, claims, rejects int64) {
			p.claims.Add(claims)
			p.rejects.Add(rejects)
			p.rows.Add(rows)
			if input >= 0 && input < len(p.inputs) {
				p.inputs[input].IncrInt64(rows)
			}
			p.line()
		},
		Survey: func(rows int64) {
			p.surveyed.Add(rows)
			if bar := p.surveyBar(); bar != nil {
				bar.IncrInt64(rows)
			}
			p.line()
		},
		Phase: func(name string) { p.log.Info("phase", zap.String("name", name)) },
		Warn: func(message string) {
			p.log.Warn(message)
			if !p.quiet || p.unlogged {
				fmt.Fprintln(os.Stderr, "warning: "+message)
			}
		},
	}
}

func (p *progress) addBar(i int, rows int64) {
	if p.bars == nil {
		return
	}
	p.inputs = append(p.inputs, p.bars.AddBar(rows,
		mpb.PrependDecorators(decor.Name(filepath.Base(p.run.Inputs[i].Path), decor.WC{C: decor.DindentRight | decor.DextraSpace})),
		mpb.AppendDecorators(
			decor.CountersNoUnit("%d/%d rows "),
			decor.Any(func(decor.Statistics) string {
				s := time.Since(p.start).Seconds()
				return fmt.Sprintf("%s claims/s, %s rejects %s", comma(int64(float64(p.claims.Load())/max(s, 0.1))), comma(p.rejects.Load()), p.pace("%s "))
			}),
			decor.AverageETA(decor.ET_STYLE_GO),
		)))
}

// surveyBar is the bar of the survey, which goes away when it is full.
func (p *progress) surveyBar() *mpb.Bar {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.survey == nil && p.bars != nil {
		p.survey = p.bars.AddBar(p.total, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name("survey", decor.WC{C: decor.DindentRight | decor.DextraSpace})),
			mpb.AppendDecorators(decor.CountersNoUnit("%d/%d rows "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	return p.survey
}

// line prints or logs the progress of the run, at most every quietEvery.
func (p *progress) line() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.last) < quietEvery {
		return
	}
	p.last = time.Now()
	s := time.Since(p.start).Seconds()
	rows, claims, surveyed := p.rows.Load(), p.claims.Load(), p.surveyed.Load()
	p.log.Info("progress", zap.Int64("rows", rows), zap.Int64("of", p.total), zap.Int64("surveyed", surveyed), zap.Int64("claims", claims), zap.Int64("rejects", p.rejects.Load()), zap.String("server", p.pace("%s")))
	if p.bars == nil && !p.quiet {
		eta := ""
		if rows > 0 && rows < p.total {
			eta = fmt.Sprintf(", about %s to go", time.Duration(s*float64(p.total-rows)/float64(rows)*float64(time.Second)).Round(time.Second))
		}
		survey := ""
		if surveyed > 0 && surveyed < p.total {
			survey = fmt.Sprintf("surveyed %s, loaded ", comma(surveyed))
		}
		fmt.Fprintf(os.Stderr, "%s%s of %s, %s (%s a second), %s%s%s\n", survey, comma(rows), many(p.total, "row"), many(claims, "claim"),
			comma(int64(float64(claims)/s)), many(p.rejects.Load(), "reject"), eta, p.pace("; %s"))
	}
}

// pace describes how the server goes on, in a form, "" without a server.
func (p *progress) pace(form string) string {
	if p.server == nil {
		return ""
	}
	if now := p.server(); now != "" {
		return fmt.Sprintf(form, now)
	}
	return ""
}

// close ends the bars.
func (p *progress) close(err error) {
	if err != nil {
		p.log.Error("stopped", zap.String("error", message(err)))
	} else {
		p.log.Info("finished", zap.Int64("rows", p.rows.Load()), zap.Int64("claims", p.claims.Load()), zap.Int64("rejects", p.rejects.Load()))
	}
	_ = p.log.Sync()
	if p.bars == nil {
		return
	}
	if p.survey != nil {
		p.survey.Abort(true)
	}
	for _, b := range p.inputs {
		if err != nil {
			b.Abort(false)
		} else {
			b.SetTotal(-1, true)
		}
	}
	p.bars.Wait()
	_, _ = io.WriteString(os.Stderr, "\r")
}
