package session

import "github.com/revocast/revocast/events"

// KeyOf names the MAC key of one generation's refresh token: of the current one, and
// of those before it that followed one which is remembered. False for any other.
func (s State) KeyOf(generation uint64) (events.KeyID, bool) {
	if generation == s.Session.Generation {
		return s.Session.KeyID, s.Exists()
	}
	for _, r := range s.Session.Rotations {
		if r.Generation+1 == generation && r.SuccessorKey != "" {
			return r.SuccessorKey, true
		}
	}
	return "", false
}
