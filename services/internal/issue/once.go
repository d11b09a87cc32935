package issue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
)

// ErrRepeated says that a message that counts once has been taken before.
var ErrRepeated = errors.New("the message was taken before")

// Message is what another issuer signed to have something revoked, and what must not
// have that effect twice.
type Message struct {
	// Issuer signed it; what it revokes is that issuer's.
	Issuer events.Issuer
	// ID is its `jti`, unique among what the issuer signs.
	ID string
	// Until is when nobody would take it any more, by whatever clock.
	Until time.Time
}

// RevokeOnce denies what a message asks for and then records that the message was
// taken. What it denies has been ended by its issuer, so that only the tokens given so
// far have to be outlasted. Of any number of calls for one message, on whichever replicas, one succeeds;
// the others get [ErrRepeated]. It returns when both writes are durable (ADR-0020).
//
// A call that fails in between has denied and may be repeated: the revocation has one
// id, made of the message's, and one cut, so that denying again denies the same.
func (s *Service) RevokeOnce(ctx context.Context, m Message, r Revocation) (Revoked, error) {
	taken := s.cfg.Realm.Spent(s.keyer.Key(events.KindToken, m.Issuer, m.ID))
	records, err := s.journal.Load(ctx, events.Position{}, taken)
	switch {
	case err != nil:
		return Revoked{}, fmt.Errorf("looking for the message: %w", err)
	case len(records) > 0: // also if that replica lags: it never comes about otherwise
		return Revoked{}, ErrRepeated
	}
	r.ID, r.Issuer = s.derivedID("message:"+string(m.Issuer)+"\x00"+m.ID), m.Issuer
	c := s.command(r)
	c.ended = true // which is what the message says
	if c.Until, err = s.foreignUntil(c); err != nil {
		return Revoked{}, err
	}
	announcement := envelope(c.began, events.Revoked{Revocation: c.Revocation})
	announcement.ID = events.EventID(c.ID) // so that two at once are one on the feed
	done := Revoked{Revocation: c.Revocation}
	done.FeedSequence, err = s.feed.Publish(ctx, s.cfg.Realm.FeedEntry(c.Kind, c.Issuer, c.Target), announcement, c.Until.Sub(c.began)+2*events.MaxSkew)
	if err != nil {
		return Revoked{}, err
	}
	failpoint("denied")
	now := s.now()
	_, err = s.journal.Append(ctx, events.Append{
		Subject: taken, Envelope: envelope(now, events.BarrierPassed{}),
		TTL: max(m.Until.Sub(now), time.Second) + 2*events.MaxSkew,
	})
	if errors.Is(err, events.ErrConflict) {
		err = ErrRepeated
	}
	if err != nil {
		return Revoked{}, fmt.Errorf("recording that the message was taken: %w", err)
	}
	return done, nil
}
