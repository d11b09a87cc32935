package verify_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// BenchmarkJudgeHit is the whole decision on a token seen before, drawn at random
// among so many, beside so many revoked sessions.
func BenchmarkJudgeHit(b *testing.B) {
	for _, revoked := range []int{0, 1_000_000} {
		r := verifytest.New(b, gate.DefaultPolicy())
		const step = 10_000
		for first := 0; first < revoked; first += step {
			entries := make([]events.Revocation, step)
			for n := range entries {
				entries[n] = events.Revocation{
					ID: events.RevocationID(fmt.Sprint("r-", first+n)), Kind: events.KindSession, Issuer: r.Issuer.ID(),
					Target: fmt.Sprint("ended-", first+n), Until: time.Now().Add(time.Hour),
				}
			}
			if err := r.Denylist.Apply(denylist.Batch{Entries: entries}); err != nil {
				b.Fatal(err)
			}
		}
		for _, n := range []int{1_000, 50_000} {
			tokens := make([]string, n)
			now := time.Now()
			for k := range tokens {
				ed := r.Issuer.EdDSA
				tokens[k] = ed.Sign(b, ed.Header(), tokentest.With(r.Issuer.Claims(now), tokentest.Object{
					"jti": fmt.Sprint("jti-", n, k), "sid": fmt.Sprint("sid-", k), "exp": now.Add(time.Hour).Unix(),
				}))
				if _, err := r.Verifier.Verify(b.Context(), tokens[k]); err != nil {
					b.Fatal(err)
				}
			}
			r.View.Set(time.Now(), true)
			b.Run(fmt.Sprintf("revoked=%d/tokens=%d", revoked, n), func(b *testing.B) {
				order := rand.New(rand.NewPCG(1, 2))
				b.ReportAllocs()
				for b.Loop() {
					if _, d := r.Verifier.Judge(b.Context(), tokens[order.IntN(n)], gate.Ask{}); d.Verdict != gate.Allow {
						b.Fatal(d.Reason)
					}
				}
			})
		}
	}
}
