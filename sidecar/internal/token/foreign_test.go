package token_test

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// INV-2: Whatever the clocks of issuer, sidecar and provider say within their bounds, and
// however lenient the sidecar is: as long as it accepts another issuer's token that was
// revoked, it still has the entry that denies it, which lasts as long as the rule lets
// tokens live and [events.ForeignOverrun].
func TestForeignTokensDoNotOutlastTheirEntries(t *testing.T) {
	provider := tokentest.NewIssuer(t, "")
	keys := provider.Keys(t)
	m, err := token.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		tight := rapid.Bool().Draw(r, "the worst of everything")
		within := func(from, worst time.Duration, name string) time.Duration {
			if tight {
				return worst
			}
			return time.Duration(rapid.Int64Range(from.Milliseconds(), worst.Milliseconds()).Draw(r, name)) * time.Millisecond
		}
		list, err := denylist.New(denylist.Config{}, memstore.New())
		if err != nil {
			r.Fatal(err)
		}
		trust := provider.Trust()
		trust.Foreign, trust.MaxLifetime = true, within(time.Minute, 48*time.Hour, "lifetime").Truncate(time.Second)
		leeway := within(0, events.MaxLeeway, "leeway")
		tokens, err := token.New(token.Config{Leeway: leeway}, []token.Issuer{{Trust: trust, Keys: keys}}, list, m)
		if err != nil {
			r.Fatal(err)
		}

		at := now.Add(within(-time.Second, 0, "moment"))
		issuer, sidecar := -within(-events.MaxSkew, events.MaxSkew, "issuer behind"), within(-events.MaxSkew, events.MaxSkew, "sidecar ahead")
		iat := at.Add(sidecar + leeway + within(-50*time.Second, 0, "less ahead")).Truncate(time.Second)
		exp := iat.Add(trust.MaxLifetime)
		raw := provider.Good(t, now, object{"iat": iat.Unix(), "exp": exp.Unix(), "auth_time": nil})
		if _, err := tokens.Verify(t.Context(), raw, at.Add(sidecar)); err != nil {
			r.Fatalf("when it is revoked: %v", err)
		}

		kind := rapid.SampledFrom([]events.Kind{events.KindToken, events.KindSession, events.KindSubject, events.KindAll}).Draw(r, "kind")
		n := events.Revocation{
			ID: "0190c8a1-0000-7000-8000-000000000001", Kind: kind, Issuer: provider.ID(),
			Target: map[events.Kind]string{events.KindToken: "jti-1", events.KindSession: "sid-1", events.KindSubject: "alice"}[kind],
			Reason: events.ReasonAdmin, Until: at.Add(issuer + trust.MaxLifetime + events.ForeignOverrun),
		}
		if kind.Wide() {
			n.CutTime = iat
		}
		if err := list.Apply(denylist.Batch{Entries: []events.Revocation{n}}); err != nil {
			r.Fatal(err)
		}
		last := exp.Add(leeway - time.Millisecond) // by the sidecar's clock
		for _, reading := range []time.Time{at.Add(sidecar), last} {
			list.Expire(reading)
			v, err := tokens.Verify(t.Context(), raw, reading)
			if err != nil {
				r.Fatalf("%s: %v", reading.Sub(now), err)
			}
			if f, err := list.Lookup(t.Context(), &v.Denylist, reading); err != nil || !f.Denied {
				r.Fatalf("accepted at %s, the entry lasts until %s: %+v, %v", reading, n.Until, f, err)
			}
		}
		if _, err := tokens.Verify(t.Context(), raw, last.Add(time.Millisecond)); !errors.Is(err, token.ErrExpired) {
			r.Fatalf("after its last moment: %v", err)
		}
	})
}
