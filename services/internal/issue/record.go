package issue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// Record makes the journal say what the feed has announced, if it does not yet:
// the finisher's share of a revocation whose issuer died between the two, or that
// an operator published while every issuer was down. It is idempotent.
//
// A revocation recorded late is announced again from this moment, since tokens
// may have been minted from what it ends until now; and before it is recorded, so
// that whoever tries again after a failure announces it too. What has been lifted is
// neither announced nor recorded.
func (s *Service) Record(ctx context.Context, n events.Revocation) error {
	if n.Issuer != s.cfg.Issuer {
		return nil // another issuer's sessions are not in this journal
	}
	if err := s.recordLate(ctx, n); err != nil && !errors.Is(err, ErrLifted) {
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
	v := &view{subject: subject}
	if err := v.fold(records, ""); err != nil {
		return err
	}
	c := command{Revocation: n, began: now}
	switch {
	case n.Kind.Wide() && n.Kind != events.KindKey && n.Cut.IsZero():
		return s.refine(ctx, c, v.standing)
	case session.Covered(v.standing, n, now):
		return nil
	case !s.measured(n):
		c.expires = n.Until.Add(-events.MaxLeeway - events.MaxSkew) // who announced it knew
	}
	_, err = s.carryOut(ctx, c)
	return err
}

// refine gives a wide revocation a cut. An operator's entry has none, and denies all
// until it expires, those too who log in again. What it ends is what had begun by the
// time it is recorded: that is announced under an id of its own and recorded in the
// place of the operator's, which is then lifted.
func (s *Service) refine(ctx context.Context, c command, standing events.CutsRecorded) error {
	whole := c.Revocation
	if !session.Lifted(standing, whole.ID) {
		barrier, err := s.barrier(ctx)
		if err != nil {
			return err
		}
		c.ID, c.inPlaceOf = s.refinedID(whole.ID), whole.ID
		c.Cut, c.CutTime = barrier, c.began
		if _, err := s.carryOut(ctx, c); err != nil {
			return err
		}
		failpoint("recorded")
	}
	return s.announceLift(ctx, whole, c.began)
}

// refinedID is the id under which an operator's revocation has a cut, the same
// whoever gives it one.
func (s *Service) refinedID(id events.RevocationID) events.RevocationID {
	return s.derivedID("refined:" + string(id))
}

func (s *Service) recordLateEnd(ctx context.Context, n events.Revocation) error {
	state, err := s.sessionByID(ctx, n.Target)
	if err != nil || !state.Exists() || state.Session.Ended != nil {
		return err
	}
	lifted := s.cfg.Realm.Cut(n.Kind, s.keyer.Key(n.Kind, n.Issuer, n.Target))
	records, err := s.recordsBehindBarrier(ctx, lifted)
	if err != nil {
		return err
	}
	v := &view{subject: lifted}
	if err := v.fold(records, ""); err != nil || session.Lifted(v.standing, n.ID) {
		return err
	}
	_, err = s.endAs(ctx, s.cfg.Realm.Session(s.subjectKey(state.Session.Subject), state.Session.ID), state, n)
	return err
}

// compactedTTL is how long an ended session stays known after its history is
// gone: long enough for whoever still refreshes to be told that it ended.
const compactedTTL = 10 * time.Minute

// Compact replaces the history of a session that has ended by its last state,
// which then soon expires. AUDIT must hold the end already. If anything has come
// after the end that was seen, nothing is done: [events.ErrConflict], and whoever
// compacts looks again. All that comes after an end is another compaction.
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
	return err
}

// recordsBehindBarrier loads as far as a barrier that it appends.
func (s *Service) recordsBehindBarrier(ctx context.Context, subject string) ([]events.Record, error) {
	barrier, err := s.barrier(ctx)
	if err != nil {
		return nil, err
	}
	return s.journal.Load(ctx, barrier, subject, s.cfg.Realm.Barrier())
}
