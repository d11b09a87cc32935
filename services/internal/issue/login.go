package issue

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/refresh"
	"github.com/revocast/revocast/services/internal/session"
)

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
}

// Login verifies a password and starts a session. [ErrCredentials] says nothing
// about which of the two was wrong, and takes as long either way.
func (s *Service) Login(ctx context.Context, l Login) (Grant, error) {
	now := s.now()
	user, err := s.verify(ctx, l.Username, l.Password)
	if err != nil {
		return Grant{}, err
	}
	n := events.Session{
		ID: events.SessionID(newID()), Issuer: s.cfg.Issuer, Subject: user.Subject, Client: l.Client,
		Scope: l.Scope, Audience: l.Audience, Salt: make([]byte, refresh.SecretSize), KeyID: s.keys.RefreshKey().ID(),
		DeviceID: l.DeviceID, DeviceName: l.DeviceName,
		AuthTime: now, AMR: []string{"pwd"}, CredentialVersion: user.Version,
	}
	_, _ = rand.Read(n.Salt) // never fails (crypto/rand)
	if l.DeviceSecret != "" {
		sum := sha256.Sum256([]byte(l.DeviceSecret))
		n.DeviceSecretHash = sum[:]
	}
	return s.start(ctx, n, l.Policy, now)
}

// start appends the session, reads again and mints.
func (s *Service) start(ctx context.Context, n events.Session, policy session.Policy, now time.Time) (Grant, error) {
	event, err := session.Decide(session.State{}, session.Start{Session: n, Policy: policy}, now)
	if err != nil {
		return Grant{}, fmt.Errorf("starting session %s: %w", n.ID, err)
	}
	started, ok := event.(events.SessionStarted)
	if !ok {
		return Grant{}, fmt.Errorf("starting session %s: decided %T", n.ID, event)
	}
	own := s.cfg.Realm.Session(s.subjectKey(n.Subject), n.ID)
	position, err := s.journal.Append(ctx, events.Append{
		Subject: own, Envelope: envelope(now, started), TTL: session.Keep(started.Session.Deadline, now),
	})
	if err != nil {
		return Grant{}, err
	}
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
		return Grant{}, ErrCredentials
	}
	return s.grant(state, position, readAt, expiry(state.Session, policy.AccessTTL), 0)
}

// abandon ends a session from which nothing was ever minted.
func (s *Service) abandon(ctx context.Context, own string, state session.State) error {
	return s.recordEnd(ctx, own, state, events.Ending{
		RevocationID: events.RevocationID(newID()), Reason: events.ReasonStaleLogin,
		By: events.Initiator{Role: "policy"}, At: s.now(),
	})
}

// grant mints what the state allows and derives the refresh token of generation.
func (s *Service) grant(state session.State, minted events.Position, readAt, expires time.Time, generation uint64) (Grant, error) {
	access, err := s.mint(state, minted, expires, readAt)
	if err != nil {
		return Grant{}, err
	}
	token, err := s.refreshToken(state.Session, generation)
	if err != nil {
		return Grant{}, err
	}
	return Grant{
		AccessToken: access, RefreshToken: token, ExpiresIn: max(expires.Sub(s.now()), 0),
		Scope: state.Session.Scope, Session: state.Session.ID,
	}, nil
}
