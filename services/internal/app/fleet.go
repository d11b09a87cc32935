package app

import (
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/canary"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/fleet"
)

// openFleet makes what listens to the sidecars, and what tries the way to them.
func (a *App) openFleet(feed *eventstore.Feed) (err error) {
	realm := subject.Realm(a.cfg.Realm)
	// The service is there by the time that anybody asks.
	lifetime := func() time.Duration { return max(a.service.TokensLast(), a.foreignTokensLast()) + events.MaxSkew }
	a.fleet, err = fleet.New(fleet.Config{Realm: realm, Lifetime: lifetime}, fleet.Deps{
		Conn: a.conn, Log: a.log.Named("fleet"), Metrics: a.metrics,
	})
	if err != nil {
		return err
	}
	a.canary, err = canary.New(canary.Config{Realm: realm, Interval: a.cfg.CanaryInterval, Now: now}, canary.Deps{
		Feed: feed, Fleet: a.fleet, Log: a.log.Named("canary"), Metrics: a.metrics,
	})
	return err
}
