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
	"errors"
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
// which stream stands in the way and why; calling again is always safe.
func (r *Realm) Ensure(ctx context.Context) error {
	o := r.options
	if _, err := r.stream(ctx, r.js, o.Journal()); err != nil {
		return err
	}
	if _, err := r.stream(ctx, r.js, o.Pulse()); err != nil {
		return err
	}
	// The consumers of others come before the streams that source through them:
	// a source that finds none retries only after seconds.
	feed := o.Feed()
	if err := r.consumer(ctx, o.Realm.PulseStream(), feed.Sources[0].Consumer, []string{o.Realm.PulseBeat()}); err != nil {
		return err
	}
	feed.Metadata[topology.EpochKey] = rand.Text()
	made, err := r.stream(ctx, r.js, feed)
	if err != nil {
		return err
	}
	if err := r.schedule(ctx, made.Metadata[topology.EpochKey]); err != nil {
		return err
	}
	if err := r.events(ctx); err != nil {
		return err
	}
	_, err = r.stream(ctx, r.js, o.Audit())
	return err
}

// events makes EVENTS and the consumer it is fed by. The subject between the two
// is a secret; issuers that start together may draw several, and go on until both
// ends agree on one.
func (r *Realm) events(ctx context.Context) error {
	o := r.options
	name, feed := o.Realm.EventsStream(), o.Realm.FeedStream()
	for {
		deliver, err := r.eventsDeliver(ctx)
		if err != nil {
			return err
		}
		if deliver == "" {
			// A new copy begins at the beginning, so its consumer must be new too.
			err := r.js.DeleteConsumer(ctx, feed, topology.EventsConsumer)
			if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				return fmt.Errorf("renewing consumer %s of stream %s: %w", topology.EventsConsumer, feed, err)
			}
			deliver = o.EventsDeliver(rand.Text())
		}
		c := topology.SourceConsumer{Name: topology.EventsConsumer, Deliver: deliver}
		if err := r.consumer(ctx, feed, &c, o.EventsFilter()); err != nil {
			return err
		}
		if _, err := r.stream(ctx, r.vault, o.Events(deliver)); err != nil {
			return err
		}
		agreed, err := r.eventsDeliver(ctx)
		if err != nil {
			return err
		}
		made, err := r.js.PushConsumer(ctx, feed, topology.EventsConsumer)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("reading consumer %s of stream %s: %w", topology.EventsConsumer, feed, err)
		}
		if err == nil && agreed == made.CachedInfo().Config.DeliverSubject {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("provisioning stream %s: %w", name, err)
		}
	}
}

// eventsDeliver returns the subject that EVENTS listens to; empty if there is no
// EVENTS yet.
func (r *Realm) eventsDeliver(ctx context.Context) (string, error) {
	name := r.options.Realm.EventsStream()
	s, err := r.vault.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading stream %s: %w", name, err)
	}
	sources := s.CachedInfo().Config.Sources
	if len(sources) != 1 || sources[0].Consumer == nil {
		return "", fmt.Errorf("stream %s exists and does not source the feed through consumer %s", name, topology.EventsConsumer)
	}
	return sources[0].Consumer.DeliverSubject, nil
}

// consumer makes the durable consumer that another stream sources through. It
// replicates like its stream and acknowledges by flow control, so a fail-over
// neither loses its place nor stalls it.
func (r *Realm) consumer(ctx context.Context, stream string, c *topology.SourceConsumer, filter []string) error {
	_, err := r.js.CreateOrUpdatePushConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable:        c.Name,
		DeliverSubject: c.Deliver,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckFlowControlPolicy,
		FlowControl:    true,
		IdleHeartbeat:  time.Second, // the only value that NATS takes here
		FilterSubjects: filter,
		MaxAckPending:  maxAckPending,
	})
	if err != nil {
		return fmt.Errorf("provisioning consumer %s of stream %s: %w", c.Name, stream, err)
	}
	return nil
}

// maxAckPending is how many messages may be under way to a sourcing stream.
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
