package token_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// bareClaims is how a service would declare our claims to golang-jwt.
type bareClaims struct {
	jwt.RegisteredClaims
	ClientID  string   `json:"client_id"`
	Session   string   `json:"sid"`
	SessionAt string   `json:"ssq"`
	MintedAt  string   `json:"tsq"`
	Scope     string   `json:"scope"`
	Roles     []string `json:"roles"`
	AuthTime  int64    `json:"auth_time"`
	ACR       string   `json:"acr"`
	AMR       []string `json:"amr"`
}

// BenchmarkUncached is the first sight of a token, strict filter and claims
// included.
func BenchmarkUncached(b *testing.B) {
	i := tokentest.NewIssuer(b, "")
	for _, s := range []tokentest.Signer{i.ES256, i.RS256, i.EdDSA} {
		b.Run(s.Method.Alg()+"/revocast", func(b *testing.B) {
			verify := ours(b, i, s)
			b.ReportAllocs()
			for b.Loop() {
				verify()
			}
		})
		b.Run(s.Method.Alg()+"/golang-jwt", func(b *testing.B) {
			verify := bare(b, i, s)
			b.ReportAllocs()
			for b.Loop() {
				verify()
			}
		})
	}
}

// BenchmarkUncachedPaired holds both against each other by turns, so that what
// else the machine does slows both alike. It reports the medians and their
// ratio, which is to be at most 1.1.
func BenchmarkUncachedPaired(b *testing.B) {
	i := tokentest.NewIssuer(b, "")
	for _, s := range []tokentest.Signer{i.ES256, i.RS256, i.EdDSA} {
		b.Run(s.Method.Alg(), func(b *testing.B) {
			verify, compare := ours(b, i, s), bare(b, i, s)
			var mine, its []time.Duration
			for b.Loop() {
				begin := time.Now()
				verify()
				middle := time.Now()
				compare()
				mine, its = append(mine, middle.Sub(begin)), append(its, time.Since(middle))
			}
			slices.Sort(mine)
			slices.Sort(its)
			half := len(mine) / 2
			b.ReportMetric(float64(mine[half]), "revocast-ns")
			b.ReportMetric(float64(its[half]), "golang-jwt-ns")
			b.ReportMetric(float64(mine[half])/float64(its[half]), "ratio")
		})
	}
}

// ours verifies one token of s without a cache.
func ours(b *testing.B, i *tokentest.Issuer, s tokentest.Signer) func() {
	b.Helper()
	v := newVerifier(b, token.Config{Leeway: 5 * time.Second}, token.Issuer{Trust: i.Trust(), Keys: i.Keys(b)})
	raw := s.Sign(b, s.Header(), i.Claims(now))
	verify := func() {
		if _, err := v.Verify(b.Context(), raw, now); err != nil {
			b.Fatal(err)
		}
	}
	verify() // the first one waits for the keys
	return verify
}

// bare is golang-jwt alone, with every option that has it check what it can.
func bare(b *testing.B, i *tokentest.Issuer, s tokentest.Signer) func() {
	b.Helper()
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256", "RS256", "EdDSA"}), jwt.WithIssuer(string(i.ID())), jwt.WithAudience(tokentest.Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(5*time.Second), jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithStrictDecoding(),
	)
	raw, public := s.Sign(b, s.Header(), i.Claims(now)), s.Key.Public()
	return func() {
		var claims bareClaims
		if _, err := parser.ParseWithClaims(raw, &claims, func(*jwt.Token) (any, error) { return public, nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRefused is what garbage costs before any signature is looked at.
func BenchmarkRefused(b *testing.B) {
	i := tokentest.NewIssuer(b, "")
	v := newVerifier(b, config(), token.Issuer{Trust: i.Trust(), Keys: i.Keys(b)})
	for name, raw := range map[string]string{
		"members":  i.ES256.Raw(b, tokentest.Text(b, i.ES256.Header()), "{"+tokentest.Members(128)[1:]+`,"x":0}`),
		"nested":   i.ES256.Raw(b, tokentest.Text(b, i.ES256.Header()), `{"a":[[[[[[[[[[[`),
		"alg-none": tokentest.Encode([]byte(`{"alg":"none","typ":"at+jwt"}`)) + ".e30.",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), raw, now); err == nil {
					b.Fatal("passes")
				}
			}
		})
	}
}

// BenchmarkHit is a token seen before, drawn at random among so many.
func BenchmarkHit(b *testing.B) {
	i := tokentest.NewIssuer(b, "")
	for _, n := range []int{1_000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			v := newVerifier(b, token.Config{CacheBytes: 1 << 30}, token.Issuer{Trust: i.Trust(), Keys: i.Keys(b)})
			tokens := make([]string, n)
			for k := range tokens {
				tokens[k] = i.EdDSA.Sign(b, i.EdDSA.Header(), tokentest.With(i.Claims(now), object{"jti": fmt.Sprint(k)}))
				if _, err := v.Verify(b.Context(), tokens[k], now); err != nil {
					b.Fatal(err)
				}
			}
			order := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), tokens[order.IntN(n)], now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
