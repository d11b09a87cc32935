package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
)

// Why [Keys.Find] gives no key.
var (
	// ErrUnknownKey: the provider, asked since, publishes no such key.
	ErrUnknownKey = errors.New("the provider publishes no such key")
	// ErrUnavailable: the provider's keys could not be had, so that is not known.
	ErrUnavailable = errors.New("the provider's keys are unavailable")
)

// Pace is how often a provider is asked for its keys. What is zero has the default.
type Pace struct {
	// Refresh is how often they are read, jittered by a tenth. 5 minutes.
	Refresh time.Duration
	// Throttle is the least time between two attempts, whatever asks for one. 2 seconds.
	Throttle time.Duration
	// Timeout bounds an attempt. 5 seconds.
	Timeout time.Duration
	// Keep is how long the last set counts that was read. 1 hour.
	Keep time.Duration
}

// maxWaiting bounds the requests that wait for an attempt.
const maxWaiting = 256

// Keys is the public keys of one provider. It is safe for concurrent use.
type Keys struct {
	provider Provider
	pace     Pace
	source   source
	log      *zap.Logger
	reads    *prometheus.CounterVec

	// wake asks Run for an attempt.
	wake chan struct{}

	mu   sync.Mutex
	keys map[events.KeyID]Key
	// read is when the attempt began that gave keys, began when the last one did that is
	// over. Zero before the first.
	read, began time.Time
	// round is closed, and replaced, when an attempt ends.
	round   chan struct{}
	waiting int
	// over is set when Run has ended: nobody will read the keys any more.
	over bool
}

// NewReads makes what counts how often keys were read.
func NewReads(metrics prometheus.Registerer) (*prometheus.CounterVec, error) {
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "revocast_issuer_provider_key_reads_total",
		Help: "How often the keys of an identity provider were read: ok, or error, after which those read before count for an hour.",
	}, []string{"provider", "outcome"})
	if err := metrics.Register(reads); err != nil {
		return nil, fmt.Errorf("registering the metrics of providers: %w", err)
	}
	return reads, nil
}

// New makes the keys of p, which [Keys.Run] reads.
func New(p Provider, pace Pace, log *zap.Logger, reads *prometheus.CounterVec) *Keys {
	pace.Refresh = cmp.Or(pace.Refresh, 5*time.Minute)
	pace.Throttle = cmp.Or(pace.Throttle, 2*time.Second)
	pace.Timeout = cmp.Or(pace.Timeout, 5*time.Second)
	pace.Keep = cmp.Or(pace.Keep, time.Hour)
	for _, outcome := range []string{"ok", "error"} {
		reads.WithLabelValues(string(p.Issuer), outcome)
	}
	return &Keys{
		provider: p, pace: pace, source: newSource(p), log: log.With(zap.String("provider", string(p.Issuer))), reads: reads,
		wake: make(chan struct{}, 1), round: make(chan struct{}),
	}
}

// Find gives the key of that id. For one that is not known it waits until the provider
// has been asked once more, for as long as the throttle and an attempt take at most. The
// error is [ErrUnknownKey] or [ErrUnavailable].
func (k *Keys) Find(ctx context.Context, id events.KeyID) (Key, error) {
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, k.pace.Throttle+2*k.pace.Timeout) // one may be under way
	defer cancel()
	for {
		key, round, err := k.look(id, asked)
		if round == nil {
			return key, err
		}
		select {
		case k.wake <- struct{}{}:
		default: // asked for already
		}
		select {
		case <-round:
		case <-ctx.Done():
			err = ErrUnavailable
		}
		k.mu.Lock()
		k.waiting--
		k.mu.Unlock()
		if err != nil {
			return Key{}, err
		}
	}
}

// look gives the key, or why there is none, or the round to wait for, in which the
// caller then counts as waiting.
func (k *Keys) look(id events.KeyID, asked time.Time) (Key, <-chan struct{}, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, known := k.keys[id]
	switch counts := !k.read.IsZero() && time.Since(k.read) < k.pace.Keep; {
	case known && counts:
		return key, nil, nil
	case k.read.After(asked):
		return Key{}, nil, ErrUnknownKey
	case k.over, k.began.After(asked), k.waiting >= maxWaiting:
		return Key{}, nil, ErrUnavailable
	}
	k.waiting++
	return Key{}, k.round, nil
}

// Run reads the keys at once, then whenever they are due or somebody asks for one that
// is not known, until ctx ends; then it returns nil, and nobody waits any longer. Failures
// are logged and tried again after a growing pause. Run may be called once.
func (k *Keys) Run(ctx context.Context) error {
	defer k.source.client.CloseIdleConnections()
	defer k.end()
	failures := 0
	for {
		if k.attempt(ctx) {
			failures = 0
		} else {
			failures++
		}
		pause := k.pace.Refresh
		if failures > 0 {
			pause = min(pause, k.pace.Throttle<<min(failures-1, 10))
		}
		pause += rand.N(pause/10+1) - pause/20 //nolint:gosec // spreads load, keeps no secret
		if !wait(ctx, k.pace.Throttle, nil) || !wait(ctx, pause-k.pace.Throttle, k.wake) {
			return nil
		}
	}
}

// end lets go of those who wait.
func (k *Keys) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	close(k.round)
}

// wait reports whether ctx goes on when d is over, or before that something wakes it.
func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-wake:
	}
	return true
}

// attempt reads the keys once and ends the round.
func (k *Keys) attempt(ctx context.Context) bool {
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, k.pace.Timeout)
	keys, refused, err := k.source.read(within)
	cancel()
	outcome := "ok"
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return false // told to stop, which is no failure of the provider's
	default:
		outcome = "error"
		k.log.Warn("keys of the provider could not be read", zap.Error(err))
	}
	k.reads.WithLabelValues(string(k.provider.Issuer), outcome).Inc()
	if len(refused) > 0 {
		k.log.Warn("keys of the provider are left out", zap.Error(errors.Join(refused...)))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.began = began
	if err == nil {
		k.keys, k.read = keys, began
	}
	close(k.round)
	k.round = make(chan struct{})
	return err == nil
}
