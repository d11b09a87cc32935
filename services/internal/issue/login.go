package issue

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/refresh"
	"github.com/revocast/revocast/services/internal/session"
)

// ErrTakeOver says that the refresh token that a login brings is none of this user's
// and client's, so no session is taken over and none is started.
var ErrTakeOver = errors.New("no session of this user and client to take over")

// ErrDisplaced says that a login's session was ended before it was answered, most
// likely by another login that needed its room. Nothing was minted.
var ErrDisplaced = fmt.Errorf("the session was ended at once: %w", events.ErrConflict)

// Login is a first-party login with a password.
type Login struct {
	Username, Password string
	Client             events.ClientID
	Policy             session.Policy
	Scope              string
	Audience           []string
	DeviceID           string
	DeviceName         string
	// DeviceSecret, if given, must come with every refresh.
	DeviceSecret string
	// RefreshToken, if given, is of a session whose refresh needed a credential:
	// this login is that, and takes the session's place.
	RefreshToken string
	// Address is where the request comes from; the zero Addr if that is not known.
	Address netip.Addr
}

// Login verifies a password and starts a session, for which it may have to end
// others. [ErrCredentials] says nothing about which of the two was wrong, and takes
// as long either way; nothing else is looked at before.
//
// Other refusals match [ErrClientDisabled], [ErrTakeOver], [session.ErrLimit],
// [session.ErrDevice], [ErrDisplaced] or [events.ErrTooMany].
func (s *Service) Login(ctx context.Context, l Login) (Grant, error) {
	now := s.now()
	user, err := s.verify(ctx, l.Username, l.Password, l.Client)
	if err != nil {
		return Grant{}, err
	}
	if l.Policy.AccessTTL, err = s.lifetime(ctx, l.Policy.AccessTTL); err != nil {
		return Grant{}, err
	}
	n := events.Session{
		ID: events.SessionID(newID()), Issuer: s.cfg.Issuer, Subject: user.Subject, Client: l.Client,
		Scope: l.Scope, Audience: l.Audience, Salt: make([]byte, refresh.SecretSize), KeyID: s.keys.RefreshKey().ID(),
		DeviceID: l.DeviceID, DeviceName: l.DeviceName, Network: s.network(l.Address),
		AuthTime: now, AMR: []string{"pwd"}, CredentialVersion: user.Version,
	}
	_, _ = rand.Read(n.Salt) // never fails (crypto/rand)
	if l.DeviceSecret != "" {
		sum := sha256.Sum256([]byte(l.DeviceSecret))
		n.DeviceSecretHash = sum[:]
	}
	o := opening{session: n, policy: l.Policy, began: now, address: l.Address}
	if l.RefreshToken != "" {
		if err := s.takeOver(&o, l.RefreshToken); err != nil {
			return Grant{}, err
		}
	}
	return s.open(ctx, o)
}

// takeOver finds out which session a login's refresh token names. That it is really
// one of that session's, [opening.replaces] tells.
func (s *Service) takeOver(o *opening, text string) (err error) {
	if o.token, err = refresh.Parse(text); err != nil {
		return ErrTakeOver
	}
	if o.key, err = s.keys.RefreshKeyByID(o.token.KeyID()); err != nil {
		return err
	}
	f := o.token.Fields()
	if !o.token.Plausible(o.key, s.cfg.Realm) || f.Subject != s.subjectKey(o.session.Subject) {
		return ErrTakeOver
	}
	o.session.Replaces = f.Session
	return nil
}

// admit reads again after the append, and mints.
func (s *Service) admit(ctx context.Context, o opening, own string, position events.Position) (Grant, error) {
	n := o.session
	readAt := s.now()
	state, err := s.load(ctx, position, s.subjectsOf(own, s.subjectKey(n.Subject), n.Client))
	if err != nil {
		return Grant{}, err
	}
	// The password may have been changed, or everything cut, while it was being
	// verified. Then this session must not outlive the command.
	if !state.Unchanged(position) || state.User.Subject != n.Subject || state.User.Version != n.CredentialVersion {
		if err := s.abandon(ctx, own, state); err != nil {
			return Grant{}, err
		}
		switch same := state.User.Subject == n.Subject && state.User.Version == n.CredentialVersion; {
		case state.Client.Disabled:
			return Grant{}, ErrClientDisabled
		case same && state.Session.Ended != nil: // by another login, for one
			return Grant{}, fmt.Errorf("session %s: %w", n.ID, ErrDisplaced)
		}
		return Grant{}, ErrCredentials
	}
	grant, err := s.grant(state, o.policy, position, readAt, 0)
	if err == nil && n.NewDevice {
		s.note(events.ActionNewDevice, events.Initiator{Role: "user"}, n, n.DeviceID, o.address, "")
	}
	return grant, err
}

// abandon ends a session from which nothing was ever minted.
func (s *Service) abandon(ctx context.Context, own string, state session.State) error {
	return s.recordEnd(ctx, own, state, events.Ending{
		RevocationID: events.RevocationID(newID()), Reason: events.ReasonStaleLogin,
		By: events.Initiator{Role: "policy"}, At: s.now(),
	})
}

// grant mints what state and policy allow and derives the refresh token of generation.
func (s *Service) grant(state session.State, policy session.Policy, minted events.Position, readAt time.Time, generation uint64) (Grant, error) {
	state = policy.Narrow(state)
	n := state.Session
	grade := session.GradeOf(policy, n, n.Scope, expiry(n, policy.AccessTTL))
	access, err := s.mint(state, policy.RolesClaim, grade, minted, readAt)
	if err != nil {
		return Grant{}, err
	}
	token, err := s.refreshToken(state, generation)
	if err != nil {
		return Grant{}, err
	}
	return Grant{
		AccessToken: access, RefreshToken: token, ExpiresIn: max(grade.Expires.Sub(s.now()), 0),
		Scope: grade.Scope, Session: n.ID,
	}, nil
}
