// Package provision makes the streams of a realm what package topology says they
// should be, and tells when they really run.
//
// Issuers call it at start, as many at once as there are. It only ever adds:
// nothing is deleted, shortened or given fewer replicas by starting an issuer.
//
// Invariants:
//
//   - The first sequence of a stream comes from the clock (unix microseconds) when
//     it is created, and is never touched again: positions never go back.
//   - One life of the feed has one epoch. It is drawn when the feed is created and
//     kept in the stream's own metadata, so it ends when the stream does.
//   - AUDIT and EVENTS obey neither roll-ups nor per-message expiry, and the feed
//     no roll-ups; otherwise Ensure fails.
package provision

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/topology"
)

// Realm provisions one realm over one connection of the issuer role. Safe for
// concurrent use.
type Realm struct {
	options topology.Options
	// js is the JetStream of the issuers' own account, vault what they see of the
	// vault's.
	js, vault jetstream.JetStream
}

// New does not touch the network. The connection stays the caller's.
func New(nc *nats.Conn, o topology.Options) (*Realm, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("opening JetStream: %w", err)
	}
	vault, err := jetstream.NewWithAPIPrefix(nc, o.EventsAPI())
	if err != nil {
		return nil, fmt.Errorf("opening JetStream of the vault: %w", err)
	}
	return &Realm{options: o, js: js, vault: vault}, nil
}

// Ensure creates what is missing and updates what is older than this version. It
// is idempotent, and any number of issuers may run it at once. An error says
// which stream stands in the way and why; calling again is always safe, and a
// cluster that has only just started may need it.
func (r *Realm) Ensure(ctx context.Context) error {
	o := r.options
	if _, err := r.ensure(ctx, r.js, func(string) topology.Stream { return o.Journal() }); err != nil {
		return err
	}
	if _, err := r.ensure(ctx, r.js, func(string) topology.Stream { return o.Pulse() }); err != nil {
		return err
	}
	epoch := rand.Text()
	feed, err := r.ensure(ctx, r.js, func(token string) topology.Stream {
		s := o.Feed(token)
		s.Metadata[topology.EpochKey] = epoch
		return s
	})
	if err != nil {
		return err
	}
	if err := r.schedule(ctx, feed.Metadata[topology.EpochKey]); err != nil {
		return err
	}
	if _, err := r.ensure(ctx, r.js, func(string) topology.Stream { return o.Snapshot() }); err != nil {
		return err
	}
	if _, err := r.ensure(ctx, r.vault, o.Events); err != nil {
		return err
	}
	_, err = r.ensure(ctx, r.js, o.Audit)
	return err
}

// consumer makes the durable consumer that a stream reads src through. It
// replicates like its stream and is acknowledged by flow control, so a fail-over
// does not lose its place.
func (r *Realm) consumer(ctx context.Context, src topology.Source) error {
	_, err := r.js.CreateOrUpdatePushConsumer(ctx, src.Name, jetstream.ConsumerConfig{
		Durable:        src.Consumer.Name,
		DeliverSubject: src.Consumer.Deliver,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckFlowControlPolicy,
		FlowControl:    true,
		IdleHeartbeat:  time.Second, // the only value that NATS takes here
		FilterSubjects: src.Filter,
		MaxAckPending:  maxAckPending,
	})
	if err != nil {
		return fmt.Errorf("provisioning consumer %s of stream %s: %w", src.Consumer.Name, src.Name, err)
	}
	return nil
}

// maxAckPending is how many messages may be under way to a stream that sources.
const maxAckPending = 1000

// convert turns the data into the client library's type, by way of the JSON form
// they share.
func convert(s topology.Stream) (jetstream.StreamConfig, error) {
	var c jetstream.StreamConfig
	b, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		return c, fmt.Errorf("converting stream %s: %w", s.Name, err)
	}
	return c, nil
}
