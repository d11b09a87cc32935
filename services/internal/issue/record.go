package issue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// Record makes the journal say what the feed has announced, if it does not yet:
// the finisher's share of a revocation whose issuer died between the two, or that
// an operator published while every issuer was down. It is idempotent.
//
// A revocation recorded late is announced again from this moment, since tokens
// may have been minted from what it ends until now; and before it is recorded, so
// that whoever tries again after a failure announces it too.
func (s *Service) Record(ctx context.Context, n events.Revocation) error {
	if n.Issuer != s.cfg.Issuer {
		return nil // another issuer's sessions are not in this journal
	}
	if err := s.recordLate(ctx, n); err != nil {
		return fmt.Errorf("recording revocation %s: %w", n.ID, err)
	}
	return nil
}

func (s *Service) recordLate(ctx context.Context, n events.Revocation) error {
	if n.Kind == events.KindSession {
		return s.recordLateEnd(ctx, n)
	}
	now := s.now()
	if !n.Kind.Wide() && now.After(n.Until) {
		return nil // nothing it denies is accepted any more
	}
	subject := s.cfg.Realm.Cut(n.Kind, s.keyer.Key(n.Kind, n.Issuer, n.Target))
	records, err := s.journal.Load(ctx, events.Position{}, subject)
	if err != nil {
		return err
	}
	if standing, _ := standingOf(records, subject); session.Covered(standing, n) {
		return nil
	}
	if n.Kind.Wide() && n.Kind != events.KindKey {
		n.Until = s.until(now, n.Until)
		// An operator's entry has no cut, and denies all until it expires. What it
		// ends is what had begun by the time it is recorded.
		if n.Cut.IsZero() {
			if n.Cut, err = s.barrier(ctx); err != nil {
				return err
			}
		}
	}
	if _, err := s.deny(ctx, n, now); err != nil {
		return err
	}
	return s.recordCut(ctx, n)
}

func (s *Service) recordLateEnd(ctx context.Context, n events.Revocation) error {
	sid := events.SessionID(n.Target)
	if id, err := uuid.Parse(n.Target); err != nil || id.String() != n.Target {
		return nil //nolint:nilerr // no session of ours is called that
	}
	state, err := s.load(ctx, events.Position{}, []string{s.cfg.Realm.SessionByID(sid)})
	if err == nil && !state.Exists() {
		state, _, err = s.loadBehindBarrier(ctx, []string{s.cfg.Realm.SessionByID(sid)})
	}
	if err != nil || !state.Exists() || state.Session.Ended != nil {
		return err
	}
	now := s.now()
	n.Until = s.until(now, state.Session.AccessExpires)
	if _, err := s.deny(ctx, n, now); err != nil {
		return err
	}
	own := s.cfg.Realm.Session(s.subjectKey(state.Session.Subject), sid)
	return s.recordEnd(ctx, own, state, events.Ending{RevocationID: n.ID, Reason: n.Reason, By: n.By, At: now})
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
	if err == nil && state.Session.Ended == nil {
		state, _, err = s.loadBehindBarrier(ctx, []string{own}) // a replica may lag
	}
	if err != nil || state.Session.Ended == nil {
		return err
	}
	now := s.now()
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
