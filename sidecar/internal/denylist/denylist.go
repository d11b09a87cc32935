package denylist

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/events"
)

// ErrUnprepared is returned for a token that this denylist has not prepared, and
// so cannot judge.
var ErrUnprepared = errors.New("token has not been prepared for this denylist")

// Config says how much memory to use. The zero Config is usable.
type Config struct {
	// Expect is how many narrow entries to have room for from the start. More
	// always fit; the index grows as they come.
	Expect int
	// Confirmed is how many denials confirmed on disk are remembered; 0 means
	// 16,384, at about 500 bytes each.
	Confirmed int
	// Budget is how many bytes the list may take before [Status].OverBudget says so;
	// 0 means any number. Nothing is evicted: what is over budget still denies.
	Budget int
	// Covered reports whether all that a cursor covers besides entries is on disk, too; as
	// long as it is not, none is written there. It must not wait. Nil: there is nothing else.
	Covered func() bool
}

const defaultConfirmed = 16384

// Denylist is the list of what is denied. It is safe for concurrent use, but Apply
// and Expire have one caller, who gives it the feed in order.
type Denylist struct {
	store Store
	index *Index

	// complete is false until every narrow entry that was on disk at the start is
	// in the index. Until then a miss of a narrow kind proves nothing.
	complete atomic.Bool
	wake     chan struct{} // there is something for Run to do

	// mu guards what only a hit of the index, or a writer, looks at.
	mu        sync.RWMutex
	wide      map[target][]events.Revocation
	lifted    map[liftedEntry]time.Time // until when
	queue     queue
	confirmed confirmed
	cursor    Cursor
	purge     time.Time // what the disk is to forget; zero if it has
	writeErr  error     // why the queue is not on disk
	fillErr   error     // why the index is not complete
	loss      loss
	running   bool       // Run is at work
	room      *sync.Cond // it has made room in the queue, or cannot

	budget  int
	covered func() bool
	resync  chan struct{} // see Lost

	asking chan struct{} // holds one for each question to the disk without an answer
	reads  atomic.Int64  // how many they are
}

type liftedEntry struct {
	target
	id events.RevocationID
}

// New opens the denylist that store holds: cursor, lifts and wide entries are in
// memory when it returns, and it judges from then on. Narrow entries are looked up
// in the store until [Denylist.Run] has put them into the index. If the store has lost
// what it held, the list begins empty, with the zero cursor, and serves from memory
// until the store can be begun anew.
func New(cfg Config, store Store) (*Denylist, error) {
	if cfg.Expect < 0 || cfg.Confirmed < 0 || cfg.Budget < 0 {
		return nil, fmt.Errorf("denylist for %d entries, %d confirmed ones and %d bytes: negative", cfg.Expect, cfg.Confirmed, cfg.Budget)
	}
	if cfg.Covered == nil {
		cfg.Covered = func() bool { return true }
	}
	if cfg.Confirmed == 0 {
		cfg.Confirmed = defaultConfirmed
	}
	d := &Denylist{
		store:     store,
		index:     NewIndex(cfg.Expect),
		wake:      make(chan struct{}, 1),
		wide:      map[target][]events.Revocation{},
		lifted:    map[liftedEntry]time.Time{},
		confirmed: confirmed{limit: cfg.Confirmed, entries: map[target]events.Revocation{}},
		budget:    cfg.Budget,
		covered:   cfg.Covered,
		resync:    make(chan struct{}, 1),
		asking:    make(chan struct{}, maxAsking),
	}
	d.room = sync.NewCond(&d.mu)
	batches := 0
	for b, err := range store.Load() {
		if errors.Is(err, ErrLost) {
			// What has been taken in was proved and goes on denying; the zero cursor
			// claims nothing of the rest.
			d.cursor = Cursor{}
			d.loss = loss{anew: true, cause: err}
			d.complete.Store(true)
			return d, nil
		}
		if err != nil {
			return nil, fmt.Errorf("loading the denylist: %w", err)
		}
		if batches++; batches > 1 {
			break // narrow entries, which Run will take in
		}
		d.cursor = b.Cursor
		for _, l := range b.Lifted {
			d.lift(l)
		}
		for _, r := range b.Entries {
			d.enter(&r, d.key(&r))
		}
	}
	if batches == 0 {
		return nil, errors.New("loading the denylist: the store gave nothing, not even an empty list")
	}
	d.complete.Store(batches == 1)
	return d, nil
}

// Finding is what a look-up gave.
type Finding struct {
	// Denied says that Revocation denies the token. There may be others that do.
	Denied     bool
	Revocation events.Revocation
}

// Lookup judges a prepared token at the time now: the earlier of the local time
// and the feed's, so that a clock that jumps forgets nothing. When nothing denies
// the token and the index knows none of its names, it takes no lock and allocates
// nothing. After an error nothing is known, and the token must not pass. Only what
// memory cannot answer is looked up on disk, for as long as ctx lasts: with one that is
// over, memory alone answers.
func (d *Denylist) Lookup(ctx context.Context, t *Token, now time.Time) (Finding, error) {
	if t.by != d {
		return Finding{}, ErrUnprepared
	}
	// Asked before the index: if it says yes, the index has all by then.
	narrow := uint8(0)
	if !d.complete.Load() {
		narrow = t.has & narrowBits
	}
	hits := d.index.probe(&t.keys, t.has, roundUp(now)) | narrow
	if hits == 0 {
		return Finding{}, nil
	}
	return d.confirm(ctx, t, hits, now)
}

// narrowBits are the places of the two narrow kinds in [Token].has.
const narrowBits = 1<<(events.KindToken-1) | 1<<(events.KindSession-1)

// confirm looks exactly at the kinds that hits names: first at all that memory
// knows, then at the disk.
func (d *Denylist) confirm(ctx context.Context, t *Token, hits uint8, now time.Time) (Finding, error) {
	f, disk := d.inMemory(t, hits, now)
	if f.Denied {
		return f, nil
	}
	var failure error
	for _, k := range events.Kinds() {
		if k.Wide() || hits&(1<<bit(k)) == 0 || disk.empty {
			continue
		}
		f, err := d.ask(ctx, t.target(k), now, disk)
		if f.Denied {
			return f, nil
		}
		if failure == nil {
			failure = err
		}
	}
	return Finding{}, failure
}

// inMemory also says what the disk was at that moment.
func (d *Denylist) inMemory(t *Token, hits uint8, now time.Time) (Finding, disk) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, k := range events.Kinds() {
		if hits&(1<<bit(k)) == 0 {
			continue
		}
		at := t.target(k)
		if !k.Wide() {
			if f := d.narrow(at, t.keys[bit(k)], now); f.Denied {
				return f, disk{}
			}
			continue
		}
		list := d.wide[at]
		for i := range list {
			if r := &list[i]; !Expired(r.Until, now) && denies(r, t) {
				return Finding{Denied: true, Revocation: *r}, disk{}
			}
		}
	}
	return Finding{}, d.loss.disk()
}

// narrow looks for what is known of at without the disk. A narrow entry denies
// whatever it names.
func (d *Denylist) narrow(at target, key uint64, now time.Time) Finding {
	if r, ok := d.confirmed.entries[at]; ok && !Expired(r.Until, now) {
		return Finding{Denied: true, Revocation: r}
	}
	return d.first(d.queue.find(nil, at, key), now)
}

// onDisk looks for at in the store, which has whatever has left the queue: the
// queue must have been looked at before, when the disk was as given.
func (d *Denylist) onDisk(at target, now time.Time, before disk) (Finding, error) {
	entries, err := d.store.Find(at.kind, at.issuer, at.name)
	if err != nil {
		d.lose(err, before)
		return Finding{}, fmt.Errorf("finding what denies a %s: %w", at.kind, err)
	}
	if len(entries) == 0 {
		d.mu.RLock()
		defer d.mu.RUnlock()
		return Finding{}, d.loss.proved(before)
	}
	// A lift may have come since the store was read. It is in the table before it
	// clears what is confirmed, so either we see it here or it clears what we add.
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.first(entries, now)
	if f.Denied {
		d.confirmed.add(f.Revocation)
		return f, nil
	}
	return f, d.loss.proved(before)
}

// first gives the first entry that is neither expired nor lifted.
func (d *Denylist) first(entries []events.Revocation, now time.Time) Finding {
	for _, r := range entries {
		if !Expired(r.Until, now) && !d.isLifted(&r) {
			return Finding{Denied: true, Revocation: r}
		}
	}
	return Finding{}
}

func (d *Denylist) isLifted(r *events.Revocation) bool {
	if len(d.lifted) == 0 {
		return false
	}
	_, is := d.lifted[liftedEntry{targetOf(r), r.ID}]
	return is
}

// confirmed remembers entries that the disk has confirmed, so that a client that
// keeps presenting a revoked token costs no disk reads.
type confirmed struct {
	limit   int
	entries map[target]events.Revocation
}

func (c *confirmed) add(r events.Revocation) {
	if len(c.entries) >= c.limit {
		for at := range c.entries { // any will do: the map begins anywhere
			delete(c.entries, at)
			break
		}
	}
	c.entries[targetOf(&r)] = r
}
