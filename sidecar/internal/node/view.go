package node

import (
	"time"

	"go.uber.org/zap"

	"github.com/revocast/revocast/sidecar/internal/clock"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/jwks"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// expireEvery is how often the denylist forgets what has expired.
const expireEvery = time.Minute

// sink puts what the replica hands out into the denylist and the key sets. The syncer
// is its one caller.
type sink struct {
	denylist *denylist.Denylist
	keys     []*jwks.Set
	log      *zap.Logger
	// changed is told of what has come to be denied.
	changed func()
	expired time.Time
}

// Apply implements syncer.Denylist.
func (s *sink) Apply(a replica.Apply) error {
	b := denylist.Batch{Entries: a.Entries, Lifted: a.Lifts, Cursor: denylist.Cursor(a.Cursor), Begins: a.Begins}
	if len(a.Keys)+len(a.Retired) > 0 {
		// What denies waits for no key, and the cursor for all of them.
		if err := s.denylist.Apply(denylist.Batch{Entries: b.Entries, Lifted: b.Lifted}); err != nil {
			return err
		}
		b.Entries, b.Lifted = nil, nil
		s.announce(a)
	}
	if err := s.denylist.Apply(b); err != nil {
		return err
	}
	if len(a.Entries) > 0 {
		s.changed()
	}
	// A clock that jumps ahead must forget nothing: the feed's own time has to be
	// past as well.
	if now := earlier(clock.Now(), a.Cursor.FreshAsOf); now.Sub(s.expired) >= expireEvery {
		s.denylist.Expire(now)
		s.expired = now
	}
	return nil
}

// announce takes in keys. One that cannot be used is no reason to hold up anything: the
// issuer publishes it elsewhere, too.
func (s *sink) announce(a replica.Apply) {
	for _, set := range s.keys {
		if err := set.Announce(a.Keys, a.Retired, clock.Now()); err != nil {
			s.log.Error("announced keys", zap.Error(err))
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Freshness says up to which moment the view is proved complete, whether it may be
// answered from, and how much a local clock that says now is ahead of the broker's.
func (n *Node) Freshness(now time.Time) (asOf time.Time, ready bool, skew time.Duration) {
	s := n.Syncer.State()
	return s.FreshAsOf, s.CaughtUp || now.Sub(n.warm) < n.cfg.Policy.StaleLimit, s.Skew(now, clock.Elapsed())
}
