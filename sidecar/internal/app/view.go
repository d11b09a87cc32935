package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/jwks"
	"github.com/revocast/revocast/sidecar/internal/replica"
	"github.com/revocast/revocast/sidecar/internal/syncer"
)

// expireEvery is how often the denylist forgets what has expired.
const expireEvery = time.Minute

// sink puts what the replica hands out into the denylist and the key sets. The syncer
// is its one caller.
type sink struct {
	denylist *denylist.Denylist
	keys     []*jwks.Set
	log      *zap.Logger
	expired  time.Time
}

// Apply implements syncer.Denylist.
func (s *sink) Apply(a replica.Apply) error {
	// A key that cannot be used or saved is no reason to hold up what denies: the issuer
	// publishes it elsewhere, too.
	for _, set := range s.keys {
		if len(a.Keys)+len(a.Retired) == 0 {
			break
		}
		if err := set.Announce(a.Keys, a.Retired, time.Now()); err != nil {
			s.log.Error("announced keys", zap.Error(err))
		}
	}
	err := s.denylist.Apply(denylist.Batch{Entries: a.Entries, Lifted: a.Lifts, Cursor: denylist.Cursor(a.Cursor)})
	if err != nil {
		return err
	}
	// A clock that jumps ahead must forget nothing: the feed's own time has to be
	// past as well.
	if now := earlier(time.Now(), a.Cursor.FreshAsOf); now.Sub(s.expired) >= expireEvery {
		s.denylist.Expire(now)
		s.expired = now
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// view says how fresh the denylist is, to the verifier and to probes.
type view struct {
	syncer *syncer.Syncer
	// warm is what an earlier run had proved: its store may answer until it is
	// older than limit.
	warm  time.Time
	limit time.Duration
}

// Freshness implements verify.Freshness.
func (v *view) Freshness() (asOf time.Time, ready bool) {
	s := v.syncer.State()
	return s.FreshAsOf, s.CaughtUp || time.Since(v.warm) < v.limit
}

// check returns why this sidecar should not be sent requests.
func (v *view) check(policy func(age time.Duration) error) error {
	asOf, ready := v.Freshness()
	if !ready {
		return errors.New("not caught up with the feed yet")
	}
	s := v.syncer.State()
	if s.Skew.Abs() > events.MaxSkew {
		return fmt.Errorf("clock is %s off the broker's, at most %s", s.Skew.Round(time.Millisecond), events.MaxSkew)
	}
	return policy(time.Since(asOf))
}

// unready says why this sidecar should not be sent requests; nil if it may.
func (a *App) unready() error {
	return a.view.check(func(age time.Duration) error {
		limit := a.cfg.StaleAfter
		if a.cfg.WhenStale == "allow" {
			limit = a.cfg.StaleLimit
		}
		if age >= limit {
			return fmt.Errorf("the view of revocations is %s old", age.Round(time.Second))
		}
		return nil
	})
}

// watchReadiness says in the log when readiness changes.
func (a *App) watchReadiness(ctx context.Context) error {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	last := "unknown"
	for {
		reason := ""
		if err := a.unready(); err != nil {
			reason = err.Error()
		}
		switch {
		case reason == last:
		case reason == "":
			a.log.Info("ready", zap.Uint64("position", a.syncer.State().Sequence))
		case last == "" || last == "unknown":
			a.log.Warn("not ready", zap.String("reason", reason))
		}
		last = reason
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// registerDenylist exports the size of the denylist.
func registerDenylist(metrics prometheus.Registerer, d *denylist.Denylist) error {
	var errs []error
	for _, g := range []struct {
		name, help string
		value      func(denylist.Status) float64
	}{
		{"revocast_sidecar_denylist_narrow_entries", "Revoked tokens and sessions in the index.", func(s denylist.Status) float64 { return float64(s.Narrow) }},
		{"revocast_sidecar_denylist_queued_entries", "Entries enforced from memory that are not on disk yet.", func(s denylist.Status) float64 { return float64(s.Queued) }},
		{"revocast_sidecar_denylist_index_bytes", "Memory of the index.", func(s denylist.Status) float64 { return float64(s.IndexBytes) }},
		{"revocast_sidecar_denylist_disk_failing", "1 while the store cannot be written.", func(s denylist.Status) float64 {
			if s.DiskErr != nil {
				return 1
			}
			return 0
		}},
	} {
		errs = append(errs, metrics.Register(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: g.name, Help: g.help}, func() float64 { return g.value(d.Status()) },
		)))
	}
	return errors.Join(errs...)
}
