package syncer

import (
	"go.uber.org/zap"
)

// tell logs what needs someone's attention. Once a tick, so that no flood of events
// makes a flood of lines.
func (r *run) tell() {
	before, now := r.told, r.State()
	r.told = now
	if before.Phase != now.Phase {
		r.log.Info("the feed's phase is another",
			zap.Stringer("phase", now.Phase), zap.Stringer("before", before.Phase), zap.Uint64("sequence", now.Sequence))
	}
	// A handshake that fails when it connects again is told to no handler.
	unreachable := ""
	if err := r.conn.LastError(); err != nil && !r.conn.IsConnected() {
		unreachable = err.Error()
	}
	if unreachable != "" && unreachable != r.unreachable {
		r.log.Warn("connecting to the broker: " + unreachable)
	}
	r.unreachable = unreachable
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
}
