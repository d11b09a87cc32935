// Package memlog is the journal in memory: the reference that says what a log
// means, and the double that simulations run on.
//
// Invariants:
//
//   - It passes the same conformance suite as the JetStream log (package
//     logsuite), so whatever holds on it is promised by both.
//   - It runs under testing/synctest: time is the bubble's, nothing blocks.
package memlog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

// Log is one stream. The zero value is not ready; use [New]. It is safe for
// concurrent use.
type Log struct {
	history int

	mu       sync.Mutex
	last     uint64
	messages []message // in order of sequence, expired ones included until swept
	byID     map[events.EventID]uint64
}

type message struct {
	subject  string
	sequence uint64
	at       time.Time
	expires  time.Time // zero: never
	data     []byte
}

// New makes an empty log whose first message gets the given sequence and which
// keeps at most history messages a subject (zero: all of them).
func New(first uint64, history int) *Log {
	return &Log{history: history, last: max(first, 1) - 1, byID: map[events.EventID]uint64{}}
}

// Append writes one event if its expectation holds.
func (l *Log) Append(ctx context.Context, a events.Append) (events.Position, error) {
	if err := ctx.Err(); err != nil {
		return events.Position{}, fmt.Errorf("appending to %s: %w: %w", a.Subject, events.ErrUnavailable, err)
	}
	data, err := codec.Encode(a.Envelope)
	if err != nil {
		return events.Position{}, fmt.Errorf("appending to %s: %w", a.Subject, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.sweep(now)
	if seq, done := l.byID[a.Envelope.ID]; done {
		return events.Position{Sequence: seq}, nil
	}
	if !a.Unguarded {
		guard := a.Subject
		if a.Guard != "" {
			guard = a.Guard
		}
		if l.lastOf(guard) != a.After {
			return events.Position{}, fmt.Errorf("appending to %s after %d: %w", a.Subject, a.After, events.ErrConflict)
		}
	}
	l.last++
	m := message{subject: a.Subject, sequence: l.last, at: now, data: data}
	if a.TTL > 0 {
		m.expires = now.Add(roundUp(a.TTL))
	}
	if a.Rollup {
		l.drop(func(o message) bool { return o.subject == a.Subject })
	}
	l.messages = append(l.messages, m)
	l.byID[a.Envelope.ID] = l.last
	l.trim(a.Subject)
	return events.Position{Sequence: l.last}, nil
}

// Load gives the last message of every subject that matches, in order of
// sequence. Subjects may hold wildcards.
func (l *Log) Load(ctx context.Context, _ events.Position, subjects ...string) ([]events.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("loading %s: %w: %w", subjects[0], events.ErrUnavailable, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(time.Now())
	newest := map[string]message{}
	for _, m := range l.messages {
		if slices.ContainsFunc(subjects, func(p string) bool { return matches(p, m.subject) }) {
			newest[m.subject] = m
		}
	}
	if len(newest) > events.MaxLoad {
		return nil, fmt.Errorf("loading %s: %w", subjects[0], events.ErrTooMany)
	}
	records := make([]events.Record, 0, len(newest))
	for _, m := range newest {
		e, err := codec.Decode(m.data)
		if err != nil {
			return nil, fmt.Errorf("loading %s: %w", m.subject, err)
		}
		records = append(records, events.Record{
			Subject: m.subject, Position: events.Position{Sequence: m.sequence}, Time: m.at, Envelope: e,
		})
	}
	slices.SortFunc(records, func(a, b events.Record) int {
		return cmp.Compare(a.Position.Sequence, b.Position.Sequence)
	})
	return records, nil
}

// Len says how many messages the log holds; expired ones do not count.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(time.Now())
	return len(l.messages)
}

func (l *Log) lastOf(pattern string) uint64 {
	for _, m := range slices.Backward(l.messages) {
		if matches(pattern, m.subject) {
			return m.sequence
		}
	}
	return 0
}

func (l *Log) sweep(now time.Time) {
	l.drop(func(m message) bool { return !m.expires.IsZero() && !now.Before(m.expires) })
}

func (l *Log) trim(subject string) {
	if l.history == 0 {
		return
	}
	excess := -l.history
	for _, m := range l.messages {
		if m.subject == subject {
			excess++
		}
	}
	l.drop(func(m message) bool {
		if excess <= 0 || m.subject != subject {
			return false
		}
		excess--
		return true
	})
}

func (l *Log) drop(gone func(message) bool) { l.messages = slices.DeleteFunc(l.messages, gone) }

func roundUp(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

// matches is NATS subject matching: `*` for one token, `>` for one or more.
func matches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		if token == ">" {
			return len(s) > i
		}
		if i >= len(s) || token != "*" && token != s[i] {
			return false
		}
	}
	return len(p) == len(s)
}
