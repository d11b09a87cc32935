package denylist_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
)

func newList(t interface{ Fatal(...any) }, s denylist.Store) *denylist.Denylist {
	d, err := denylist.New(denylist.Config{}, s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func apply(t interface{ Fatal(...any) }, d *denylist.Denylist, b denylist.Batch) {
	if err := d.Apply(b); err != nil {
		t.Fatal(err)
	}
}

// tokens draws tokens that have names and positions in common with
// [denylisttest.Entries].
func tokens() *rapid.Generator[denylist.Token] {
	return rapid.Custom(func(t *rapid.T) denylist.Token {
		name := rapid.SampledFrom([]string{"", "a", "b", "0198f3a2-7c1e-7b3d-9a4f-0123456789ab"})
		position := rapid.Custom(func(t *rapid.T) events.Position {
			p := events.Position{Sequence: rapid.Uint64Range(0, 4).Draw(t, "sequence")}
			if !p.IsZero() {
				p.Shard = rapid.Uint16Range(0, 1).Draw(t, "shard")
			}
			return p
		})
		seconds := rapid.Custom(func(t *rapid.T) int64 {
			if rapid.Bool().Draw(t, "has none") {
				return 0
			}
			return denylisttest.Now().Unix() + rapid.Int64Range(0, 4).Draw(t, "seconds")
		})
		return denylist.Token{
			Issuer:    rapid.SampledFrom([]events.Issuer{"i", "j"}).Draw(t, "issuer"),
			ID:        events.TokenID(name.Draw(t, "jti")),
			Session:   events.SessionID(name.Draw(t, "sid")),
			Subject:   events.Subject(name.Draw(t, "sub")),
			Client:    events.ClientID(name.Draw(t, "client")),
			Key:       events.KeyID(name.Draw(t, "kid")),
			SessionAt: position.Draw(t, "ssq"), MintedAt: position.Draw(t, "tsq"),
			AuthTime: seconds.Draw(t, "auth_time"), IssuedAt: seconds.Draw(t, "iat"),
		}
	})
}

// names reports whether an entry names a token.
func names(r events.Revocation, t denylist.Token) bool {
	name := map[events.Kind]string{
		events.KindToken: string(t.ID), events.KindSession: string(t.Session), events.KindSubject: string(t.Subject),
		events.KindClient: string(t.Client), events.KindKey: string(t.Key), events.KindAll: "",
	}[r.Kind]
	return r.Issuer == t.Issuer && r.Target == name && (name != "" || r.Kind == events.KindAll)
}

// covers is what the rules of a cut say, once more and as a table.
func covers(r events.Revocation, t denylist.Token) bool {
	hasPosition := t.SessionAt.Sequence > 0 || t.MintedAt.Sequence > 0
	bySession := r.Scope == events.ScopeSessions && t.Session != ""
	switch {
	case !r.Kind.Wide():
		return true
	case r.Except != "" && t.Session == r.Except:
		return false
	case hasPosition && r.Cut.Sequence == 0:
		return true
	case hasPosition && bySession:
		return t.SessionAt.Sequence == 0 || t.SessionAt.Shard != r.Cut.Shard || t.SessionAt.Sequence <= r.Cut.Sequence
	case hasPosition:
		return t.MintedAt.Sequence == 0 || t.MintedAt.Shard != r.Cut.Shard || t.MintedAt.Sequence <= r.Cut.Sequence
	case r.CutTime.IsZero():
		return true
	case r.Scope == events.ScopeAccessTokens && t.IssuedAt != 0:
		return t.IssuedAt <= r.CutTime.Unix()
	case t.AuthTime != 0:
		return t.AuthTime <= r.CutTime.Unix()
	case t.IssuedAt != 0:
		return t.IssuedAt <= r.CutTime.Unix()
	}
	return true
}

// twin is a denylist that keeps all it was ever told and looks through it.
type twin struct {
	entries []events.Revocation
	lifted  []events.Lift
}

func (w *twin) apply(b denylist.Batch) {
	w.lifted = append(w.lifted, b.Lifted...)
	for _, r := range b.Entries {
		if !w.isLifted(r) {
			w.entries = append(w.entries, r)
		}
	}
	w.entries = slices.DeleteFunc(w.entries, w.isLifted)
}

func (w *twin) isLifted(r events.Revocation) bool {
	return slices.ContainsFunc(w.lifted, func(l events.Lift) bool {
		return l.RevocationID == r.ID && l.Kind == r.Kind && l.Issuer == r.Issuer && l.Target == r.Target
	})
}

func (w *twin) expire(now time.Time) {
	w.entries = slices.DeleteFunc(w.entries, func(r events.Revocation) bool { return now.After(r.Until) })
	w.lifted = slices.DeleteFunc(w.lifted, func(l events.Lift) bool { return now.After(l.Until) })
}

func (w *twin) denying(t denylist.Token, now time.Time) []events.Revocation {
	var denying []events.Revocation
	for _, r := range w.entries {
		if names(r, t) && covers(r, t) && !now.After(r.Until) {
			denying = append(denying, r)
		}
	}
	return denying
}

// batches draws batches whose lifts outlive all entries, as they have to.
func batches() *rapid.Generator[denylist.Batch] {
	return rapid.Custom(func(t *rapid.T) denylist.Batch {
		b := denylisttest.Batches().Draw(t, "batch")
		for i := range b.Lifted {
			b.Lifted[i].Until = denylisttest.Now().Add(time.Hour)
		}
		return b
	})
}

// wantLike compares one verdict.
func wantLike(t *rapid.T, d *denylist.Denylist, w *twin, token denylist.Token, now time.Time) {
	d.Prepare(&token)
	got, err := d.Lookup(t.Context(), &token, now)
	want := w.denying(token, now)
	if err != nil || got.Denied != (len(want) > 0) {
		t.Fatalf("%+v at %v: %+v, %v; want one of %+v", token, now, got, err, want)
	}
	if got.Denied && !slices.ContainsFunc(want, func(r events.Revocation) bool { return denylist.SameRule(&r, &got.Revocation) }) {
		t.Fatalf("%+v is denied by %+v; want one of %+v", token, got.Revocation, want)
	}
}

// Whatever is applied, lifted and expired, written to disk or not, before a restart
// or after it: the denylist says what its twin says.
func TestLikeItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := memstore.New()
		d, w := newList(t, store), &twin{}
		clock := denylisttest.Now().Add(-3 * time.Second)
		later := rapid.Custom(func(t *rapid.T) time.Time {
			return clock.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
		})
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				b := batches().Draw(t, "batch")
				apply(t, d, b)
				w.apply(b)
			},
			"expire": func(t *rapid.T) {
				clock = later.Draw(t, "now")
				d.Expire(clock)
				w.expire(clock)
			},
			"write": func(t *rapid.T) {
				if err := d.Flush(); err != nil {
					t.Fatal(err)
				}
			},
			"restart": func(t *rapid.T) {
				if err := d.Flush(); err != nil {
					t.Fatal(err)
				}
				d = newList(t, store)
			},
			"": func(t *rapid.T) {
				for _, token := range rapid.SliceOfN(tokens(), 5, 5).Draw(t, "tokens") {
					wantLike(t, d, w, token, later.Draw(t, "now"))
				}
			},
		})
	})
}

// Batches in any order, any number of times, make one denylist (INV-2, INV-3).
func TestOrderAndDuplicationDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		once := rapid.SliceOfN(batches(), 1, 6).Draw(t, "batches")
		again := slices.Concat(once, rapid.SliceOf(rapid.SampledFrom(once)).Draw(t, "again"))
		again = rapid.Permutation(again).Draw(t, "order")
		a, b, w := newList(t, memstore.New()), newList(t, memstore.New()), &twin{}
		for _, batch := range once {
			apply(t, a, batch)
			w.apply(batch)
		}
		for _, batch := range again {
			apply(t, b, batch)
			if rapid.Bool().Draw(t, "write") {
				if err := b.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, token := range rapid.SliceOfN(tokens(), 20, 20).Draw(t, "tokens") {
			wantLike(t, a, w, token, denylisttest.Now())
			wantLike(t, b, w, token, denylisttest.Now())
		}
	})
}
