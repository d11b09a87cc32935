package issue

import (
	"cmp"
	"context"
	"errors"
	"fmt"

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
	_, err := s.UserNamed(ctx, username)
	if errors.Is(err, ErrNoUser) {
		return false, nil
	}
	return err == nil, err
}

// User gives one user as a replica knows it, which may lag; [ErrNoUser] if there is
// none.
func (s *Service) User(ctx context.Context, sub events.Subject) (events.User, error) {
	own := s.cfg.Realm.User(s.subjectKey(sub))
	records, err := s.journal.Load(ctx, events.Position{}, own)
	if err != nil {
		return events.User{}, err
	}
	return userOf(lastOf(records, own).Envelope.Event)
}

// UserNamed is [Service.User] by name.
func (s *Service) UserNamed(ctx context.Context, username string) (events.User, error) {
	user, err := s.User(ctx, s.subjectOf(username))
	if err == nil && user.Username != username {
		return events.User{}, ErrNoUser // two names of one hash: as good as none
	}
	return user, err
}

// subjectOf derives a user's `sub` from the name, so that a login needs no index
// and a name is taken once. Without the realm's key it tells nothing.
func (s *Service) subjectOf(username string) events.Subject {
	digest := s.keyer.Key(events.KindUnknown, s.cfg.Issuer, "username:"+username)
	return events.Subject(uuid8(digest).String())
}

// lastOf finds the record of one subject among a load's; the zero Record if there
// is none.
func lastOf(records []events.Record, subject string) events.Record {
	for _, r := range records {
		if r.Subject == subject {
			return r
		}
	}
	return events.Record{}
}

// userOf gives the user that an event speaks of, [ErrNoUser] for none at all.
func userOf(e events.Event) (events.User, error) {
	switch e := e.(type) { //nolint:gochecksumtype // any other event is no user
	case nil:
		return events.User{}, ErrNoUser
	case events.UserRegistered:
		return e.User, nil
	case events.PasswordChanged:
		return e.User, nil
	case events.UserUpdated:
		return e.User, nil
	}
	return events.User{}, fmt.Errorf("reading a user: %w: unexpected %T", events.ErrUnavailable, e)
}

// verify checks a name and a password that come by way of a client. It takes as long
// for a name that nobody has and for a user who is disabled, and gives the same error.
// A client that is disabled learns nothing about either: [ErrClientDisabled].
func (s *Service) verify(ctx context.Context, username, password string, client events.ClientID) (events.User, error) {
	own, theirs := s.cfg.Realm.User(s.subjectKey(s.subjectOf(username))), s.clientSubject(client)
	records, err := s.journal.Load(ctx, events.Position{}, own, theirs)
	if err != nil {
		return events.User{}, err
	}
	record := lastOf(records, own)
	user, err := userOf(record.Envelope.Event)
	if err != nil && !errors.Is(err, ErrNoUser) {
		return events.User{}, err
	}
	if c, err := clientOf(lastOf(records, theirs).Envelope.Event); err != nil || c.Disabled {
		return events.User{}, cmp.Or(err, ErrClientDisabled)
	}
	ok, err := s.passwords.Verify(ctx, user.PasswordHash, password)
	if err != nil {
		return events.User{}, err
	}
	if !ok || user.Username != username || user.Disabled {
		return events.User{}, ErrCredentials
	}
	if s.passwords.Outdated(user.PasswordHash) {
		s.rehash(ctx, record, user, password)
	}
	return user, nil
}

// rehash replaces a hash that is not made as new ones are, now that the password is
// at hand. The version stays, so sessions live on. Nobody waits for it to succeed:
// the next login tries again.
func (s *Service) rehash(ctx context.Context, last events.Record, user events.User, password string) {
	hash, err := s.passwords.Hash(ctx, password)
	if err != nil || s.Complete(ctx, last) != nil {
		return
	}
	user.PasswordHash, user.Entails = hash, nil
	_, _ = s.journal.Append(ctx, events.Append{
		Subject: last.Subject, Envelope: envelope(s.now(), events.UserUpdated{User: user}), After: last.Position.Sequence,
	})
}
