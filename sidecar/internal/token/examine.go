package token

import "context"

// Examine verifies raw as [Verifier.Verify] does, but afresh and without holding its
// life against a clock, for whoever has to explain a verdict. It gives the rule that
// took the token. Nothing is given of a token whose signature does not verify, or
// that the rule refuses.
func (v *Verifier) Examine(ctx context.Context, raw string) (*Verified, Trust, error) {
	t, err := v.check(ctx, raw)
	if err != nil {
		return nil, Trust{}, err
	}
	return t, v.issuers[t.Claims.Issuer].Trust, nil
}
