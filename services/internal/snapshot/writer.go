package snapshot

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	form "github.com/revocast/revocast/events/snapshot"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
)

const (
	// DefaultLeast is below how many events reading the feed is as quick.
	DefaultLeast = 20_000
	// changed is the part of a feed that has to be new before it is packed again.
	changed = 0.05
	// renewAfter packs again what would go away otherwise.
	renewAfter = topology.SnapshotMaxAge / 2
	// within bounds one attempt.
	within = 10 * time.Minute
)

// Config says how often.
type Config struct {
	Realm subject.Realm
	// Interval is the least time from one snapshot to the next. Positive.
	Interval time.Duration
	// Least is below how many events of the feed none is written; zero means
	// [DefaultLeast].
	Least uint64
}

// Writer writes snapshots. Make one with [New] and let [Writer.Run] run.
type Writer struct {
	cfg     Config
	conn    *nats.Conn
	js      jetstream.JetStream
	root    ed25519.PrivateKey
	log     *zap.Logger
	metrics metrics
}

// New registers the metrics. Connection and key stay the caller's.
func New(cfg Config, conn *nats.Conn, root ed25519.PrivateKey, log *zap.Logger, registry prometheus.Registerer) (*Writer, error) {
	if cfg.Interval <= 0 {
		return nil, fmt.Errorf("writing snapshots every %s: want more than 0", cfg.Interval)
	}
	if cfg.Least == 0 {
		cfg.Least = DefaultLeast
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	w := &Writer{cfg: cfg, conn: conn, js: js, root: root, log: log, metrics: newMetrics()}
	if err := w.metrics.register(registry); err != nil {
		return nil, fmt.Errorf("registering the snapshots' metrics: %w", err)
	}
	return w, nil
}

// Run writes snapshots until ctx ends, through every outage of the broker.
func (w *Writer) Run(ctx context.Context) error {
	for {
		pause := w.cfg.Interval/4 + rand.N(w.cfg.Interval/4+1) //nolint:gosec // spreads issuers, hides nothing
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		attempt, done := context.WithTimeout(ctx, within)
		written, err := w.Write(attempt)
		done()
		switch {
		case ctx.Err() != nil:
		case err != nil:
			w.metrics.failed.Inc()
			w.log.Warn("no snapshot was written", zap.Error(err))
		case written.Sequence > 0:
			w.metrics.wrote(written)
			w.log.Info("wrote a snapshot of the feed", zap.Uint64("sequence", written.Sequence),
				zap.Uint64("events", written.Events), zap.Int("chunks", len(written.Chunks)))
		}
	}
}

// errInterrupted: somebody else writes, too.
var errInterrupted = errors.New("another issuer writes a snapshot at the same time")

// Write writes a snapshot if one is due and nobody else is about to. It gives the
// zero Manifest if not.
func (w *Writer) Write(ctx context.Context) (form.Manifest, error) {
	feed, err := w.look(ctx)
	if err != nil {
		return form.Manifest{}, err
	}
	last, err := w.lastWritten(ctx)
	if err != nil {
		return form.Manifest{}, err
	}
	if !w.due(feed, last) {
		return form.Manifest{}, nil
	}
	mine, err := w.claim(ctx, feed.now)
	if err != nil || !mine {
		return form.Manifest{}, err
	}
	return w.write(ctx, feed, last)
}

// state is what the feed's leader says of it.
type state struct {
	epoch    string
	last     uint64
	lastTime time.Time
	messages uint64
	now      time.Time
}

func (w *Writer) look(ctx context.Context) (state, error) {
	s, err := w.js.Stream(ctx, w.cfg.Realm.FeedStream())
	if err != nil {
		return state{}, fmt.Errorf("looking at the feed: %w", err)
	}
	info := s.CachedInfo()
	return state{
		epoch: info.Config.Metadata[topology.EpochKey], last: info.State.LastSeq, lastTime: info.State.LastTime,
		messages: info.State.Msgs, now: info.TimeStamp,
	}, nil
}

// written is the last snapshot.
type written struct {
	form.Manifest
	at       time.Time
	sequence uint64 // of the manifest itself; zero if there is none
}

func (w *Writer) lastWritten(ctx context.Context) (written, error) {
	msg, err := w.lastOf(ctx, w.cfg.Realm.SnapshotManifest())
	if err != nil || msg == nil {
		return written{}, err
	}
	last := written{at: msg.Time, sequence: msg.Sequence}
	if public, ok := w.root.Public().(ed25519.PublicKey); ok {
		// One that cannot be read is no reason not to write a better one.
		last.Manifest, _ = form.Open(public, w.cfg.Realm, msg.Data)
	}
	return last, nil
}

// lastOf reads the last message of a subject from the leader; nil if there is none.
func (w *Writer) lastOf(ctx context.Context, name string) (*jetstream.RawStreamMsg, error) {
	s, err := w.js.Stream(ctx, w.cfg.Realm.SnapshotStream())
	if err != nil {
		return nil, fmt.Errorf("looking at the snapshots: %w", err)
	}
	msg, err := s.GetLastMsgForSubject(ctx, name)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return msg, nil
}

// due reports whether enough has changed since the last one. Heartbeats are no change.
func (w *Writer) due(feed state, last written) bool {
	age := feed.now.Sub(last.at)
	switch {
	case feed.messages < w.cfg.Least:
		return false
	case last.Sequence == 0 || string(last.Epoch) != feed.epoch || feed.last < last.Sequence:
		return true
	case age < w.cfg.Interval:
		return false
	}
	beats := uint64(max(age, 0) / topology.HeartbeatEvery)
	news := feed.last - last.Sequence
	return age >= renewAfter || news > beats && float64(news-beats) >= changed*float64(last.Events)
}

// claim reports whether this issuer may write now: nobody has claimed that for some
// time, and of several who notice, one is first.
func (w *Writer) claim(ctx context.Context, now time.Time) (bool, error) {
	last, err := w.lastOf(ctx, w.cfg.Realm.SnapshotClaim())
	if err != nil {
		return false, err
	}
	var after uint64
	if last != nil {
		if after = last.Sequence; now.Sub(last.Time) < min(w.cfg.Interval, within) {
			return false, nil
		}
	}
	_, err = w.js.Publish(ctx, w.cfg.Realm.SnapshotClaim(), nil, jetstream.WithExpectLastSequencePerSubject(after))
	if refused, is := errors.AsType[*jetstream.APIError](err); is && conflict(refused.ErrorCode) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("claiming the next snapshot: %w", err)
	}
	return true, nil
}

// conflict reports whether somebody else appended first; NATS says it in two ways.
func conflict(c jetstream.ErrorCode) bool {
	return c == jetstream.JSErrCodeStreamWrongLastSequence || c == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}
