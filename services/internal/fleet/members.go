package fleet

import (
	"context"
	"time"

	"github.com/revocast/revocast/events"
)

const (
	// refreshEvery bounds how often those who look make the fleet report.
	refreshEvery = time.Second
	// refreshWithin is how long they wait for it, besides the time that its answers are
	// spread over.
	refreshWithin = 500 * time.Millisecond
)

// Snapshot is what is known of the fleet at one moment.
type Snapshot struct {
	// Epoch and Latest are the feed's.
	Epoch  events.Epoch
	Latest uint64
	// Members are all who are expected, by name.
	Members []Member
	// Incomplete and WatchedSince are as in [Enforcement].
	Incomplete   string
	WatchedSince time.Time
}

// Members asks everybody for a report, at most once a second, waits a little for the
// answers, and gives what is known then.
func (f *Fleet) Members(ctx context.Context) Snapshot {
	f.mu.Lock()
	now := time.Now()
	if now.Sub(f.refreshed) >= refreshEvery {
		f.refreshed, f.everybody = now, true
		f.want(0)
	}
	asked, within := f.refreshed, refreshWithin+f.spread()
	f.waiting++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.waiting--
		f.mu.Unlock()
	}()
	ctx, cancel := context.WithDeadline(ctx, asked.Add(within))
	defer cancel()
	for ctx.Err() == nil {
		silent, live, heard := f.silentSince(asked)
		if silent == 0 {
			break
		}
		await(ctx, heard, live)
	}
	return f.snapshot(asked, time.Now())
}

func (f *Fleet) silentSince(asked time.Time) (silent, live int, heard <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.table.members {
		if m.Seen.Before(asked) {
			silent++
		}
	}
	return silent, len(f.table.members), f.heard
}

func (f *Fleet) snapshot(asked, now time.Time) Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	lifetime := f.cfg.Lifetime()
	f.table.expire(now, lifetime)
	s := Snapshot{
		Epoch: f.epoch, Latest: f.latest, Members: f.table.list(), WatchedSince: f.watchedSince(now, lifetime),
	}
	for i := range s.Members {
		s.Members[i].Silent = s.Members[i].Seen.Before(asked)
	}
	switch {
	case f.epoch == "":
		s.Incomplete = noFeed
	case !f.settled(now):
		s.Incomplete = tooEarly
	case f.table.overfull(now, lifetime):
		s.Incomplete = tooFull
	}
	return s
}
