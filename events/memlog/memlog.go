// Package memlog is the journal in memory: the reference that says what a log
// means, and the double that simulations run on.
//
// Invariants:
//
//   - It passes the same conformance suite as the JetStream log (package
//     logsuite), so whatever holds on it is promised by both.
//   - It runs under testing/synctest: time is the bubble's, nothing blocks.
//   - A [Replica] holds what the log held at some earlier sequence, less what has
//     expired since, and never anything else.
package memlog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

// sweepEvery is how often what has expired is looked for where nobody reads.
const sweepEvery = time.Minute

// Log is one stream. The zero value is not ready; use [New]. It is safe for
// concurrent use.
type Log struct {
	mu       sync.Mutex
	last     uint64
	copy     contents
	swept    time.Time
	byID     map[events.EventID]uint64
	replicas []*Replica
	// following is what some replica has not applied yet, in order.
	following []*message
}

// New makes an empty log whose first message gets the given sequence and which
// keeps at most history messages a subject (zero: all of them).
func New(first uint64, history int) *Log {
	return &Log{
		last: max(first, 1) - 1, copy: contents{history: history, subjects: map[string][]*message{}},
		byID: map[events.EventID]uint64{},
	}
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
	if now.Sub(l.swept) >= sweepEvery {
		l.copy.sweep(now)
		l.swept = now
	}
	if seq, done := l.byID[a.Envelope.ID]; done {
		return events.Position{Sequence: seq}, nil
	}
	if guard := cmp.Or(a.Guard, a.Subject); !a.Unguarded && l.copy.last(guard, now) != a.After {
		return events.Position{}, fmt.Errorf("appending to %s after %d: %w", a.Subject, a.After, events.ErrConflict)
	}
	l.last++
	m := &message{subject: a.Subject, sequence: l.last, at: now, rollup: a.Rollup, data: data}
	if a.TTL > 0 {
		m.expires = now.Add(roundUp(a.TTL))
	}
	l.copy.apply(m)
	l.byID[a.Envelope.ID] = l.last
	if len(l.replicas) > 0 {
		l.following = append(l.following, m)
	}
	return events.Position{Sequence: l.last}, nil
}

// Load gives the last message of every subject that matches, in order of
// sequence. Subjects may hold wildcards. The log itself is never behind; what it
// shares with other logs is that an empty answer is believed only if atLeast is zero.
func (l *Log) Load(ctx context.Context, atLeast events.Position, subjects ...string) ([]events.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.copy.load(ctx, time.Now(), atLeast, subjects)
}

// Len says how many messages the log holds; expired ones do not count.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.copy.sweep(time.Now())
	n := 0
	for _, messages := range l.copy.subjects {
		n += len(messages)
	}
	return n
}

// Subjects lists the subjects that hold a message which has not expired, sorted.
func (l *Log) Subjects() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.copy.sweep(time.Now())
	names := make([]string, 0, len(l.copy.subjects))
	for name := range l.copy.subjects {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Last is the sequence of the newest message ever appended.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func roundUp(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}
