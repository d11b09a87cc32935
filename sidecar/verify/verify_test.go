package verify_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
	"github.com/revocast/revocast/sidecar/verify"
)

// nonZero leaves out the counters that have not moved.
type nonZero struct{ prometheus.Gatherer }

func (n nonZero) Gather() ([]*dto.MetricFamily, error) {
	families, err := n.Gatherer.Gather()
	for _, f := range families {
		f.Metric = slices.DeleteFunc(f.Metric, func(m *dto.Metric) bool { return m.GetCounter().GetValue() == 0 })
	}
	return families, err
}

// A token passes, is revoked, and stops passing: the product in one test.
func TestRevoked(t *testing.T) {
	for kind, target := range map[events.Kind]string{
		events.KindToken: "jti-1", events.KindSession: "sid-1", events.KindSubject: "alice", events.KindClient: "demo",
		events.KindKey: "ES256", events.KindAll: "",
	} {
		t.Run(kind.String(), func(t *testing.T) {
			r := verifytest.New(t, gate.DefaultPolicy())
			raw := r.Good(t, nil)
			got, err := r.Verifier.Verify(t.Context(), raw)
			if err != nil || got.Subject != "alice" || !got.HasScope("write") || got.HasScope("") || got.HasScope("rea") || !got.HasRole("admin") || got.HasRole("root") {
				t.Fatalf("before: %+v, %v", got, err)
			}
			r.Revoke(t, kind, target, time.Now().Add(time.Hour))
			got, err = r.Verifier.Verify(t.Context(), raw)
			if !errors.Is(err, verify.ErrRevoked) || got.Subject != "" {
				t.Errorf("after: %+v, %v", got, err)
			}
			if !strings.Contains(err.Error(), kind.String()) || !strings.Contains(err.Error(), "administrator") {
				t.Errorf("%q does not say what revoked it", err)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	r := verifytest.New(t, gate.Policy{StaleAfter: 30 * time.Second, Scopes: []string{"read"}})
	now := time.Now()
	es := r.Issuer.ES256
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"good":      {r.Issuer.Good(t, now, nil), nil},
		"nothing":   {"", verify.ErrMalformed},
		"malformed": {"a.b.c", verify.ErrMalformed},
		"expired":   {r.Issuer.Good(t, now.Add(-time.Hour), nil), verify.ErrExpired},
		"premature": {r.Issuer.Good(t, now.Add(time.Hour), nil), verify.ErrUntrusted},
		"bound":     {r.Issuer.Good(t, now, tokentest.Object{"cnf": tokentest.Object{"jkt": "x"}}), verify.ErrUntrusted},
		"wrong aud": {r.Issuer.Good(t, now, tokentest.Object{"aud": "x"}), verify.ErrUntrusted},
		"wrong typ": {es.Sign(t, tokentest.With(es.Header(), tokentest.Object{"typ": "logout+jwt"}), r.Issuer.Claims(now)), verify.ErrUntrusted},
		"no scope":  {r.Issuer.Good(t, now, tokentest.Object{"scope": "write"}), verify.ErrInsufficientScope},
	} {
		got, err := r.Verifier.Verify(t.Context(), c.raw)
		if !errors.Is(err, c.want) || (err != nil) != (got.Subject == "") {
			t.Errorf("%s: %+v, %v; want %v", name, got, err, c.want)
		}
	}
}

// What cannot be judged is ErrStale and nothing else: the holder keeps the token.
func TestStale(t *testing.T) {
	good := func(r *verifytest.Rig) string { return r.Good(t, nil) }
	for name, c := range map[string]struct {
		spoil func(*verifytest.Rig)
		want  error
	}{
		"fresh":              {func(*verifytest.Rig) {}, nil},
		"stale but in limit": {func(r *verifytest.Rig) { r.View.Set(time.Now().Add(-time.Minute), true) }, nil},
		"past the limit":     {func(r *verifytest.Rig) { r.View.Set(time.Now().Add(-time.Hour), true) }, verify.ErrStale},
		"never fresh":        {func(r *verifytest.Rig) { r.View.Set(time.Time{}, true) }, verify.ErrStale},
		"never ready":        {func(r *verifytest.Rig) { r.View.Set(time.Now(), false) }, verify.ErrStale},
		"clock set back":     {func(r *verifytest.Rig) { r.View.Set(time.Now().Add(time.Hour), true) }, verify.ErrStale},
		"clock behind":       {func(r *verifytest.Rig) { r.View.SetSkew(-3 * time.Second) }, verify.ErrStale},
		"clock ahead":        {func(r *verifytest.Rig) { r.View.SetSkew(3 * time.Second) }, nil},
	} {
		r := verifytest.New(t, gate.DefaultPolicy())
		c.spoil(r)
		_, err := r.Verifier.Verify(t.Context(), good(r))
		if !errors.Is(err, c.want) || errors.Is(err, verify.ErrUntrusted) || errors.Is(err, verify.ErrRevoked) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		r.Revoke(t, events.KindSession, "sid-1", time.Now().Add(time.Hour))
		if _, err := r.Verifier.Verify(t.Context(), good(r)); !errors.Is(err, verify.ErrRevoked) {
			t.Errorf("%s, known as revoked: %v", name, err)
		}
	}
}

// A clock known to be wrong calls no token expired, or premature: its holder keeps it.
func TestWrongClockJudgesNoTimes(t *testing.T) {
	r := verifytest.New(t, gate.DefaultPolicy())
	over, early := r.Issuer.Good(t, time.Now().Add(-time.Hour), nil), r.Issuer.Good(t, time.Now().Add(time.Hour), nil)
	for _, skew := range []time.Duration{-time.Hour, -3 * time.Second, 3 * time.Second, time.Hour} {
		r.View.SetSkew(skew)
		for _, raw := range []string{over, early} {
			_, err := r.Verifier.Verify(t.Context(), raw)
			_, d := r.Verifier.Judge(t.Context(), raw, gate.Ask{})
			if !errors.Is(err, verify.ErrStale) || errors.Is(err, verify.ErrExpired) || d.Status() != 503 || d.Reason != gate.ReasonClock {
				t.Errorf("%s ahead: %v, %d %s", skew, err, d.Status(), d.Reason)
			}
		}
	}
	r.View.SetSkew(time.Second)
	if _, err := r.Verifier.Verify(t.Context(), over); !errors.Is(err, verify.ErrExpired) {
		t.Errorf("by a clock that is right: %v", err)
	}
}

// assemble makes a verifier that denies when stale, of r's parts but for the
// denylist: the one that prepares tokens and the one that is asked.
func assemble(t *testing.T, r *verifytest.Rig, p token.Preparer, d verify.Denylist) *verify.Verifier {
	t.Helper()
	metrics, err := verify.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	cacheMetrics, err := token.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := token.New(token.Config{}, []token.Issuer{{Trust: r.Issuer.Trust(), Keys: r.Issuer.Keys(t)}}, p, cacheMetrics)
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.Assemble(verify.Parts{
		Tokens: tokens, Denylist: d, Freshness: r.View, Policy: gate.Policy{StaleAfter: 30 * time.Second}, Metrics: metrics, Log: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A denylist that cannot answer lets nothing through. One that did not prepare
// the token is a real case of it.
func TestLookupFails(t *testing.T) {
	r, other := verifytest.New(t, gate.DefaultPolicy()), verifytest.New(t, gate.DefaultPolicy())
	v := assemble(t, r, other.Denylist, r.Denylist)
	raw := r.Good(t, nil)
	if _, err := v.Verify(t.Context(), raw); !errors.Is(err, verify.ErrStale) || !errors.Is(err, denylist.ErrUnprepared) {
		t.Errorf("got %v, want ErrStale for ErrUnprepared", err)
	}
	if c, d := v.Judge(t.Context(), raw, gate.Ask{}); d.Verdict != gate.Deny || d.Status() != 503 || c.Subject != "" {
		t.Errorf("got %+v", d)
	}
}

// An entry counts until the feed's time is past it too: a local clock that runs
// ahead of the feed forgets nothing.
func TestEntriesExpireByTheEarlierClock(t *testing.T) {
	r := verifytest.New(t, gate.DefaultPolicy())
	r.View.Set(time.Now().Add(-10*time.Minute), true)
	r.Revoke(t, events.KindSession, "sid-1", time.Now().Add(-5*time.Minute))
	raw := r.Good(t, nil)
	if _, err := r.Verifier.Verify(t.Context(), raw); !errors.Is(err, verify.ErrRevoked) {
		t.Errorf("past by the local clock only: %v", err)
	}
	r.View.Set(time.Now(), true)
	if _, err := r.Verifier.Verify(t.Context(), raw); err != nil {
		t.Errorf("past by both clocks: %v", err)
	}
}

func TestShadow(t *testing.T) {
	policy := gate.DefaultPolicy()
	policy.Shadow = true
	r := verifytest.New(t, policy)
	r.Revoke(t, events.KindSession, "sid-1", time.Now().Add(time.Hour))
	good := r.Good(t, nil)
	if got, err := r.Verifier.Verify(t.Context(), good); err != nil || got.Subject != "alice" {
		t.Errorf("revoked in shadow mode: %+v, %v", got, err)
	}
	if c, d := r.Verifier.Judge(t.Context(), good, gate.Ask{}); d.Verdict != gate.Allow || !d.Shadow || c.Subject != "alice" {
		t.Errorf("revoked in shadow mode: %+v, %+v", c, d)
	}
	if got, err := r.Verifier.Verify(t.Context(), "x"); !errors.Is(err, verify.ErrMalformed) || got.Subject != "" {
		t.Errorf("malformed in shadow mode: %+v, %v", got, err)
	}
	if c, d := r.Verifier.Judge(t.Context(), "x", gate.Ask{}); d.Verdict != gate.Allow || !d.Shadow || c.Subject != "" {
		t.Errorf("malformed in shadow mode: %+v, %+v", c, d)
	}
	want := `
		# HELP revocast_sidecar_decisions_total Decisions by verdict (allow, deny, or shadow: allowed only because enforcement is off) and reason.
		# TYPE revocast_sidecar_decisions_total counter
		revocast_sidecar_decisions_total{reason="malformed",verdict="shadow"} 2
		revocast_sidecar_decisions_total{reason="revoked",verdict="shadow"} 2
	`
	if err := testutil.GatherAndCompare(nonZero{r.Metrics}, strings.NewReader(want), "revocast_sidecar_decisions_total"); err != nil {
		t.Error(err)
	}
}

// Refuse never allows while the policy is enforced, whatever outcome it is given.
func TestRefuse(t *testing.T) {
	r := verifytest.New(t, gate.DefaultPolicy())
	for o := gate.Unjudged; o <= gate.Overloaded+1; o++ {
		if d := r.Verifier.Refuse(o); d.Verdict != gate.Deny || d.FreshAsOf.IsZero() {
			t.Errorf("outcome %d: %+v", o, d)
		}
	}
}

// The caller may do with claims as it likes; the next one gets the token's.
func TestClaimsAreTheCallers(t *testing.T) {
	r := verifytest.New(t, gate.DefaultPolicy())
	raw := r.Good(t, nil)
	first, err := r.Verifier.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	first.Roles.Slice()[0], first.Audience.Slice()[0], first.AMR.Slice()[0] = "root", "x", "x"
	second, err := r.Verifier.Verify(t.Context(), raw)
	if err != nil || !second.HasRole("admin") || !second.Audience.Has(tokentest.Audience) || !second.AMR.Has("pwd") {
		t.Errorf("%+v, %v", second, err)
	}
}

func TestAssembleRefuses(t *testing.T) {
	if _, err := verify.Assemble(verify.Parts{Policy: gate.DefaultPolicy()}); err == nil {
		t.Error("no parts pass")
	}
	r := verifytest.New(t, gate.DefaultPolicy())
	p := verify.Parts{Denylist: r.Denylist, Freshness: r.View, Metrics: &verify.Metrics{}, Log: zap.NewNop(), Tokens: &token.Verifier{}}
	if _, err := verify.Assemble(p); err == nil || !strings.Contains(err.Error(), "stale-after") {
		t.Errorf("the zero policy: %v", err)
	}
}

func TestHitDoesNotAllocate(t *testing.T) {
	r := verifytest.New(t, gate.DefaultPolicy())
	raw, ctx := r.Good(t, nil), t.Context()
	if _, err := r.Verifier.Verify(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() { r.Verifier.Judge(ctx, raw, gate.Ask{}) }); n != 0 {
		t.Errorf("%v allocations a decision", n)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = r.Verifier.Verify(ctx, raw) }); n != 0 {
		t.Errorf("%v allocations a call of Verify", n)
	}
}

// overtaken is a denylist that is brought up to date right after each look-up.
type overtaken struct {
	*denylist.Denylist
	view *verifytest.View
}

func (o overtaken) Lookup(ctx context.Context, t *denylist.Token, now time.Time) (denylist.Finding, error) {
	defer o.view.Set(time.Now(), true)
	return o.Denylist.Lookup(ctx, t, now)
}

// A decision is never fresher than what it looked at (INV-2).
func TestFreshnessIsReadBeforeTheDenylist(t *testing.T) {
	r := verifytest.New(t, gate.DefaultPolicy())
	v := assemble(t, r, r.Denylist, overtaken{r.Denylist, r.View})
	r.View.Set(time.Now().Add(-time.Minute), true)
	raw := r.Good(t, nil)
	if _, d := v.Judge(t.Context(), raw, gate.Ask{}); d.Reason != gate.ReasonStale {
		t.Errorf("looked up while stale: %s", d.Reason)
	}
	if _, d := v.Judge(t.Context(), raw, gate.Ask{}); d.Verdict != gate.Allow {
		t.Errorf("looked up while fresh: %s", d.Reason)
	}
}
