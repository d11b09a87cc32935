package events_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
)

// facts draws a token from so few names, places and times that they often meet those
// of a revocation.
func facts(t *rapid.T) events.Facts {
	place := func(label string) events.Position {
		return events.Position{Shard: uint16(rapid.IntRange(0, 1).Draw(t, label+" shard")), Sequence: uint64(rapid.IntRange(0, 6).Draw(t, label))}
	}
	name := func(label string) string { return rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, label) }
	return events.Facts{
		Issuer: events.Issuer(name("issuer")), Token: events.TokenID(name("token")), Session: events.SessionID(name("session")),
		Subject: events.Subject(name("subject")), Client: events.ClientID(name("client")), Key: events.KeyID(name("key")),
		SessionAt: place("ssq"), MintedAt: place("tsq"),
		AuthTime: rapid.Int64Range(0, 6).Draw(t, "auth_time"), IssuedAt: rapid.Int64Range(0, 6).Draw(t, "iat"),
		Foreign: rapid.Bool().Draw(t, "foreign"),
	}
}

func revocation(t *rapid.T) events.Revocation {
	r := events.Revocation{
		Kind:   rapid.SampledFrom(append(events.Kinds(), events.KindUnknown)).Draw(t, "kind"),
		Issuer: events.Issuer(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "revocation's issuer")),
		Target: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "target"),
		Cut: events.Position{
			Shard: uint16(rapid.IntRange(0, 1).Draw(t, "cut shard")), Sequence: uint64(rapid.IntRange(0, 6).Draw(t, "cut")),
		},
		Scope:  rapid.SampledFrom([]events.Scope{events.ScopeSessions, events.ScopeAccessTokens}).Draw(t, "scope"),
		Except: events.SessionID(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "except")),
	}
	if s := rapid.Int64Range(0, 6).Draw(t, "cut time"); s > 0 {
		r.CutTime = time.Unix(s, rapid.Int64Range(0, 999_999_999).Draw(t, "its fraction"))
	}
	return r
}

// Whatever names a token and has neither cut nor exception denies it; nothing that does
// not name it ever does.
func TestDeniesWhatIsNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, r := facts(t), revocation(t)
		target, has := r.Target, map[events.Kind]string{
			events.KindToken: string(f.Token), events.KindSession: string(f.Session), events.KindSubject: string(f.Subject),
			events.KindClient: string(f.Client), events.KindKey: string(f.Key),
		}[r.Kind]
		named := r.Issuer != "" && r.Issuer == f.Issuer && (r.Kind == events.KindAll || target != "" && target == has)
		if !named && r.Denies(&f) {
			t.Fatalf("%+v denies %+v, which it does not name", r, f)
		}
		r.Cut, r.CutTime, r.Except = events.Position{}, time.Time{}, ""
		if r.Denies(&f) != named {
			t.Fatalf("without cut or exception %+v denies %+v: %v", r, f, !named)
		}
		if r.Kind.Wide() {
			return
		}
		whole := revocation(t)
		whole.Kind, whole.Issuer, whole.Target = r.Kind, r.Issuer, r.Target
		if whole.Denies(&f) != named {
			t.Fatalf("a narrow revocation spares: %+v, %+v", whole, f)
		}
	})
}

// A later cut denies all that an earlier one does, and a token that came later is
// spared by all that spare an earlier one.
func TestDeniesIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, r := facts(t), revocation(t)
		denied := r.Denies(&f)

		later := r
		if !r.Cut.IsZero() {
			later.Cut.Sequence++
		}
		if !r.CutTime.IsZero() {
			later.CutTime = r.CutTime.Add(time.Second)
		}
		if denied && !later.Denies(&f) {
			t.Fatalf("%+v denies %+v, with a later cut it does not", r, f)
		}
		if endless := (events.Revocation{Kind: r.Kind, Issuer: r.Issuer, Target: r.Target, Scope: r.Scope, Except: r.Except}); denied && !endless.Denies(&f) {
			t.Fatalf("%+v denies %+v, without a cut it does not", r, f)
		}

		younger := f
		for _, p := range []*events.Position{&younger.SessionAt, &younger.MintedAt} {
			if !p.IsZero() {
				p.Sequence++
			}
		}
		for _, s := range []*int64{&younger.AuthTime, &younger.IssuedAt} {
			if *s != 0 {
				*s++
			}
		}
		if !denied && r.Denies(&younger) {
			t.Fatalf("%+v spares %+v but not the younger %+v", r, f, younger)
		}
	})
}

// Positions of a foreign journal change nothing, and times change nothing where there
// are positions of ours.
func TestDeniesByPositionOrByTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, r := facts(t), revocation(t)
		other, placed := f, !f.SessionAt.IsZero() || !f.MintedAt.IsZero()
		if f.Foreign || !placed {
			other.SessionAt, other.MintedAt, other.Foreign = events.Position{}, events.Position{}, true
		} else {
			other.AuthTime, other.IssuedAt = rapid.Int64().Draw(t, "another auth_time"), rapid.Int64().Draw(t, "another iat")
		}
		if r.Denies(&f) != r.Denies(&other) {
			t.Fatalf("%+v tells %+v from %+v", r, f, other)
		}
	})
}

func TestDeniesByCut(t *testing.T) {
	at := func(shard uint16, sequence uint64) events.Position {
		return events.Position{Shard: shard, Sequence: sequence}
	}
	const cut = 1000
	rules := map[string]events.Revocation{
		"A": {}, // all
		"S": {Cut: at(1, cut)},
		"T": {Cut: at(1, cut), Scope: events.ScopeAccessTokens},
		"C": {CutTime: time.Unix(5000, 999)},
		"D": {CutTime: time.Unix(5000, 999), Scope: events.ScopeAccessTokens},
		"B": {Cut: at(1, cut), CutTime: time.Unix(5000, 999)},
		"E": {Except: "s"},
	}
	for _, c := range []struct {
		name  string
		token events.Facts
		by    string // the rules that deny it; the others spare it
	}{
		{"session before, token after", events.Facts{Session: "s", SessionAt: at(1, cut-1), MintedAt: at(1, cut+1)}, "ASCBD"},
		{"session at the cut", events.Facts{Session: "s", SessionAt: at(1, cut), MintedAt: at(1, cut+1)}, "ASCBD"},
		{"session and token after", events.Facts{Session: "s", SessionAt: at(1, cut+1), MintedAt: at(1, cut+2)}, "ACD"},
		{"another shard", events.Facts{Session: "s", SessionAt: at(2, cut+1), MintedAt: at(2, cut+2)}, "ASTCBD"},
		{"session after, token unknown", events.Facts{Session: "s", SessionAt: at(1, cut+1)}, "ATCD"},
		{"session unknown, token after", events.Facts{Session: "s", MintedAt: at(1, cut+1)}, "ASCBD"},
		{"no session, but a position of one", events.Facts{SessionAt: at(1, cut+1)}, "ASTCBED"},
		{"no session, token after", events.Facts{MintedAt: at(1, cut+1)}, "ACED"},
		{"no session, token at the cut", events.Facts{MintedAt: at(1, cut)}, "ASTCBED"},
		{"another session", events.Facts{Session: "t", SessionAt: at(1, cut+1), MintedAt: at(1, cut+2)}, "ACED"},
		{"foreign, with positions", events.Facts{Session: "s", SessionAt: at(1, cut+1), MintedAt: at(1, cut+2), Foreign: true}, "ASTCBD"},
		{"foreign, logged in that second", events.Facts{Session: "s", AuthTime: 5000, IssuedAt: 6000, Foreign: true}, "ASTCB"},
		{"foreign, logged in after", events.Facts{Session: "s", AuthTime: 5001, IssuedAt: 4000, Foreign: true}, "ASTD"},
		{"foreign, logged in after, issued who knows when", events.Facts{Session: "s", AuthTime: 5001, Foreign: true}, "AST"},
		{"foreign, issued after", events.Facts{IssuedAt: 5001, Foreign: true}, "ASTE"},
		{"foreign, without times", events.Facts{Session: "s", Foreign: true}, "ASTCBD"},
	} {
		c.token.Issuer, c.token.Subject = "i", "u"
		for name, r := range rules {
			r.Kind, r.Issuer, r.Target = events.KindSubject, "i", "u"
			if got, want := r.Denies(&c.token), strings.Contains(c.by, name); got != want {
				t.Errorf("%s: rule %s denies it: %v", c.name, name, got)
			}
		}
	}
	for _, k := range []events.Kind{events.KindClient, events.KindKey, events.KindAll} {
		r := events.Revocation{Kind: k, Issuer: "i", Target: "x", Except: "s"}
		if !r.Denies(&events.Facts{Issuer: "i", Client: "x", Key: "x", Session: "s"}) {
			t.Errorf("a %s has an exception", k)
		}
	}
}
