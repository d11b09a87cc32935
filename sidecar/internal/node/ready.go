package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/clock"
	"github.com/revocast/revocast/sidecar/internal/gate"
)

// Unready says why this node should not be sent requests; nil if it may be. It
// asks the gate itself what would become of a good token, so that readiness and
// answers cannot differ.
func (n *Node) Unready() error {
	f := gate.Facts{Token: gate.Genuine, Finding: gate.Clear, Now: clock.Now()}
	f.FreshAsOf, f.Ready, f.Skew = n.Freshness(f.Now)
	policy := n.cfg.Policy
	policy.Scopes, policy.Shadow = nil, false
	if d := gate.Decide(policy, gate.Ask{}, f); d.Reason != gate.ReasonGood {
		return unreadyFor(d.Reason, f)
	}
	// Ahead of the broker's, a clock only takes tokens for older than they are; it
	// is to be put right all the same.
	if f.Skew.Abs() > events.MaxSkew {
		return unreadyFor(gate.ReasonClock, f)
	}
	list := n.Denylist.Status()
	if list.Rebuilding && !list.Complete {
		return errors.New("the denylist on disk was lost before it had been read, and is being fetched anew")
	}
	if list.OverBudget {
		return fmt.Errorf("the denylist takes %d bytes of memory, more than the %d of the budget that the token cache leaves it",
			list.MemoryBytes, n.cfg.Budget-n.cfg.Cache)
	}
	return nil
}

// unreadyFor words the gate's reason for operators.
func unreadyFor(r gate.Reason, f gate.Facts) error {
	age := f.Now.Sub(f.FreshAsOf)
	switch {
	case r == gate.ReasonNotReady:
		return errors.New("not caught up with the feed yet")
	case r == gate.ReasonClock && f.Skew.Abs() > events.MaxSkew:
		return fmt.Errorf("the clock is %s off the broker's, at most %s will do", f.Skew.Round(time.Millisecond), events.MaxSkew)
	case r == gate.ReasonClock:
		return fmt.Errorf("the clock has been set back: the view of revocations is %s ahead of it", (-age).Round(time.Millisecond))
	case r == gate.ReasonStale && f.FreshAsOf.IsZero():
		return errors.New("the view of revocations was never proved complete")
	case r == gate.ReasonStale:
		return fmt.Errorf("the view of revocations is %s old", age.Round(time.Second))
	}
	return fmt.Errorf("a good token would not pass: %s", r)
}

// watchReadiness says in the log when readiness changes.
func (n *Node) watchReadiness(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	last := "unknown"
	for {
		reason := ""
		if err := n.Unready(); err != nil {
			reason = err.Error()
		}
		switch {
		case reason == last:
		case reason == "":
			n.log.Info("ready", zap.Uint64("position", n.Syncer.State().Sequence))
		case last == "" || last == "unknown":
			n.log.Warn("not ready", zap.String("reason", reason))
		}
		last = reason
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
