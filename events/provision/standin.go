package provision

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/topology"
)

// Silences after which an issuer beats in the server's place: one beat missed, or
// none expected because another issuer stands in already. The jitter keeps issuers
// from doing it all at once.
const (
	missed  = 2 * topology.HeartbeatEvery
	instead = topology.HeartbeatEvery
	jitter  = topology.HeartbeatEvery / 2
)

// StandIn publishes heartbeats while the server's own do not come, until ctx ends.
// Every issuer runs it. After a fail-over FEED can be written again within seconds
// (4 to 8 in tests), but its sourcing of PULSE may take up to a minute and a half
// to be set up again, and for so long every sidecar would have to count as stale.
//
// It weakens nothing: a beat is proof because the feed's quorum has stored it in
// its order, whoever sent it. Like a schedule's it goes out blindly; one that
// cannot be stored is missing, and the next follows.
func (r *Realm) StandIn(ctx context.Context) error {
	sub, err := r.js.Conn().SubscribeSync(r.options.Realm.LiveHeartbeat())
	if err != nil {
		return fmt.Errorf("listening to the heartbeat: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // only fails once the connection is gone
	silence := missed
	for {
		heard, err := next(ctx, sub, silence+rand.N(jitter)) //nolint:gosec // spreads issuers, hides nothing
		switch {
		case err == nil && heard.Header.Get(schedulerHeader) != "":
			silence = missed
		case err == nil:
			silence = instead
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("listening to the heartbeat: %w", err)
		default:
			r.beatOnce(ctx)
		}
	}
}

func next(ctx context.Context, sub *nats.Subscription, within time.Duration) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// beatOnce publishes one heartbeat if the feed can say its epoch.
func (r *Realm) beatOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, topology.HeartbeatEvery)
	defer cancel()
	feed, err := r.js.Stream(ctx, r.options.Realm.FeedStream())
	if err != nil {
		return
	}
	epoch := feed.CachedInfo().Config.Metadata[topology.EpochKey]
	msg, err := beat(r.options.Realm.FeedHeartbeat(), events.Epoch(epoch))
	if err != nil {
		return
	}
	msg.Header.Set(ttlHeader, topology.HeartbeatTTL.String())
	_ = r.js.Conn().PublishMsg(msg)
}
