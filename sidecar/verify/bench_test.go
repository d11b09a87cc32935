package verify_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// BenchmarkJudgeHit is the whole decision on a token seen before, drawn at random
// among so many, beside so many revoked sessions. Each token is of another user and
// session, and comes from memory, not from the processor's cache, as far as they do
// not fit there. Sub-benchmarks with /parallel use every core.
func BenchmarkJudgeHit(b *testing.B) {
	for _, revoked := range []int{0, 1_000_000} {
		r := verifytest.New(b, gate.DefaultPolicy())
		r.RevokeSessions(b, revoked)
		for _, n := range []int{1_000, 50_000} {
			b.Run(fmt.Sprintf("revoked=%d/tokens=%d", revoked, n), func(b *testing.B) {
				tokens := seen(b, r, n)
				order := rand.New(rand.NewPCG(1, 2))
				b.ReportAllocs()
				for b.Loop() {
					if _, d := r.Verifier.Judge(b.Context(), tokens[order.IntN(n)], gate.Ask{}); d.Verdict != gate.Allow {
						b.Fatal(d.Reason)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("revoked=%d/tokens=%d/parallel", revoked, 1_000), func(b *testing.B) {
			tokens := seen(b, r, 1_000)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				order := rand.New(rand.NewPCG(1, 2))
				for pb.Next() {
					if _, d := r.Verifier.Judge(b.Context(), tokens[order.IntN(len(tokens))], gate.Ask{}); d.Verdict != gate.Allow {
						b.Error(d.Reason)
						return
					}
				}
			})
		})
	}
}

// seen gives n good tokens that the verifier has verified.
func seen(b *testing.B, r *verifytest.Rig, n int) []string {
	b.Helper()
	tokens := r.Tokens(b, r.Issuer.EdDSA, n)
	for _, raw := range tokens {
		if _, err := r.Verifier.Verify(b.Context(), raw); err != nil {
			b.Fatal(err)
		}
	}
	r.View.Set(time.Now(), true)
	return tokens
}
