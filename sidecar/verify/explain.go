package verify

import (
	"context"

	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token"
)

// Explanation is a decision with what led to it. Its types are this module's own, so
// only the sidecar can use it.
type Explanation struct {
	Decision gate.Decision
	// Cause is what judging the token gave, or the look-up that failed; nil if both
	// went well. It says nothing that the token says.
	Cause error
	// Entry is the one that decided, if one did.
	Entry denylist.Finding
	// Token is what the token says, and Rule the trust that took it: only if its
	// signature verifies. Its time may be over all the same.
	Token *token.Verified
	Rule  token.Trust
}

// Explain decides as [Verifier.Judge] does, by the same steps, and tells what led
// there. It is counted as no decision.
func (v *Verifier) Explain(ctx context.Context, raw string, ask gate.Ask) Explanation {
	j := v.judge(ctx, raw, ask)
	e := Explanation{Decision: j.decision, Cause: j.cause, Entry: j.finding}
	if t, rule, err := v.parts.Tokens.Examine(ctx, raw); err == nil {
		e.Token, e.Rule = t, rule
	}
	return e
}

// ExplainRefusal does so for a request that presents no token to judge.
func (v *Verifier) ExplainRefusal(o gate.Outcome) Explanation {
	return Explanation{Decision: v.uncounted().Refuse(o)}
}

// uncounted is v without metrics.
func (v *Verifier) uncounted() *Verifier {
	unseen := *v
	unseen.parts.Metrics = nil
	return &unseen
}
