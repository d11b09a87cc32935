package denylist

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
)

func TestDenies(t *testing.T) {
	at := func(shard uint16, sequence uint64) events.Position {
		return events.Position{Shard: shard, Sequence: sequence}
	}
	const cut = 1000
	cutTime := time.Unix(5000, 999).UTC()
	rules := map[string]events.Revocation{
		"A": {}, // all
		"S": {Cut: at(1, cut)},
		"T": {Cut: at(1, cut), Scope: events.ScopeAccessTokens},
		"C": {CutTime: cutTime},
		"B": {Cut: at(1, cut), CutTime: cutTime},
		"M": {Cut: at(1, cut), CutTime: cutTime, Scope: events.ScopeAccessTokens},
	}
	const all = "ASTCBM"
	for _, c := range []struct {
		name  string
		token Token
		by    string // the rules that deny it; the others spare it
	}{
		{"session before, token after", Token{Session: "s", SessionAt: at(1, cut-1), MintedAt: at(1, cut+1)}, "ASCB"},
		{"session at the cut", Token{Session: "s", SessionAt: at(1, cut), MintedAt: at(1, cut+1)}, "ASCB"},
		{"session and token after", Token{Session: "s", SessionAt: at(1, cut+1), MintedAt: at(1, cut+2)}, "AC"},
		{"session and token before", Token{Session: "s", SessionAt: at(1, 1), MintedAt: at(1, cut)}, all},
		{"another shard", Token{Session: "s", SessionAt: at(2, cut+1), MintedAt: at(2, cut+2)}, all},
		{"session after, token unknown", Token{Session: "s", SessionAt: at(1, cut+1)}, "ATCM"},
		{"session unknown, token after", Token{Session: "s", MintedAt: at(1, cut+1)}, "ASCB"},
		{"no session, token after", Token{MintedAt: at(1, cut+1)}, "AC"},
		{"no session, token at the cut", Token{MintedAt: at(1, cut)}, all},
		{"no session, but a position of one", Token{SessionAt: at(1, cut+1)}, all},
		{"foreign, logged in before", Token{Session: "s", AuthTime: 4999, IssuedAt: 6000}, all},
		{"foreign, logged in that second", Token{Session: "s", AuthTime: 5000, IssuedAt: 6000}, all},
		{"foreign, logged in after", Token{Session: "s", AuthTime: 5001, IssuedAt: 6000}, "AST"},
		{"foreign, issued that second", Token{IssuedAt: 5000}, all},
		{"foreign, issued after", Token{IssuedAt: 5001}, "AST"},
		{"foreign, without times", Token{Session: "s"}, all},
		{"times do not count beside positions", Token{Session: "s", SessionAt: at(1, 1), MintedAt: at(1, 2), AuthTime: 9000}, all},
	} {
		for name, r := range rules {
			for _, r.Kind = range []events.Kind{events.KindSubject, events.KindClient, events.KindKey, events.KindAll} {
				if got, want := denies(&r, &c.token), strings.Contains(c.by, name); got != want {
					t.Errorf("%s: rule %s of a %s denies it: %v", c.name, name, r.Kind, got)
				}
			}
		}
	}
}

func TestException(t *testing.T) {
	spared, other, none := Token{Session: "s"}, Token{Session: "t"}, Token{}
	for _, r := range []events.Revocation{
		{Kind: events.KindSubject, Except: "s"},
		{Kind: events.KindSubject, Except: "s", Cut: events.Position{Sequence: 9}},
		{Kind: events.KindSubject, Except: "s", CutTime: time.Unix(9, 0)},
	} {
		if denies(&r, &spared) || !denies(&r, &other) || !denies(&r, &none) {
			t.Errorf("%+v", r)
		}
	}
	if !denies(&events.Revocation{Kind: events.KindSubject}, &none) {
		t.Error("no exception spares tokens without a session")
	}
	client, err := Canonical(events.Revocation{ID: "r", Kind: events.KindClient, Issuer: "i", Target: "c", Except: "s"})
	if err != nil || !denies(&client, &spared) {
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
