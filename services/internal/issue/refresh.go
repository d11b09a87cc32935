package issue

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
	// DeviceID is as the client sent it; empty for none.
	DeviceID string
	// Address is where the request comes from; the zero Addr if that is not known.
	Address netip.Addr
}

// errNoAudience refuses what could give no token for anyone.
var errNoAudience = errors.New("the client may have none of the session's audiences any more")

// StepUpError is [session.ErrStepUp] about a session that lives on.
type StepUpError struct {
	Session events.SessionID
	// Cause is a [session.StepUpError].
	Cause error
}

// Error implements error.
func (e *StepUpError) Error() string { return fmt.Sprintf("session %s: %v", e.Session, e.Cause) }

// Unwrap gives the cause.
func (e *StepUpError) Unwrap() error { return e.Cause }

// refreshing is one refresh under way.
type refreshing struct {
	session.Refresh
	token    refresh.Token
	key      refresh.Key
	scope    string // asked for; empty for all that was granted
	own      string
	replays  string // where the use of superseded tokens is on record
	subjects []string
	address  netip.Addr
	began    time.Time
	asked    bool // for the operator's own judgement
	verdict  RiskVerdict
}

// Refresh rotates a refresh token, or repeats the answer of the rotation it has
// already had. Reuse ends the session. Errors match [ErrGrant], [ErrScope],
// [ErrSlowDown], are a [StepUpError], or mean "try again later".
func (s *Service) Refresh(ctx context.Context, r Refresh) (Grant, error) {
	token, err := refresh.Parse(r.Token)
	if err != nil {
		return Grant{}, fmt.Errorf("%w: %w", ErrForged, err)
	}
	key, err := s.keys.RefreshKeyByID(token.KeyID())
	if err != nil {
		return Grant{}, err
	}
	if !token.Plausible(key, s.cfg.Realm) {
		return Grant{}, ErrForged
	}
	if r.Policy.AccessTTL, err = s.lifetime(ctx, r.Policy.AccessTTL); err != nil {
		return Grant{}, err
	}
	f := token.Fields()
	c := &refreshing{
		Refresh: session.Refresh{
			Generation: f.Generation, Proof: r.Proof, KeyID: s.keys.RefreshKey().ID(), Policy: r.Policy,
			DeviceID: r.DeviceID, Network: s.network(r.Address),
		},
		token: token, key: key, scope: r.Scope, address: r.Address, began: s.now(),
		own: s.cfg.Realm.Session(f.Subject, f.Session), replays: s.cfg.Realm.Replay(f.Subject, f.Session),
	}
	c.subjects = append(s.subjectsOf(c.own, f.Subject, r.Proof.Client), c.replays)

	state, err := s.load(ctx, events.Position{}, c.subjects)
	if err != nil {
		return Grant{}, err
	}
	grant, err := s.attempt(ctx, c, state, events.Position{}, c.began)
	for range maxAttempts {
		if !errors.Is(err, session.ErrBarrier) {
			return grant, err
		}
		readAt := s.now()
		var barrier events.Position
		var err2 error
		if errors.Is(err, session.ErrSuperseded) {
			state, barrier, err2 = s.loadBehindReplay(ctx, c, state)
		} else {
			state, barrier, err2 = s.loadBehindBarrier(ctx, c.subjects)
		}
		if err2 != nil {
			return Grant{}, err2
		}
		grant, err = s.attempt(ctx, c, state, barrier, readAt)
	}
	return Grant{}, fmt.Errorf("refreshing session %s: %w: %d conflicts", f.Session, events.ErrUnavailable, maxAttempts)
}

// attempt decides on one read. [session.ErrBarrier] and [session.ErrSuperseded] ask
// for another read, behind a barrier of that kind.
func (s *Service) attempt(ctx context.Context, c *refreshing, state session.State, barrier events.Position, readAt time.Time) (Grant, error) {
	if state.Exists() {
		// A key that is retired is good for what was made with it, and for nothing else.
		id, known := state.KeyOf(c.Generation)
		if known && id != c.key.ID() || !c.token.Verify(c.key, s.cfg.Realm, state.Session.Salt) {
			return Grant{}, fmt.Errorf("%w: MAC does not verify", ErrForged)
		}
		if !within(c.scope, state.Session.Scope) {
			return Grant{}, ErrScope
		}
	}
	event, refusal := session.Decide(state, c.Refresh, c.began)
	if refusal == nil && len(state.Session.Audience) > 0 && len(c.Policy.Narrow(state).Session.Audience) == 0 {
		refusal = errNoAudience
	}
	if refusal == nil {
		refusal = s.judged(ctx, c, state)
	}
	switch {
	case refusal == nil:
		return s.rotate(ctx, c, state, event)
	case errors.Is(refusal, session.ErrReplay), errors.Is(refusal, session.ErrReplayAccessOnly), errors.Is(refusal, session.ErrLostResponse):
		return s.replay(c, state, barrier, readAt, refusal)
	case errors.Is(refusal, session.ErrReuse):
		return Grant{}, s.reused(ctx, c, state)
	case errors.Is(refusal, session.ErrBarrier), errors.Is(refusal, events.ErrUnavailable):
		return Grant{}, refusal
	case errors.Is(refusal, session.ErrTooFast):
		return Grant{}, ErrSlowDown
	case errors.Is(refusal, session.ErrUnreadable):
		return Grant{}, fmt.Errorf("%w: %w", events.ErrUnavailable, refusal)
	case errors.Is(refusal, session.ErrStepUp):
		s.noteRefresh(events.ActionStepUpRequired, c, state.Session, refusal.Error())
		return Grant{}, &StepUpError{Session: state.Session.ID, Cause: refusal}
	case errors.Is(refusal, session.ErrProof), errors.Is(refusal, session.ErrClient):
		s.noteRefresh(events.ActionProofMissing, c, state.Session, refusal.Error())
	case errors.Is(refusal, session.ErrReplayRefused):
		s.noteRefresh(events.ActionReplayRefused, c, state.Session, refusal.Error())
	}
	return Grant{}, fmt.Errorf("%w: %w", ErrGrant, refusal)
}

// rotate appends the next generation, or the same again where policy does not rotate,
// reads again and mints.
func (s *Service) rotate(ctx context.Context, c *refreshing, before session.State, event events.Event) (Grant, error) {
	rotated, ok := event.(events.SessionRefreshed)
	if !ok {
		return Grant{}, fmt.Errorf("refreshing: decided %T", event)
	}
	kept := rotated.Session.Generation == c.Generation
	position, err := s.journal.Append(ctx, events.Append{
		Subject: c.own, Envelope: envelope(c.began, rotated), After: before.Position.Sequence,
		TTL: session.Keep(rotated.Session.Deadline, c.began),
	})
	switch {
	case errors.Is(err, events.ErrConflict) && kept:
		return Grant{}, session.ErrBarrier
	case errors.Is(err, events.ErrConflict):
		return Grant{}, session.ErrSuperseded // another was faster with the same token
	case err != nil:
		return Grant{}, err
	}
	readAt := s.now()
	state, err := s.load(ctx, position, c.subjects)
	if err != nil {
		return Grant{}, err
	}
	// It may even be gone, if this process stood still for long.
	if state.Unreadable || !state.Exists() || state.Over() {
		return Grant{}, fmt.Errorf("%w: %w", ErrGrant, session.ErrOver)
	}
	// A caller that was told the successor by a replay may have rotated again
	// already. This rotation happened all the same, with its own mint time.
	state.Session.MintedAt = rotated.Session.MintedAt
	grant, err := s.grant(c.narrow(state), c.Policy, position, readAt, rotated.Session.Generation)
	if err != nil {
		return Grant{}, err
	}
	grant.Kept = kept
	if !kept && rotated.Session.ReplayStreak == session.Suspicious {
		s.noteRefresh(events.ActionReplaySuspected, c, rotated.Session, fmt.Sprintf("up to generation %d", c.Generation))
	}
	return grant, nil
}

func (c *refreshing) narrow(state session.State) session.State {
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
