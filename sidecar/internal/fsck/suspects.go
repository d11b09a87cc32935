package fsck

import (
	"context"
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
)

// suspect is an entry of the store, or one of the feed that has been dealt with.
type suspect struct {
	until int64
	seen  bool // in the feed
}

// again reads both sides once more and looks one by one at what falls into some of the
// buckets in which they differ. The store comes first: what the feed gains meanwhile then cannot look as if
// only the store had it.
func (c *check) again(ctx context.Context, part stretch) error {
	c.report.Rounds++
	suspects := map[uint64]suspect{}
	err := c.load(ctx, func(r *events.Revocation) {
		h := c.tally.hash(r)
		if c.tally.within(part, h) && !denylist.Expired(r.Until, c.began) && !c.isLifted(r) {
			suspects[h] = suspect{until: seconds(r.Until)}
		}
	})
	if err != nil {
		return err
	}
	var failed error
	compare := func(from, to uint64, required bool) error {
		return c.read(ctx, from, to, func(r *events.Revocation) {
			h := c.tally.hash(r)
			if !c.tally.within(part, h) || failed != nil {
				return
			}
			s, known := suspects[h]
			if !known && required {
				failed = c.missing(r)
			}
			s.seen = true
			suspects[h] = s // told once, however often the feed holds it
		}, ignore)
	}
	if c.cursor.Sequence > 0 {
		err = compare(1, c.cursor.Sequence, c.report.SameEpoch)
	}
	if err == nil && failed == nil {
		err = compare(c.cursor.Sequence+1, 0, false)
	}
	if failed != nil {
		err = failed
	}
	if err != nil {
		return err
	}
	now := time.Now()
	for _, s := range suspects {
		switch {
		case s.seen:
		case s.until >= 0 && s.until < now.Unix():
			c.report.OnlyInStore.Expired++
		default:
			c.report.OnlyInStore.Earlier++
		}
	}
	return nil
}

// missing looks for an entry of the feed in the store itself, and says what is wrong.
func (c *check) missing(r *events.Revocation) error {
	if c.isLifted(r) {
		return nil // counted in the first round, or lifted since
	}
	there, err := c.Store.Find(r.Kind, r.Issuer, r.Target)
	if err != nil {
		return fmt.Errorf("reading the store: %w", err)
	}
	different := false
	for i := range there {
		if denylist.SameRule(&there[i], r) {
			return nil
		}
		different = different || there[i].ID == r.ID
	}
	switch {
	case denylist.Expired(r.Until, time.Now()): // meanwhile
	case different:
		c.report.Different.add(r)
	default:
		c.report.Missing.add(r)
	}
	return nil
}

// maxUnknown bounds what is looked up again at the end.
const maxUnknown = 10_000

// lookUp has the index find an entry of the store.
func (c *check) lookUp(r *events.Revocation) {
	if c.Lookups.Knows(r, time.Now()) {
		return
	}
	if len(c.unknown) < maxUnknown {
		c.unknown = append(c.unknown, *r)
		return
	}
	c.report.Index.Missing.add(r)
}

// settleIndex looks once more at what the index did not find: it may have expired or
// been lifted in the moment between.
func (c *check) settleIndex() error {
	for i := range c.unknown {
		r := &c.unknown[i]
		there, err := c.Store.Find(r.Kind, r.Issuer, r.Target)
		if err != nil {
			return fmt.Errorf("reading the store: %w", err)
		}
		for j := range there {
			if now := time.Now(); denylist.SameRule(&there[j], r) && !denylist.Expired(r.Until, now) && !c.Lookups.Knows(r, now) {
				c.report.Index.Missing.add(r)
			}
		}
	}
	return nil
}
