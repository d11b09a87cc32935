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
	// RotatedAt is when, in broker time, the session was refreshed last: mostly when
	// the current generation became current.
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
	// Now is the broker's time behind a barrier, zero for a read without one. Only
	// [FoldBehind] knows which of the two a read was.
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

// Fold applies the records of one load that is behind no barrier. What earlier
// commands have left of theirs does not tell the time.
func Fold(records []events.Record) State { return FoldBehind(events.Position{}, records) }

// FoldBehind applies the records of a load that reached the barrier of this command.
func FoldBehind(barrier events.Position, records []events.Record) State {
	var s State
	for _, r := range records {
		s = Apply(s, r)
	}
	if barrier.IsZero() {
		s.Now = time.Time{}
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

// Over reports whether the session cannot be refreshed.
func (s State) Over() bool {
	_, cut := s.CutBy()
	return cut || s.overForGood() || s.User.Disabled || s.Client.Disabled
}

// MayReturn reports whether it cannot be refreshed, but could be if what has ended it
// is lifted.
func (s State) MayReturn() bool { return s.Exists() && s.Over() && !s.overForGood() }

// overForGood reports whether it never can be again, however old this read is: neither
// an end nor a new credential is taken back, while a cut can be lifted.
func (s State) overForGood() bool {
	// A credential that has been replaced takes its sessions along by itself,
	// whatever becomes of the cut that announces it.
	replaced := s.Session.CredentialVersion < s.User.Version && s.User.Spared != s.Session.ID
	return replaced || s.Session.Ended != nil
}
