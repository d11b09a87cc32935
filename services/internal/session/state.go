package session

import (
	"slices"
	"time"

	"github.com/revocast/revocast/events"
)

// State is what the journal says about one session and about everything that may
// have ended it. The zero State is of a session that nobody started.
type State struct {
	// Session is the whole state as of Position; its ID is empty if there is none.
	Session events.Session
	// Position is where the session's last record is: what an append comes after.
	Position events.Position
	// RotatedAt is when, in broker time, the current generation became current.
	RotatedAt time.Time
	// Cuts are the wide revocations recorded for its subject, its client and for
	// everyone.
	Cuts []events.Revocation
	// User is who it belongs to; the zero User where the journal has none.
	User events.User
	// Client is what the journal says about the session's client; mostly nothing.
	Client events.Client
	// Replay is the last time that a superseded refresh token of it was presented;
	// the zero Replay if that was long ago or never.
	Replay events.Replay
	// Now is the broker's time behind a barrier, zero for a read without one.
	Now time.Time
	// Unreadable is set by an event this version does not know: then nothing at
	// all is decided.
	Unreadable bool
}

// Apply folds one record of a load into the state. It cannot fail; the codec has
// validated what it is given.
func Apply(s State, r events.Record) State {
	switch e := r.Envelope.Event.(type) {
	case events.SessionStarted:
		s = live(s, r, e.Session)
		s.Session.Began = r.Position
	case events.SessionRefreshed:
		s = live(s, r, e.Session)
	case events.SessionRevoked:
		s.Session, s.Position = e.Session, r.Position
		if s.Session.Began.IsZero() {
			s.Session.Began = r.Position
		}
	case events.CutsRecorded:
		s.Cuts = append(slices.Clip(s.Cuts), e.Cuts...)
	case events.UserRegistered:
		s.User = e.User
	case events.PasswordChanged:
		s.User = e.User
	case events.UserUpdated:
		s.User = e.User
	case events.ClientUpdated:
		s.Client = e.Client
	case events.SessionReplayed:
		s.Replay, s.Now = e.Replay, later(s.Now, r.Time)
	case events.BarrierPassed:
		s.Now = later(s.Now, r.Time)
	case events.Revoked, events.Lifted, events.KeyAdded, events.KeyRetired, events.Heartbeat, events.SecretSealed,
		events.OperatorAdded, events.OperatorRemoved, events.LifetimesDeclared, events.Noted:
		// Not part of any session's subjects.
	case events.Unknown:
		s.Unreadable = true
	}
	return s
}

func live(s State, r events.Record, session events.Session) State {
	s.Session, s.Position, s.RotatedAt = session, r.Position, r.Time
	return s
}

// Fold applies the records of one load.
func Fold(records []events.Record) State {
	var s State
	for _, r := range records {
		s = Apply(s, r)
	}
	return s
}

// Exists reports whether the session was ever started, as far as was read.
func (s State) Exists() bool { return s.Session.ID != "" }

// CutBy gives a wide revocation that has ended the session.
func (s State) CutBy() (events.Revocation, bool) {
	for _, c := range s.Cuts {
		if c.Scope == events.ScopeSessions && covers(c, s.Session) {
			return c, true
		}
	}
	return events.Revocation{}, false
}

// covers reports whether a cut of sessions catches one that began where it did.
func covers(c events.Revocation, s events.Session) bool {
	if c.Issuer != s.Issuer || c.Except != "" && c.Except == s.ID {
		return false
	}
	switch c.Kind {
	case events.KindSubject:
		if c.Target != string(s.Subject) {
			return false
		}
	case events.KindClient:
		if c.Target != string(s.Client) {
			return false
		}
	case events.KindAll:
	case events.KindKey, events.KindToken, events.KindSession, events.KindUnknown:
		return false // these deny tokens; sessions outlive them
	}
	return c.Cut.IsZero() || c.Cut.Shard != s.Began.Shard || s.Began.Sequence <= c.Cut.Sequence
}

// Over reports whether the session can never be refreshed again.
func (s State) Over() bool {
	if s.Session.Ended != nil || s.User.Disabled || s.Client.Disabled {
		return true
	}
	// A credential that has been replaced takes its sessions along by itself,
	// whatever becomes of the cut that announces it.
	if s.Session.CredentialVersion < s.User.Version && s.User.Spared != s.Session.ID {
		return true
	}
	_, cut := s.CutBy()
	return cut
}

// supersededAt gives when generation g stopped being the current one, in broker
// time; false if that is longer ago than anything remembered.
func (s State) supersededAt(g uint64) (time.Time, bool) {
	if g+1 == s.Session.Generation {
		return s.RotatedAt, true
	}
	for _, r := range s.Session.Rotations {
		if r.Generation == g {
			return r.At, true
		}
	}
	return time.Time{}, false
}

// Cut is a revocation about to be recorded.
type Cut struct {
	events.Revocation
	// Spared is where the session began that the revocation excepts; zero if it
	// excepts none, or where that is not known.
	Spared events.Position
	// Keep is how long it must be remembered; zero for ever.
	Keep time.Time
}

// AddCut gives the record of standing cuts with n added. What n covers entirely
// is dropped, what no longer denies anything as well. existing says whether
// standing was read from the log, so that its deadline counts.
func AddCut(standing events.CutsRecorded, existing bool, n Cut, now time.Time) events.CutsRecorded {
	next := events.CutsRecorded{Deadline: n.Keep}
	for _, c := range standing.Cuts {
		if over := c.Scope == events.ScopeAccessTokens && now.After(c.Until); !over && !n.makesRedundant(c) {
			next.Cuts = append(next.Cuts, c)
		}
	}
	next.Cuts = append(next.Cuts, n.Revocation)
	if existing {
		next.Deadline = notBefore(standing.Deadline, n.Keep)
	}
	return next
}

// makesRedundant reports whether nothing that old ends would live without it: n
// covers all of it, or all but the session that n spares and that began after old.
func (n Cut) makesRedundant(old events.Revocation) bool {
	if dominates(n.Revocation, old) {
		return true
	}
	after := !n.Spared.IsZero() && !old.Cut.IsZero() && n.Spared.Shard == old.Cut.Shard && n.Spared.Sequence > old.Cut.Sequence
	all := n.Revocation
	all.Except = ""
	return after && dominates(all, old)
}

// Covered reports whether the standing cuts already say what n says.
func Covered(standing events.CutsRecorded, n events.Revocation) bool {
	return slices.ContainsFunc(standing.Cuts, func(c events.Revocation) bool { return c.ID == n.ID || dominates(c, n) })
}

// dominates reports whether everything that old denies, n denies for as long.
func dominates(n, old events.Revocation) bool {
	if n.Scope != old.Scope || n.Until.Before(old.Until) || n.Except != "" && n.Except != old.Except {
		return false
	}
	return n.Cut.IsZero() || !old.Cut.IsZero() && n.Cut.Shard == old.Cut.Shard && n.Cut.Sequence >= old.Cut.Sequence
}
