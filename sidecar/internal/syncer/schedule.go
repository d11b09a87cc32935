package syncer

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// How often a sidecar reports (ADR-0017).
const (
	// keepalive is the longest that a sidecar says nothing; a random quarter of it is
	// taken off each time, so that those which started together do not stay together.
	keepalive = time.Minute
	// changeGap is the least time between two reports that nobody asked for, and askGap
	// between any two: no flood of asks or changes makes more reports than that.
	changeGap = time.Second
	askGap    = 10 * time.Millisecond
	// firstSpread is over what time reports are spread before an ask has said it.
	firstSpread = 250 * time.Millisecond
	// maxAsks is how many asks may be outstanding; the oldest is forgotten.
	maxAsks = 16
	// remembered is how many steps of the cursor are, and heldAtMost the longest that a
	// report says anything was held.
	remembered = 64
	heldAtMost = time.Hour
)

// schedule decides when to report. The caller says what time it is.
type schedule struct {
	// asks are for what is not enforced yet; asked is the highest that is and no report
	// has said, of the cursor's epoch.
	asks  []events.Ask
	asked uint64

	// due is when a report goes out at the latest, and urgent whether it was asked for.
	due    time.Time
	urgent bool
	last   time.Time
	spread time.Duration

	// steps are the last moments at which the cursor moved, oldest first.
	steps []step
	epoch events.Epoch
	state events.SidecarState
	// met is whether there has been a connection to report over.
	met bool
}

// step is a sequence and when it was enforced here.
type step struct {
	sequence uint64
	at       time.Time
}

func newSchedule(c replica.Cursor, now time.Time) *schedule {
	return &schedule{
		due: now.Add(keepalive), spread: firstSpread, epoch: c.Epoch, steps: []step{{c.Sequence, now}},
	}
}

// ask takes in what an issuer wants to know.
func (s *schedule) ask(a events.Ask, now time.Time) {
	s.spread = a.Spread
	if a.Sequence == 0 {
		s.want(true, now)
		return
	}
	if len(s.asks) == maxAsks {
		s.asks = slices.Delete(s.asks, 0, 1)
	}
	s.asks = append(s.asks, a)
	s.answer(now)
}

// enforced takes in how far the feed is enforced by now.
func (s *schedule) enforced(c replica.Cursor, now time.Time) {
	last := s.steps[len(s.steps)-1].sequence
	switch {
	case c.Epoch != s.epoch || c.Sequence < last:
		// Another life of the feed: what was asked and seen in this one says nothing.
		s.epoch, s.asked = c.Epoch, 0
		s.steps = append(s.steps[:0], step{c.Sequence, now})
		s.want(false, now)
	case c.Sequence == last:
		return
	default:
		if len(s.steps) == remembered {
			s.steps = slices.Delete(s.steps, 0, remembered/2)
		}
		s.steps = append(s.steps, step{c.Sequence, now})
	}
	s.answer(now)
}

// answer wants a report if one of the asks has come true. While the feed is not followed
// it is not certain that this is still the life of it in which the cursor was reached.
func (s *schedule) answer(now time.Time) {
	if s.state != events.StateFollowing {
		return
	}
	reached := s.steps[len(s.steps)-1].sequence
	before := len(s.asks)
	s.asks = slices.DeleteFunc(s.asks, func(a events.Ask) bool {
		if a.Epoch != s.epoch || a.Sequence > reached {
			return false
		}
		s.asked = max(s.asked, a.Sequence)
		return true
	})
	if len(s.asks) < before {
		s.want(true, now)
	}
}

// became takes in how the sidecar stands to the feed. The first connection is reported
// at once, before anything has been fetched over it: whoever waits for the whole fleet
// shall expect a sidecar that serves.
func (s *schedule) became(state events.SidecarState, now time.Time) {
	if state == s.state {
		return
	}
	s.state = state
	if !s.met && state != events.StateUnknown {
		s.met = true
		s.by(now, askGap)
	} else {
		s.want(false, now)
	}
	s.answer(now)
}

// want makes a report due within the spread, or earlier if one is already.
func (s *schedule) want(urgent bool, now time.Time) {
	gap := changeGap
	if urgent {
		gap = askGap
	}
	at := now
	if s.spread > 0 {
		at = now.Add(rand.N(s.spread)) //nolint:gosec // a spread, not a secret
	}
	s.by(at, gap)
	s.urgent = s.urgent || urgent
}

// by makes a report due at a moment, or when the gap to the last one allows it, unless
// one is due earlier.
func (s *schedule) by(at time.Time, gap time.Duration) {
	if earliest := s.last.Add(gap); at.Before(earliest) {
		at = earliest
	}
	if at.Before(s.due) {
		s.due = at
	}
}

// sent takes in that a report has gone out, and gives the next its time.
func (s *schedule) sent(now time.Time) {
	s.last, s.asked = now, 0
	s.skipped(now)
}

// skipped takes in that a report was due which nobody would have heard.
func (s *schedule) skipped(now time.Time) {
	s.urgent = false
	s.due = now.Add(keepalive - rand.N(keepalive/4)) //nolint:gosec // a spread, not a secret
}

// held is for how long what was asked for has been enforced: at least for so long.
func (s *schedule) held(now time.Time) time.Duration {
	if s.asked == 0 {
		return 0
	}
	for _, step := range s.steps {
		if step.sequence >= s.asked {
			return min(max(now.Sub(step.at), 0), heldAtMost)
		}
	}
	return 0
}
