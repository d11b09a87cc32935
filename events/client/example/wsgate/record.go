package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/revocast/revocast/events"
)

// line is what is written down for every event.
type line struct {
	EventID events.EventID `json:"event_id"`
	// Kind is the revocation's, or "ignored" for what revokes nothing.
	Kind string `json:"kind"`
	// ID is what was revoked; empty for all.
	ID string `json:"id"`
	// Closed is how many connections were told to close.
	Closed int `json:"closed"`
}

// record writes lines, to a file first if there is one. Not for concurrent use.
type record struct {
	out  io.Writer
	file *os.File
}

// openRecord opens a file to append to, or none if path is empty.
func openRecord(path string, out io.Writer) (*record, error) {
	r := &record{out: out}
	if path == "" {
		return r, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600) //nolint:gosec // the path is the operator's own
	if err != nil {
		return nil, fmt.Errorf("opening record: %w", err)
	}
	if err := finishLine(f); err != nil {
		return nil, errors.Join(fmt.Errorf("opening record %s: %w", path, err), f.Close())
	}
	r.file = f
	return r, nil
}

// finishLine ends a line that a crash cut off, so that it does not spoil the next.
// Its event has not been acknowledged and comes again.
func finishLine(f *os.File) error {
	last := make([]byte, 1)
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return err
	}
	if _, err := f.ReadAt(last, end-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		_, err = f.WriteString("\n")
	}
	return err
}

// write returns when the line is on disk.
func (r *record) write(l line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("recording event %s: %w", l.EventID, err)
	}
	b = append(b, '\n')
	if r.file != nil {
		if _, err := r.file.Write(b); err != nil {
			return fmt.Errorf("recording event %s: %w", l.EventID, err)
		}
		if err := r.file.Sync(); err != nil {
			return fmt.Errorf("recording event %s: %w", l.EventID, err)
		}
	}
	if _, err := r.out.Write(b); err != nil {
		return fmt.Errorf("recording event %s: %w", l.EventID, err)
	}
	return nil
}

// Close closes the file.
func (r *record) Close() error {
	if r.file == nil {
		return nil
	}
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("closing record: %w", err)
	}
	return nil
}
