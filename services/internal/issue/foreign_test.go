package issue

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
)

// Whatever the clocks of issuer, sidecar and provider say within their bounds, however
// lenient a sidecar is: a token of another issuer that a revocation denies is accepted
// nowhere any more when the revocation ends. Also one that is refreshed afterwards, unless
// its issuer has ended the session.
func TestForeignTokensDoNotOutlastTheirRevocation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tight := rapid.Bool().Draw(t, "the worst of everything")
		within := func(from, worst time.Duration, name string) time.Duration {
			if tight {
				return worst
			}
			return time.Duration(rapid.Int64Range(from.Milliseconds(), worst.Milliseconds()).Draw(t, name)) * time.Millisecond
		}
		at := time.Unix(1795310000, 0).Add(within(-time.Second, 0, "moment"))
		lifetime, session := within(time.Minute, 48*time.Hour, "lifetime"), within(48*time.Hour, 720*time.Hour, "session")
		leeway := within(0, events.MaxLeeway, "leeway")
		sidecar := within(-events.MaxSkew, events.MaxSkew, "sidecar ahead")
		// Of a provider further ahead a sidecar would take no fresh token.
		provider := within(-time.Hour, leeway+sidecar, "provider ahead")
		issuerNow := at.Add(-within(-events.MaxSkew, events.MaxSkew, "issuer behind"))

		s := New(Config{Issuer: "https://ours", ForeignLifetime: lifetime, ForeignSession: session}, Deps{Now: func() time.Time { return issuerNow }})
		r := Revocation{
			Kind:   rapid.SampledFrom([]events.Kind{events.KindToken, events.KindSession, events.KindSubject, events.KindClient, events.KindAll}).Draw(t, "kind"),
			Issuer: "https://theirs", CutTime: issuerNow.Add(within(-time.Hour, time.Minute, "cut")),
			Target: "x",
		}
		if r.Kind == events.KindAll {
			r.Target = ""
		}
		if r.Kind.Wide() && rapid.Bool().Draw(t, "access tokens") {
			r.Scope = events.ScopeAccessTokens
		}
		c := s.command(r)
		c.ended = rapid.Bool().Draw(t, "ended there")
		var err error
		if c.Until, err = s.foreignUntil(c); err != nil {
			t.Fatal(err)
		}

		// A session that began by the time of the revocation, or of its cut, and one of
		// its tokens.
		latest := at
		if r.Kind.Wide() {
			latest = later(at, c.CutTime.Add(time.Second-provider))
		}
		began := latest.Add(within(-session, 0, "began"))
		minted := latest
		if r.Kind != events.KindToken && !c.ended && r.Scope == events.ScopeSessions {
			minted = began.Add(session)
		}
		minted = later(began, minted.Add(within(-time.Minute, 0, "minted")))
		facts := events.Facts{
			Issuer: "https://theirs", Foreign: true, Token: "x", Session: "x", Subject: "x", Client: "x",
			AuthTime: began.Add(provider).Unix(), IssuedAt: minted.Add(provider).Unix(),
		}
		if !c.Denies(&facts) {
			t.Skip("the cut spares it")
		}
		end := time.Unix(facts.IssuedAt, 0).Add(lifetime.Truncate(time.Second) + leeway) // by the sidecar's clock
		if last := end.Add(-time.Millisecond); last.After(c.Until) {
			t.Fatalf("accepted until %s, denied until %s", last, c.Until)
		}
	})
}
