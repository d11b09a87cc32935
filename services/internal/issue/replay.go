package issue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// replayMargin keeps the record of a superseded token's use beyond the next rotation
// of a client that is in use. It is what tells a rotation about replays, so one that
// comes later than that starts a new streak.
const replayMargin = 10 * time.Minute

// loadBehindReplay puts on record that a superseded token was presented, and loads at
// least as far. The record is the barrier of such a command (ADR-0008, ADR-0010). It
// needs no expectation: callers that come at one moment may count as one. Nor need it
// outlive an earlier one, which would say less.
func (s *Service) loadBehindReplay(ctx context.Context, c *refreshing, state session.State) (session.State, events.Position, error) {
	replay := state.NextReplay(c.token.Fields().Session, c.Generation)
	barrier, err := s.journal.Append(ctx, events.Append{
		Subject: c.replays, Envelope: envelope(s.now(), events.SessionReplayed{Replay: replay}),
		Unguarded: true, TTL: c.Policy.AccessTTL + c.Policy.Grace + replayMargin,
	})
	if err != nil {
		return session.State{}, events.Position{}, err
	}
	state, err = s.load(ctx, barrier, c.subjects)
	return state, barrier, err
}

// replay answers a superseded generation with the successor it already has, and
// with an access token that outlives none minted before it.
func (s *Service) replay(c *refreshing, state session.State, barrier events.Position, readAt time.Time, how error) (Grant, error) {
	grant, err := s.grant(c.narrow(state), c.Policy, barrier, readAt, c.Generation+1)
	if err != nil {
		return Grant{}, err
	}
	grant.Replayed = true
	about := fmt.Sprintf("generation %d", c.Generation)
	switch {
	case errors.Is(how, session.ErrLostResponse):
		grant.LostResponse = true
		s.noteRefresh(events.ActionLostResponse, c, state.Session, about)
	case errors.Is(how, session.ErrReplayAccessOnly):
		grant.RefreshToken = ""
	}
	if !grant.LostResponse && state.Replay.Count == 1 {
		s.noteRefresh(events.ActionConcurrentRefresh, c, state.Session, about)
	}
	return grant, nil
}

// reused ends the session, and refuses.
func (s *Service) reused(ctx context.Context, c *refreshing, state session.State) error {
	_, err := s.end(ctx, c.own, state, events.ReasonTokenReuse, events.Initiator{Role: "policy"})
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrGrant, session.ErrReuse)
}
