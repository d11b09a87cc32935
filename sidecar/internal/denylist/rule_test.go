package denylist

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
)

// The rule is that of package events; here it must get all that a token says.
func TestDenies(t *testing.T) {
	at := func(sequence uint64) events.Position { return events.Position{Shard: 1, Sequence: sequence} }
	ours := Token{
		Issuer: "i", ID: "j", Session: "s", Subject: "u", Client: "c", Key: "k",
		SessionAt: at(10), MintedAt: at(20), AuthTime: 1, IssuedAt: 1,
	}
	foreign := Token{Issuer: "i", Subject: "u", AuthTime: 10, IssuedAt: 20}
	undated := Token{Issuer: "i", Subject: "u", IssuedAt: 20}
	for name, c := range map[string]struct {
		token  Token
		rule   events.Revocation
		denied bool
	}{
		"its jti":                     {ours, events.Revocation{Kind: events.KindToken, Target: "j"}, true},
		"its sid":                     {ours, events.Revocation{Kind: events.KindSession, Target: "s"}, true},
		"its sub":                     {ours, events.Revocation{Kind: events.KindSubject, Target: "u"}, true},
		"its client":                  {ours, events.Revocation{Kind: events.KindClient, Target: "c"}, true},
		"its key":                     {ours, events.Revocation{Kind: events.KindKey, Target: "k"}, true},
		"everything":                  {ours, events.Revocation{Kind: events.KindAll}, true},
		"another":                     {ours, events.Revocation{Kind: events.KindSubject, Target: "v"}, false},
		"its session excepted":        {ours, events.Revocation{Kind: events.KindSubject, Target: "u", Except: "s"}, false},
		"a cut before its session":    {ours, events.Revocation{Kind: events.KindSubject, Target: "u", Cut: at(9)}, false},
		"a cut at its session":        {ours, events.Revocation{Kind: events.KindSubject, Target: "u", Cut: at(10)}, true},
		"a cut before it was minted":  {ours, events.Revocation{Kind: events.KindAll, Cut: at(19), Scope: events.ScopeAccessTokens}, false},
		"a cut where it was minted":   {ours, events.Revocation{Kind: events.KindAll, Cut: at(20), Scope: events.ScopeAccessTokens}, true},
		"a time before the login":     {foreign, events.Revocation{Kind: events.KindAll, CutTime: time.Unix(9, 0)}, false},
		"the second of the login":     {foreign, events.Revocation{Kind: events.KindAll, CutTime: time.Unix(10, 0)}, true},
		"a time before it was issued": {undated, events.Revocation{Kind: events.KindAll, CutTime: time.Unix(19, 0)}, false},
		"the second it was issued":    {undated, events.Revocation{Kind: events.KindAll, CutTime: time.Unix(20, 0)}, true},
	} {
		c.rule.ID, c.rule.Issuer = "r", "i"
		rule, err := Canonical(c.rule)
		if err != nil || denies(&rule, &c.token) != c.denied {
			t.Errorf("%s: denied %v (%v)", name, !c.denied, err)
		}
	}
	client, err := Canonical(events.Revocation{ID: "r", Kind: events.KindClient, Issuer: "i", Target: "c", Except: "s"})
	if err != nil || client.Except != "" {
		t.Errorf("an exception from what is not a subject's: %v", err)
	}
}

func TestCanonical(t *testing.T) {
	full := events.Revocation{
		ID: "r", Kind: events.KindSubject, Issuer: "i", Target: "u", Except: "s",
		Cut: events.Position{Shard: 1, Sequence: 2}, CutTime: time.Unix(5, 999), Scope: events.ScopeAccessTokens,
		Until: time.Unix(7, 1),
	}
	for _, k := range events.Kinds() {
		r := full
		r.Kind = k
		if k == events.KindAll {
			r.Target = ""
		}
		want := r
		want.Until, want.CutTime = time.Unix(8, 0).UTC(), time.Unix(5, 0).UTC()
		if k != events.KindSubject {
			want.Except = ""
		}
		if !k.Wide() {
			want.Cut, want.CutTime, want.Scope = events.Position{}, time.Time{}, 0
		}
		got, err := Canonical(r)
		if err != nil || got != want {
			t.Errorf("%+v\nbecame %+v, %v\nwant   %+v", r, got, err, want)
		}
		if again, err := Canonical(got); err != nil || again != got {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	}
	if r, err := Canonical(events.Revocation{ID: "r", Kind: events.KindKey, Issuer: "i", Target: "k"}); err != nil || !r.Until.IsZero() || !r.CutTime.IsZero() {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestNotAnEntry(t *testing.T) {
	good := events.Revocation{ID: "r", Kind: events.KindSubject, Issuer: "i", Target: "u"}
	for name, change := range map[string]func(r *events.Revocation){
		"no kind":         func(r *events.Revocation) { r.Kind = events.KindUnknown },
		"another kind":    func(r *events.Revocation) { r.Kind = events.KindAll + 1 },
		"no issuer":       func(r *events.Revocation) { r.Issuer = "" },
		"no target":       func(r *events.Revocation) { r.Target = "" },
		"a target of all": func(r *events.Revocation) { r.Kind = events.KindAll },
		"no id":           func(r *events.Revocation) { r.ID = "" },
		"another scope":   func(r *events.Revocation) { r.Scope = 2 },
		"long issuer":     func(r *events.Revocation) { r.Issuer = events.Issuer(strings.Repeat("i", maxName+1)) },
		"long target":     func(r *events.Revocation) { r.Target = strings.Repeat("u", maxName+1) },
		"long id":         func(r *events.Revocation) { r.ID = events.RevocationID(strings.Repeat("r", maxID+1)) },
		"long exception":  func(r *events.Revocation) { r.Except = events.SessionID(strings.Repeat("s", maxName+1)) },
		"long reason":     func(r *events.Revocation) { r.Reason = events.Reason(strings.Repeat("r", maxText+1)) },
		"long role":       func(r *events.Revocation) { r.By.Role = strings.Repeat("r", maxText+1) },
		"long name":       func(r *events.Revocation) { r.By.Name = strings.Repeat("n", maxText+1) },
	} {
		r := good
		change(&r)
		if _, err := Canonical(r); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := CanonicalLift(events.Lift{Kind: events.KindSubject, Issuer: "i", RevocationID: "r"}); !errors.Is(err, ErrEntry) {
		t.Errorf("a lift of nothing: %v", err)
	}
}

func TestUntil(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		until   time.Time
		expired bool
	}{
		{now, false}, {now.Add(1), false}, {now.Add(-1), true}, {time.Time{}, false}, {time.Unix(-1, 0), true},
	} {
		if Expired(c.until, now) != c.expired {
			t.Errorf("until %v at %v: expired is not %v", c.until, now, c.expired)
		}
	}
	deadlines := []time.Time{time.Unix(1, 0), time.Unix(2, 0), {}} // in ascending order
	for i, a := range deadlines {
		for j, b := range deadlines {
			if got, want := LaterUntil(a, b), deadlines[max(i, j)]; !got.Equal(want) {
				t.Errorf("the later of %v and %v is %v", a, b, got)
			}
		}
	}
	if !slices.IsSorted([]int64{roundUp(time.Time{}), roundUp(time.Unix(0, 0)), roundUp(time.Unix(0, 1)), untilSeconds(time.Time{})}) {
		t.Error("the zero time is not before all others as a present, or not after them as a deadline")
	}
}
