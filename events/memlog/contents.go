package memlog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

type message struct {
	subject  string
	sequence uint64
	at       time.Time
	expires  time.Time // zero: never
	rollup   bool
	data     []byte
}

func (m *message) expired(now time.Time) bool { return !m.expires.IsZero() && !now.Before(m.expires) }

// contents is what one server holds of a stream: the messages of each subject in
// order of sequence, expired ones included until somebody looks.
type contents struct {
	history  int
	subjects map[string][]*message
}

func (c *contents) apply(m *message) {
	kept := c.subjects[m.subject]
	if m.rollup {
		kept = nil
	}
	kept = append(slices.Clip(kept), m)
	if c.history > 0 && len(kept) > c.history {
		kept = kept[len(kept)-c.history:]
	}
	c.subjects[m.subject] = kept
}

// of gives the messages of one subject that have not expired.
func (c *contents) of(name string, now time.Time) []*message {
	kept := c.subjects[name]
	if !slices.ContainsFunc(kept, func(m *message) bool { return m.expired(now) }) {
		return kept
	}
	kept = slices.DeleteFunc(slices.Clone(kept), func(m *message) bool { return m.expired(now) })
	if len(kept) == 0 {
		delete(c.subjects, name)
		return nil
	}
	c.subjects[name] = kept
	return kept
}

func (c *contents) sweep(now time.Time) {
	for name := range c.subjects {
		c.of(name, now)
	}
}

// newest visits the last message of every subject that matches, in no order.
func (c *contents) newest(pattern string, now time.Time, visit func(*message)) {
	visitLast := func(name string) {
		if kept := c.of(name, now); len(kept) > 0 {
			visit(kept[len(kept)-1])
		}
	}
	if !strings.ContainsAny(pattern, "*>") {
		visitLast(pattern)
		return
	}
	for name := range c.subjects {
		if matches(pattern, name) {
			visitLast(name)
		}
	}
}

func (c *contents) last(pattern string, now time.Time) (sequence uint64) {
	c.newest(pattern, now, func(m *message) { sequence = max(sequence, m.sequence) })
	return sequence
}

func (c *contents) load(ctx context.Context, now time.Time, atLeast events.Position, subjects []string) ([]events.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("loading %v: %w: %w", subjects, events.ErrUnavailable, err)
	}
	found := map[string]*message{}
	for _, pattern := range subjects {
		c.newest(pattern, now, func(m *message) { found[m.subject] = m })
	}
	if len(found) > events.MaxLoad {
		return nil, fmt.Errorf("loading %v: %w", subjects, events.ErrTooMany)
	}
	if len(found) == 0 && !atLeast.IsZero() {
		return nil, fmt.Errorf("loading %v: %w: an empty answer proves nothing", subjects, events.ErrUnavailable)
	}
	records := make([]events.Record, 0, len(found))
	for _, m := range found {
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

// matches is NATS subject matching: `*` for one token, `>` for one or more.
func matches(pattern, subject string) bool {
	for {
		p, restOfPattern, moreOfPattern := strings.Cut(pattern, ".")
		if p == ">" {
			return true
		}
		s, restOfSubject, moreOfSubject := strings.Cut(subject, ".")
		if p != "*" && p != s || moreOfPattern != moreOfSubject {
			return false
		}
		if !moreOfPattern {
			return true
		}
		pattern, subject = restOfPattern, restOfSubject
	}
}
