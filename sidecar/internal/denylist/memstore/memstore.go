// Package memstore is the denylist's store in memory. It is what the contract of
// [denylist.Store] says in the fewest words, and what the other stores are held
// against; a sidecar that runs with it begins every start with an empty list.
package memstore

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
)

// Store is safe for concurrent use. The zero Store is not usable; see [New].
type Store struct {
	mu      sync.RWMutex
	cursor  denylist.Cursor
	entries map[target][]events.Revocation
	lifted  map[lifted]events.Lift
}

type target struct {
	kind   events.Kind
	issuer events.Issuer
	name   string
}

type lifted struct {
	target
	id events.RevocationID
}

// New makes an empty store.
func New() *Store {
	return &Store{
		entries: map[target][]events.Revocation{},
		lifted:  map[lifted]events.Lift{},
	}
}

// Apply never fails.
func (s *Store) Apply(b denylist.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.Anew {
		clear(s.entries)
		clear(s.lifted)
		s.cursor = denylist.Cursor{}
	}
	for _, r := range b.Entries {
		at := target{r.Kind, r.Issuer, r.Target}
		if !slices.ContainsFunc(s.entries[at], func(have events.Revocation) bool { return denylist.SameRule(&have, &r) }) {
			s.entries[at] = append(s.entries[at], r)
		}
	}
	for _, l := range b.Lifted {
		at := target{l.Kind, l.Issuer, l.Target}
		s.remove(at, func(r events.Revocation) bool { return r.ID == l.RevocationID })
		key := lifted{at, l.RevocationID}
		if have, ok := s.lifted[key]; ok {
			l.Until = denylist.LaterUntil(have.Until, l.Until)
		}
		s.lifted[key] = l
	}
	if b.Cursor != (denylist.Cursor{}) {
		s.cursor = b.Cursor
	}
	return nil
}

func (s *Store) remove(at target, gone func(events.Revocation) bool) {
	s.entries[at] = slices.DeleteFunc(s.entries[at], gone)
	if len(s.entries[at]) == 0 {
		delete(s.entries, at)
	}
}

// Find never fails.
func (s *Store) Find(kind events.Kind, issuer events.Issuer, name string) ([]events.Revocation, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.entries[target{kind, issuer, name}]), nil
}

// Load gives all narrow entries in one batch.
func (s *Store) Load() iter.Seq2[denylist.Batch, error] {
	return func(yield func(denylist.Batch, error) bool) {
		s.mu.RLock()
		first := denylist.Batch{Cursor: s.cursor, Lifted: slices.Collect(maps.Values(s.lifted))}
		var second denylist.Batch
		for at, entries := range s.entries {
			into := &second
			if at.kind.Wide() {
				into = &first
			}
			into.Entries = append(into.Entries, entries...)
		}
		s.mu.RUnlock()
		if yield(first, nil) && len(second.Entries) > 0 {
			yield(second, nil)
		}
	}
}

// Expire never fails.
func (s *Store) Expire(_ context.Context, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.entries {
		s.remove(at, func(r events.Revocation) bool { return denylist.Expired(r.Until, now) })
	}
	maps.DeleteFunc(s.lifted, func(_ lifted, l events.Lift) bool { return denylist.Expired(l.Until, now) })
	return nil
}
