package provision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/topology"
)

const (
	// sourceSilence is how long a source may be silent: NATS itself beats every
	// second on it and gives it up after ten.
	sourceSilence = 10 * time.Second
	// sourceLag is how far a stream may be behind one of its sources (messages).
	sourceLag = 1000
	// heartbeatAge is how old the last heartbeat may be, by the broker's clock.
	heartbeatAge = 5 * topology.HeartbeatEvery
)

// ErrNotReady is returned, with the reason, while a realm exists but does not run.
var ErrNotReady = errors.New("broker not ready")

// Ready returns nil once every stream that sources another really does and is not
// far behind, and the feed's heartbeat flows with the feed's own epoch. Otherwise
// the error is [ErrNotReady] with the reason, or what kept it from finding out.
func (r *Realm) Ready(ctx context.Context) error {
	o := r.options
	feed, err := r.sourcing(ctx, r.js, o.Feed(""))
	if err != nil {
		return err
	}
	if _, err := r.sourcing(ctx, r.js, o.Audit("")); err != nil {
		return err
	}
	if _, err := r.sourcing(ctx, r.vault, o.Events("")); err != nil {
		return err
	}
	return r.beating(ctx, feed)
}

// sourcing checks the sources of a stream as its leader sees them.
func (r *Realm) sourcing(ctx context.Context, js jetstream.JetStream, want topology.Stream) (jetstream.Stream, error) {
	s, err := js.Stream(ctx, want.Name)
	if err != nil {
		return nil, fmt.Errorf("reading stream %s: %w", want.Name, err)
	}
	running := make(map[string]*jetstream.StreamSourceInfo)
	for _, src := range s.CachedInfo().Sources {
		running[src.Name] = src
	}
	for _, src := range want.Sources {
		switch got := running[src.Name]; {
		case got == nil:
			err = errors.New("it does not source it")
		case got.Error != nil:
			err = got.Error
		case got.Active < 0 || got.Active > sourceSilence:
			err = errors.New("it has heard nothing from it")
		case got.Lag > sourceLag:
			err = fmt.Errorf("it is %d messages behind", got.Lag)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: stream %s, source %s: %w", ErrNotReady, want.Name, src.Name, err)
		}
	}
	return s, nil
}

// beating checks the last heartbeat against the clock of the feed's leader.
func (r *Realm) beating(ctx context.Context, feed jetstream.Stream) error {
	info := feed.CachedInfo()
	msg, err := feed.GetLastMsgForSubject(ctx, r.options.Realm.FeedHeartbeat())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("%w: no heartbeat yet", ErrNotReady)
	}
	if err != nil {
		return fmt.Errorf("reading the heartbeat: %w", err)
	}
	if age := info.TimeStamp.Sub(msg.Time); age > heartbeatAge {
		return fmt.Errorf("%w: the last heartbeat is %v old", ErrNotReady, age.Round(time.Millisecond))
	}
	e, err := codec.Decode(msg.Data)
	if err != nil {
		return fmt.Errorf("reading the heartbeat: %w", err)
	}
	beat, ok := e.Event.(events.Heartbeat)
	if !ok || string(beat.Epoch) != info.Config.Metadata[topology.EpochKey] {
		return fmt.Errorf("%w: the heartbeat is of another epoch", ErrNotReady)
	}
	return nil
}
