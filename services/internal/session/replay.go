package session

import (
	"math"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
)

// Suspicious is how many generations in a row are presented again, after they were
// superseded, before that is raised: tabs that race do it now and then, whoever keeps
// up with somebody else's rotations does it every time.
const Suspicious = 3

// NextReplay is what to put on record, as a barrier, when a superseded generation of
// the session is presented. It says which generation had been superseded last, not
// which one was presented: otherwise somebody who holds two could hide the one behind
// the other.
func (s State) NextReplay(id events.SessionID, presented uint64) events.Replay {
	n := events.Replay{Session: id, Generation: presented, Count: 1}
	if g := s.Session.Generation; g > 0 {
		n.Generation = max(n.Generation, g-1)
	}
	if s.Replay.Session == "" || s.Replay.Generation < n.Generation {
		return n
	}
	n.Generation, n.Count = s.Replay.Generation, s.Replay.Count
	if n.Count < math.MaxUint32 {
		n.Count++
	}
	return n
}

// bound reports whether something proves that all who refresh the session are one.
func bound(n events.Session, p Proof) bool { return p.Authenticated || len(n.DeviceSecretHash) > 0 }

// nextStreak is the streak that a rotation of the current generation records. Where
// all are one, their repeating each other is no sign of anything.
func (s State) nextStreak(p Proof) uint32 {
	replayed := s.Replay.Session != "" && s.Replay.Generation+1 == s.Session.Generation
	switch {
	case !replayed || bound(s.Session, p):
		return 0
	case s.Session.ReplayStreak == math.MaxUint32:
		return s.Session.ReplayStreak
	}
	return s.Session.ReplayStreak + 1
}

// kept reports whether the current generation has been used without rotating it.
func (s State) kept() bool {
	return slices.ContainsFunc(s.Session.Rotations, func(r events.Rotation) bool { return r.Generation+1 == s.Session.Generation })
}

// supersededAt gives when generation g stopped being the current one, in broker
// time; false if that is longer ago than anything remembered.
func (s State) supersededAt(g uint64) (time.Time, bool) {
	for _, r := range s.Session.Rotations {
		if r.Generation == g {
			return r.At, true
		}
	}
	return s.RotatedAt, g+1 == s.Session.Generation
}

// superseded judges a generation that is no longer current.
func superseded(s State, c Refresh) error {
	if s.Now.IsZero() || s.Replay.Session == "" || s.Replay.Generation < c.Generation {
		return ErrSuperseded
	}
	at, known := s.supersededAt(c.Generation)
	inside := known && s.Now.Sub(at) <= c.Policy.Grace
	isBound := bound(s.Session, c.Proof)
	lost := !inside && isBound && c.Generation+1 == s.Session.Generation && !s.kept()
	switch {
	case !inside && !lost:
		return ErrReuse
	case s.Replay.Count > MaxReplays:
		return ErrTooFast
	case lost:
		return ErrLostResponse
	case isBound:
		return ErrReplay
	}
	if c.Policy.OnReplay != ReplaySuccessor && c.Policy.OnReplay != ReplayAccessOnly {
		return ErrReplayRefused
	}
	if sign := elsewhere(s.Session, c); sign != "" {
		return &StepUpError{Sign: sign}
	}
	if c.Policy.OnReplay == ReplayAccessOnly {
		return ErrReplayAccessOnly
	}
	return ErrReplay
}
