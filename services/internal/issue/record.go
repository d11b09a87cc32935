package issue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
)

// Record makes the journal say what the feed has announced, if it does not yet:
// the finisher's share of a revocation whose issuer died between the two, or that
// an operator published while every issuer was down. It is idempotent.
//
// A revocation recorded late is announced again from this moment, since tokens
// may have been minted from what it ends until now.
func (s *Service) Record(ctx context.Context, n events.Revocation) error {
	if n.Issuer != s.cfg.Issuer {
		return nil // another issuer's sessions are not in this journal
	}
	now := time.Now()
	wrote, err := s.recordOnce(ctx, &n)
	if err != nil {
		return fmt.Errorf("recording revocation %s: %w", n.ID, err)
	}
	if !wrote {
		return nil
	}
	if n.Kind != events.KindToken {
		n.Until = s.until(now, n.Until)
	}
	if _, err := s.deny(ctx, n, now); err != nil {
		return fmt.Errorf("announcing revocation %s again: %w", n.ID, err)
	}
	return nil
}

func (s *Service) recordOnce(ctx context.Context, n *events.Revocation) (bool, error) {
	now := time.Now()
	switch n.Kind {
	case events.KindSession:
		own := s.cfg.Realm.SessionByID(events.SessionID(n.Target))
		state, err := s.load(ctx, events.Position{}, []string{own})
		if err != nil || state.Session.Ended != nil {
			return false, err
		}
		if !state.Exists() {
			if state, _, err = s.loadBehindBarrier(ctx, []string{own}); err != nil || !state.Exists() {
				return false, err
			}
		}
		own = s.cfg.Realm.Session(s.subjectKey(state.Session.Subject), state.Session.ID)
		return s.recordEnd(ctx, own, state, events.Ending{RevocationID: n.ID, Reason: n.Reason, By: n.By, At: now})
	case events.KindToken, events.KindKey:
		if now.After(n.Until) {
			return false, nil // nothing it denies is accepted any more
		}
		return s.recordCut(ctx, *n)
	case events.KindSubject, events.KindClient, events.KindAll:
		// An operator's entry has no cut, and denies all until it expires. What
		// it ends is what had begun by the time it is recorded.
		if n.Cut.IsZero() {
			cut, err := s.barrier(ctx)
			if err != nil {
				return false, err
			}
			n.Cut = cut
		}
		return s.recordCut(ctx, *n)
	case events.KindUnknown:
	}
	return false, nil
}

// compactedTTL is how long an ended session stays known after its history is
// gone: long enough for whoever still refreshes to be told that it ended.
const compactedTTL = 10 * time.Minute

// Compact replaces the history of a session that has ended by its last state,
// which then soon expires. AUDIT must hold the end already. If anything has come
// after the end that was seen, nothing is done.
func (s *Service) Compact(ctx context.Context, n events.Session) error {
	own := s.cfg.Realm.Session(s.subjectKey(n.Subject), n.ID)
	state, err := s.load(ctx, events.Position{}, []string{own})
	if err != nil || state.Session.Ended == nil {
		return err
	}
	now := time.Now()
	keep := max(state.Session.AccessExpires.Add(events.MaxLeeway+events.MaxSkew).Sub(now), compactedTTL)
	_, err = s.journal.Append(ctx, events.Append{
		Subject: own, Envelope: envelope(now, events.SessionRevoked{Session: state.Session}),
		After: state.Position.Sequence, TTL: keep, Rollup: true,
	})
	if errors.Is(err, events.ErrConflict) {
		return nil
	}
	return err
}
