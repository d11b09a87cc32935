package app

import (
	"context"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/signals/backchannel"
	"github.com/revocast/revocast/services/internal/signals/provider"
)

// providers are the identity providers that this issuer listens to.
type providers struct {
	keys   []*provider.Keys
	logout backchannel.Handler
}

// openProviders makes what receives their log-outs. Their keys are read by Run.
func (a *App) openProviders(context.Context) error {
	reads, err := provider.NewReads(a.metrics)
	if err != nil {
		return err
	}
	outcomes, err := backchannel.NewOutcomes(a.metrics)
	if err != nil {
		return err
	}
	trusted := map[events.Issuer]backchannel.Trusted{}
	for _, p := range a.cfg.Providers {
		keys := provider.New(p, provider.Pace{}, a.log, reads)
		a.providers.keys = append(a.providers.keys, keys)
		trusted[p.Issuer] = backchannel.Trusted{Provider: p, Keys: keys}
	}
	a.providers.logout = backchannel.Handler{Providers: trusted, Revoker: a.service, Log: a.log, Outcomes: outcomes, Now: now}
	return nil
}

// meant is whose tokens a revocation or a question means that names no issuer: our own
// or, where we have none, those of the one provider there is. Of several it is nobody:
// a revocation that guessed would deny nothing, and look as if it had.
func (a *App) meant() events.Issuer {
	switch {
	case !a.cfg.Control():
		return events.Issuer(a.cfg.Issuer)
	case len(a.cfg.Providers) == 1:
		return a.cfg.Providers[0].Issuer
	}
	return ""
}

// foreignTokensLast is how long tokens of others live that sidecars verify.
func (a *App) foreignTokensLast() time.Duration {
	if a.cfg.Control() || len(a.cfg.Providers) > 0 {
		return a.cfg.ForeignMaxLifetime
	}
	return 0
}
