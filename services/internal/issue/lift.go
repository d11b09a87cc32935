package issue

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/services/internal/session"
)

const (
	// liftRemembered is how long the journal remembers that a wide revocation was
	// lifted: as long as AUDIT may deliver it again.
	liftRemembered = 400 * 24 * time.Hour
	// liftMargin is how much longer a lift is remembered than what it lifts.
	liftMargin = time.Minute
	// searchFrom is how much earlier than an id's own time its revocation is looked
	// for, since the clocks of issuer and broker differ.
	searchFrom = time.Minute
	// searchFor bounds the search.
	searchFor = 10 * time.Second
)

// Root is what holds the realm's root key, which signs what allows.
type Root interface{ Root() ed25519.PrivateKey }

// Announced gives what stands on the feed, see package eventstore.
type Announced interface {
	Entries(ctx context.Context, after uint64, since time.Time, subject string) iter.Seq2[events.Record, error]
}

// Lift takes back the revocation of this id, whoever made it and whether or not it is
// recorded. It is recorded first and then announced, signed by the realm's root: an
// issuer that dies in between leaves it denied, and lifting it again completes it.
// What the revocation has ended for good stays ended: [ErrEnded]. An id under which
// nothing stands is [ErrNoRevocation].
func (s *Service) Lift(ctx context.Context, id events.RevocationID) (events.Revocation, error) {
	n, err := s.announced(ctx, id)
	if err != nil {
		return n, fmt.Errorf("lifting revocation %s: %w", id, err)
	}
	if n.Kind == events.KindSession && n.Issuer == s.cfg.Issuer && isID(n.Target) {
		own := s.cfg.Realm.SessionByID(events.SessionID(n.Target))
		state, _, err := s.loadBehindBarrier(ctx, []string{own})
		if err == nil && state.Session.Ended != nil {
			err = ErrEnded
		}
		if err != nil {
			return n, fmt.Errorf("lifting revocation %s: %w", id, err)
		}
	}
	if err := s.lift(ctx, n); err != nil {
		return n, fmt.Errorf("lifting revocation %s: %w", id, err)
	}
	return n, nil
}

// lift records and announces the lift of n, and of what n was refined to if it was.
func (s *Service) lift(ctx context.Context, n events.Revocation) error {
	now := s.now()
	until := s.until(now, n.Until).Add(liftMargin) // also of one being announced anew
	subject := s.cfg.Realm.Cut(n.Kind, s.keyer.Key(n.Kind, n.Issuer, n.Target))
	refined := n
	refined.ID = s.refinedID(n.ID)
	for range maxAttempts {
		records, err := s.recordsBehindBarrier(ctx, subject)
		if err != nil {
			return err
		}
		v := &view{subject: subject}
		if err := v.fold(records, ""); err != nil {
			return err
		}
		next, isRefined := v.standing, false
		for _, c := range v.standing.Cuts {
			if c.ID != n.ID && c.ID != refined.ID {
				continue
			}
			if !session.Liftable(c, now) {
				return ErrEnded
			}
			isRefined = isRefined || c.ID == refined.ID
		}
		isRefined = isRefined || session.Lifted(next, refined.ID)
		for _, id := range []events.RevocationID{n.ID, refined.ID} {
			if !session.Lifted(next, id) && (id == n.ID || isRefined) {
				next = session.LiftCut(next, v.after > 0, id, remembered(n, until, now), now)
			}
		}
		if err := s.appendLifts(ctx, v, next, now); errors.Is(err, events.ErrConflict) {
			continue
		} else if err != nil {
			return err
		}
		failpoint("lifted")
		if isRefined {
			if err := s.announceLift(ctx, refined, now); err != nil {
				return err
			}
		}
		return s.announceLift(ctx, n, now)
	}
	return fmt.Errorf("%w: %d conflicts", events.ErrUnavailable, maxAttempts)
}

// remembered is until when the journal must know that n was lifted. What denies no
// more is not recorded late; what ends sessions is at any time.
func remembered(n events.Revocation, until, now time.Time) time.Time {
	if n.Kind.Wide() {
		return later(until, now.Add(liftRemembered))
	}
	return until
}

func (s *Service) appendLifts(ctx context.Context, v *view, next events.CutsRecorded, now time.Time) error {
	if len(next.Lifted) == len(v.standing.Lifted) && len(next.Cuts) == len(v.standing.Cuts) {
		return nil // they are lifted already
	}
	_, err := s.journal.Append(ctx, events.Append{
		Subject: v.subject, Envelope: envelope(now, next), After: v.after, TTL: session.Keep(next.Deadline, now),
	})
	return err
}

// announceLift lets what n denied pass again, everywhere. It lasts longer than n, and
// than any announcement of n that may be under way.
func (s *Service) announceLift(ctx context.Context, n events.Revocation, now time.Time) error {
	l := codec.SignLift(s.root.Root(), s.cfg.Realm, events.Lift{
		RevocationID: n.ID, Kind: n.Kind, Issuer: n.Issuer, Target: n.Target,
		Until: s.until(now, n.Until).Add(liftMargin),
	})
	e := envelope(now, events.Lifted{Lift: l})
	_, err := s.feed.Publish(ctx, s.cfg.Realm.FeedLift(n.Issuer, n.Target), e, l.Until.Sub(now)+2*events.MaxSkew)
	return err
}

// announced finds a revocation on the feed, the announcement of it that lasts longest.
// Ids that Revocast draws say when they were drawn, so it is not far from there.
func (s *Service) announced(ctx context.Context, id events.RevocationID) (events.Revocation, error) {
	ctx, cancel := context.WithTimeout(ctx, searchFor)
	defer cancel()
	var from time.Time
	if u, err := uuid.Parse(string(id)); err == nil && u.Version() == 7 {
		from = time.Unix(u.Time().UnixTime()).Add(-searchFrom)
	}
	found, err := s.announcedSince(ctx, from, id)
	if errors.Is(err, ErrNoRevocation) && !from.IsZero() {
		return s.announcedSince(ctx, time.Time{}, id) // somebody else's, with any time in it
	}
	return found, err
}

func (s *Service) announcedSince(ctx context.Context, from time.Time, id events.RevocationID) (found events.Revocation, err error) {
	for r, err := range s.entries.Entries(ctx, 0, from, "") {
		if err != nil {
			return found, fmt.Errorf("looking for it: %w: %w", events.ErrUnavailable, err)
		}
		e, ok := r.Envelope.Event.(events.Revoked)
		if ok && e.Revocation.ID == id && !found.Until.After(e.Revocation.Until) {
			found = e.Revocation
		}
	}
	if found.ID == "" || s.now().After(found.Until.Add(2*events.MaxSkew)) {
		return found, ErrNoRevocation
	}
	return found, nil
}

// derivedID makes an id of what it stands for. It is the same whoever makes it, and
// nobody without the realm's secret can make it.
func (s *Service) derivedID(of string) events.RevocationID {
	digest := s.keyer.Key(events.KindUnknown, s.cfg.Issuer, "revocation:"+of)
	return events.RevocationID(uuid8(digest).String())
}

// uuid8 makes a UUID of a digest of 32 hexadecimal digits, as the keyer writes them:
// of version 8, made by the application (RFC 9562 section 5.8).
func uuid8(digest events.SubjectKey) (u uuid.UUID) {
	_, _ = hex.Decode(u[:], []byte(digest))
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return u
}
