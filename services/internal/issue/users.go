package issue

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
)

// Register creates a user from a password hash in PHC format (package password).
// Of two registrations of one name, one gets [ErrExists].
func (s *Service) Register(ctx context.Context, username, passwordHash string, roles []string) (events.Subject, error) {
	sub := s.subjectOf(username)
	_, err := s.journal.Append(ctx, events.Append{
		Subject: s.cfg.Realm.User(s.subjectKey(sub)),
		Envelope: envelope(s.now(), events.UserRegistered{User: events.User{
			Subject: sub, Username: username, PasswordHash: passwordHash, Roles: roles, Version: 1,
		}}),
	})
	if errors.Is(err, events.ErrConflict) {
		return sub, ErrExists
	}
	return sub, err
}

// HasUser reports whether a user of this name is registered.
func (s *Service) HasUser(ctx context.Context, username string) (bool, error) {
	user, _, err := s.user(ctx, s.subjectOf(username))
	return user.Subject != "", err
}

// subjectOf derives a user's `sub` from the name, so that a login needs no index
// and a name is taken once. Without the realm's key it tells nothing.
func (s *Service) subjectOf(username string) events.Subject {
	digest := s.keyer.Key(events.KindUnknown, s.cfg.Issuer, "username:"+username)
	var u uuid.UUID
	_, _ = hex.Decode(u[:], []byte(digest)) // the keyer writes 32 hexadecimal digits
	u[6] = u[6]&0x0f | 0x80                 // version 8: made by the application (RFC 9562 section 5.8)
	u[8] = u[8]&0x3f | 0x80
	return events.Subject(u.String())
}

// user loads one user and where it stands; the zero User if there is none.
func (s *Service) user(ctx context.Context, sub events.Subject) (events.User, events.Position, error) {
	records, err := s.journal.Load(ctx, events.Position{}, s.cfg.Realm.User(s.subjectKey(sub)))
	if err != nil || len(records) == 0 {
		return events.User{}, events.Position{}, err
	}
	switch e := records[0].Envelope.Event.(type) { //nolint:gochecksumtype // any other event is no user
	case events.UserRegistered:
		return e.User, records[0].Position, nil
	case events.PasswordChanged:
		return e.User, records[0].Position, nil
	}
	return events.User{}, events.Position{}, fmt.Errorf("loading user %s: %w: unexpected event", sub, events.ErrUnavailable)
}

// verify checks a name and a password. It takes as long for a name that nobody
// has, and gives the same error.
func (s *Service) verify(ctx context.Context, username, password string) (events.User, error) {
	user, _, err := s.user(ctx, s.subjectOf(username))
	if err != nil {
		return events.User{}, err
	}
	ok, err := s.passwords.Verify(ctx, user.PasswordHash, password)
	if err != nil {
		return events.User{}, err
	}
	if !ok || user.Username != username || user.Disabled {
		return events.User{}, ErrCredentials
	}
	return user, nil
}

// ChangePassword replaces the caller's password and ends every other session of
// theirs. The new password stands first, so that no login with the old one can
// follow the cut; the cut is the place of that very append.
func (s *Service) ChangePassword(ctx context.Context, c Caller, current, wanted string) (Revoked, error) {
	user, after, err := s.user(ctx, c.Subject)
	if err != nil {
		return Revoked{}, err
	}
	ok, err := s.passwords.Verify(ctx, user.PasswordHash, current)
	if err != nil {
		return Revoked{}, err
	}
	if !ok {
		return Revoked{}, ErrCredentials
	}
	by := events.Initiator{Role: "user"}
	return s.setPassword(ctx, user, after, wanted, c.Session, by)
}

// SetPassword replaces any user's password and ends every session of theirs.
func (s *Service) SetPassword(ctx context.Context, sub events.Subject, wanted string, by events.Initiator) (Revoked, error) {
	user, after, err := s.user(ctx, sub)
	if err != nil {
		return Revoked{}, err
	}
	if user.Subject == "" {
		return Revoked{}, ErrNoUser
	}
	return s.setPassword(ctx, user, after, wanted, "", by)
}

func (s *Service) setPassword(ctx context.Context, user events.User, after events.Position, wanted string, except events.SessionID, by events.Initiator) (Revoked, error) {
	hash, err := s.passwords.Hash(ctx, wanted)
	if err != nil {
		return Revoked{}, err
	}
	user.PasswordHash = hash
	user.Version++
	user.Spared = except
	// From here on it is done or not: a caller that hangs up must not leave the
	// new password without what follows from it.
	ctx = context.WithoutCancel(ctx)
	now := s.now()
	cut, err := s.journal.Append(ctx, events.Append{
		Subject:  s.cfg.Realm.User(s.subjectKey(user.Subject)),
		Envelope: envelope(now, events.PasswordChanged{User: user}), After: after.Sequence,
	})
	if err != nil {
		return Revoked{}, err
	}
	n := events.Revocation{
		ID: events.RevocationID(newID()), Kind: events.KindSubject, Issuer: s.cfg.Issuer, Target: string(user.Subject),
		Cut: cut, CutTime: now, Except: except, Reason: events.ReasonPasswordChange, By: by,
		Until: s.until(now, time.Time{}),
	}
	return s.denyThenRecord(ctx, n, now)
}
