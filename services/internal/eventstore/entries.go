package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

// entryBatch and entryBytes bound one answer.
const (
	entryBatch = 1000
	entryBytes = 4 << 20
)

// Entries gives what stands on the feed, in order, beginning after a sequence or, if
// since is not zero, with what was stored at that time. What cannot be decoded is
// left out: anyone who may announce can write rubbish.
//
// With a subject, which may hold wildcards, it gives what one replica knows of that,
// which may lag. With none it gives everything, and ends only when it has come as far
// as the stream's leader was when it began. An error, [events.ErrUnavailable] or the
// context's, is the last thing given. Record.Position is the place in the feed.
func (f *Feed) Entries(ctx context.Context, after uint64, since time.Time, subject string) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		if err := f.entries(ctx, after, since, subject, yield); err != nil {
			yield(events.Record{}, fmt.Errorf("reading the feed after %d: %w", after, err))
		}
	}
}

func (f *Feed) entries(ctx context.Context, after uint64, since time.Time, subject string, yield func(events.Record, error) bool) error {
	target := uint64(0)
	if subject == "" {
		stream, err := f.js.Stream(ctx, f.stream)
		if err != nil {
			return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
		}
		target = stream.CachedInfo().State.LastSeq
	}
	for {
		b, err := f.fetch(ctx, after, since, subject)
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		for _, r := range b.records {
			if !yield(r, nil) {
				return nil
			}
		}
		if b.last > 0 {
			after, since = b.last, time.Time{}
		}
		switch {
		case err == nil && b.over && after >= target:
			return nil
		case err != nil && !worthRepeating(err):
			return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
		case err != nil || b.over: // lost, or by a replica that lags
			if err := pause(ctx); err != nil {
				return err
			}
		}
	}
}

// batch is one answer of direct get.
type batch struct {
	records []events.Record
	// last is the sequence of the last message, whether or not it was decoded; zero
	// if there was none.
	last uint64
	// over: the replica knows of nothing beyond.
	over bool
}

// fetch reads one batch. What it gives with an error is good, and not all.
func (f *Feed) fetch(ctx context.Context, after uint64, since time.Time, subject string) (b batch, err error) {
	ask := map[string]any{"batch": entryBatch, "max_bytes": entryBytes}
	if since.IsZero() {
		ask["seq"] = after + 1
	} else {
		ask["start_time"] = since
	}
	if subject != "" {
		ask["next_by_subj"] = subject
	}
	request, err := json.Marshal(ask)
	if err != nil {
		return b, err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	inbox := f.conn.NewInbox()
	sub, err := f.conn.SubscribeSync(inbox)
	if err != nil {
		return b, err
	}
	defer func() { _ = sub.Unsubscribe() }() // a closed connection has none left
	if err := f.conn.PublishRequest("$JS.API.DIRECT.GET."+f.stream, inbox, request); err != nil {
		return b, err
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return b, err
		}
		if status := m.Header.Get("Status"); status != "" {
			b.over, err = atEnd(status, m.Header)
			return b, err
		}
		r, err := record(m)
		if r.Position.IsZero() {
			return b, err
		}
		b.last = r.Position.Sequence
		if err == nil {
			b.records = append(b.records, r)
		} else if !errors.Is(err, codec.ErrMalformed) && !errors.Is(err, codec.ErrInvalid) {
			return b, err
		}
	}
}

// atEnd reads the message that ends a batch.
func atEnd(status string, h nats.Header) (over bool, err error) {
	switch status {
	case "404":
		return true, nil
	case "204":
		pending, err := strconv.ParseUint(h.Get("Nats-Num-Pending"), 10, 64)
		if err != nil {
			return false, fmt.Errorf("reading how much is left: %w", err)
		}
		return pending == 0, nil
	}
	return false, fmt.Errorf("status %s %s", status, h.Get("Description"))
}
