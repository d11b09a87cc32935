package session_test

import (
	"crypto/sha256"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

func TestSupersededGenerations(t *testing.T) {
	for _, c := range []struct {
		name       string
		bound      bool
		onReplay   session.OnReplay
		generation uint64
		after      time.Duration // since the last rotation, 4 → 5
		want       error
	}{
		{"in the window", false, session.ReplaySuccessor, 4, 9 * time.Second, session.ErrReplay},
		{"at its edge", false, session.ReplaySuccessor, 4, 10 * time.Second, session.ErrReplay},
		{"beyond it", false, session.ReplaySuccessor, 4, 10*time.Second + 1, session.ErrReuse},
		{"beyond it, but bound: the answer was lost", true, session.ReplayRefuse, 4, time.Hour, session.ErrLostResponse},
		{"two back and bound, beyond it", true, session.ReplaySuccessor, 3, time.Hour, session.ErrReuse},
		{"two back in the window", false, session.ReplaySuccessor, 3, 7 * time.Second, session.ErrReplay},
		{"two back beyond it", false, session.ReplaySuccessor, 3, 9 * time.Second, session.ErrReuse},
		{"the first", false, session.ReplaySuccessor, 0, 3 * time.Second, session.ErrReuse},
		{"policy: access only", false, session.ReplayAccessOnly, 4, time.Second, session.ErrReplayAccessOnly},
		{"policy: refuse", false, session.ReplayRefuse, 4, time.Second, session.ErrReplayRefused},
		{"no policy", false, session.OnReplay(99), 4, time.Second, session.ErrReplayRefused},
		{"policy does not touch the bound", true, session.ReplayRefuse, 4, time.Second, session.ErrReplay},
		{"never issued", false, session.ReplaySuccessor, 6, time.Second, session.ErrAhead},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := begin()
			if c.bound {
				sum := sha256.Sum256([]byte(secret))
				n.DeviceSecretHash = sum[:]
			}
			j := started(t, n, policy())
			command := func(g uint64) session.Refresh {
				r := use(g)
				r.Policy.OnReplay = c.onReplay
				if c.bound {
					r.Proof.DeviceSecret = secret
				}
				return r
			}
			at := noon
			for g := range uint64(5) {
				at = at.Add(2 * time.Second)
				e, err := session.Decide(j.state, command(g), at)
				if err != nil {
					t.Fatal(err)
				}
				j.append(t, e, at)
			}
			asks := session.ErrSuperseded
			if c.generation > 5 {
				asks = session.ErrBarrier
			}
			if _, err := session.Decide(j.state, command(c.generation), at); !errors.Is(err, asks) {
				t.Errorf("without a barrier: %v, want %v", err, asks)
			}
			then := at.Add(c.after)
			if c.generation < 5 {
				// Its use must be on record, whatever else tells the time.
				if _, err := session.Decide(j.behindBarrier(then), command(c.generation), at); !errors.Is(err, session.ErrSuperseded) {
					t.Errorf("behind another barrier: %v, want ErrSuperseded", err)
				}
			}
			e, err := session.Decide(j.behindReplay(t, then, c.generation), command(c.generation), at)
			if e != nil || !errors.Is(err, c.want) {
				t.Errorf("got %v, %v; want %v", e, err, c.want)
			}
		})
	}
}

// An honest client gets its answer however often it asks, within reason.
func TestReplaysAreBounded(t *testing.T) {
	j := started(t, begin(), policy())
	j.rotate(t, noon)
	now := noon.Add(time.Second)
	for n := range session.MaxReplays + 2 {
		state := j.behindReplay(t, now, 0)
		j.state.Replay = state.Replay
		want := session.ErrReplay
		if n >= session.MaxReplays {
			want = session.ErrTooFast
		}
		if _, err := session.Decide(state, use(0), now); !errors.Is(err, want) {
			t.Fatalf("replay %d: %v, want %v", n+1, err, want)
		}
	}
	// Theft is seen all the same.
	late := noon.Add(time.Hour)
	if _, err := session.Decide(j.behindReplay(t, late, 0), use(0), late); !errors.Is(err, session.ErrReuse) {
		t.Errorf("an hour later: %v, want ErrReuse", err)
	}
	j.state.Replay.Count = math.MaxUint32
	if n := j.state.NextReplay(sid, 0); n.Count != math.MaxUint32 {
		t.Errorf("the count overflows to %d", n.Count)
	}
}

func (j *journal) replayed(t fataler, at time.Time, generation uint64) {
	t.Helper()
	j.state.Replay = j.behindReplay(t, at, generation).Replay
}

// Whoever keeps up with somebody else's rotations is noticed, also by one who holds
// several superseded tokens and presents an older one last.
func TestStreaks(t *testing.T) {
	p := policy()
	p.OnSuspicion = session.Ignore
	j := started(t, begin(), p)
	at := noon
	rotate := func() uint32 {
		at = at.Add(time.Second)
		r := use(j.state.Session.Generation)
		r.Policy = p
		e, err := session.Decide(j.state, r, at)
		if err != nil {
			t.Fatal(err)
		}
		j.append(t, e, at)
		return j.state.Session.ReplayStreak
	}
	if got := rotate(); got != 0 {
		t.Fatalf("the first rotation has a streak of %d", got)
	}
	for want := range uint32(5) {
		g := j.state.Session.Generation
		j.replayed(t, at, g-1)
		if g >= 2 {
			j.replayed(t, at, g-2)
		}
		if got := rotate(); got != want+1 {
			t.Fatalf("a streak of %d, want %d", got, want+1)
		}
	}
	if got := rotate(); got != 0 {
		t.Errorf("a generation that nobody replayed leaves a streak of %d", got)
	}
	// Nor does one that the same client has replayed, which has proved itself.
	rotate()
	j.state.Session.ReplayStreak = 2
	j.replayed(t, at, j.state.Session.Generation-1)
	e, err := session.Decide(j.state, confidential(j.state.Session.Generation, false), at)
	if err != nil || e.(events.SessionRefreshed).Session.ReplayStreak != 0 {
		t.Errorf("a client with proof: %+v, %v", e, err)
	}
	j.state.Session.ReplayStreak = math.MaxUint32
	if got := rotate(); got != math.MaxUint32 {
		t.Errorf("the streak overflows to %d", got)
	}
}

func confidential(generation uint64, keep bool) session.Refresh {
	r := use(generation)
	r.Proof.Authenticated = true
	r.Policy.NoRotation = keep
	return r
}

func TestNoRotation(t *testing.T) {
	j := started(t, begin(), policy())
	do := func(r session.Refresh, at time.Time) events.Session {
		t.Helper()
		e, err := session.Decide(j.state, r, at)
		if err != nil {
			t.Fatal(err)
		}
		j.append(t, e, at)
		return j.state.Session
	}
	public := use(0)
	public.Policy.NoRotation = true
	if e, err := session.Decide(j.state, public, noon); err != nil || e.(events.SessionRefreshed).Session.Generation != 1 {
		t.Errorf("a public client keeps its token: %+v, %v", e, err)
	}
	at := noon.Add(time.Minute)
	if n := do(confidential(0, true), at); n.Generation != 0 || !n.MintedAt.Equal(at) || !n.AccessExpires.Equal(at.Add(5*time.Minute)) {
		t.Errorf("after one refresh: %+v", n)
	}
	if !j.state.RotatedAt.Equal(at) {
		t.Error("the idle limit does not slide")
	}

	// Policy is toggled, and the window of the superseded token stays where it was.
	rotatedAt := noon.Add(2 * time.Minute)
	do(confidential(0, false), rotatedAt)
	do(confidential(1, true), rotatedAt.Add(9*time.Second))
	do(confidential(1, true), rotatedAt.Add(time.Hour))
	for after, want := range map[time.Duration]error{
		10 * time.Second: session.ErrReplay, 10*time.Second + 1: session.ErrReuse, time.Hour: session.ErrReuse,
	} {
		now := rotatedAt.Add(after)
		if _, err := session.Decide(j.behindReplay(t, now, 0), confidential(0, true), now); !errors.Is(err, want) {
			t.Errorf("%s after: %v, want %v", after, err, want)
		}
	}
	// The successor was used, so nobody's answer was lost; until then it was.
	do(confidential(1, false), rotatedAt.Add(2*time.Hour))
	now := rotatedAt.Add(3 * time.Hour)
	if _, err := session.Decide(j.behindReplay(t, now, 1), confidential(1, true), now); !errors.Is(err, session.ErrLostResponse) {
		t.Errorf("an unused successor: %v", err)
	}

	// A MAC key that goes out of use takes the tokens made with it along.
	r := confidential(2, true)
	r.KeyID = "r2"
	if n := do(r, now); n.Generation != 3 || n.KeyID != "r2" {
		t.Errorf("with a new key: generation %d, key %s", n.Generation, n.KeyID)
	}
}

// A burst of rotations that ends in none fits what a session remembers.
func TestNoRotationAfterABurst(t *testing.T) {
	j := started(t, begin(), policy())
	at := noon
	for g := range uint64(9) {
		at = at.Add(100 * time.Millisecond)
		e, err := session.Decide(j.state, confidential(g, false), at)
		if err != nil {
			t.Fatal(err)
		}
		j.append(t, e, at)
	}
	later := at.Add(time.Second)
	if _, err := session.Decide(j.behindBarrier(later), confidential(9, true), later); !errors.Is(err, session.ErrTooFast) {
		t.Errorf("in the burst: %v, want ErrTooFast", err)
	}
	later = at.Add(time.Minute)
	e, err := session.Decide(j.behindBarrier(later), confidential(9, true), later)
	if err != nil {
		t.Fatal(err)
	}
	if n := e.(events.SessionRefreshed).Session; len(n.Rotations) != 1 || n.Rotations[0] != (events.Rotation{Generation: 8, At: at, SuccessorKey: n.KeyID}) {
		t.Errorf("remembers %+v, want when generation 8 ended", n.Rotations)
	}
}
