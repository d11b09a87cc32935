package against

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/proof/spread"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
	"github.com/revocast/revocast/sidecar/verify"
)

// size is how much a test does: little in passing, all with PROOF=full.
type size struct {
	revoked, many int
	rounds, turns int
	turn          time.Duration
}

func sizeOf() size {
	if os.Getenv("PROOF") == "full" {
		return size{revoked: 1_000_000, many: 50_000, rounds: 5, turns: 41, turn: 5 * time.Millisecond}
	}
	return size{revoked: 20_000, many: 2_000, rounds: 1, turns: 3, turn: time.Millisecond}
}

const few = 1_000

// contestant does one operation.
type contestant struct {
	name string
	do   func()
	// each is nanoseconds an operation, one value a round.
	each []float64
}

// TestAgainst prints what each takes and how they compare. It checks that all of them
// do their work: what is good passes, what is revoked or forged does not.
func TestAgainst(t *testing.T) {
	s := sizeOf()
	r := verifytest.New(t, gate.DefaultPolicy())
	r.RevokeSessions(t, s.revoked)
	es, rs, ed := r.Issuer.ES256, r.Issuer.RS256, r.Issuer.EdDSA
	hot := r.Tokens(t, es, few)
	all := map[string]*contestant{}
	var order []string
	enter := func(name string, do func()) {
		all[name] = &contestant{name: name, do: do}
		order = append(order, name)
	}
	enter("cached, 1,000 tokens", verifies(t, verifierOn(t, r, r.Denylist), r, hot))
	enter(fmt.Sprintf("cached, %d tokens", s.many), verifies(t, verifierOn(t, r, r.Denylist), r, r.Tokens(t, ed, s.many)))
	for _, signer := range []tokentest.Signer{es, rs, ed} {
		alg := signer.Method.Alg()
		enter(alg+", golang-jwt", bare(t, r, signer))
		enter(alg+", uncached", uncached(t, r, signer))
	}
	server, has := startRedis(t)
	if has {
		server.revokeSessions(t, s.revoked)
		enter("cached, Redis, TCP", verifies(t, verifierOn(t, r, remote{server.tcp}), r, hot))
		enter("cached, Redis, Unix socket", verifies(t, verifierOn(t, r, remote{server.unix}), r, hot))
	}

	for range s.rounds {
		r.View.Set(time.Now(), true)
		round(s, order, all)
	}

	var rows [][]string
	for _, name := range order {
		rows = append(rows, []string{name, spread.Of(all[name].each).String(), fmt.Sprint(testing.AllocsPerRun(100, all[name].do))})
	}
	t.Logf("%d revoked sessions, median of %d rounds (least–most)\n%s",
		s.revoked, s.rounds, spread.Table([]string{"one verification", "ns", "allocations"}, rows))
	ratio := func(a, b string) []string {
		var each []float64
		for n := range all[a].each {
			each = append(each, all[a].each[n]/all[b].each[n])
		}
		return []string{a, b, spread.Of(each).String()}
	}
	cached := order[0]
	ratios := [][]string{ratio("ES256, golang-jwt", cached)}
	if has {
		ratios = append(ratios, ratio("cached, Redis, TCP", cached), ratio("cached, Redis, Unix socket", cached))
	} else {
		t.Log("no redis-server: scripts/install-bench-tools.sh installs it")
	}
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		ratios = append(ratios, ratio(alg+", uncached", alg+", golang-jwt"))
	}
	t.Logf("ratios, each of the same round\n%s", spread.Table([]string{"this", "by that", "ratio"}, ratios))
}

// round lets all take turns, so that whatever else the machine does slows all alike. What
// counts is the median of a contestant's turns. Garbage is collected between rounds: else
// what some leave behind would be cleared away in the turns of others.
func round(s size, order []string, all map[string]*contestant) {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	turns := map[string][]float64{}
	for range s.turns {
		for _, name := range order {
			all[name].turn(s.turn / 4) // fetches what others have pushed out of the caches
			turns[name] = append(turns[name], all[name].turn(s.turn))
		}
	}
	for _, name := range order {
		all[name].each = append(all[name].each, spread.Of(turns[name]).Median)
	}
}

// turn goes on for so long and gives nanoseconds an operation.
func (c *contestant) turn(long time.Duration) float64 {
	began, done := time.Now(), 0
	for time.Since(began) < long {
		for range 16 {
			c.do()
		}
		done += 16
	}
	return float64(time.Since(began).Nanoseconds()) / float64(done)
}

// verifies gives one call of Verify with a token drawn at random, all of which have
// been verified before.
func verifies(t *testing.T, v *verify.Verifier, r *verifytest.Rig, tokens []string) func() {
	t.Helper()
	for _, raw := range tokens {
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	wantRefused(t, v, r)
	order, ctx := rand.New(rand.NewPCG(1, 2)), t.Context()
	return func() {
		if _, err := v.Verify(ctx, tokens[order.IntN(len(tokens))]); err != nil {
			t.Fatal(err)
		}
	}
}

// wantRefused shows that v looks: at the signature, and for revocations.
func wantRefused(t *testing.T, v *verify.Verifier, r *verifytest.Rig) {
	t.Helper()
	revoked := r.Good(t, tokentest.Object{"sid": verifytest.Ended(7)})
	good := r.Good(t, nil)
	forged := good[:len(good)-8] + "AAAAAAAA"
	for name, raw := range map[string]string{"revoked": revoked, "forged": forged} {
		for range 2 {
			if _, err := v.Verify(t.Context(), raw); err == nil {
				t.Fatalf("a %s token passes", name)
			}
		}
	}
}

// uncached gives one verification of a token never seen before, strict reading,
// claims and preparation for the denylist included.
func uncached(t *testing.T, r *verifytest.Rig, s tokentest.Signer) func() {
	t.Helper()
	m, err := token.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.New(token.Config{Leeway: 5 * time.Second}, []token.Issuer{{Trust: r.Issuer.Trust(), Keys: r.Issuer.Keys(t)}}, r.Denylist, m)
	if err != nil {
		t.Fatal(err)
	}
	raw, ctx := r.Tokens(t, s, 1)[0], t.Context()
	do := func() {
		if _, err := v.Verify(ctx, raw, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	do() // which fetches the keys
	return do
}

// claims is how a service would declare ours to golang-jwt.
type claims struct {
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

// bare is golang-jwt alone with the same token, checking all that it can check. It
// knows of no revocations.
func bare(t *testing.T, r *verifytest.Rig, s tokentest.Signer) func() {
	t.Helper()
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256", "RS256", "EdDSA"}), jwt.WithIssuer(string(r.Issuer.ID())), jwt.WithAudience(tokentest.Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(5*time.Second), jwt.WithStrictDecoding(),
	)
	raw, public := r.Tokens(t, s, 1)[0], s.Key.Public()
	return func() {
		var c claims
		if _, err := parser.ParseWithClaims(raw, &c, func(*jwt.Token) (any, error) { return public, nil }); err != nil {
			t.Fatal(err)
		}
	}
}
