package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"
)

// floorKafka reads all messages of a topic with Conn.ReadBatch, each partition in a goroutine of its own,
// and scans their JSON. With a folder it does what a simple consumer does instead: it unmarshals them
// and writes them as lines, with a sync for each batch.
func floorKafka(dir, brokers, topic string) error {
	address, _, _ := strings.Cut(brokers, ",")
	ctx := context.Background()
	g, ctx := errgroup.WithContext(ctx)
	for p := range streamPartitions {
		g.Go(func() error {
			conn, err := kafka.DialLeader(ctx, "tcp", address, topic, p)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }() // it was only read
			first, end, err := conn.ReadOffsets()
			if err != nil || first == end {
				return err
			}
			if _, err := conn.Seek(first, kafka.SeekAbsolute); err != nil {
				return err
			}
			if dir == "" {
				return readBatches(conn, end, func(value []byte) error {
					if !json.Valid(value) {
						return errors.New("a message is not JSON")
					}
					return nil
				}, func() error { return nil })
			}
			return writeLines(conn, end, filepath.Join(dir, fmt.Sprint(p)))
		})
	}
	return g.Wait()
}

// readBatches calls f with the value of each message, and after with the end of each batch.
func readBatches(conn *kafka.Conn, end int64, f func([]byte) error, after func() error) error {
	for next := int64(0); next < end; {
		batch := conn.ReadBatch(1, 1<<20)
		for next < end {
			m, err := batch.ReadMessage()
			if err != nil {
				break // the end of the batch
			}
			next = m.Offset + 1
			if err := f(m.Value); err != nil {
				return err
			}
		}
		if err := errors.Join(batch.Close(), after()); err != nil {
			return err
		}
	}
	return nil
}

func writeLines(conn *kafka.Conn, end int64, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	return readBatches(conn, end, func(value []byte) error {
		var record map[string]any
		if err := json.Unmarshal(value, &record); err != nil {
			return err
		}
		w.Write(value)
		return w.WriteByte('\n')
	}, func() error { return errors.Join(w.Flush(), f.Sync()) })
}
