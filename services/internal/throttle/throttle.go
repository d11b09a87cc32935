// Package throttle counts failures in token buckets: what may fail ten times in ten
// minutes may fail ten times at once and then once a minute (ADR-0011).
//
// A bucket is drawn upon before the attempt and given back if that did not fail, so
// that attempts made at once cannot pass the limit together, and who only succeeds is
// never slowed. An attempt that finds a bucket empty because others are still under
// way waits for them rather than being refused.
//
// What is kept of a bucket is the time when it will be full again (the generic cell
// rate algorithm), by a hash of its key: 1,000,000 keys or ten, a table holds at most
// [Capacity] buckets, of which the one not drawn upon for longest goes first. To make
// room for himself an attacker has to fail with as many other keys.
//
// Invariants:
//
//   - Over any time t, at most Failures + t / Per × Failures attempts on one bucket
//     fail, as long as the table has not let go of it.
//   - An attempt draws on all of its buckets or on none.
//   - [Error.After] is honest: left alone for so long, the same attempt is made.
//   - A table's memory is bounded by its capacity; names are not kept.
package throttle

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Capacity is how many buckets a table holds, at some 150 bytes each.
const Capacity = 1 << 16

const (
	// maxWaiting bounds those who wait for attempts under way.
	maxWaiting = 256
	// maxWait bounds how long: as long as the slowest of them should take.
	maxWait = 10 * time.Second
)

// Set is tables that can be drawn upon together. Make one with [New]. It is safe for
// concurrent use.
type Set struct {
	now   func() time.Time
	began time.Time
	seed  maphash.Seed

	mu sync.Mutex
	// settled is closed, and replaced, whenever an attempt has come to its end.
	settled chan struct{}
	waiting int
}

// New makes a set without tables. now tells the time; only differences count.
func New(now func() time.Time) *Set {
	return &Set{now: now, began: now(), seed: maphash.MakeSeed(), settled: make(chan struct{})}
}

// Table is the buckets of one kind.
type Table struct {
	set     *Set
	name    string
	limit   Limit
	buckets *simplelru.LRU[uint64, bucket] // guarded by set.mu
}

// Table makes a table whose refusals carry the name.
func (s *Set) Table(name string, limit Limit) *Table {
	buckets, err := simplelru.NewLRU[uint64, bucket](Capacity, nil)
	if err != nil {
		panic(err) // the capacity is a constant
	}
	return &Table{set: s, name: name, limit: limit, buckets: buckets}
}

// Name is what the table's refusals carry.
func (t *Table) Name() string { return t.name }

// bucket is one key's. What is not in its table is full.
type bucket struct {
	// full is when the bucket is full again, since the set began.
	full time.Duration
	// pending is how many attempts that drew on it are under way.
	pending int
}

// Bucket names one bucket of a table.
type Bucket struct {
	table *Table
	key   uint64
}

// Bucket gives the bucket of a key in as many parts as it takes.
func (t *Table) Bucket(key ...string) Bucket {
	var h maphash.Hash
	h.SetSeed(t.set.seed)
	for _, part := range key {
		// With its length, so that no two keys are written alike.
		var length [8]byte
		binary.LittleEndian.PutUint64(length[:], uint64(len(part)))
		_, _ = h.Write(length[:]) // never fails
		_, _ = h.WriteString(part)
	}
	return Bucket{t, h.Sum64()}
}

// Error is why an attempt must not be made yet.
type Error struct {
	// Table is the name of the table that refused.
	Table string
	// After is how long to wait, more than zero.
	After time.Duration
}

// Error implements error.
func (r *Error) Error() string {
	return fmt.Sprintf("throttled by %s for %s", r.Table, r.After.Round(time.Millisecond))
}

// Attempt is one that was allowed. [Attempt.Settle] must be called once, whatever
// becomes of it.
type Attempt struct {
	set     *Set
	buckets []Bucket
}

// Draw allows an attempt, or gives the [*Error] of the bucket that is empty for
// longest. While attempts under way may still give something back it waits for them,
// for at most ten seconds; any other error is that of a ctx that ended meanwhile.
func (s *Set) Draw(ctx context.Context, buckets ...Bucket) (Attempt, error) {
	var patience <-chan time.Time
	for {
		refusal, settled := s.try(buckets)
		switch {
		case refusal == nil:
			return Attempt{s, buckets}, nil
		case settled == nil:
			return Attempt{}, refusal
		case patience == nil:
			patience = time.After(maxWait)
		}
		var err error
		select {
		case <-settled:
		case <-patience:
			err = refusal
		case <-ctx.Done():
			err = fmt.Errorf("waiting for other attempts: %w", context.Cause(ctx))
		}
		s.stopWaiting()
		if err != nil {
			return Attempt{}, err
		}
	}
}

// try draws on all buckets or on none. With the refusal comes a channel to wait on if
// that makes sense; whoever does must call stopWaiting.
func (s *Set) try(buckets []Bucket) (*Error, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now().Sub(s.began)
	var refusal *Error
	hope := s.waiting < maxWaiting
	for _, b := range buckets {
		held, after := b.look(now)
		if after <= 0 {
			continue
		}
		hope = hope && held.pending > 0
		if refusal == nil || after > refusal.After {
			refusal = &Error{b.table.name, after}
		}
	}
	if refusal == nil {
		for _, b := range buckets {
			b.draw(now, 1)
		}
		return nil, nil
	}
	if !hope {
		return refusal, nil
	}
	s.waiting++
	return refusal, s.settled
}

func (s *Set) stopWaiting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
}

// Count draws on a bucket for a failure that has happened already. It gives nil, or
// the refusal if the bucket is empty.
func (s *Set) Count(b Bucket) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now().Sub(s.began)
	if _, after := b.look(now); after > 0 {
		return &Error{b.table.name, after}
	}
	b.draw(now, 0)
	return nil
}

// Empty gives the refusal that Count would give now, and draws on nothing.
func (s *Set) Empty(b Bucket) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, after := b.look(s.now().Sub(s.began)); after > 0 {
		return &Error{b.table.name, after}
	}
	return nil
}

// Settle says what became of the attempt: what it drew stays drawn if it failed, and
// otherwise it is as if it had not been made.
func (a Attempt) Settle(failed bool) { a.set.settle(a.buckets, failed) }

func (s *Set) settle(buckets []Bucket, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now().Sub(s.began)
	for _, b := range buckets {
		b.settle(now, failed)
	}
	close(s.settled)
	s.settled = make(chan struct{})
}

// look gives the bucket, and how long until it can be drawn upon.
func (b Bucket) look(now time.Duration) (bucket, time.Duration) {
	limit := b.table.limit
	if limit.off {
		return bucket{}, 0
	}
	if limit.Failures <= 0 {
		return bucket{}, maxPer
	}
	held, ok := b.table.buckets.Peek(b.key)
	if !ok {
		return bucket{full: now}, 0
	}
	capacity := limit.step() * time.Duration(limit.Failures)
	// A clock that was set back must not make anyone wait for it to come round.
	held.full = min(max(held.full, now), now+capacity)
	return held, held.full + limit.step() - capacity - now
}

func (b Bucket) draw(now time.Duration, pending int) {
	if b.table.limit.off {
		return
	}
	held, _ := b.look(now)
	held.full += b.table.limit.step()
	held.pending += pending
	b.table.buckets.Add(b.key, held)
}

func (b Bucket) settle(now time.Duration, failed bool) {
	held, ok := b.table.buckets.Peek(b.key)
	if !ok || held.pending == 0 {
		return // the table has let go of it, and of what was drawn
	}
	held.pending--
	if !failed {
		held.full -= b.table.limit.step()
	}
	if held.pending == 0 && held.full <= now {
		b.table.buckets.Remove(b.key)
		return
	}
	b.table.buckets.Add(b.key, held)
}
