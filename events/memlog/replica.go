package memlog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
)

// Replica is another server's copy of a log. It holds what it was told to follow
// and nothing beyond, as a server does that is slow or has been away; what
// expires, it finds out by itself. It is safe for concurrent use.
type Replica struct {
	log *Log
	// Guarded by log.mu.
	copy    contents
	applied uint64
	skew    time.Duration
}

// Replica makes a copy that holds what the log holds now. The log keeps whatever
// the slowest of its replicas has yet to follow.
func (l *Log) Replica() *Replica {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &Replica{
		log: l, applied: l.last,
		copy: contents{history: l.copy.history, subjects: maps.Clone(l.copy.subjects)},
	}
	l.replicas = append(l.replicas, r)
	return r
}

// Skew says how far the server's clock, by which it expires messages, is ahead.
func (r *Replica) Skew(ahead time.Duration) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.skew = ahead
}

// Follow applies everything up to a sequence. What lies before is not undone.
func (r *Replica) Follow(upTo uint64) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.following {
		if m.sequence > r.applied && m.sequence <= upTo {
			r.copy.apply(m)
			r.applied = m.sequence
		}
	}
	slowest := l.last
	for _, other := range l.replicas {
		slowest = min(slowest, other.applied)
	}
	l.following = slices.DeleteFunc(l.following, func(m *message) bool { return m.sequence <= slowest })
}

// Applied is how far it has followed.
func (r *Replica) Applied() uint64 {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.applied
}

// Load is [Log.Load] as this replica answers it. One that has not reached atLeast
// is unavailable.
func (r *Replica) Load(ctx context.Context, atLeast events.Position, subjects ...string) ([]events.Record, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if r.applied < atLeast.Sequence {
		return nil, fmt.Errorf("loading %v: %w: replica is at %d, wanted %d", subjects, events.ErrUnavailable, r.applied, atLeast.Sequence)
	}
	return r.copy.load(ctx, time.Now().Add(r.skew), atLeast, subjects)
}
