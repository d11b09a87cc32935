package token_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

func TestHitDoesNotAllocate(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	v := newVerifier(t, config(), token.Issuer{Trust: i.Trust(), Keys: i.Keys(t)})
	raw := i.ES256.Sign(t, i.ES256.Header(), i.Claims(now))
	verify := func() {
		if _, err := v.Verify(t.Context(), raw, now); err != nil {
			t.Fatal(err)
		}
	}
	verify()
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = v.Verify(ctx, raw, now) }); n != 0 {
		t.Errorf("%v allocations a hit", n)
	}
}

// Tokens that fail are not kept, so they cannot push good ones out: not the
// malformed, nor the forged, nor the expired.
func TestFailuresAreNotKept(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	reg := prometheus.NewRegistry()
	m, err := token.NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.New(config(), []token.Issuer{{Trust: i.Trust(), Keys: i.Keys(t)}}, prepared(func(*denylist.Token) {}), m)
	if err != nil {
		t.Fatal(err)
	}
	good := i.ES256.Sign(t, i.ES256.Header(), i.Claims(now))
	old := i.ES256.Sign(t, i.ES256.Header(), tokentest.With(i.Claims(now), object{"exp": now.Add(-time.Hour).Unix(), "iat": now.Add(-2 * time.Hour).Unix()}))
	for n := range 3 {
		for _, bad := range []string{tokentest.Flip(good, 2), tokentest.Flip(good, 0), old, "x"} {
			if _, err := v.Verify(t.Context(), bad, now); err == nil {
				t.Fatal("a bad token passes")
			}
		}
		if _, err := v.Verify(t.Context(), good, now); err != nil {
			t.Fatal(n, err)
		}
	}
	want := `
		# HELP revocast_sidecar_token_cache_lookups_total Tokens looked up among those verified before, by result (hit, miss).
		# TYPE revocast_sidecar_token_cache_lookups_total counter
		revocast_sidecar_token_cache_lookups_total{result="hit"} 2
		revocast_sidecar_token_cache_lookups_total{result="miss"} 13
	`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestNoCache(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	v := newVerifier(t, token.Config{}, token.Issuer{Trust: i.Trust(), Keys: i.Keys(t)})
	raw := i.RS256.Sign(t, i.RS256.Header(), i.Claims(now))
	for range 2 {
		if _, err := v.Verify(t.Context(), raw, now); err != nil {
			t.Error(err)
		}
	}
}

// The budget is kept, also by tokens made to cost more than they weigh: many
// tiny roles, claims that must be copied out of escapes, and tokens that are a
// small part of a large string.
func TestCacheMemory(t *testing.T) {
	const budget = 1 << 20
	i := tokentest.NewIssuer(t, "")
	tokens := func(n int, change func(n int) object) []string {
		list := make([]string, n)
		for k := range list {
			list[k] = i.EdDSA.Sign(t, i.EdDSA.Header(), tokentest.With(i.Claims(now), change(k)))
		}
		return list
	}
	tiny := make([]string, 1_200)
	for k := range tiny {
		tiny[k] = "r"
	}
	for name, list := range map[string][]string{
		"ordinary": tokens(1_200, func(n int) object { return object{"jti": fmt.Sprint(n)} }),
		"roles":    tokens(100, func(n int) object { return object{"jti": fmt.Sprint(n), "roles": tiny} }),
		"escapes": tokens(500, func(n int) object {
			return object{"jti": fmt.Sprint(n), "sub": strings.Repeat("<", 300), "scope": strings.Repeat("<", 300)}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			keys := i.Keys(t)
			before := heap()
			v := newVerifier(t, token.Config{CacheBytes: budget}, token.Issuer{Trust: i.Trust(), Keys: keys})
			for _, raw := range list {
				part := (strings.Repeat(" ", 4000) + raw)[4000:]
				if _, err := v.Verify(t.Context(), part, now); err != nil {
					t.Fatal(err)
				}
			}
			used := heap() - before
			runtime.KeepAlive(v)
			t.Logf("%d tokens: %.1f MiB of a budget of %.1f", len(list), float64(used)/(1<<20), float64(budget)/(1<<20))
			if used > budget*11/10 {
				t.Errorf("%d bytes in use for a budget of %d", used, budget)
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Many callers, more tokens than fit: every answer is the token's own.
func TestConcurrent(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	v := newVerifier(t, token.Config{CacheBytes: 64 << 10}, token.Issuer{Trust: i.Trust(), Keys: i.Keys(t)})
	tokens := make([]string, 200)
	for n := range tokens {
		tokens[n] = i.EdDSA.Sign(t, i.EdDSA.Header(), tokentest.With(i.Claims(now), object{"sub": fmt.Sprint("user-", n)}))
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				n := rand.IntN(len(tokens))
				got, err := v.Verify(t.Context(), tokens[n], now)
				if err != nil || string(got.Claims.Subject) != fmt.Sprint("user-", n) {
					t.Errorf("token %d: %+v, %v", n, got, err)
					return
				}
			}
		})
	}
	all.Wait()
}
