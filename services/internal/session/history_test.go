package session_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// oracle is what a session's life was, told without cleverness.
type oracle struct {
	over       bool
	superseded map[uint64]time.Time // when each generation was
	replayed   map[uint64]bool      // by the generation that was current then
	used       map[uint64]bool      // generations refreshed, rotating or not
}

// judge checks what is said of a generation that is not current any more.
func (o *oracle) judge(t *rapid.T, said error, c session.Refresh, now time.Time, current uint64) {
	at, known := o.superseded[c.Generation]
	if !known {
		t.Fatalf("generation %d was never superseded, and is %v", c.Generation, said)
	}
	inside := now.Sub(at) <= c.Policy.Grace
	lost := c.Proof.Authenticated && c.Generation+1 == current && !o.used[current]
	switch {
	case errors.Is(said, session.ErrReplay), errors.Is(said, session.ErrReplayAccessOnly), errors.Is(said, session.ErrReplayRefused):
		if !inside {
			t.Fatalf("generation %d, superseded %s ago: %v", c.Generation, now.Sub(at), said)
		}
	case errors.Is(said, session.ErrLostResponse):
		if inside || !lost {
			t.Fatalf("generation %d of %d, superseded %s ago: %v", c.Generation, current, now.Sub(at), said)
		}
	case errors.Is(said, session.ErrReuse):
		if inside || lost {
			t.Fatalf("INV-4: an honest client is taken for a thief %s after generation %d", now.Sub(at), c.Generation)
		}
	case errors.Is(said, session.ErrStepUp):
		if c.Proof.Authenticated || !inside {
			t.Fatalf("a bound client's replay, %s after: %v", now.Sub(at), said)
		}
	default:
		t.Fatalf("a superseded generation: %v", said)
	}
}

// INV-4, INV-5, INV-7: whatever is asked in whatever order by whatever clocks and
// under whatever policy, a generation is rotated once, nothing follows an end, no
// message expires before its predecessor, and a superseded generation is what it is.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := policy()
		p.OnSuspicion = rapid.SampledFrom([]session.OnSign{session.StepUp, session.Ignore}).Draw(t, "suspicion")
		if rapid.Bool().Draw(t, "endless") {
			p.IdleLimit = 0
		}
		n := begin()
		devices := []string{"", "phone", "laptop"}
		n.DeviceID = rapid.SampledFrom(devices).Draw(t, "device")
		e, err := session.Decide(session.State{}, session.Start{Session: n, Policy: p}, noon)
		if err != nil {
			t.Fatal(err)
		}
		j := &journal{seq: 100}
		j.append(t, e, noon)
		broker := noon
		o := oracle{superseded: map[uint64]time.Time{}, replayed: map[uint64]bool{}, used: map[uint64]bool{}}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			broker = broker.Add(time.Duration(rapid.Int64Range(0, int64(8*time.Second)).Draw(t, "passes")))
			clock := broker.Add(time.Duration(rapid.Int64Range(-int64(time.Minute), int64(time.Minute)).Draw(t, "skew")))
			before := j.state.Session
			var command session.Command
			switch rapid.IntRange(0, 19).Draw(t, "command") {
			case 0:
				command = session.Revoke{Ending: events.Ending{RevocationID: rid, Reason: "test", By: events.Initiator{Role: "user"}, At: clock}}
			case 1:
				j.state = session.Apply(j.state, events.Record{Envelope: events.Envelope{Event: events.CutsRecorded{Cuts: []events.Revocation{{
					ID: rid, Kind: events.KindSubject, Issuer: before.Issuer, Target: string(before.Subject),
					Cut:    events.Position{Sequence: rapid.Uint64Range(90, j.seq).Draw(t, "cut")},
					Except: rapid.SampledFrom([]events.SessionID{"", sid}).Draw(t, "except"),
				}}}}})
				o.over = o.over || j.state.Over()
				continue
			default:
				p.IdleLimit = rapid.SampledFrom([]time.Duration{0, time.Hour, 720 * time.Hour}).Draw(t, "idle")
				p.NoRotation = rapid.Bool().Draw(t, "no rotation")
				p.StepUpAfterIdle = rapid.SampledFrom([]time.Duration{0, 10 * time.Second}).Draw(t, "step-up after")
				back := rapid.Uint64Range(0, 3).Draw(t, "back")
				r := use(before.Generation + 1 - min(back, before.Generation+1))
				r.Policy, r.Proof.Authenticated = p, rapid.Bool().Draw(t, "authenticated")
				r.DeviceID = rapid.SampledFrom(devices).Draw(t, "from device")
				command = r
			}
			refresh, refreshing := command.(session.Refresh)
			state := j.state
			switch rapid.IntRange(0, 2).Draw(t, "barrier") {
			case 0:
				state = j.behindBarrier(broker)
			case 1:
				if refreshing && refresh.Generation < before.Generation {
					state = j.behindReplay(t, broker, refresh.Generation)
					j.state.Replay = state.Replay
					o.replayed[before.Generation] = true
				}
			}
			event, err := session.Decide(state, command, clock)
			if err != nil {
				if event != nil {
					t.Fatalf("%v, and an event", err)
				}
				if state.Now.IsZero() && (errors.Is(err, session.ErrStepUp) || errors.Is(err, session.ErrReuse) || errors.Is(err, session.ErrReplay)) {
					t.Fatalf("decided without a barrier: %v", err)
				}
				undecided := errors.Is(err, session.ErrBarrier) || errors.Is(err, session.ErrOver)
				if refreshing && refresh.Generation < before.Generation && !undecided {
					o.judge(t, err, refresh, state.Now, before.Generation)
				}
				continue
			}
			j.append(t, event, broker)
			after := j.state.Session
			switch event.(type) {
			case events.SessionRefreshed:
				if o.over {
					t.Fatal("a session was refreshed after its end")
				}
				if refresh.Generation != before.Generation {
					t.Fatalf("generation %d was accepted for %d", refresh.Generation, before.Generation)
				}
				o.used[before.Generation] = true
				keeps := refresh.Policy.NoRotation && refresh.Proof.Authenticated
				if keeps {
					if after.Generation != before.Generation || after.ReplayStreak != before.ReplayStreak {
						t.Fatalf("generation %d followed %d without rotation", after.Generation, before.Generation)
					}
					break
				}
				if after.Generation != before.Generation+1 {
					t.Fatalf("generation %d followed %d", after.Generation, before.Generation)
				}
				o.superseded[before.Generation] = broker
				streak := uint32(0)
				if o.replayed[before.Generation] && !refresh.Proof.Authenticated {
					streak = before.ReplayStreak + 1
				}
				if after.ReplayStreak != streak {
					t.Fatalf("a streak of %d after one of %d; replayed: %t", after.ReplayStreak, before.ReplayStreak, o.replayed[before.Generation])
				}
			case events.SessionRevoked:
				o.over = true
			}
			if !after.Deadline.IsZero() && (before.Deadline.IsZero() || after.Deadline.Before(before.Deadline)) {
				t.Fatalf("a message that expires at %v follows one that expires at %v", after.Deadline, before.Deadline)
			}
			if after.AccessExpires.Before(before.AccessExpires) {
				t.Fatal("the greatest access expiry fell")
			}
			if len(after.Rotations) > 8 {
				t.Fatalf("%d rotations remembered", len(after.Rotations))
			}
			if after.Began != before.Began {
				t.Fatal("a session began twice")
			}
		}
	})
}
