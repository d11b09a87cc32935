package app

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/keeper"
)

// openKeeper brings the keys in order: from here on what is signed is signed with keys
// that every sidecar has been told of.
func (a *App) openKeeper(ctx context.Context, journal *eventstore.Journal, feed *eventstore.Feed) (err error) {
	realm := subject.Realm(a.cfg.Realm)
	interval := a.cfg.KeyRotationInterval
	if a.cfg.Control() {
		interval = 0 // the keys sign nothing; they are there to tell the realm's directory from another
	}
	a.keeper, err = keeper.New(keeper.Config{
		Realm: realm, Issuer: events.Issuer(a.cfg.Issuer), Interval: interval, Overlap: a.cfg.KeyOverlap,
		AccessTTL: a.clients.MaxAccessTTL, IdleLimit: a.clients.IdleLimit, Now: now,
	}, keeper.Deps{Journal: journal, Feed: feed, Keys: a.keys, Log: a.log.Named("keys"), Metrics: a.metrics})
	if err != nil {
		return err
	}
	for _, place := range realm.LiveOfKeys() {
		if _, err := a.conn.Subscribe(place, func(m *nats.Msg) { a.keeper.Heard(m.Data) }); err != nil {
			return fmt.Errorf("following %s: %w", place, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, provisionWithin)
	defer cancel()
	return a.keeper.Start(ctx)
}
