package app

import (
	"context"

	"go.uber.org/zap"
)

// declareLifetimes keeps the realm's ledger saying how long this issuer's access
// tokens live, also when that changes while it runs (ADR-0012).
func (a *App) declareLifetimes(ctx context.Context) error {
	for {
		if err := a.service.Declare(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("lifetimes of access tokens are not declared; none will be minted once the last declaration has run out", zap.Error(err))
		}
		if !aSecond(ctx) {
			return nil
		}
	}
}
