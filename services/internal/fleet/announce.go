package fleet

import (
	"context"
	"time"

	"github.com/revocast/revocast/events"
)

// keptAcks is for how many announcements it is remembered when they were acknowledged.
const keptAcks = 256

type ack struct {
	sequence uint64
	at       time.Time
}

// Feed is where revocations are announced.
type Feed interface {
	Publish(ctx context.Context, subject string, e events.Envelope, ttl time.Duration) (uint64, error)
}

// Watched is a feed whose acknowledgements the fleet is measured by.
type Watched struct {
	feed  Feed
	fleet *Fleet
}

// Watch gives a feed that announces by another and tells the fleet.
func (f *Fleet) Watch(feed Feed) *Watched { return &Watched{feed: feed, fleet: f} }

// Publish announces and returns as the feed does.
func (w *Watched) Publish(ctx context.Context, subject string, e events.Envelope, ttl time.Duration) (uint64, error) {
	sequence, err := w.feed.Publish(ctx, subject, e, ttl)
	if err == nil {
		w.fleet.Announced(sequence, time.Now())
	}
	return sequence, err
}

// Announced takes in that the broker has acknowledged something at this moment. Now and
// then the fleet is asked about it, for the histogram.
func (f *Fleet) Announced(sequence uint64, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latest = max(f.latest, sequence)
	f.acks[f.turn] = ack{sequence, at}
	f.turn = (f.turn + 1) % keptAcks
	if f.epoch == "" || len(f.table.members) == 0 || at.Before(f.sample) {
		return
	}
	f.sample = at.Add(max(sampleEvery, time.Duration(len(f.table.members))*samplePer))
	if f.open(sequence) != nil {
		f.want(sequence)
	}
}

// acked is when a sequence was acknowledged here; otherwise for one that was not.
func (f *Fleet) acked(sequence uint64, otherwise time.Time) time.Time {
	for _, a := range f.acks {
		if a.sequence == sequence {
			return a.at
		}
	}
	return otherwise
}

// Latest is the last feed sequence that this issuer knows of. It covers everything that
// this issuer has announced.
func (f *Fleet) Latest() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest
}
