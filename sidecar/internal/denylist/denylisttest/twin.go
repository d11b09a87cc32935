package denylisttest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
)

// Names, ids and deadlines are few, so that they meet.

// Entries draws entries in canonical form.
func Entries() *rapid.Generator[events.Revocation] {
	return rapid.Custom(func(t *rapid.T) events.Revocation {
		r := events.Revocation{
			ID:     RevocationID(rapid.IntRange(0, 3).Draw(t, "id")),
			Kind:   rapid.SampledFrom(events.Kinds()).Draw(t, "kind"),
			Issuer: rapid.SampledFrom([]events.Issuer{"i", "j"}).Draw(t, "issuer"),
			Reason: rapid.SampledFrom([]events.Reason{"logout", "administrator"}).Draw(t, "reason"),
			By:     events.Initiator{Role: "user"},
			Until:  Now().Add(time.Duration(rapid.IntRange(-2, 4).Draw(t, "until")) * time.Second),
		}
		if r.Kind != events.KindAll {
			r.Target = rapid.SampledFrom([]string{"a", "b", "0198f3a2-7c1e-7b3d-9a4f-0123456789ab"}).Draw(t, "target")
		}
		if r.Kind.Wide() {
			r.Cut.Sequence = rapid.Uint64Range(0, 3).Draw(t, "cut")
			if !r.Cut.IsZero() {
				r.Cut.Shard = rapid.Uint16Range(0, 1).Draw(t, "shard")
			}
			if n := rapid.IntRange(0, 3).Draw(t, "cut time"); n > 0 {
				r.CutTime = Now().Add(time.Duration(n) * time.Second)
			}
			r.Scope = rapid.SampledFrom([]events.Scope{events.ScopeSessions, events.ScopeAccessTokens}).Draw(t, "scope")
		}
		if r.Kind == events.KindSubject {
			r.Except = rapid.SampledFrom([]events.SessionID{"", "a", "b"}).Draw(t, "except")
		}
		return r
	})
}

// Batches draws batches of such entries and of lifts of such entries.
func Batches() *rapid.Generator[denylist.Batch] {
	return rapid.Custom(func(t *rapid.T) denylist.Batch {
		b := denylist.Batch{Entries: rapid.SliceOfN(Entries(), 0, 8).Draw(t, "entries")}
		for _, r := range rapid.SliceOfN(Entries(), 0, 2).Draw(t, "lifted") {
			b.Lifted = append(b.Lifted, Lift(r))
		}
		if rapid.Bool().Draw(t, "moves the cursor") {
			b.Cursor = denylist.Cursor{Epoch: "e", Sequence: rapid.Uint64Range(1, 99).Draw(t, "sequence")}
		}
		return b
	})
}

// twin is the contract once more, as lists that are searched from end to end.
type twin struct{ denylist.Batch }

func (w *twin) apply(b denylist.Batch) {
	for _, r := range b.Entries {
		if !slices.ContainsFunc(w.Entries, func(h events.Revocation) bool { return denylist.SameRule(&h, &r) }) {
			w.Entries = append(w.Entries, r)
		}
	}
	for _, l := range b.Lifted {
		w.Entries = slices.DeleteFunc(w.Entries, func(r events.Revocation) bool { return compareLifts(Lift(r), l) == 0 })
		if i := slices.IndexFunc(w.Lifted, func(h events.Lift) bool { return compareLifts(h, l) == 0 }); i < 0 {
			w.Lifted = append(w.Lifted, l)
		} else if l.Until.After(w.Lifted[i].Until) {
			w.Lifted[i] = l
		}
	}
	if b.Cursor != (denylist.Cursor{}) {
		w.Cursor = b.Cursor
	}
}

func (w *twin) expire(now time.Time) {
	w.Entries = slices.DeleteFunc(w.Entries, func(r events.Revocation) bool { return now.After(r.Until) })
	w.Lifted = slices.DeleteFunc(w.Lifted, func(l events.Lift) bool { return now.After(l.Until) })
}

// testTwin plays histories to the store and to the twin and compares all they hold.
func testTwin(t *testing.T, open func(testing.TB) denylist.Store) {
	var store denylist.Store
	histories := 0
	rapid.Check(t, func(rt *rapid.T) {
		// One store serves several histories, each of which begins with it empty.
		if histories%20 == 0 {
			store = open(t)
		}
		histories++
		w := twin{denylist.Batch{Cursor: denylist.Cursor{Epoch: "e", Sequence: 100}}}
		if err := errors.Join(store.Expire(t.Context(), Now().Add(time.Hour)), store.Apply(w.Batch)); err != nil {
			rt.Fatalf("beginning anew: %v", err)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"apply": func(rt *rapid.T) {
				b := Batches().Draw(rt, "batch")
				w.apply(b)
				if err := store.Apply(b); err != nil {
					rt.Fatalf("applying: %v", err)
				}
			},
			"expire": func(rt *rapid.T) {
				now := Now().Add(time.Duration(rapid.IntRange(-3, 5).Draw(rt, "now")) * time.Second)
				w.expire(now)
				if err := store.Expire(t.Context(), now); err != nil {
					rt.Fatalf("expiring: %v", err)
				}
			},
			"": func(rt *rapid.T) {
				got := Read(t, store)
				slices.SortFunc(w.Lifted, compareLifts)
				if want := sorted(w.Entries); !equalEntries(got.Entries, want) {
					rt.Fatalf("holds\n%+v\nwant\n%+v", got.Entries, want)
				}
				if !slices.EqualFunc(got.Lifted, w.Lifted, equalLifts) || got.Cursor != w.Cursor {
					rt.Fatalf("remembers\n%+v at %+v\nwant\n%+v at %+v", got.Lifted, got.Cursor, w.Lifted, w.Cursor)
				}
			},
		})
	})
}
