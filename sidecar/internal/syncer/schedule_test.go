package syncer

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// following is the schedule of a sidecar that follows the feed and has said so.
func following(c replica.Cursor, now time.Time) *schedule {
	s := newSchedule(c, now)
	s.became(events.StateFollowing, now)
	s.sent(now)
	return s
}

func at(sequence uint64) replica.Cursor { return replica.Cursor{Epoch: "e", Sequence: sequence} }

// A report that is asked for waits for what was asked, and then says for how long that
// has been enforced.
func TestAskedForWhatIsNotThereYet(t *testing.T) {
	now := time.Unix(1000, 0)
	s := following(at(5), now)
	now = now.Add(time.Second)
	s.ask(events.Ask{Epoch: "e", Sequence: 7}, now)
	if !s.due.After(now) {
		t.Error("a report is due before what was asked for is enforced")
	}
	now = now.Add(time.Second)
	s.enforced(at(6), now)
	if s.urgent || s.asked != 0 {
		t.Error("a lower sequence answers the ask")
	}
	now = now.Add(time.Second)
	s.enforced(at(8), now)
	if s.due.After(now) || !s.urgent || s.asked != 7 {
		t.Errorf("enforced, but due %s later, urgent %t, asked %d", s.due.Sub(now), s.urgent, s.asked)
	}
	if held := s.held(now.Add(3 * time.Millisecond)); held != 3*time.Millisecond {
		t.Errorf("held for %s, want 3ms", held)
	}
	s.sent(now)
	if s.asked != 0 || s.due.Before(now.Add(keepalive-keepalive/4)) {
		t.Errorf("after the report: asked %d, due %s later", s.asked, s.due.Sub(now))
	}
}

// The first connection is reported at once, later ones spread: whoever asks for the fleet
// the moment a sidecar serves is told of it.
func TestFirstConnectionIsReportedAtOnce(t *testing.T) {
	now := time.Unix(1000, 0)
	for range 100 {
		s := newSchedule(at(1), now)
		s.became(events.StateUnknown, now)
		if !s.due.After(now.Add(firstSpread)) {
			t.Fatal("a report is due without a connection")
		}
		s.became(events.StateCatchingUp, now)
		if s.due.After(now) {
			t.Fatalf("connected for the first time, reported %s later", s.due.Sub(now))
		}
		s.sent(now)
		s.became(events.StateUnknown, now.Add(10*time.Second))
		s.skipped(now.Add(10 * time.Second))
		again := now.Add(20 * time.Second)
		s.became(events.StateCatchingUp, again)
		if s.due.Before(again) || s.due.After(again.Add(firstSpread)) {
			t.Fatalf("connected again, reported %s later", s.due.Sub(again))
		}
	}
}

// What was enforced before anybody asked is told with its age, and never an age that is
// too high.
func TestAskedLater(t *testing.T) {
	start := time.Unix(1000, 0)
	s := following(at(1), start)
	for n := range uint64(10 * remembered) {
		s.enforced(at(2+n), start.Add(time.Duration(n)*time.Second))
	}
	now := start.Add(10 * remembered * time.Second)
	last := uint64(10*remembered + 1)
	s.ask(events.Ask{Epoch: "e", Sequence: last - 3}, now)
	if held := s.held(now); held != 4*time.Second {
		t.Errorf("held for %s, want 4s", held)
	}
	s.sent(now)
	s.ask(events.Ask{Epoch: "e", Sequence: 2}, now)
	if held := s.held(now); held <= 0 || held > now.Sub(start) {
		t.Errorf("what is long past was held for %s", held)
	}
}

// An ask for another life of the feed is answered in that life alone.
func TestAskedForAnotherEpoch(t *testing.T) {
	now := time.Unix(1000, 0)
	s := following(at(100), now)
	s.ask(events.Ask{Epoch: "f", Sequence: 7}, now)
	s.enforced(at(101), now)
	if s.asked != 0 || s.urgent {
		t.Error("a sequence of another epoch answers the ask")
	}
	s.enforced(replica.Cursor{Epoch: "f", Sequence: 9}, now)
	if s.asked != 7 || !s.urgent {
		t.Errorf("asked %d, urgent %t in the epoch that was asked for", s.asked, s.urgent)
	}
	// A rollback within an epoch takes back what was reached.
	s.sent(now)
	s.enforced(replica.Cursor{Epoch: "f", Sequence: 3}, now)
	s.ask(events.Ask{Epoch: "f", Sequence: 9}, now)
	if s.asked != 0 {
		t.Error("what was rolled back is said to be enforced")
	}
}

// While a sidecar reads what it may have missed, its position may be one of a feed that
// was put back since: it answers when it follows again.
func TestAskedWhileCatchingUp(t *testing.T) {
	now := time.Unix(1000, 0)
	s := following(at(100), now)
	s.became(events.StateCatchingUp, now)
	s.sent(now)
	s.ask(events.Ask{Epoch: "e", Sequence: 7}, now)
	if s.urgent || s.asked != 0 {
		t.Error("a position in doubt answers the ask")
	}
	s.became(events.StateFollowing, now)
	if !s.urgent || s.asked != 7 {
		t.Errorf("following: urgent %t, asked %d", s.urgent, s.asked)
	}
}

// Whatever happens, reports keep their distance, none says more than is enforced, one
// comes at the latest when the sign of life is due, and every ask that came true is
// answered within its spread.
func TestScheduleProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1000, 0)
		start := now
		cursor := at(1)
		s := newSchedule(cursor, now)
		var sent []time.Time
		var reached uint64 = 1
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				reached += rapid.Uint64Range(0, 3).Draw(t, "on")
				s.enforced(at(reached), now)
			case 1:
				s.ask(events.Ask{
					Epoch: "e", Sequence: reached + rapid.Uint64Range(0, 3).Draw(t, "beyond"),
					Spread: time.Duration(rapid.IntRange(0, 500).Draw(t, "spread")) * time.Millisecond,
				}, now)
			case 2:
				s.became(events.SidecarState(rapid.IntRange(1, 3).Draw(t, "state")), now)
			case 3:
				s.ask(events.Ask{}, now)
			}
			if s.asked > reached {
				t.Fatalf("says that %d is enforced, %d is", s.asked, reached)
			}
			if held := s.held(now); held < 0 || held > now.Sub(start) {
				t.Fatalf("held for %s, %s after the start", held, now.Sub(start))
			}
			if len(s.asks) > maxAsks || len(s.steps) > remembered {
				t.Fatalf("%d asks and %d steps are kept", len(s.asks), len(s.steps))
			}
			if s.asked > 0 && s.due.After(now.Add(s.spread+changeGap)) {
				t.Fatalf("what was asked for is reported %s later", s.due.Sub(now))
			}
			if !s.due.After(now) {
				sent = append(sent, now)
				s.sent(now)
			}
			if s.due.After(now.Add(keepalive)) {
				t.Fatalf("the next sign of life is due %s later", s.due.Sub(now))
			}
		}
		for i := 1; i < len(sent); i++ {
			if gap := sent[i].Sub(sent[i-1]); gap < askGap {
				t.Fatalf("two reports within %s", gap)
			}
		}
	})
}
