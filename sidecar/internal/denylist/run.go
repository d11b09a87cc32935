package denylist

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// How long to wait before asking a failed store again.
const (
	leastBackoff = 50 * time.Millisecond
	mostBackoff  = 5 * time.Second
)

// endWithin is how long the end waits for a disk on which nothing moves: less than a
// process is usually given before it is killed.
const endWithin = 10 * time.Second

// ErrHangs is returned by [Denylist.Run] if the disk does not answer any more. The store is
// still in use, by goroutines that nothing can end, and must not be closed.
var ErrHangs = errors.New("the disk hangs")

// Run fills the index with what was on disk and writes to disk what Apply has
// queued, in its order, until ctx ends. A failing disk is asked again and again,
// and shows in [Status].DiskErr. When ctx has ended Run writes what is left, once,
// and returns what prevents it; the feed still has what could not be written. When it
// returns, no question to the disk is under way either, unless it returns [ErrHangs]. Run
// is called once.
func (d *Denylist) Run(ctx context.Context) error {
	d.setRunning(true)
	defer d.setRunning(false)
	ended := make(chan error, 1)
	go func() { ended <- d.work(ctx) }() // waited for unless it hangs
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	for left := d.left(); ; {
		select {
		case err := <-ended:
			return err
		case <-time.After(endWithin):
		}
		now := d.left()
		if now == left {
			return fmt.Errorf("%w: nothing moved within %s; %d reads are under way and %d narrow entries are not written", ErrHangs, endWithin, now.reads, now.unwritten)
		}
		left = now
	}
}

// left is what the end waits for.
type left struct{ reads, unwritten int }

func (d *Denylist) left() left {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return left{int(d.reads.Load()), d.queue.narrow}
}

// work is all of Run, however long the disk takes.
func (d *Denylist) work(ctx context.Context) error {
	defer d.allAnswered()
	var filling sync.WaitGroup
	filling.Go(func() { d.fill(ctx) })
	defer filling.Wait()
	for {
		d.persist(ctx)
		select {
		case <-ctx.Done():
			return d.flush()
		case <-d.wake:
		}
	}
}

// persist writes until nothing is queued, and then lets the disk forget.
func (d *Denylist) persist(ctx context.Context) {
	d.retry(ctx, &d.writeErr, d.flush)
	d.retry(ctx, &d.writeErr, func() error {
		if err := d.purgeStore(ctx); err != nil {
			return errors.Join(err, d.flush()) // which begins a store anew that is lost
		}
		return nil
	})
}

// flush writes what is queued.
func (d *Denylist) flush() error {
	if err := d.begin(); err != nil {
		return err
	}
	for {
		b, segments, disk := d.oldest()
		if len(segments) == 0 {
			return nil
		}
		if err := d.store.Apply(b); err != nil {
			d.mu.Lock()
			d.queue.failed()
			d.mu.Unlock()
			d.lose(err, disk)
			return fmt.Errorf("writing to the denylist's store: %w", err)
		}
		// Only now: a look-up that no longer finds it here must find it there.
		d.mu.Lock()
		d.queue.drop(segments)
		d.room.Broadcast()
		d.mu.Unlock()
	}
}

// oldest gives what is to be written next.
func (d *Denylist) oldest() (Batch, []*segment, disk) {
	d.mu.Lock()
	segments, disk := d.queue.oldest(), d.loss.disk()
	b, covered := Batch{}, d.covered()
	for _, s := range segments {
		if s.cursor != (Cursor{}) && covered {
			b.Cursor = s.cursor
		}
		b.Lifted = s.lifted // of the last; those before it have none
	}
	d.mu.Unlock()
	for _, s := range segments {
		b.Entries = s.entries(b.Entries)
	}
	return b, segments, disk
}

func (d *Denylist) purgeStore(ctx context.Context) error {
	d.mu.Lock()
	now := d.purge
	d.mu.Unlock()
	if now.IsZero() {
		return nil
	}
	d.mu.RLock()
	disk := d.loss.disk()
	d.mu.RUnlock()
	if err := d.store.Expire(ctx, now); err != nil {
		d.lose(err, disk)
		return fmt.Errorf("expiring in the denylist's store: %w", err)
	}
	d.mu.Lock()
	if d.purge.Equal(now) {
		d.purge = time.Time{}
	}
	d.mu.Unlock()
	return nil
}

// fill puts what was on disk at the start into the index. What has come since, or
// comes meanwhile, Apply puts there itself. If the store loses what it held, all that
// there is comes by Apply.
func (d *Denylist) fill(ctx context.Context) {
	if d.complete.Load() {
		return
	}
	d.mu.RLock()
	disk := d.loss.disk()
	d.mu.RUnlock()
	d.retry(ctx, &d.fillErr, func() error {
		for b, err := range d.store.Load() {
			if errors.Is(err, ErrLost) {
				d.lose(err, disk)
				return nil
			}
			if err != nil {
				return fmt.Errorf("filling the index: %w", err)
			}
			if ctx.Err() != nil {
				return nil
			}
			for i := range b.Entries {
				r := &b.Entries[i]
				d.index.Insert(d.key(r), untilSeconds(r.Until))
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.loss.proved(disk) == nil { // or this was another store
			d.complete.Store(true)
		}
		return nil
	})
}

// retry calls f until it succeeds or ctx ends, ever more slowly. Its last error is
// kept in last, which mu guards.
func (d *Denylist) retry(ctx context.Context, last *error, f func() error) {
	wait := leastBackoff
	for ctx.Err() == nil {
		err := f()
		d.mu.Lock()
		*last = err
		d.room.Broadcast()
		d.mu.Unlock()
		if err == nil {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
		wait = min(2*wait, mostBackoff)
	}
}

// mostUnwritten is how many entries a cold start may have in memory alone, at
// queuedBytes each, where the budget does not say less.
const (
	mostUnwritten = 1 << 20
	queuedBytes   = 50
)

// MostUnwritten is how many entries a cold start may have in memory alone: what comes
// faster than the disk takes it has to wait. They take no more than half of the budget.
func (d *Denylist) MostUnwritten() int {
	if d.budget == 0 {
		return mostUnwritten
	}
	return max(min(mostUnwritten, d.budget/2/queuedBytes), 1)
}

func (d *Denylist) setRunning(is bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = is
	d.room.Broadcast()
}

// awaitRoom holds up the feed while it is read from its beginning and Run does not
// keep up. A view that is being followed, and a disk that fails, hold up nothing.
func (d *Denylist) awaitRoom() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.running && d.writeErr == nil && d.queue.narrow >= d.MostUnwritten() &&
		(d.cursor.FreshAsOf.IsZero() || d.loss.phase == following) {
		d.room.Wait()
	}
}
