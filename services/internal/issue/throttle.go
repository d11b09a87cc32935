package issue

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// ErrForged is [ErrGrant] for a refresh token that nobody with this realm's keys has
// written for the session that it names.
var ErrForged = fmt.Errorf("%w: not written with this realm's keys", ErrGrant)

// ThrottledError is [ErrSlowDown] about somebody who fails too often. It says nothing
// about whether this attempt would have.
type ThrottledError struct {
	// After is how long to wait. Left alone for so long, the attempt is made.
	After time.Duration
}

// Error implements error.
func (e *ThrottledError) Error() string {
	return fmt.Sprintf("%v: wait %s", ErrSlowDown, e.After.Round(time.Millisecond))
}

// Is makes it match ErrSlowDown.
func (*ThrottledError) Is(target error) bool { return target == ErrSlowDown }

// Device gives a word for the device that a login proves to come from: one that a
// session of the user's lives on. It is empty for any other, and for a user that does
// not exist. A device id is taken at its word only where the session has nothing
// better; whoever knows it from somewhere can then slow that device down.
func (s *Service) Device(ctx context.Context, l Login) (string, error) {
	if l.DeviceID == "" && l.DeviceSecret == "" {
		return "", nil
	}
	records, err := s.journal.Load(ctx, events.Position{}, s.cfg.Realm.Sessions(s.subjectKey(s.subjectOf(l.Username))))
	if errors.Is(err, events.ErrTooMany) {
		return "", nil // one of a thousand sessions is no mark of an owner
	}
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(l.DeviceSecret))
	var byID string
	for _, r := range records {
		state := session.Apply(session.State{}, r)
		n := state.Session
		switch {
		case !state.Exists() || n.Ended != nil || state.Expired(s.now()):
		case len(n.DeviceSecretHash) > 0:
			if l.DeviceSecret != "" && subtle.ConstantTimeCompare(sum[:], n.DeviceSecretHash) == 1 {
				return "secret " + hex.EncodeToString(sum[:]), nil
			}
		case l.DeviceID != "" && n.DeviceID == l.DeviceID:
			byID = "id " + l.DeviceID
		}
	}
	return byID, nil
}

// NoteLogin takes a note about a login that was refused. Whether the user exists, it
// does not say.
func (s *Service) NoteLogin(a events.Action, l Login) {
	s.note(a, events.Initiator{Role: "client", Name: string(l.Client)}, events.Session{
		Issuer: s.cfg.Issuer, Subject: s.subjectOf(l.Username), Client: l.Client, DeviceName: l.DeviceName,
	}, l.DeviceID, l.Address, "")
}
