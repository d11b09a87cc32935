package token_test

import (
	"fmt"
	"math/rand/v2"
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

// BenchmarkUncached holds the first sight of a token, strict filter and claims
// included, against golang-jwt alone on the same token with the same key.
func BenchmarkUncached(b *testing.B) {
	i := tokentest.NewIssuer(b, "")
	set := i.Keys(b)
	v := newVerifier(b, token.Config{}, token.Issuer{Trust: i.Trust(), Keys: set})
	for _, s := range []tokentest.Signer{i.ES256, i.RS256, i.EdDSA} {
		raw := s.Sign(b, s.Header(), i.Claims(now))
		b.Run(s.Method.Alg()+"/revocast", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), raw, now); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(s.Method.Alg()+"/golang-jwt", func(b *testing.B) {
			parser := jwt.NewParser(
				jwt.WithValidMethods([]string{"ES256", "RS256", "EdDSA"}), jwt.WithIssuer(string(i.ID())), jwt.WithAudience(tokentest.Audience),
				jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(5*time.Second), jwt.WithTimeFunc(func() time.Time { return now }),
			)
			public := s.Key.Public()
			b.ReportAllocs()
			for b.Loop() {
				var claims bareClaims
				if _, err := parser.ParseWithClaims(raw, &claims, func(*jwt.Token) (any, error) { return public, nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefused is what garbage costs before any signature is looked at.
func BenchmarkRefused(b *testing.B) {
	i := tokentest.NewIssuer(b, "")
	v := newVerifier(b, config(), token.Issuer{Trust: i.Trust(), Keys: i.Keys(b)})
	for name, raw := range map[string]string{
		"members":  i.ES256.Raw(b, tokentest.Text(b, i.ES256.Header()), "{"+manyMembers(128)[1:]+`,"x":0}`),
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
