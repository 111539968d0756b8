package streamrun

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"cpcds2fhir/pipeline"
)

// window is what a lane has made durable in one window of time. It becomes durable with each batch.
type window struct {
	From     int64            `json:"from"` // offset of the first message
	To       int64            `json:"to"`   // offset after the last message
	Messages MessageCount     `json:"messages"`
	Account  pipeline.Account `json:"account"`

	start time.Time
	next  *window // as the batch on its way leaves it
}

const (
	windowSpace  = "account/"
	windowFormat = "2006-01-02T15:04:05Z"
)

// windowName is the record of a lane's window.
func windowName(start time.Time, lane string) string {
	return windowSpace + start.Format(windowFormat) + "/" + lane
}

// of returns the window that begins at start: this one, or a new one.
func (w window) of(start time.Time, at pipeline.Position) window {
	if w.start.Equal(start) {
		return w
	}
	return window{From: at.Next, To: at.Next, start: start}
}

// readWindow reads the account of the present window, which an owner before may have begun.
func (l *lane) readWindow(ctx context.Context) error {
	start := l.windowOf(l.Now())
	l.window = window{start: start, From: l.durable.Next, To: l.durable.Next}
	values, err := l.Target.Recall(ctx, []string{windowName(start, l.name)})
	if err != nil {
		return err
	}
	if values[0] == nil {
		return nil
	}
	if err := json.Unmarshal(values[0], &l.window); err != nil {
		return fmt.Errorf("read account: %w", err)
	}
	return nil
}

// LaneAccount is what a lane has made durable in a window.
type LaneAccount struct {
	Window   time.Time // its beginning
	Lane     string    // group/topic/partition
	From, To int64     // offsets: of the first message, and after the last
	Messages MessageCount
	Account  pipeline.Account
}

// Accounts calls f for the account of each lane and window that is not before since, in the order of
// windows: those of a group, or of all groups if it is "".
func Accounts(ctx context.Context, t pipeline.StreamRecords, group string, since time.Time, f func(*LaneAccount) error) error {
	return t.Each(ctx, windowSpace, func(r pipeline.Record) error {
		at, lane, _ := strings.Cut(strings.TrimPrefix(r.Name, windowSpace), "/")
		start, err := time.Parse(windowFormat, at)
		if err != nil {
			return fmt.Errorf("read account: %w", err)
		}
		if start.Before(since) || group != "" && !strings.HasPrefix(lane, group+"/") {
			return nil
		}
		var w window
		if err := json.Unmarshal(r.Value, &w); err != nil {
			return fmt.Errorf("read account: %w", err)
		}
		return f(&LaneAccount{start, lane, w.From, w.To, w.Messages, w.Account})
	})
}
