// Package canary checks the way of a revocation from end to end while nobody looks: at
// an interval it revokes a token that does not exist, and measures how long it takes
// until every expected sidecar enforces that.
//
// A canary is an entry of kind token, of an issuer that no trust rule names and with a
// reason of its own: watchers and the audit can tell it apart, the finisher has nothing
// to record, and it expires within two minutes, so that a denylist never holds more than
// a few. Of several issuers one sends it: each tries at a random moment of the interval,
// under an event id that follows from the interval's number, and the broker stores that
// once.
//
// Invariants:
//
//   - What a canary revokes cannot be a token of anybody: its issuer is no URL and its
//     id random.
//   - A canary that was not confirmed everywhere is a warning in the log and shows in
//     the metrics until the next one is.
package canary

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/fleet"
)

// Issuer is whose tokens canaries revoke: nobody's.
const Issuer events.Issuer = "urn:revocast:canary"

// Reason is why.
const Reason events.Reason = "canary"

const (
	// Shortest is the least interval: a canary is done with before the next.
	Shortest = 10 * time.Second
	// Longest is the greatest. What is tried less often tells little.
	Longest = time.Hour
	// lasts is how long an entry stays.
	lasts = time.Minute
	// spreadAtMost bounds the part of the interval in which issuers try: less than the
	// broker's window for duplicates, by whatever clocks.
	spreadAtMost = 30 * time.Second
	// patience is how long a canary waits to be confirmed.
	patience = 10 * time.Second
	// named bounds the sidecars that one warning names.
	named = 20
)

// Feed announces an event unless one of its id was announced already.
type Feed interface {
	PublishOnce(ctx context.Context, subject string, e events.Envelope, ttl time.Duration) (sequence uint64, first bool, err error)
}

// Fleet says who enforces what.
type Fleet interface {
	Announced(sequence uint64, at time.Time)
	Confirm(ctx context.Context, sequence uint64, within time.Duration) fleet.Enforcement
}

// Config says how often.
type Config struct {
	Realm subject.Realm
	// Interval is the time from one canary of the realm to the next. Issuers should
	// agree on it. Zero sends none.
	Interval time.Duration
	// Now is this issuer's clock, [time.Now] if nil.
	Now func() time.Time
}

// Validate refuses intervals out of range.
func (c Config) Validate() error {
	if c.Interval != 0 && (c.Interval < Shortest || c.Interval > Longest) {
		return fmt.Errorf("an interval of %s between canaries: want 0 for none, or %s to %s", c.Interval, Shortest, Longest)
	}
	return nil
}

// Deps are what a [Canary] works with. All are required.
type Deps struct {
	Feed    Feed
	Fleet   Fleet
	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// Result is what became of one canary.
type Result struct {
	// At is when it was announced.
	At          time.Time
	ID          events.RevocationID
	Sequence    uint64
	Enforcement fleet.Enforcement
}

// Canary sends canaries. Last may be called from anywhere.
type Canary struct {
	cfg   Config
	feed  Feed
	fleet Fleet
	log   *zap.Logger

	runs    *prometheus.CounterVec
	slowest prometheus.Gauge
	missing prometheus.Gauge
	last    atomic.Pointer[Result]
}

// New checks the configuration and registers the metrics.
func New(cfg Config, deps Deps) (*Canary, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Canary{
		cfg: cfg, feed: deps.Feed, fleet: deps.Fleet, log: deps.Log,
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_canary_runs_total",
			Help: "Canaries by what became of them: confirmed (everywhere), missing (somewhere not), unsure (this issuer cannot know the fleet), failed (not announced), another (an issuer was first).",
		}, []string{"outcome"}),
		slowest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "revocast_canary_slowest_seconds", Help: "How long the slowest sidecar took that confirmed this issuer's last canary.",
		}),
		missing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "revocast_canary_missing_sidecars", Help: "Sidecars that were expected to confirm this issuer's last canary and did not.",
		}),
	}
	for _, m := range []prometheus.Collector{c.runs, c.slowest, c.missing} {
		if err := deps.Metrics.Register(m); err != nil {
			return nil, fmt.Errorf("registering the canary's metrics: %w", err)
		}
	}
	return c, nil
}

// Last is the last canary that this issuer sent; false before any.
func (c *Canary) Last() (Result, bool) {
	if r := c.last.Load(); r != nil {
		return *r, true
	}
	return Result{}, false
}

// Run sends canaries until ctx ends, then returns nil.
func (c *Canary) Run(ctx context.Context) error {
	if c.cfg.Interval == 0 {
		<-ctx.Done()
		return nil
	}
	for {
		slot, at := c.next(c.cfg.Now())
		t := time.NewTimer(at.Sub(c.cfg.Now()))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		if err := c.send(ctx, slot); err != nil && ctx.Err() == nil {
			c.runs.WithLabelValues("failed").Inc()
			c.log.Warn("the canary was not announced", zap.Error(err))
		}
	}
}

// next gives the next interval and a random moment near its beginning.
func (c *Canary) next(now time.Time) (slot int64, at time.Time) {
	slot = now.UnixNano()/int64(c.cfg.Interval) + 1
	at = time.Unix(0, slot*int64(c.cfg.Interval))
	return slot, at.Add(rand.N(min(c.cfg.Interval/4, spreadAtMost))) //nolint:gosec // a spread, not a secret
}

// send announces the canary of an interval, unless another issuer has, and waits until
// it is enforced.
func (c *Canary) send(ctx context.Context, slot int64) error {
	revocation, err1 := uuid.NewV7()
	target, err2 := uuid.NewRandom()
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("drawing ids: %w", err)
	}
	now := c.cfg.Now()
	n := events.Revocation{
		ID: events.RevocationID(revocation.String()), Kind: events.KindToken, Issuer: Issuer, Target: target.String(),
		Reason: Reason, By: events.Initiator{Role: "issuer", Name: "canary"}, Until: now.Add(lasts),
	}
	e := events.Envelope{ID: c.eventID(slot), At: now, Event: events.Revoked{Revocation: n}}
	sequence, first, err := c.feed.PublishOnce(ctx, c.cfg.Realm.FeedEntry(n.Kind, n.Issuer, n.Target), e, lasts+2*events.MaxSkew)
	if err != nil {
		return err
	}
	if !first {
		c.runs.WithLabelValues("another").Inc()
		return nil
	}
	c.fleet.Announced(sequence, time.Now())
	r := Result{At: now, ID: n.ID, Sequence: sequence, Enforcement: c.fleet.Confirm(ctx, sequence, min(patience, c.cfg.Interval/2))}
	if ctx.Err() == nil { // otherwise it was not given its time
		c.last.Store(&r)
		c.judge(r)
	}
	return nil
}

// judge says what became of a canary.
func (c *Canary) judge(r Result) {
	e := r.Enforcement
	var slowest time.Duration
	var missing []string
	for _, s := range e.Sidecars {
		if s.Confirmed {
			slowest = max(slowest, s.Took)
		} else if len(missing) < named {
			missing = append(missing, s.Sidecar)
		}
	}
	c.slowest.Set(slowest.Seconds())
	c.missing.Set(float64(e.Live - e.Confirmed))
	switch {
	case e.Confirmed < e.Live:
		c.runs.WithLabelValues("missing").Inc()
		c.log.Warn("a canary is not enforced everywhere", zap.String("revocation", string(r.ID)), zap.Uint64("sequence", r.Sequence),
			zap.Int("expected", e.Live), zap.Int("confirmed", e.Confirmed), zap.Strings("missing", missing))
	case e.Incomplete != "":
		c.runs.WithLabelValues("unsure").Inc()
		c.log.Debug("a canary says nothing", zap.String("reason", e.Incomplete))
	default:
		c.runs.WithLabelValues("confirmed").Inc()
		c.log.Debug("canary", zap.Int("confirmed", e.Confirmed), zap.Duration("slowest", slowest))
	}
}

// eventID is the same for whoever announces the canary of an interval: a UUID of version
// 7 (RFC 9562 section 5.7) whose random part is not.
func (c *Canary) eventID(slot int64) events.EventID {
	var text []byte
	text = binary.BigEndian.AppendUint64(text, uint64(slot))           //nolint:gosec // not negative since 1970
	text = binary.BigEndian.AppendUint64(text, uint64(c.cfg.Interval)) //nolint:gosec // not negative
	digest := sha256.Sum256(append(text, "canary of "+string(c.cfg.Realm)...))
	u := uuid.UUID(digest[:16])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(time.Duration(slot)*c.cfg.Interval/time.Millisecond)) //nolint:gosec // not negative since 1970
	copy(u[:6], ms[2:])
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	return events.EventID(u.String())
}
