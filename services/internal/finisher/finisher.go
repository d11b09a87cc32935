// Package finisher completes what a crash left half done. It follows two streams,
// each as one durable consumer that all issuers of a realm share.
//
// Of AUDIT, every revocation announced on the feed is recorded in the journal if it
// is not yet, and the history of a session whose end AUDIT holds is compacted
// (ADR-0003). It reads AUDIT because FEED forgets: issuers may be down for longer
// than an entry lives.
//
// Of JOURNAL, what a change of a user or a client entails is announced and recorded
// (ADR-0015). It reads JOURNAL because AUDIT has no users: they come with their
// password's hash.
//
// Invariants:
//
//   - An event is acknowledged only after its work is durable (INV-1, INV-5).
//   - Work is idempotent; two issuers given the same event do it once.
//   - What cannot be handled is parked: counted, logged, left where it is, and it
//     does not hold up what comes after it.
package finisher

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
)

const (
	// durable names the one consumer, on either stream, of all issuers of a realm.
	durable = "FINISHER"
	// settle is how old an announcement must be before anyone finishes it: by
	// then the issuer that made it has recorded it, unless it died.
	settle = 3 * time.Second
	// ackWait is how long an issuer may take over one event before another does.
	ackWait = 30 * time.Second
	// retryAfter grows linearly with the deliveries of an event, up to ten times.
	retryAfter = 2 * time.Second
	// parkAfter is how many deliveries an event gets. With the growing delay that
	// is more than an hour, longer than any outage that should pass unnoticed.
	parkAfter = 200
)

// Recorder is the part of the issuer's use cases that finishes.
type Recorder interface {
	// Record makes the journal say what the feed announced.
	Record(ctx context.Context, r events.Revocation) error
	// Compact drops the history of a session that has ended.
	Compact(ctx context.Context, s events.Session) error
	// Complete announces and records what a change of a user or a client entails.
	Complete(ctx context.Context, change events.Record) error
}

// Finisher follows AUDIT and JOURNAL. Make one with [New] and let [Finisher.Run] run.
type Finisher struct {
	js       jetstream.JetStream
	realm    subject.Realm
	recorder Recorder
	log      *zap.Logger
	done     *prometheus.CounterVec
}

// New registers the finisher's metrics. The connection belongs to the caller.
func New(conn *nats.Conn, realm subject.Realm, recorder Recorder, log *zap.Logger, metrics prometheus.Registerer) (*Finisher, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	f := &Finisher{
		js: js, realm: realm, recorder: recorder, log: log,
		done: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_finisher_events_total",
			Help: "Events of AUDIT and JOURNAL by what became of them: finished, retried, parked (an operator must look).",
		}, []string{"outcome"}),
	}
	if err := metrics.Register(f.done); err != nil {
		return nil, fmt.Errorf("registering the finisher's metrics: %w", err)
	}
	return f, nil
}

// Run follows both until ctx ends, through every outage of the broker.
func (f *Finisher) Run(ctx context.Context) error {
	audit := strings.TrimSuffix(f.realm.Audit(), ">")
	var following sync.WaitGroup
	following.Go(func() {
		f.keepFollowing(ctx, f.realm.AuditStream(),
			audit+"feed.token.*", audit+"feed.session.*", audit+"feed.subject.*",
			audit+"feed.client.*", audit+"feed.key.*", audit+"feed.all.*", audit+"journal.session.*")
	})
	following.Go(func() { f.keepFollowing(ctx, f.realm.JournalStream(), f.realm.Users(), f.realm.Clients()) })
	following.Wait()
	return nil
}

func (f *Finisher) keepFollowing(ctx context.Context, stream string, subjects ...string) {
	for {
		err := f.follow(ctx, stream, subjects)
		if !waitUntil(ctx, time.Now().Add(time.Second)) {
			return
		}
		f.log.Warn("finisher: following again", zap.Error(err))
	}
}

func (f *Finisher) follow(ctx context.Context, stream string, subjects []string) error {
	consumer, err := f.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: 1000,
		FilterSubjects: subjects,
	})
	if err != nil {
		return fmt.Errorf("creating consumer %s of %s: %w", durable, stream, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(100))
	if err != nil {
		return fmt.Errorf("following %s: %w", stream, err)
	}
	defer messages.Stop()
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	for {
		m, err := messages.Next()
		if err != nil {
			return fmt.Errorf("following %s: %w", stream, err)
		}
		f.handle(ctx, m)
	}
}

// handle finishes one event and settles it with the server. A settlement that
// does not arrive means one more delivery, which does no harm.
func (f *Finisher) handle(ctx context.Context, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		f.log.Error("finisher: message without metadata", zap.String("subject", m.Subject()), zap.Error(err))
		return
	}
	e, err := codec.Decode(m.Data())
	if err != nil {
		f.park(m, meta, err)
		return
	}
	r := events.Record{
		Subject: m.Subject(), Position: events.Position{Sequence: meta.Sequence.Stream}, Time: meta.Timestamp, Envelope: e,
	}
	if nothingFollows(r) {
		_ = m.Ack()
		return
	}
	if !waitUntil(ctx, meta.Timestamp.Add(settle)) {
		return
	}
	if err := f.finish(ctx, r, m.Headers()); err != nil {
		if meta.NumDelivered >= parkAfter {
			f.park(m, meta, err)
			return
		}
		f.done.WithLabelValues("retried").Inc()
		f.log.Warn("finisher: trying again", zap.String("event", string(e.ID)), zap.Uint64("deliveries", meta.NumDelivered), zap.Error(err))
		_ = m.NakWithDelay(retryAfter * time.Duration(min(meta.NumDelivered, 10)))
		return
	}
	f.done.WithLabelValues("finished").Inc()
	_ = m.Ack()
}

// nothingFollows tells most changes of users from those that entail something.
func nothingFollows(r events.Record) bool {
	switch r.Envelope.Event.(type) { //nolint:gochecksumtype // finish names the others
	case events.UserRegistered, events.PasswordChanged, events.UserUpdated, events.ClientUpdated:
		_, follows := events.Entailed(r)
		return !follows
	}
	return false
}

func (f *Finisher) finish(ctx context.Context, r events.Record, h nats.Header) error {
	switch v := r.Envelope.Event.(type) {
	case events.PasswordChanged, events.UserUpdated, events.ClientUpdated:
		return f.recorder.Complete(ctx, r)
	case events.Revoked:
		return f.recorder.Record(ctx, v.Revocation)
	case events.SessionRevoked:
		if h.Get(jetstream.MsgRollup) != "" {
			return nil // our own compaction, seen again
		}
		return f.recorder.Compact(ctx, v.Session)
	case events.Unknown:
		return fmt.Errorf("event kind %d: written by a newer version", v.Number)
	case events.SessionStarted, events.SessionRefreshed, events.CutsRecorded, events.Lifted, events.UserRegistered,
		events.KeyAdded, events.KeyRetired, events.OperatorAdded, events.OperatorRemoved, events.SecretSealed,
		events.LifetimesDeclared, events.SessionReplayed, events.Noted, events.Heartbeat, events.BarrierPassed:
	}
	return nil
}

// park gives up on one event, loudly.
func (f *Finisher) park(m jetstream.Msg, meta *jetstream.MsgMetadata, reason error) {
	f.done.WithLabelValues("parked").Inc()
	f.log.Error("finisher: parked; the event stays where it is",
		zap.String("stream", meta.Stream), zap.Uint64("sequence", meta.Sequence.Stream), zap.Error(reason))
	_ = m.TermWithReason("parked")
}

// waitUntil reports whether it reached t before ctx ended.
func waitUntil(ctx context.Context, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(min(d, settle))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
