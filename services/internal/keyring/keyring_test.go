package keyring_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/keyring"
)

const (
	realm  = subject.Realm("test")
	issuer = events.Issuer("https://id.example")
	ttl    = 5 * time.Minute
	es, rs = "ES256", "RS256"
)

var began = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func key(id events.KeyID, algorithm string, from, until time.Duration) events.Key {
	k := events.Key{ID: id, Issuer: issuer, Algorithm: algorithm, JWK: []byte("{}"), NotBefore: began.Add(from)}
	if until != 0 {
		k.Until = began.Add(until)
	}
	return k
}

func secret(id events.KeyID, use string, since time.Duration) events.Secret {
	return events.Secret{ID: id, Use: use, Algorithm: "x", Sealed: []byte("sealed"), Since: began.Add(since)}
}

// fold makes records of events in the order given; the barrier passes last, at now.
func fold(now time.Duration, list ...events.Event) keyring.Ring {
	var records []events.Record
	put := func(place string, at time.Duration, e events.Event) {
		records = append(records, events.Record{
			Subject: place, Position: events.Position{Sequence: uint64(len(records) + 1)}, Time: began.Add(at),
			Envelope: events.Envelope{Event: e},
		})
	}
	for _, e := range list {
		switch v := e.(type) {
		case events.KeyAdded:
			put(realm.Key(v.Key.ID), 0, e)
		case events.KeyRetired:
			put(realm.Key(v.Key.ID), 0, e)
		case events.SecretSealed:
			put(realm.Secret(v.Secret.ID), 0, e)
		case events.CutsRecorded:
			put(realm.Cut(events.KindKey, "00000000000000000000000000000000"), 0, e)
		case events.LifetimesDeclared:
			put(realm.Lifetimes(), 0, e)
		default:
			put(realm.Key("k"), 0, e)
		}
	}
	put(realm.Barrier(), now, events.BarrierPassed{})
	return keyring.Fold(issuer, records)
}

func added(k events.Key) events.Event     { return events.KeyAdded{Key: k} }
func retired(k events.Key) events.Event   { return events.KeyRetired{Key: k} }
func sealed(s events.Secret) events.Event { return events.SecretSealed{Secret: s} }
func revoked(list ...events.KeyID) events.Event {
	var cuts []events.Revocation
	for _, id := range list {
		cuts = append(cuts, events.Revocation{Kind: events.KindKey, Issuer: issuer, Target: string(id)})
	}
	return events.CutsRecorded{Cuts: cuts}
}

func policy() keyring.Policy {
	return keyring.Policy{
		Algorithms: []string{es}, Interval: 24 * time.Hour, Overlap: 10 * time.Minute, AccessTTL: ttl, KeepMAC: time.Hour,
		Holds: func(events.KeyID) bool { return false },
	}
}

func TestPhases(t *testing.T) {
	r := fold(0,
		added(key("signing", es, -time.Hour, 0)), sealed(secret("signing", "sign", 0)),
		added(key("announced", es, time.Hour, 0)), sealed(secret("announced", "sign", 0)),
		added(key("nameless", es, -time.Hour, 0)),
		retired(key("retired", es, -time.Hour, time.Hour)),
		retired(key("gone", es, -2*time.Hour, -time.Second)),
		added(key("stolen", es, -time.Hour, 0)), sealed(secret("stolen", "sign", 0)), revoked("stolen", "stolen-and-retired"),
		retired(key("stolen-and-retired", es, -time.Hour, time.Hour)),
		added(events.Key{ID: "anothers", Issuer: "https://other.example", Algorithm: es}),
		sealed(secret("anothers", "sign", 0)),
	)
	for id, want := range map[events.KeyID]keyring.Phase{
		"signing": keyring.Signing, "announced": keyring.Announced, "nameless": keyring.Incomplete, "retired": keyring.Retired,
		"gone": keyring.Gone, "stolen": keyring.Revoked, "stolen-and-retired": keyring.Revoked, "anothers": keyring.Gone, "none": keyring.Gone,
	} {
		k, _ := r.Key(id)
		if got := k.Phase(r.Now); got != want {
			t.Errorf("%s is %v, want %v", id, got, want)
		}
	}
	if k, _ := r.Key("retired"); k.Phase(began.Add(time.Hour)) != keyring.Gone {
		t.Error("a retired key stays beyond its end")
	}
	if got := r.Candidates(es); !slices.Equal(got, []keyring.Candidate{{ID: "announced", From: began.Add(time.Hour)}, {ID: "signing", From: began.Add(-time.Hour)}}) {
		t.Errorf("candidates: %v", got)
	}
	if len(r.Stray) != 0 {
		t.Errorf("another issuer's secret is taken for a stray one: %v", r.Stray)
	}
	denied := r.Deny(func(id events.KeyID) bool { return id == "signing" })
	if len(denied.Candidates(es)) != 1 || len(r.Candidates(es)) != 2 {
		t.Error("denying one key did not deny it, or denied it in the ring that was asked")
	}
}

func TestMACPhases(t *testing.T) {
	old := secret("old", "mac", -time.Hour)
	old.Retired = began
	r := fold(0, sealed(old), sealed(secret("now", "mac", 0)), sealed(secret("next", "mac", time.Hour)))
	got := map[events.KeyID]keyring.Phase{}
	for _, m := range r.MACs {
		got[m.ID] = m.Phase(r.Now)
	}
	want := map[events.KeyID]keyring.Phase{"old": keyring.Retired, "now": keyring.Signing, "next": keyring.Announced}
	if !maps.Equal(got, want) || (keyring.MAC{}).Phase(began) != keyring.Gone {
		t.Errorf("phases: %v", got)
	}
	if list := r.MACCandidates(); len(list) != 2 || list[keyring.Pick(list, r.Now)].ID != "now" || list[keyring.Pick(list, began.Add(time.Hour))].ID != "next" {
		t.Errorf("candidates: %v", list)
	}
}

func TestPick(t *testing.T) {
	list := []keyring.Candidate{{ID: "c", From: began.Add(2)}, {ID: "b", From: began.Add(1)}, {ID: "a", From: began}}
	for after, want := range map[time.Duration]int{-1: 2, 0: 2, 1: 1, 2: 0, time.Hour: 0} {
		if got := keyring.Pick(list, began.Add(after)); got != want {
			t.Errorf("after %d ns: %d, want %d", after, got, want)
		}
	}
	if got := keyring.Pick(nil, began); got != -1 {
		t.Errorf("of none: %d", got)
	}
}

// What each state asks for first.
func TestNext(t *testing.T) {
	mac := sealed(secret("mac", "mac", 0))
	signing := func(id events.KeyID, from time.Duration) []events.Event {
		return []events.Event{added(key(id, es, from, 0)), sealed(secret(id, "sign", 0))}
	}
	with := func(more ...[]events.Event) []events.Event {
		return slices.Concat(append(more, []events.Event{mac})...)
	}
	past := func(n int, until time.Duration) (list []events.Event) {
		for i := range n {
			list = append(list, retired(key(events.KeyID(fmt.Sprint("past-", i)), es, -time.Hour, until)))
		}
		return list
	}
	gone := secret("stray", "sign", 0)
	gone.Retired = began
	for name, c := range map[string]struct {
		now    time.Duration
		events []events.Event
		change func(*keyring.Policy)
		want   string
	}{
		"nothing at all":        {500 * time.Millisecond, nil, nil, "make ES256 at 0s, first"},
		"no key of another":     {0, with(signing("a", 0)), func(p *keyring.Policy) { p.Algorithms = []string{es, rs} }, "make RS256 at 0s, first"},
		"all is well":           {time.Hour, with(signing("a", 0)), nil, ""},
		"due":                   {24 * time.Hour, with(signing("a", 0)), nil, "make ES256 at 24h10m0s"},
		"due, short overlap":    {24 * time.Hour, with(signing("a", 0)), func(p *keyring.Policy) { p.Overlap = 0 }, "make ES256 at 24h0m5s"},
		"due, and announced":    {24 * time.Hour, with(signing("a", 0), signing("b", 24*time.Hour+time.Minute)), nil, "make MAC at 24h10m0s"},
		"due, and begun":        {24*time.Hour + 10*time.Second, with(signing("a", 0), []events.Event{added(key("b", es, 25*time.Hour, 0))}), func(p *keyring.Policy) { p.Interval = 48 * time.Hour }, "retire b at 24h0m10s"},
		"no schedule":           {9999 * time.Hour, with(signing("a", 0)), func(p *keyring.Policy) { p.Interval = 0 }, ""},
		"revoked":               {time.Hour, with(signing("a", 0), []events.Event{revoked("a")}), nil, "make ES256 at 1h0m0s"},
		"revoked, one waits":    {time.Hour, with(signing("a", 0), signing("b", 2*time.Hour), []events.Event{revoked("a")}), nil, ""},
		"revoked, one is begun": {time.Second, with(signing("a", 0), []events.Event{revoked("a"), added(key("b", es, 0, 0))}), nil, ""},
		"revoked, many gone":    {time.Hour, with(signing("a", 0), []events.Event{revoked("a")}, past(keyring.MaxKeys, 59*time.Minute)), nil, "make ES256 at 1h0m0s"},
		"revoked, many stand":   {time.Hour, with(signing("a", 0), []events.Event{revoked("a")}, past(keyring.MaxKeys-1, 61*time.Minute)), nil, ""},
		"due, many gone":        {24 * time.Hour, with(signing("a", 0), past(keyring.MaxKeys, time.Hour)), nil, "make ES256 at 24h10m0s"},
		"due, many stand":       {24 * time.Hour, with(signing("a", 0), past(keyring.MaxKeys-1, 25*time.Hour)), nil, "make MAC at 24h10m0s"},
		"begun, held":           {time.Second, with(signing("a", 0), []events.Event{added(key("b", es, time.Hour, 0))}), func(p *keyring.Policy) { p.Holds = func(id events.KeyID) bool { return id == "b" } }, "seal b"},
		"begun, given up":       {time.Minute, with(signing("a", 0), []events.Event{added(key("b", es, time.Hour, 0))}), nil, "retire b at 1m0s"},
		"superseded":            {time.Hour, with(signing("a", 0), signing("b", time.Hour)), nil, "retire a at 1h6m44s"},
		"of one second":         {time.Hour, with(signing("a", 0), signing("b", 0)), nil, "retire b at 1h6m44s"},
		"longer elsewhere":      {time.Hour, with(signing("a", 0), signing("b", time.Hour), []events.Event{events.LifetimesDeclared{Lifetimes: []events.Lifetime{{TTL: time.Hour, Seen: began.Add(time.Second)}}}}), nil, "retire a at 2h1m44s"},
		"longer, long ago":      {time.Hour, with(signing("a", 0), signing("b", time.Hour), []events.Event{events.LifetimesDeclared{Lifetimes: []events.Lifetime{{TTL: time.Hour, Seen: began}}}}), nil, "retire a at 1h6m44s"},
		"stolen and older":      {time.Hour, with(signing("a", 0), signing("b", time.Hour), []events.Event{revoked("a")}), nil, "retire a at 1h6m44s"},
		"stolen and newer":      {time.Hour, with(signing("a", 0), signing("b", 2*time.Hour), []events.Event{revoked("b")}), nil, "retire b at 1h6m44s"},
		"retired":               {time.Hour, with([]events.Event{retired(key("a", es, 0, time.Hour)), sealed(secret("a", "sign", 0))}, signing("b", time.Hour)), nil, "forget a"},
		"a stray secret":        {0, with(signing("a", 0), []events.Event{sealed(secret("stray", "sign", 0))}), nil, "forget stray"},
		"a forgotten one":       {0, with(signing("a", 0), []events.Event{sealed(gone)}), nil, ""},
		"no MAC key":            {500 * time.Millisecond, signing("a", 0), nil, "make MAC at 0s, first"},
		"MAC keys superseded":   {time.Hour, with(signing("a", 0), []events.Event{sealed(secret("mac-2", "mac", time.Hour))}), nil, "retire MAC mac at 1h0m0s"},
		"MAC key announced":     {time.Minute, with(signing("a", 0), []events.Event{sealed(secret("mac-2", "mac", time.Hour))}), nil, ""},
		"written later":         {0, with(signing("a", 0), []events.Event{events.Unknown{Number: 99}}), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy()
			if c.change != nil {
				c.change(&p)
			}
			if got := describe(keyring.Next(fold(c.now, c.events...), p)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if s := keyring.Next(keyring.Ring{}, policy()); s != nil {
		t.Errorf("without the broker's time: %s", describe(s))
	}
}

func describe(s keyring.Step) string {
	first := func(is bool) string {
		if is {
			return ", first"
		}
		return ""
	}
	switch s := s.(type) {
	case keyring.Make:
		return fmt.Sprintf("make %s at %s%s", s.Algorithm, s.NotBefore.Sub(began), first(s.First))
	case keyring.Seal:
		return fmt.Sprintf("seal %s", s.Key.ID)
	case keyring.Retire:
		return fmt.Sprintf("retire %s at %s", s.Key.ID, s.Key.Until.Sub(began))
	case keyring.Forget:
		return fmt.Sprintf("forget %s", s.Secret.ID)
	case keyring.MakeMAC:
		return fmt.Sprintf("make MAC at %s%s", s.Since.Sub(began), first(s.First))
	case keyring.RetireMAC:
		return fmt.Sprintf("retire MAC %s at %s", s.Secret.ID, s.Secret.Retired.Sub(began))
	}
	return ""
}
