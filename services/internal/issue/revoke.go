package issue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// Revocation asks that something be denied.
type Revocation struct {
	Kind   events.Kind
	Target string
	// Issuer is whose tokens are meant; empty for this issuer's own. What belongs
	// to another issuer is denied, and has nothing to be recorded in.
	Issuer events.Issuer
	// Scope says what a wide revocation cuts.
	Scope  events.Scope
	Except events.SessionID
	Reason events.Reason
	By     events.Initiator
	// Expires is the `exp` of the one token revoked, where it is at hand; zero
	// where it is not known.
	Expires time.Time
}

// Revoked is a revocation that is durable.
type Revoked struct {
	Revocation events.Revocation
	// FeedSequence is where it stands on the feed: a sidecar that has applied it
	// enforces it.
	FeedSequence uint64
}

// Revoke denies first, then records, and returns when both are durable. What is
// revoked already stays so and is answered alike.
func (s *Service) Revoke(ctx context.Context, r Revocation) (Revoked, error) {
	if r.Issuer == "" {
		r.Issuer = s.cfg.Issuer
	}
	own := r.Issuer == s.cfg.Issuer
	if own && r.Kind == events.KindSession {
		return s.revokeSession(ctx, r)
	}
	if own && r.Kind == events.KindToken {
		if standing, ok, err := s.standingToken(ctx, r.Target); ok || err != nil {
			return Revoked{Revocation: standing}, err
		}
	}
	now := s.now()
	n := events.Revocation{
		ID: events.RevocationID(newID()), Kind: r.Kind, Issuer: r.Issuer, Target: r.Target, Scope: r.Scope,
		Except: r.Except, Reason: r.Reason, By: r.By, Until: s.until(now, time.Time{}),
	}
	if r.Kind == events.KindToken && !r.Expires.IsZero() {
		n.Until = r.Expires.Add(events.MaxLeeway + events.MaxSkew)
	}
	if r.Kind == events.KindKey {
		n.Until = now.Add(keyRevocation) // a stolen key signs any time, place and expiry
	} else if r.Kind.Wide() {
		n.CutTime = now
		if own {
			cut, err := s.barrier(ctx)
			if err != nil {
				return Revoked{}, err
			}
			n.Cut = cut
		}
	}
	if !own {
		sequence, err := s.deny(ctx, n, now)
		return Revoked{Revocation: n, FeedSequence: sequence}, err
	}
	return s.denyThenRecord(ctx, n, now)
}

func (s *Service) denyThenRecord(ctx context.Context, n events.Revocation, now time.Time) (Revoked, error) {
	sequence, err := s.deny(ctx, n, now)
	if err != nil {
		return Revoked{}, err
	}
	failpoint("denied")
	if err := s.recordCut(ctx, n); err != nil {
		return Revoked{}, err
	}
	return Revoked{Revocation: n, FeedSequence: sequence}, nil
}

// keyRevocation is how long a key stays revoked: longer than anybody trusts it.
const keyRevocation = 50 * 365 * 24 * time.Hour

// standingToken finds a token's revocation that the journal knows already. It was
// announced before it was recorded, so saying it again would only cost the fleet.
func (s *Service) standingToken(ctx context.Context, jti string) (events.Revocation, bool, error) {
	subject := s.cfg.Realm.Cut(events.KindToken, s.keyer.Key(events.KindToken, s.cfg.Issuer, jti))
	records, err := s.journal.Load(ctx, events.Position{}, subject)
	if err != nil {
		return events.Revocation{}, false, err
	}
	for _, n := range session.Fold(records).Cuts {
		if n.Kind == events.KindToken && n.Target == jti && s.now().Before(n.Until) {
			return n, true, nil
		}
	}
	return events.Revocation{}, false, nil
}

// until is when no verifier accepts any more what a revocation at now denies:
// the latest known expiry, or what a mint under way could still get, with the
// protocol's leeway and skew.
func (s *Service) until(now, expires time.Time) time.Time {
	last := now.Add(s.cfg.MaxAccessTTL + underWay)
	if expires.After(last) {
		last = expires
	}
	return last.Add(events.MaxLeeway + events.MaxSkew)
}

// deny announces n: from here on every sidecar rejects it.
func (s *Service) deny(ctx context.Context, n events.Revocation, now time.Time) (uint64, error) {
	e := envelope(now, events.Revoked{Revocation: n})
	return s.feed.Publish(ctx, s.cfg.Realm.FeedEntry(n.Kind, n.Issuer, n.Target), e, n.Until.Sub(now))
}

// revokeSession ends one session, ours whoever it belongs to. A session that the
// journal does not know is denied all the same: it may have just expired there,
// with its last access token still alive.
func (s *Service) revokeSession(ctx context.Context, r Revocation) (Revoked, error) {
	own := s.cfg.Realm.SessionByID(events.SessionID(r.Target))
	state, _, err := s.loadBehindBarrier(ctx, []string{own})
	if err != nil {
		return Revoked{}, err
	}
	if !state.Exists() {
		now := s.now()
		n := events.Revocation{
			ID: events.RevocationID(newID()), Kind: r.Kind, Issuer: s.cfg.Issuer, Target: r.Target,
			Reason: r.Reason, By: r.By, Until: s.until(now, time.Time{}),
		}
		sequence, err := s.deny(ctx, n, now)
		return Revoked{Revocation: n, FeedSequence: sequence}, err
	}
	own = s.cfg.Realm.Session(s.subjectKey(state.Session.Subject), state.Session.ID)
	return s.end(ctx, own, state, r.Reason, r.By)
}

// end denies a session that exists and then records its end.
func (s *Service) end(ctx context.Context, own string, state session.State, reason events.Reason, by events.Initiator) (Revoked, error) {
	now := s.now()
	n := events.Revocation{
		ID: events.RevocationID(newID()), Kind: events.KindSession, Issuer: state.Session.Issuer,
		Target: string(state.Session.ID), Reason: reason, By: by, Until: s.until(now, state.Session.AccessExpires),
	}
	if ended := state.Session.Ended; ended != nil {
		n.ID, n.Reason, n.By = ended.RevocationID, ended.Reason, ended.By
		return Revoked{Revocation: n}, nil // denied before it was recorded
	}
	sequence, err := s.deny(ctx, n, now)
	if err != nil {
		return Revoked{}, err
	}
	failpoint("denied")
	if err := s.recordEnd(ctx, own, state, events.Ending{RevocationID: n.ID, Reason: reason, By: by, At: now}); err != nil {
		return Revoked{}, err
	}
	return Revoked{Revocation: n, FeedSequence: sequence}, nil
}

// recordEnd appends a session's end, whatever else happens to it meanwhile.
func (s *Service) recordEnd(ctx context.Context, own string, state session.State, ending events.Ending) error {
	for range maxAttempts {
		now := s.now()
		event, refusal := session.Decide(state, session.Revoke{Ending: ending}, now)
		switch {
		case errors.Is(refusal, session.ErrOver), errors.Is(refusal, session.ErrNotFound):
			return nil
		case refusal == nil:
			revoked, ok := event.(events.SessionRevoked)
			if !ok {
				return fmt.Errorf("ending a session: decided %T", event)
			}
			_, err := s.journal.Append(ctx, events.Append{
				Subject: own, Envelope: envelope(now, revoked), After: state.Position.Sequence,
				TTL: session.Keep(revoked.Session.Deadline, now),
			})
			if !errors.Is(err, events.ErrConflict) {
				return err
			}
		case !errors.Is(refusal, session.ErrBarrier):
			return fmt.Errorf("ending a session: %w: %w", events.ErrUnavailable, refusal)
		}
		var err error
		if state, _, err = s.loadBehindBarrier(ctx, []string{own}); err != nil {
			return err
		}
	}
	return fmt.Errorf("ending a session: %w: %d conflicts", events.ErrUnavailable, maxAttempts)
}

// recordCut adds n to the standing revocations of its target.
func (s *Service) recordCut(ctx context.Context, n events.Revocation) error {
	key := s.keyer.Key(n.Kind, n.Issuer, n.Target)
	subject := s.cfg.Realm.Cut(n.Kind, key)
	for range maxAttempts {
		records, barrier, err := s.recordsBehindBarrier(ctx, subject)
		if err != nil {
			return err
		}
		standing, after := standingOf(records, subject)
		if session.Covered(standing, n) {
			return nil
		}
		keep, spared, err := s.keepCut(ctx, n, key, barrier)
		if err != nil {
			return err
		}
		now := s.now()
		next := session.AddCut(standing, after > 0, session.Cut{Revocation: n, Keep: keep, Spared: spared}, now)
		_, err = s.journal.Append(ctx, events.Append{
			Subject: subject, Envelope: envelope(now, next), After: after, TTL: session.Keep(next.Deadline, now),
		})
		if !errors.Is(err, events.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("recording revocation %s: %w: %d conflicts", n.ID, events.ErrUnavailable, maxAttempts)
}

func (s *Service) recordsBehindBarrier(ctx context.Context, subject string) ([]events.Record, events.Position, error) {
	barrier, err := s.barrier(ctx)
	if err != nil {
		return nil, barrier, err
	}
	records, err := s.journal.Load(ctx, barrier, subject, s.cfg.Realm.Barrier())
	return records, barrier, err
}

// standingOf finds the last record of subject among a load's.
func standingOf(records []events.Record, subject string) (events.CutsRecorded, uint64) {
	for _, r := range records {
		if cuts, ok := r.Envelope.Event.(events.CutsRecorded); ok && r.Subject == subject {
			return cuts, r.Position.Sequence
		}
	}
	return events.CutsRecorded{}, 0
}

// keepCut says how long the journal must remember n: a cut of sessions longer
// than every session that existed when it was made, anything else as long as the
// tokens it denies. Zero is for ever. It also finds where the excepted session began.
func (s *Service) keepCut(ctx context.Context, n events.Revocation, key events.SubjectKey, barrier events.Position) (keep time.Time, spared events.Position, err error) {
	if n.Kind == events.KindToken || n.Kind == events.KindKey || n.Scope == events.ScopeAccessTokens {
		return n.Until, spared, nil
	}
	if n.Kind != events.KindSubject {
		return keep, spared, nil // whose sessions are too many to ask
	}
	records, err := s.journal.Load(ctx, barrier, s.cfg.Realm.Sessions(key), s.cfg.Realm.Barrier())
	if errors.Is(err, events.ErrTooMany) {
		return keep, spared, nil
	}
	if err != nil {
		return keep, spared, err
	}
	keep = n.Until
	endless := false
	for _, r := range records {
		state := session.Apply(session.State{}, r)
		if !state.Exists() {
			continue
		}
		if state.Session.ID == n.Except {
			spared = state.Session.Began
		}
		endless = endless || state.Session.Deadline.IsZero()
		if state.Session.Deadline.After(keep) {
			keep = state.Session.Deadline
		}
	}
	if endless {
		return time.Time{}, spared, nil
	}
	return keep.Add(time.Minute), spared, nil
}
