package fleet

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
)

// round is one position and who enforces it.
type round struct {
	epoch    events.Epoch
	sequence uint64
	// acked is when the broker acknowledged it here.
	acked    time.Time
	answered map[key]time.Duration
	waiters  int
}

// confirms reports whether a report says that its sender enforces the position. One that
// catches up does not know yet whether its position is still the feed's.
func (r *round) confirms(n events.Report) bool {
	return n.State == events.StateFollowing && n.Epoch == r.epoch && n.Sequence >= r.sequence
}

// take takes in a report, and how long its sender took if this is the first time that
// it says to enforce the position. By how much a report is late, because the fleet
// spreads them, is not counted: it says itself for how long the position has been
// enforced. What is counted is the way of the report.
func (r *round) take(n events.Report, now time.Time) (took time.Duration, first bool) {
	k := key{n.Sidecar, n.Instance}
	if _, known := r.answered[k]; known || !r.confirms(n) {
		return 0, false
	}
	took = now.Sub(r.acked)
	if n.Asked >= r.sequence {
		took -= n.Held
	}
	took = max(took, 0) // sidecars may hear of it before we have the acknowledgement
	r.answered[k] = took
	return took, true
}

// Reasons for which an issuer cannot say that a position is enforced everywhere.
const (
	tooEarly = "this issuer has only just begun to listen to the fleet"
	tooFull  = "there are more sidecars than this issuer keeps track of"
	tooMany  = "too many positions are waited for at this moment"
	nobody   = "no sidecar is known"
	noFeed   = "the feed's heartbeat does not reach this issuer"
)

// Enforcement is who enforces a position, as far as is known.
type Enforcement struct {
	// Live is how many sidecars are expected to, Confirmed how many of them said so.
	Live, Confirmed int
	// Sidecars are all who are expected, those who did not confirm first and then the
	// slowest.
	Sidecars []Confirmation
	// Incomplete says why others may exist of whom this issuer knows nothing; empty
	// if all is as it should be.
	Incomplete string
	// WatchedSince is when this issuer began to listen, if it is so recently that a
	// sidecar cut off before could still accept a token.
	WatchedSince time.Time
}

// Confirmation is one sidecar's.
type Confirmation struct {
	Member

	Confirmed bool
	// Took is from the broker's acknowledgement to the moment at which the position was
	// enforced, and what the report was under way.
	Took time.Duration
}

// Everywhere reports whether every sidecar that could exist enforces the position.
func (e Enforcement) Everywhere() bool { return e.Incomplete == "" && e.Confirmed == e.Live }

// Confirm asks the fleet about a feed sequence and waits until every expected sidecar
// enforces it, for as long as within and ctx allow. Sequence zero stands for all that
// the feed holds at this moment.
func (f *Fleet) Confirm(ctx context.Context, sequence uint64, within time.Duration) Enforcement {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	f.mu.Lock()
	f.waiting++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.waiting--
		f.mu.Unlock()
	}()
	if !f.hear(ctx, &sequence) {
		return Enforcement{Incomplete: noFeed}
	}
	r := f.join(sequence)
	if r == nil {
		return Enforcement{Incomplete: tooMany}
	}
	defer f.leave(r)
	for {
		p := f.progress(r, time.Now())
		if p.missing == 0 && p.settled || ctx.Err() != nil {
			return f.conclude(r, time.Now())
		}
		await(ctx, p.heard, p.live)
	}
}

// await waits for news and then a moment: to look at a large fleet with every report of
// it would be too often. Without news it waits for a while.
func await(ctx context.Context, heard <-chan struct{}, live int) {
	t := time.NewTimer(settleAfter)
	defer t.Stop()
	select {
	case <-heard:
	case <-t.C:
	case <-ctx.Done():
	}
	t.Reset(min(time.Duration(live)*time.Microsecond, 20*time.Millisecond))
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// hear waits until the feed's epoch is known and, where no sequence is given, for the
// next heartbeat: all that stands comes before it.
func (f *Fleet) hear(ctx context.Context, sequence *uint64) bool {
	began := time.Now()
	for {
		f.mu.Lock()
		ready := f.epoch != "" && (*sequence > 0 || f.beat.After(began))
		latest, heard := f.latest, f.heard
		f.mu.Unlock()
		if ready {
			if *sequence == 0 {
				*sequence = latest
			}
			return true
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return false
		}
	}
}

// join takes part in the round about a sequence, asking if nobody has; nil if there are
// too many rounds.
func (f *Fleet) join(sequence uint64) *round {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.open(sequence)
	if r == nil {
		return nil
	}
	r.waiters++
	f.want(sequence)
	return r
}

// open finds or makes a round. What a member has said since the acknowledgement counts
// in it; before, it may have spoken of another life of the feed.
func (f *Fleet) open(sequence uint64) *round {
	if r, ok := f.rounds[sequence]; ok && r.epoch == f.epoch {
		return r
	}
	if len(f.rounds) >= maxRounds {
		return nil
	}
	acked := f.acked(sequence, time.Now())
	r := &round{epoch: f.epoch, sequence: sequence, acked: acked, answered: map[key]time.Duration{}}
	for k, m := range f.table.members {
		if r.confirms(m.Report) && !m.Seen.Before(acked) {
			r.answered[k] = m.Seen.Sub(acked)
		}
	}
	f.rounds[sequence] = r
	return r
}

func (f *Fleet) leave(r *round) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.waiters--
}

// want has Run ask about a sequence.
func (f *Fleet) want(sequence uint64) {
	f.wanted = max(f.wanted, sequence)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// progress is how far a round has come.
type progress struct {
	live, missing int
	settled       bool
	// heard is closed with the next news.
	heard <-chan struct{}
}

func (f *Fleet) progress(r *round, now time.Time) progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := progress{live: len(f.table.members), settled: f.settled(now), heard: f.heard}
	for k := range f.table.members {
		if _, confirmed := r.answered[k]; !confirmed {
			p.missing++
		}
	}
	return p
}

// conclude says what became of a round.
func (f *Fleet) conclude(r *round, now time.Time) (e Enforcement) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lifetime := f.cfg.Lifetime()
	f.table.expire(now, lifetime)
	e.Sidecars = make([]Confirmation, 0, len(f.table.members))
	for k, m := range f.table.members {
		took, confirmed := r.answered[k]
		e.Sidecars = append(e.Sidecars, Confirmation{Member: m, Confirmed: confirmed, Took: took})
		if confirmed {
			e.Confirmed++
		}
	}
	e.Live = len(e.Sidecars)
	slices.SortFunc(e.Sidecars, func(a, b Confirmation) int {
		switch {
		case a.Confirmed != b.Confirmed && b.Confirmed:
			return -1
		case a.Confirmed != b.Confirmed:
			return 1
		}
		return cmp.Or(cmp.Compare(b.Took, a.Took), a.key().compare(b.key()))
	})
	e.WatchedSince = f.watchedSince(now, lifetime)
	switch {
	case !f.settled(now):
		e.Incomplete = tooEarly
	case f.table.overfull(now, lifetime):
		e.Incomplete = tooFull
	case e.Live == 0:
		e.Incomplete = nobody
	}
	return e
}

// watchedSince is when this issuer began to listen, where that matters.
func (f *Fleet) watchedSince(now time.Time, lifetime time.Duration) time.Time {
	if now.Sub(f.since) < lifetime {
		return f.since
	}
	return time.Time{}
}
