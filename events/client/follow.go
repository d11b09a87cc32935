package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Follow gives every event behind from, in order and without a gap, and then waits
// for more. Broker restarts and lost connections only delay it. Ranging over the
// sequence again begins at from again.
//
// An error is one of:
//
//   - [PoisonError], beside a Delivery that has a Cursor but no event. Going on
//     skips it.
//   - [LostError], the last of the sequence: events were missed, and the caller
//     has to decide, for instance to rebuild what it derives from them and to
//     follow from [Beginning]. It comes as soon as it is known, that is before the
//     first event behind the gap. An unlikely kind, a broker that was put back to
//     an earlier state, takes a few seconds to be told from a replica that lags.
//   - anything else, also the last: the connection has been closed, or its
//     credentials do not allow to read the realm's events.
//
// The sequence ends without an error when ctx ends.
func (c *Client) Follow(ctx context.Context, from Cursor) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		f := &follower{client: c, at: from}
		f.yield = func(d Delivery, err error) {
			if !yield(d, err) {
				stop()
			}
		}
		if err := c.persist(ctx, f.session); err != nil {
			yield(Delivery{}, err)
		}
	}
}

// follower is where one iteration is.
type follower struct {
	client *Client
	// at is the last event given; Latest until the broker has said what that is.
	at Cursor
	// yield ends the session's context when the caller wants no more.
	yield func(Delivery, error)
}

const (
	// followAhead is how many events may be under way to a follower.
	followAhead = 256
	// followIdle is how long the broker remembers a follower that is gone, or one
	// whose caller is slow; such a one just comes again.
	followIdle = 5 * time.Minute
)

var errSkipped = errors.New("an event was sent but did not arrive")

// session reads with a consumer of its own until something goes wrong. Sent once
// and never acknowledged, events get lost with a connection; the consumer's own
// count shows it, and the next session begins behind the last one given.
func (f *follower) session(ctx context.Context) error {
	consumer, err := f.attach(ctx)
	if err != nil {
		return fmt.Errorf("following %s: %w", f.client.realm.EventsStream(), err)
	}
	defer f.client.remove(ctx, consumer)
	messages, err := open(consumer, followAhead)
	if err != nil {
		return fmt.Errorf("following %s: %w", f.client.realm.EventsStream(), err)
	}
	defer messages.Stop()
	for sent := uint64(1); ctx.Err() == nil; sent++ {
		if err := f.next(ctx, messages, sent); err != nil {
			return fmt.Errorf("following %s behind cursor %s: %w", f.client.realm.EventsStream(), f.at, err)
		}
	}
	return ctx.Err()
}

// next gives the consumer's sent-th event to the caller.
func (f *follower) next(ctx context.Context, messages jetstream.MessagesContext, sent uint64) error {
	msg, err := messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	if meta.Sequence.Consumer != sent {
		return errSkipped
	}
	d, err := f.client.decode(msg, meta)
	switch {
	case f.at == Beginning:
	case d.Cursor <= f.at:
		return nil // the event of the cursor itself, see start
	case d.Cursor > f.at+1:
		return &LostError{From: f.at, To: d.Cursor - 1}
	}
	f.at = d.Cursor
	f.yield(d, err)
	return nil
}

func (f *follower) attach(ctx context.Context) (jetstream.Consumer, error) {
	config := jetstream.ConsumerConfig{
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: followIdle,
	}
	start(&config, f.at)
	consumer, err := f.client.js.CreateConsumer(ctx, f.client.realm.EventsStream(), config)
	if err != nil {
		return nil, err
	}
	if f.at == Latest {
		f.at = Cursor(consumer.CachedInfo().Delivered.Stream)
	}
	if err := held(ctx, consumer, f.at); err != nil {
		f.client.remove(ctx, consumer)
		return nil, err
	}
	return consumer, nil
}

// remove tidies up behind a consumer. The broker would do it too, only later; so
// an error does not matter.
func (c *Client) remove(ctx context.Context, consumer jetstream.Consumer) {
	if !c.conn.IsConnected() {
		return
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	_ = c.js.DeleteConsumer(ctx, c.realm.EventsStream(), consumer.CachedInfo().Name)
}

// start makes a consumer begin at a cursor. At a number it begins with that very
// event, not behind it: that it is still there shows that the stream is the one
// which gave the cursor, and did not go back.
func start(config *jetstream.ConsumerConfig, at Cursor) {
	switch at {
	case Beginning:
		config.DeliverPolicy = jetstream.DeliverAllPolicy
	case Latest:
		config.DeliverPolicy = jetstream.DeliverNewPolicy
	default:
		config.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
		config.OptStartSeq = uint64(at)
	}
}

const (
	// lagPatience is how long a replica may lack an event that another has shown.
	lagPatience = 5 * time.Second
	lagInterval = 100 * time.Millisecond
)

// held checks, on a consumer just made by [start], that no event behind at is lost.
// EVENTS has no holes but at its old end, so the place the broker chose to begin
// tells.
func held(ctx context.Context, consumer jetstream.Consumer, at Cursor) error {
	info := consumer.CachedInfo()
	if at == Beginning || at == Latest {
		return nil
	}
	if first := Cursor(info.Delivered.Stream) + 1; first > at+1 {
		return &LostError{From: at, To: first - 1}
	}
	// Begun at the cursor's event, yet without one to send: the stream ends before
	// the cursor, or this replica does not have it yet.
	deadline := time.Now().Add(lagPatience)
	for Cursor(info.Delivered.Stream)+1 == at && info.NumPending == 0 {
		if time.Now().After(deadline) {
			return &LostError{From: at, To: Beginning}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lagInterval):
		}
		var err error
		if info, err = consumer.Info(ctx); err != nil {
			return err
		}
	}
	return nil
}
