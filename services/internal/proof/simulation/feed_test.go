package simulation

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
)

// feed is the FEED stream: what a sidecar finds that has missed nothing.
type feed struct {
	entries []entry
	last    uint64
}

type entry struct {
	events.Envelope

	sequence uint64
	at       time.Time
	expires  time.Time // when the stream forgets it
}

// publish stores an announcement.
func (f *feed) publish(e events.Envelope, ttl time.Duration) uint64 {
	f.last++
	now := time.Now()
	f.entries = append(f.entries, entry{Envelope: e, sequence: f.last, at: now, expires: now.Add(max(ttl, time.Second))})
	return f.last
}

func (f *feed) drop(sequence uint64) {
	f.entries = slices.DeleteFunc(f.entries, func(e entry) bool { return e.sequence == sequence })
}

// expire forgets what the stream forgets.
func (f *feed) expire(now time.Time) {
	f.entries = slices.DeleteFunc(f.entries, func(e entry) bool { return !now.Before(e.expires) })
}

// denying gives the revocations that a sidecar enforces whose clock says now: those
// that neither are over nor were lifted.
func (f *feed) denying(now time.Time) (list []events.Revocation) {
	lifted := map[events.RevocationID]bool{}
	for _, e := range f.entries {
		if l, ok := e.Event.(events.Lifted); ok && !now.After(l.Lift.Until) {
			lifted[l.Lift.RevocationID] = true
		}
	}
	for _, e := range f.entries {
		if r, ok := e.Event.(events.Revoked); ok && !now.After(r.Revocation.Until) && !lifted[r.Revocation.ID] {
			list = append(list, r.Revocation)
		}
	}
	return list
}

// Entries implements [issue.Announced]. What is asked for by subject is one of the
// kinds.
func (c *cable) Entries(ctx context.Context, after uint64, since time.Time, subject string) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		var found []entry
		err := c.call(ctx, &call{what: "read the feed", effect: func() error {
			c.world.feed.expire(time.Now())
			found = slices.Clone(c.world.feed.entries)
			return nil
		}})
		if err != nil {
			yield(events.Record{}, err)
			return
		}
		for _, e := range found {
			_, lift := e.Event.(events.Lifted)
			if e.sequence <= after || e.at.Before(since) || subject != "" && lift != strings.HasSuffix(subject, ".lift.*") {
				continue
			}
			if !yield(events.Record{Position: events.Position{Sequence: e.sequence}, Time: e.at, Envelope: e.Envelope}, nil) {
				return
			}
		}
	}
}
