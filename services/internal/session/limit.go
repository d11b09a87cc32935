package session

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
)

// ErrLimit says that the user has as many sessions of this client as policy allows.
var ErrLimit = errors.New("session limit reached")

// lingers is how long after its end, by our own clock, a session still counts: two
// clocks may each be off by events.MaxSkew in opposite directions, and a refresh that
// began in time may still be on its way to the journal.
const lingers = 2*events.MaxSkew + 10*time.Second

// MakeRoom says which of a user's sessions must end before n may start: the one that
// n replaces, and where the client has a limit as many others of the client as needed,
// those that began first. [ErrLimit] if policy would rather refuse n.
//
// all holds the user's sessions, of whatever client and in whatever state.
func MakeRoom(all []State, n events.Session, p Policy, now time.Time) ([]State, error) {
	var leaving, living []State
	for _, s := range all {
		s.Now = time.Time{} // what lingers is measured by our clock
		switch {
		case !s.Exists() || s.Session.Ended != nil:
		case s.Session.ID == n.Replaces:
			leaving = append(leaving, s)
		case s.Session.Client == n.Client && !s.Over() && !s.Expired(now.Add(-lingers)):
			living = append(living, s)
		}
	}
	excess := len(living) + 1 - p.MaxSessions
	if p.MaxSessions <= 0 || excess <= 0 {
		return leaving, nil
	}
	if p.OnLimit != EvictOldest {
		return nil, ErrLimit
	}
	slices.SortFunc(living, func(a, b State) int {
		return cmp.Compare(a.Session.Began.Sequence, b.Session.Began.Sequence)
	})
	return append(leaving, living[:excess]...), nil
}

// NewDevice reports whether none of a user's sessions had this device id, though there
// were some.
func NewDevice(all []State, id string) bool {
	return id != "" && len(all) > 0 && !slices.ContainsFunc(all, func(s State) bool { return s.Session.DeviceID == id })
}
