package issue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/refresh"
	"github.com/revocast/revocast/services/internal/session"
)

// ErrScope says that more is asked for than the session was granted (RFC 6749 section 6).
var ErrScope = errors.New("scope exceeds what was granted")

// Refresh uses a refresh token (RFC 6749 section 6).
type Refresh struct {
	Token  string
	Proof  session.Proof
	Policy session.Policy
	// Scope, if given, narrows this access token alone.
	Scope string
}

// refreshing is one refresh under way.
type refreshing struct {
	session.Refresh
	token    refresh.Token
	key      refresh.Key
	scope    string // asked for; empty for all that was granted
	own      string
	subjects []string
	began    time.Time
}

// Refresh rotates a refresh token, or repeats the answer of the rotation it has
// already had. Reuse ends the session. Errors match [ErrGrant], [ErrScope],
// [ErrSlowDown], or mean "try again later".
func (s *Service) Refresh(ctx context.Context, r Refresh) (Grant, error) {
	token, err := refresh.Parse(r.Token)
	if err != nil {
		return Grant{}, fmt.Errorf("%w: %w", ErrGrant, err)
	}
	key, err := s.keys.RefreshKeyByID(token.KeyID())
	if err != nil {
		return Grant{}, err
	}
	if !token.Plausible(key, s.cfg.Realm) {
		return Grant{}, fmt.Errorf("%w: not written with this realm's keys", ErrGrant)
	}
	f := token.Fields()
	c := refreshing{
		Refresh: session.Refresh{
			Generation: f.Generation, Proof: r.Proof, KeyID: s.keys.RefreshKey().ID(), Policy: r.Policy,
		},
		token: token, key: key, scope: r.Scope, own: s.cfg.Realm.Session(f.Subject, f.Session), began: s.now(),
	}
	c.subjects = s.subjectsOf(c.own, f.Subject, r.Proof.Client)

	state, err := s.load(ctx, events.Position{}, c.subjects)
	if err != nil {
		return Grant{}, err
	}
	grant, err := s.attempt(ctx, c, state, events.Position{}, c.began)
	for range maxAttempts {
		if !errors.Is(err, session.ErrBarrier) && !errors.Is(err, events.ErrConflict) {
			return grant, err
		}
		readAt := s.now()
		state, barrier, err2 := s.loadBehindBarrier(ctx, c.subjects)
		if err2 != nil {
			return Grant{}, err2
		}
		grant, err = s.attempt(ctx, c, state, barrier, readAt)
	}
	return Grant{}, fmt.Errorf("refreshing session %s: %w: %d conflicts", f.Session, events.ErrUnavailable, maxAttempts)
}

// attempt decides on one read. [session.ErrBarrier] and [events.ErrConflict] ask
// for another read, behind a barrier.
func (s *Service) attempt(ctx context.Context, c refreshing, state session.State, barrier events.Position, readAt time.Time) (Grant, error) {
	if state.Exists() {
		if !c.token.Verify(c.key, s.cfg.Realm, state.Session.Salt) {
			return Grant{}, fmt.Errorf("%w: MAC does not verify", ErrGrant)
		}
		if !within(c.scope, state.Session.Scope) {
			return Grant{}, ErrScope
		}
	}
	event, refusal := session.Decide(state, c.Refresh, c.began)
	switch {
	case refusal == nil:
		return s.rotate(ctx, c, state.Position, event)
	case errors.Is(refusal, session.ErrReplay), errors.Is(refusal, session.ErrReplayAccessOnly):
		return s.replay(c, state, barrier, readAt, refusal)
	case errors.Is(refusal, session.ErrReuse):
		return Grant{}, s.reused(ctx, c, state)
	case errors.Is(refusal, session.ErrBarrier):
		return Grant{}, refusal
	case errors.Is(refusal, session.ErrTooFast):
		return Grant{}, ErrSlowDown
	case errors.Is(refusal, session.ErrUnreadable):
		return Grant{}, fmt.Errorf("%w: %w", events.ErrUnavailable, refusal)
	}
	return Grant{}, fmt.Errorf("%w: %w", ErrGrant, refusal)
}

// rotate appends the next generation, reads again and mints.
func (s *Service) rotate(ctx context.Context, c refreshing, after events.Position, event events.Event) (Grant, error) {
	rotated, ok := event.(events.SessionRefreshed)
	if !ok {
		return Grant{}, fmt.Errorf("refreshing: decided %T", event)
	}
	position, err := s.journal.Append(ctx, events.Append{
		Subject: c.own, Envelope: envelope(c.began, rotated), After: after.Sequence,
		TTL: session.Keep(rotated.Session.Deadline, c.began),
	})
	if err != nil {
		return Grant{}, err
	}
	readAt := s.now()
	state, err := s.load(ctx, position, c.subjects)
	if err != nil {
		return Grant{}, err
	}
	if state.Unreadable || state.Over() {
		return Grant{}, fmt.Errorf("%w: %w", ErrGrant, session.ErrOver)
	}
	// A caller that was told the successor by a replay may have rotated again
	// already. This rotation happened all the same, with its own mint time.
	state.Session.MintedAt = rotated.Session.MintedAt
	return s.grant(c.narrow(state), position, readAt, expiry(state.Session, c.Policy.AccessTTL), rotated.Session.Generation)
}

// replay answers a superseded generation with the successor it already has, and
// with an access token that outlives none minted before it.
func (s *Service) replay(c refreshing, state session.State, barrier events.Position, readAt time.Time, how error) (Grant, error) {
	grant, err := s.grant(c.narrow(state), barrier, readAt, expiry(state.Session, c.Policy.AccessTTL), c.Generation+1)
	if err != nil {
		return Grant{}, err
	}
	grant.Replayed = true
	if errors.Is(how, session.ErrReplayAccessOnly) {
		grant.RefreshToken = ""
	}
	return grant, nil
}

// reused ends the session, and refuses.
func (s *Service) reused(ctx context.Context, c refreshing, state session.State) error {
	_, err := s.end(ctx, c.own, state, events.ReasonTokenReuse, events.Initiator{Role: "policy"})
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrGrant, session.ErrReuse)
}

func (c refreshing) narrow(state session.State) session.State {
	if c.scope != "" {
		state.Session.Scope = c.scope
	}
	return state
}

// expiry is that of the tokens minted with the current generation.
func expiry(n events.Session, ttl time.Duration) time.Time {
	if at := n.MintedAt.Add(ttl); at.Before(n.AccessExpires) {
		return at
	}
	return n.AccessExpires
}

// within reports whether every scope asked for was granted.
func within(asked, granted string) bool {
	all := strings.Fields(granted)
	for one := range strings.FieldsSeq(asked) {
		if !slices.Contains(all, one) {
			return false
		}
	}
	return true
}
