// Package verifytest puts a verifier together of real parts, for the tests of
// package verify and of every front: an issuer on loopback, its keys fetched, a
// denylist in memory, and a view as fresh as the test says.
package verifytest

import (
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/verify"
)

// View is how fresh the denylist is held to be. It is safe for concurrent use.
type View struct {
	mu    sync.Mutex
	asOf  time.Time
	ready bool
	skew  time.Duration
}

// Set says how fresh from now on.
func (v *View) Set(asOf time.Time, ready bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asOf, v.ready = asOf, ready
}

// SetSkew says how much the local clock is held to be ahead from now on.
func (v *View) SetSkew(skew time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.skew = skew
}

// Freshness implements [verify.Freshness].
func (v *View) Freshness(time.Time) (time.Time, bool, time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.asOf, v.ready, v.skew
}

// Rig is the verifier and what a test turns to make it answer otherwise.
type Rig struct {
	Issuer   *tokentest.Issuer
	Denylist *denylist.Denylist
	View     *View
	Metrics  *prometheus.Registry
	Verifier *verify.Verifier
}

// New makes a rig under policy whose view is ready and fresh as of now. Others are
// issuers that it trusts besides its own.
func New(t testing.TB, policy gate.Policy, others ...*tokentest.Issuer) *Rig {
	t.Helper()
	return NewOn(t, policy, memstore.New(), others...)
}

// NewOn is [New] over a store of the test's. Its denylist is not written to it
// unless the test runs it.
func NewOn(t testing.TB, policy gate.Policy, store denylist.Store, others ...*tokentest.Issuer) *Rig {
	t.Helper()
	r := &Rig{Issuer: tokentest.NewIssuer(t, ""), View: &View{asOf: time.Now(), ready: true}, Metrics: prometheus.NewRegistry()}
	var err error
	if r.Denylist, err = denylist.New(denylist.Config{}, store); err != nil {
		t.Fatal(err)
	}
	cache, err := token.NewMetrics(r.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	cfg := token.Config{Leeway: 5 * time.Second, CacheBytes: 1 << 30}
	var issuers []token.Issuer
	for _, i := range append(others, r.Issuer) {
		issuers = append(issuers, token.Issuer{Trust: i.Trust(), Keys: i.Keys(t)})
	}
	tokens, err := token.New(cfg, issuers, r.Denylist, cache)
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := verify.NewMetrics(r.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	r.Verifier, err = verify.Assemble(verify.Parts{
		Tokens: tokens, Denylist: r.Denylist, Freshness: r.View, Policy: policy, Metrics: metrics, Log: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Good is a good token minted now, with some claims changed.
func (r *Rig) Good(t testing.TB, changes tokentest.Object) string {
	t.Helper()
	return r.Issuer.Good(t, time.Now(), changes)
}

// Revoke denies what kind and target name until the time until.
func (r *Rig) Revoke(t testing.TB, kind events.Kind, target string, until time.Time) {
	t.Helper()
	if err := r.Denylist.Apply(denylist.Batch{Entries: []events.Revocation{{
		ID: "0190c8a1-0000-7000-8000-000000000001", Kind: kind, Issuer: r.Issuer.ID(), Target: target,
		Reason: events.ReasonAdmin, Until: until,
	}}}); err != nil {
		t.Fatal(err)
	}
}
