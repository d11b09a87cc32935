package syncer

import (
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// Report is how far one sidecar enforces the feed: everything up to Sequence
// denies, whether or not it is on disk yet. It is published as JSON, at most once
// a second and only when it has changed.
type Report struct {
	ID string `json:"id"`
	// Instance differs from one run to the next.
	Instance string       `json:"instance"`
	Epoch    events.Epoch `json:"epoch"`
	Sequence uint64       `json:"sequence"`
	// FreshAsOf is absent until the sidecar has proved itself complete.
	FreshAsOf time.Time `json:"fresh_as_of,omitzero"`
}

// tell logs what needs someone's attention, and reports how far the feed is
// enforced. Once a tick, so that no flood of events makes a flood of either.
func (r *run) tell() {
	before, now := r.reported, r.State()
	r.reported = now
	if before.Phase != now.Phase {
		r.log.Info("the feed's phase is another",
			zap.Stringer("phase", now.Phase), zap.Stringer("before", before.Phase), zap.Uint64("sequence", now.Sequence))
	}
	rejects := r.Rejected()
	for _, c := range []struct {
		what          string
		before, after uint64
	}{
		{"feed events could not be decoded", before.Malformed, now.Malformed},
		{"feed events are of a kind unknown to this version", before.Unknown, now.Unknown},
		{"feed events would allow and are not signed by the realm's root key", before.Unsigned, now.Unsigned},
		{"live messages had headers that cannot be believed", r.rejects, rejects},
		{"the feed is followed from its beginning again", before.Resyncs, now.Resyncs},
	} {
		if c.after > c.before {
			r.log.Error(c.what, zap.Uint64("times", c.after-c.before))
		}
	}
	r.rejects = rejects
	if r.refusal != nil {
		r.log.Error("the denylist refuses", zap.Error(r.refusal))
		r.refusal = nil
	}
	if now.Phase == replica.Offline || now.Cursor == before.Cursor || now.Epoch == "" {
		return
	}
	if err := r.report(now.Cursor); err != nil {
		r.log.Debug("reporting", zap.Error(err))
	}
}

func (r *run) report(c replica.Cursor) error {
	body, err := json.Marshal(Report{
		ID: r.cfg.ID, Instance: r.cfg.Instance,
		Epoch: c.Epoch, Sequence: c.Sequence, FreshAsOf: c.FreshAsOf,
	})
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := r.conn.Publish(r.cfg.Realm.Report(r.cfg.ID), body); err != nil {
		return fmt.Errorf("publishing the report: %w", err)
	}
	return nil
}
