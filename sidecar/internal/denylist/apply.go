package denylist

import (
	"maps"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
)

// chunk is how many entries are taken in before look-ups that wait get their turn.
const chunk = 1024

// Apply takes a batch into memory, where it counts for every later look-up, and
// queues it for the disk. It does not wait for the disk: while that lags or fails,
// the queue grows, by no more than what has not expired. Only a list that is read from
// its beginning waits, once very much is queued. [ErrEntry] refuses the
// whole batch, cursor included, so that no cursor covers an entry not enforced.
func (d *Denylist) Apply(b Batch) error {
	for i := range b.Entries {
		if err := checkEntry(&b.Entries[i]); err != nil {
			return err
		}
	}
	lifted := make([]events.Lift, 0, len(b.Lifted))
	for _, l := range b.Lifted {
		l, err := CanonicalLift(l)
		if err != nil {
			return err
		}
		lifted = append(lifted, l)
	}
	d.awaitRoom()
	d.take(b.Entries, lifted, b.Cursor, b.Begins)
	d.signal()
	return nil
}

func (d *Denylist) take(entries []events.Revocation, lifted []events.Lift, c Cursor, begins bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range lifted {
		d.lift(l)
	}
	for part := range slices.Chunk(entries, chunk) {
		for _, r := range part {
			if d.isLifted(&r) {
				continue
			}
			r = canonical(r)
			key := d.key(&r)
			d.queue.add(&r, key)
			d.enter(&r, key)
		}
		d.mu.Unlock() // look-ups that wait get their turn
		d.mu.Lock()
	}
	stored, whole := d.loss.stored(c, begins)
	d.queue.finish(lifted, stored)
	if whole {
		d.complete.Store(true)
	}
	if c != (Cursor{}) {
		d.cursor = c
	}
}

func (d *Denylist) key(r *events.Revocation) uint64 {
	return d.index.Hash(r.Kind, r.Issuer, r.Target)
}

// enter makes an entry count. Whoever the index sends to look at once waits for mu,
// and then finds what it spoke of.
func (d *Denylist) enter(r *events.Revocation, key uint64) {
	if r.Kind.Wide() {
		at := targetOf(r)
		if !slices.ContainsFunc(d.wide[at], func(have events.Revocation) bool { return SameRule(&have, r) }) {
			d.wide[at] = append(d.wide[at], *r)
		}
	}
	d.index.Insert(key, untilSeconds(r.Until))
}

// lift takes one entry back and remembers that it was.
func (d *Denylist) lift(l events.Lift) {
	at := target{l.Kind, l.Issuer, l.Target}
	key := liftedEntry{at, l.RevocationID}
	if until, is := d.lifted[key]; is {
		l.Until = LaterUntil(until, l.Until)
	}
	d.lifted[key] = l.Until
	if r, ok := d.confirmed.entries[at]; ok && r.ID == l.RevocationID {
		delete(d.confirmed.entries, at)
	}
	d.forget(at, func(r events.Revocation) bool { return r.ID == l.RevocationID })
}

// forget removes wide entries of one target.
func (d *Denylist) forget(at target, gone func(events.Revocation) bool) {
	list, ok := d.wide[at]
	if !ok {
		return
	}
	if list = slices.DeleteFunc(list, gone); len(list) == 0 {
		delete(d.wide, at)
	} else {
		d.wide[at] = list
	}
}

// Expire lets go of what has expired at the time now, in memory at once and on
// disk when [Denylist.Run] comes to it. Like that of Lookup, now is the earlier of
// the local time and the feed's. Once a minute is often enough.
func (d *Denylist) Expire(now time.Time) {
	d.mu.Lock()
	expired := func(r events.Revocation) bool { return Expired(r.Until, now) }
	for at, list := range d.wide {
		if slices.ContainsFunc(list, expired) {
			d.forget(at, expired)
		}
	}
	maps.DeleteFunc(d.lifted, func(_ liftedEntry, until time.Time) bool { return Expired(until, now) })
	maps.DeleteFunc(d.confirmed.entries, func(_ target, r events.Revocation) bool { return expired(r) })
	d.queue.expire(roundUp(now))
	if now.After(d.purge) {
		d.purge = now
	}
	d.mu.Unlock()
	d.index.Expire(roundUp(now))
	d.signal()
}

// signal tells Run that there is work. One signal stands for any number.
func (d *Denylist) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}
