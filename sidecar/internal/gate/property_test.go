package gate_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/gate"
)

var epoch = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func durations(low, high time.Duration) *rapid.Generator[time.Duration] {
	return rapid.Map(rapid.Int64Range(int64(low), int64(high)), func(n int64) time.Duration { return time.Duration(n) })
}

func scopeSets() *rapid.Generator[[]string] {
	return rapid.SliceOfN(rapid.SampledFrom([]string{"read", "write", "admin"}), 0, 3)
}

func policies() *rapid.Generator[gate.Policy] {
	return rapid.Custom(func(t *rapid.T) gate.Policy {
		return gate.Policy{
			StaleAfter: durations(0, time.Minute).Draw(t, "stale-after"),
			WhenStale:  rapid.SampledFrom([]gate.WhenStale{gate.DenyStale, gate.ServeStale}).Draw(t, "when-stale"),
			StaleLimit: durations(0, 20*time.Minute).Draw(t, "stale-limit"),
			Scopes:     scopeSets().Draw(t, "policy scopes"),
			Shadow:     rapid.Bool().Draw(t, "shadow"),
		}
	})
}

func asks() *rapid.Generator[gate.Ask] {
	return rapid.Custom(func(t *rapid.T) gate.Ask {
		ask := gate.Ask{
			Scopes:   scopeSets().Draw(t, "asked scopes"),
			MaxStale: durations(0, 2*time.Minute).Draw(t, "max_stale"),
		}
		if rapid.Bool().Draw(t, "more") {
			ask.Roles, ask.AnyRole = scopeSets().Draw(t, "asked roles"), scopeSets().Draw(t, "asked for one role")
			ask.Audiences, ask.ACR = scopeSets().Draw(t, "asked audiences"), scopeSets().Draw(t, "asked acr")
			ask.MaxAge = durations(0, time.Hour).Draw(t, "max_age")
		}
		return ask
	})
}

// facts draws outcomes and findings beyond the defined ones too, and good facts
// half of the time so that allowances are not rare.
func facts() *rapid.Generator[gate.Facts] {
	return rapid.Custom(func(t *rapid.T) gate.Facts {
		f := gate.Facts{
			Token:   gate.Genuine,
			Finding: gate.Clear,
			Scope:   rapid.SampledFrom([]string{"", "read", "write read", "admin read write"}).Draw(t, "scope"),
			Roles:   names(scopeSets().Draw(t, "roles")),
			ACR:     rapid.SampledFrom([]string{"", "read", "write"}).Draw(t, "acr"),
			Ready:   true,
			Now:     epoch,
		}
		if rapid.Bool().Draw(t, "audience known") {
			f.Audience = names(scopeSets().Draw(t, "audience"))
		}
		if rapid.Bool().Draw(t, "authentication known") {
			f.AuthTime = f.Now.Add(-durations(0, 2*time.Hour).Draw(t, "authenticated"))
		}
		f.FreshAsOf = f.Now.Add(-durations(-10*time.Second, 20*time.Minute).Draw(t, "age"))
		if rapid.Bool().Draw(t, "odd") {
			f.Token = gate.Outcome(rapid.IntRange(0, int(gate.Overloaded)+2).Draw(t, "token"))
			f.Finding = gate.Finding(rapid.IntRange(0, int(gate.Revoked)+2).Draw(t, "finding"))
			f.Ready = rapid.Bool().Draw(t, "ready")
			f.Skew = durations(-10*time.Second, 10*time.Second).Draw(t, "skew")
			if rapid.Bool().Draw(t, "never fresh") {
				f.FreshAsOf = time.Time{}
			}
		}
		return f
	})
}

func allowed(d gate.Decision) bool { return d.Verdict == gate.Allow }

// Staler never turns deny into allow.
func TestStalerNeverLoosens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, ask, fresh := policies().Draw(t, "policy"), asks().Draw(t, "ask"), facts().Draw(t, "facts")
		if fresh.FreshAsOf.After(fresh.Now) {
			fresh.FreshAsOf = fresh.Now // ahead of the clock is no age; TestClockSetBack has it
		}
		staler := fresh
		staler.FreshAsOf = fresh.FreshAsOf.Add(-durations(0, time.Hour).Draw(t, "further back"))
		staler.Ready = fresh.Ready && rapid.Bool().Draw(t, "still ready")
		if allowed(gate.Decide(p, ask, staler)) && !allowed(gate.Decide(p, ask, fresh)) {
			t.Fatalf("allowed with the staler view only: %+v", staler)
		}
	})
}

// Tightening any option never loosens.
func TestTighteningNeverLoosens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, ask, f := policies().Draw(t, "policy"), asks().Draw(t, "ask"), facts().Draw(t, "facts")
		tp, ta := p, ask
		tp.StaleAfter -= durations(0, p.StaleAfter).Draw(t, "stale-after less")
		tp.StaleLimit -= durations(0, p.StaleLimit).Draw(t, "stale-limit less")
		tp.Scopes = append(scopeSets().Draw(t, "policy scopes more"), p.Scopes...)
		tp.Shadow = p.Shadow && rapid.Bool().Draw(t, "still shadow")
		if rapid.Bool().Draw(t, "deny when stale") {
			tp.WhenStale = gate.DenyStale
			tp.StaleAfter = min(tp.StaleAfter, p.StaleLimit)
		}
		ta = ta.And(gate.Ask{
			Scopes: scopeSets().Draw(t, "asked scopes more"), Roles: scopeSets().Draw(t, "asked roles more"),
			MaxAge: durations(0, time.Hour).Draw(t, "max_age more"), MaxStale: durations(0, 2*time.Minute).Draw(t, "max_stale more"),
		})
		if allowed(gate.Decide(tp, ta, f)) && !allowed(gate.Decide(p, ask, f)) {
			t.Fatalf("policy %+v, %+v allows what %+v, %+v denies", tp, ta, p, ask)
		}
	})
}

// An enforced allowance needs every single fact in its favour.
func TestAllowNeedsEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, ask, f := policies().Draw(t, "policy"), asks().Draw(t, "ask"), facts().Draw(t, "facts")
		p.Shadow = false
		d := gate.Decide(p, ask, f)
		if !allowed(d) {
			return
		}
		if f.Token != gate.Genuine || f.Finding != gate.Clear || !f.Ready || f.FreshAsOf.IsZero() || f.Skew < -events.MaxSkew || d.Reason != gate.ReasonGood {
			t.Fatalf("allowed %+v", f)
		}
		holds := func(have gate.Names, w string) bool { return have != nil && have.Has(w) }
		for _, w := range ask.Roles {
			if !holds(f.Roles, w) {
				t.Fatalf("allowed without role %s: %+v", w, f)
			}
		}
		for _, list := range []struct {
			have   gate.Names
			wanted []string
		}{{f.Roles, ask.AnyRole}, {f.Audience, ask.Audiences}, {names{f.ACR}, ask.ACR}} {
			found := len(list.wanted) == 0
			for _, w := range list.wanted {
				found = found || holds(list.have, w)
			}
			if !found {
				t.Fatalf("allowed without any of %v: %+v", list.wanted, f)
			}
		}
		if ask.MaxAge > 0 && f.AuthTime.Before(f.Now.Add(-ask.MaxAge)) {
			t.Fatalf("allowed though authenticated too long ago: %+v", f)
		}
	})
}

// A demand and another is what both demand.
func TestAnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, a, f := policies().Draw(t, "policy"), asks().Draw(t, "ask"), facts().Draw(t, "facts")
		b := gate.Ask{
			Scopes: scopeSets().Draw(t, "scopes"), Roles: scopeSets().Draw(t, "roles"),
			MaxAge: durations(0, time.Hour).Draw(t, "max_age"), MaxStale: durations(0, 2*time.Minute).Draw(t, "max_stale"),
		}
		both := allowed(gate.Decide(p, a, f)) && allowed(gate.Decide(p, b, f))
		if got := allowed(gate.Decide(p, a.And(b), f)); got != both {
			t.Fatalf("%+v and %+v: allowed %t, one by one %t", a, b, got, both)
		}
	})
}

// A known revocation of a genuine token is 401 whatever the view's age, and a
// token that is only unjudgeable is never 401.
func TestRevokedWinsOverStale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, ask, f := policies().Draw(t, "policy"), asks().Draw(t, "ask"), facts().Draw(t, "facts")
		p.Shadow = false
		f.Token, f.Finding = gate.Genuine, gate.Revoked
		if d := gate.Decide(p, ask, f); d.Status() != 401 || d.Code() != "invalid_token" {
			t.Fatalf("revoked: %d %q", d.Status(), d.Code())
		}
		f.Finding = gate.Clear
		if d := gate.Decide(p, ask, f); d.Status() == 401 && d.Reason != gate.ReasonAudience && d.Reason != gate.ReasonAuthentication {
			t.Fatalf("clear but 401: %+v", d)
		}
	})
}

// Shadow mode changes the verdict and its mark, nothing else.
func TestShadowOnlyMarks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, ask, f := policies().Draw(t, "policy"), asks().Draw(t, "ask"), facts().Draw(t, "facts")
		p.Shadow = false
		enforced := gate.Decide(p, ask, f)
		p.Shadow = true
		shadow := gate.Decide(p, ask, f)
		if !allowed(shadow) || shadow.Status() != 200 || shadow.Shadow == allowed(enforced) {
			t.Fatalf("shadow gives %+v where enforcement gives %+v", shadow, enforced)
		}
		shadow.Verdict, shadow.Shadow = enforced.Verdict, false
		if shadow != enforced {
			t.Fatalf("shadow differs beyond verdict and mark: %+v, %+v", shadow, enforced)
		}
	})
}

func TestZeroValuesDeny(t *testing.T) {
	var zero gate.Decision
	if allowed(zero) || zero.Status() != 503 {
		t.Errorf("the zero decision: %v, %d", zero.Verdict, zero.Status())
	}
	if d := gate.Decide(gate.Policy{}, gate.Ask{}, gate.Facts{}); allowed(d) {
		t.Errorf("zero facts under the zero policy: %+v", d)
	}
	good := gate.Facts{Token: gate.Genuine, Finding: gate.Clear, Ready: true, FreshAsOf: epoch, Now: epoch}
	if d := gate.Decide(gate.DefaultPolicy(), gate.Ask{}, good); !allowed(d) {
		t.Fatalf("good facts are denied, so that what follows proves nothing: %+v", d)
	}
	if d := gate.Decide(gate.Policy{}, gate.Ask{}, good); allowed(d) {
		t.Errorf("good facts under the zero policy: %+v", d)
	}
	for name, spoil := range map[string]func(*gate.Facts){
		"token":       func(f *gate.Facts) { f.Token = 0 },
		"finding":     func(f *gate.Facts) { f.Finding = 0 },
		"ready":       func(f *gate.Facts) { f.Ready = false },
		"fresh-as-of": func(f *gate.Facts) { f.FreshAsOf = time.Time{} },
		"now":         func(f *gate.Facts) { f.Now = time.Time{} },
	} {
		f := good
		spoil(&f)
		if d := gate.Decide(gate.DefaultPolicy(), gate.Ask{}, f); allowed(d) {
			t.Errorf("zero %s is allowed: %+v", name, d)
		}
	}
}

// A clock set back behind the view's own time would keep it fresh for ever.
func TestClockSetBack(t *testing.T) {
	f := gate.Facts{Token: gate.Genuine, Finding: gate.Clear, Ready: true, FreshAsOf: epoch}
	for ahead, want := range map[time.Duration]gate.Reason{
		0:                 gate.ReasonGood,
		2 * time.Second:   gate.ReasonGood,
		2*time.Second + 1: gate.ReasonClock,
		24 * time.Hour:    gate.ReasonClock,
	} {
		f.Now = epoch.Add(-ahead)
		if d := gate.Decide(gate.DefaultPolicy(), gate.Ask{}, f); d.Reason != want {
			t.Errorf("view %s ahead of the clock: %s, want %s", ahead, d.Reason, want)
		}
	}
}
