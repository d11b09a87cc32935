package verifytest

import (
	"fmt"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// RevokeSessions denies n sessions, [Ended] of 0 to n-1, for an hour.
func (r *Rig) RevokeSessions(t testing.TB, n int) {
	t.Helper()
	const step = 10_000
	until := time.Now().Add(time.Hour)
	for first := 0; first < n; first += step {
		entries := make([]events.Revocation, 0, step)
		for k := first; k < min(first+step, n); k++ {
			entries = append(entries, events.Revocation{
				ID: events.RevocationID(fmt.Sprint("r-", k)), Kind: events.KindSession, Issuer: r.Issuer.ID(), Target: Ended(k), Until: until,
			})
		}
		if err := r.Denylist.Apply(denylist.Batch{Entries: entries}); err != nil {
			t.Fatal(err)
		}
	}
}

// Ended is the name of a session that [Rig.RevokeSessions] denies.
func Ended(k int) string { return fmt.Sprintf("0198f3a2-7c1e-7b3d-9a4f-%012x", k) }

// Tokens gives n good tokens by s, each of a session of its own, that live an hour.
func (r *Rig) Tokens(t testing.TB, s tokentest.Signer, n int) []string {
	t.Helper()
	tokens, now := make([]string, n), time.Now()
	for k := range tokens {
		tokens[k] = s.Sign(t, s.Header(), tokentest.With(r.Issuer.Claims(now), tokentest.Object{
			"jti": fmt.Sprintf("0198f3a2-7c1e-7b3d-8a4f-%012x", k), "sid": fmt.Sprintf("0198f3a2-7c1e-7b3d-8b4f-%012x", k),
			"sub": fmt.Sprintf("0190c8a1-3f70-7000-8000-%012x", k), "exp": now.Add(time.Hour).Unix(),
		}))
	}
	return tokens
}
