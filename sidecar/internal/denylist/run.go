package denylist

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// How long to wait before asking a failed store again.
const (
	leastBackoff = 50 * time.Millisecond
	mostBackoff  = 5 * time.Second
)

// Run fills the index with what was on disk and writes to disk what Apply has
// queued, in its order, until ctx ends. A failing disk is asked again and again,
// and shows in [Status].DiskErr. When ctx has ended Run writes what is left, once,
// and returns what prevents it; the feed still has what could not be written. Run
// is called once.
func (d *Denylist) Run(ctx context.Context) error {
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
	d.retry(ctx, &d.writeErr, func() error { return d.purgeStore(ctx) })
}

// flush writes what is queued.
func (d *Denylist) flush() error {
	for s := d.oldest(); s != nil; s = d.oldest() {
		if err := d.store.Apply(s.batch()); err != nil {
			return fmt.Errorf("writing to the denylist's store: %w", err)
		}
		// Only now: a look-up that no longer finds it here must find it there.
		d.mu.Lock()
		d.queue.drop(s)
		d.mu.Unlock()
	}
	return nil
}

func (d *Denylist) oldest() *segment {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queue.oldest()
}

func (d *Denylist) purgeStore(ctx context.Context) error {
	d.mu.Lock()
	now := d.purge
	d.mu.Unlock()
	if now.IsZero() {
		return nil
	}
	if err := d.store.Expire(ctx, now); err != nil {
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
// comes meanwhile, Apply puts there itself.
func (d *Denylist) fill(ctx context.Context) {
	if d.complete.Load() {
		return
	}
	d.retry(ctx, &d.fillErr, func() error {
		for b, err := range d.store.Load() {
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
		d.complete.Store(true)
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
