package verify

import (
	"context"

	"github.com/revocast/revocast/sidecar/internal/clock"
	"github.com/revocast/revocast/sidecar/internal/token"
)

// Diagnosis is everything that is right and wrong with a token by itself. Its types are
// this module's own, so only the sidecar can use it.
type Diagnosis = token.Diagnosis

// Diagnose judges raw by itself as [Verifier.Judge] does, but past the first fault. What
// is revoked, or fresh, is nothing to it. It is counted as no decision.
func (v *Verifier) Diagnose(ctx context.Context, raw string) Diagnosis {
	return v.parts.Tokens.Diagnose(ctx, raw, clock.Now())
}
