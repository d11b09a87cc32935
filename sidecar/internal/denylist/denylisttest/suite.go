// Package denylisttest proves stores: a store is a [denylist.Store] if Run passes.
// What a crash leaves behind is for each store to prove by itself.
package denylisttest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
)

// Now is the time at which the suite plays.
func Now() time.Time { return time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC) }

// Run puts the stores that open makes, each new and empty, through the contract.
func Run(t *testing.T, open func(testing.TB) denylist.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, denylist.Store){
		"a new store is empty":               testEmpty,
		"nothing gets lost on the way":       testRoundTrip,
		"names do not run into each other":   testNames,
		"one target has a list of entries":   testList,
		"entries add up":                     testVariants,
		"a lift takes one entry back":        testLift,
		"a lift outlives a shorter one":      testLiftUntil,
		"a lift follows its batch's entries": testLiftInBatch,
		"the cursor moves when told to":      testCursor,
		"any size of batch":                  testLarge,
		"what has expired goes":              testExpire,
		"readers beside the writer":          testConcurrent,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	t.Run("like its twin", func(t *testing.T) { testTwin(t, open) })
}

// Session gives a plain narrow entry.
func Session(id int, target string) events.Revocation {
	return events.Revocation{
		ID:     RevocationID(id),
		Kind:   events.KindSession,
		Issuer: "https://id.example",
		Target: target,
		Reason: events.ReasonLogout,
		By:     events.Initiator{Role: "user"},
		Until:  Now().Add(time.Hour),
	}
}

// Subject gives an entry with everything that an entry can have.
func Subject(id int, target string) events.Revocation {
	r := Session(id, target)
	r.Kind = events.KindSubject
	r.Cut = events.Position{Shard: 3, Sequence: 1 << 50}
	r.CutTime = Now().Add(-time.Minute)
	r.Scope = events.ScopeAccessTokens
	r.Except = "0198f3a2-7c1e-7b3d-9a4f-0123456789ab"
	r.By = events.Initiator{Role: "operator", Name: "zoë"}
	return r
}

// RevocationID gives the n-th of a row of ids.
func RevocationID(n int) events.RevocationID {
	return events.RevocationID(fmt.Sprintf("0198f3a2-7c1e-7b3d-9a4f-%012x", n))
}

// Lift takes r back for as long as it lives.
func Lift(r events.Revocation) events.Lift {
	return events.Lift{RevocationID: r.ID, Kind: r.Kind, Issuer: r.Issuer, Target: r.Target, Until: r.Until}
}

// Apply applies or fails the test.
func Apply(t testing.TB, s denylist.Store, b denylist.Batch) {
	t.Helper()
	if err := s.Apply(b); err != nil {
		t.Fatalf("applying: %v", err)
	}
}

func testEmpty(t *testing.T, s denylist.Store) {
	if got := Read(t, s); len(got.Entries)+len(got.Lifted) != 0 || got.Cursor != (denylist.Cursor{}) {
		t.Errorf("holds %+v", got)
	}
	wantFound(t, s, Session(1, "s"))
	if err := s.Expire(t.Context(), Now()); err != nil {
		t.Errorf("expiring: %v", err)
	}
}

func testRoundTrip(t *testing.T, s denylist.Store) {
	bare := Subject(4, "bare")
	bare.Cut, bare.CutTime, bare.Scope, bare.Except = events.Position{}, time.Time{}, 0, ""
	bare.Reason, bare.By, bare.Until = "", events.Initiator{}, time.Time{}
	everyone := Subject(5, "")
	everyone.Kind, everyone.Except = events.KindAll, ""
	odd := Session(6, "\x00\xff not UTF-8 \x00")
	odd.Issuer, odd.ID = "\x00", "not a UUID"
	entries := []events.Revocation{Session(1, "s"), Subject(2, "u"), bare, everyone, odd}
	for i, k := range events.Kinds()[:5] {
		r := Session(10+i, "of every kind")
		r.Kind = k
		entries = append(entries, r)
	}
	Apply(t, s, denylist.Batch{Entries: entries, Lifted: []events.Lift{Lift(Session(7, "lifted"))}})
	for _, r := range entries {
		wantFound(t, s, r, r)
	}
	got := Read(t, s)
	if want := sorted(entries); !slices.Equal(got.Entries, want) {
		t.Errorf("loaded\n%+v\nwant\n%+v", got.Entries, want)
	}
	if want := Lift(Session(7, "lifted")); len(got.Lifted) != 1 || !equalLifts(got.Lifted[0], want) {
		t.Errorf("loaded %+v, want %+v", got.Lifted, want)
	}
}

func testNames(t *testing.T, s denylist.Store) {
	var entries []events.Revocation
	for i, name := range [][2]string{
		{"a", "bc"},
		{"ab", "c"},
		{"a", "b"},
		{"a", "bcd"},
		{"a", "\x00bc"},
		{"a\x00", "bc"},
		{"a", "bc\x00"},
		{"a", "0198f3a2-7c1e-7b3d-9a4f-0123456789ab"},
		{"a", "0198F3A2-7C1E-7B3D-9A4F-0123456789AB"},
		{"a", "0198f3a2-7c1e-7b3d-9a4f-0123456789abc"},
		{"a", "\x01\x98\xf3\xa2\x7c\x1e\x7b\x3d\x9a\x4f\x01\x23\x45\x67\x89\xab"},
	} {
		r := Session(i, name[1])
		r.Issuer = events.Issuer(name[0])
		entries = append(entries, r)
	}
	other := entries[0]
	other.Kind, other.ID = events.KindToken, RevocationID(100)
	entries = append(entries, other)
	Apply(t, s, denylist.Batch{Entries: entries})
	for _, r := range entries {
		wantFound(t, s, r, r)
	}
	wantFound(t, s, Session(1, "b"))
	wantFound(t, s, Session(1, ""))
}

func testList(t *testing.T, s denylist.Store) {
	a, b, c := Subject(1, "u"), Subject(2, "u"), Subject(3, "u")
	Apply(t, s, denylist.Batch{Entries: []events.Revocation{a, b}})
	Apply(t, s, denylist.Batch{Entries: []events.Revocation{c, a, a}})
	wantFound(t, s, a, a, b, c)
}

// An entry that comes again with another rule neither replaces nor narrows the
// first.
func testVariants(t *testing.T, s denylist.Store) {
	for i, change := range []func(r *events.Revocation){
		func(r *events.Revocation) { r.Cut.Sequence++ },
		func(r *events.Revocation) { r.Cut.Sequence-- },
		func(r *events.Revocation) { r.Cut.Shard++ },
		func(r *events.Revocation) { r.Cut = events.Position{} },
		func(r *events.Revocation) { r.CutTime = r.CutTime.Add(time.Second) },
		func(r *events.Revocation) { r.CutTime = time.Time{} },
		func(r *events.Revocation) { r.Scope = events.ScopeSessions },
		func(r *events.Revocation) { r.Except = "another" },
		func(r *events.Revocation) { r.Except = "" },
		func(r *events.Revocation) { r.Until = r.Until.Add(time.Second) },
		func(r *events.Revocation) { r.Until = r.Until.Add(-time.Second) },
		func(r *events.Revocation) { r.Until = time.Time{} },
	} {
		a := Subject(i, fmt.Sprint("u", i))
		b := a
		change(&b)
		otherwise := a
		otherwise.Reason, otherwise.By.Name = "another", "another"
		Apply(t, s, denylist.Batch{Entries: []events.Revocation{a}})
		Apply(t, s, denylist.Batch{Entries: []events.Revocation{b}})
		Apply(t, s, denylist.Batch{Entries: []events.Revocation{b, otherwise, a}})
		wantFound(t, s, a, a, b)
	}
}

func testLift(t *testing.T, s denylist.Store) {
	a, b, other := Subject(1, "u"), Subject(2, "u"), Subject(1, "v")
	wider := a
	wider.Until = a.Until.Add(time.Hour)
	Apply(t, s, denylist.Batch{Entries: []events.Revocation{a, wider, b, other}})
	Apply(t, s, denylist.Batch{Lifted: []events.Lift{Lift(a), Lift(Subject(3, "u"))}})
	wantFound(t, s, a, b)
	wantFound(t, s, other, other)
	if got := Read(t, s); len(got.Lifted) != 2 || len(got.Entries) != 2 {
		t.Errorf("holds %+v", got)
	}
}

func testLiftUntil(t *testing.T, s denylist.Store) {
	short, long, endless := Lift(Session(1, "s")), Lift(Session(1, "s")), Lift(Session(1, "s"))
	long.Until = long.Until.Add(time.Hour)
	endless.Until = time.Time{}
	for _, step := range []struct{ apply, want events.Lift }{
		{short, short}, {long, long}, {short, long}, {endless, endless}, {long, endless},
	} {
		Apply(t, s, denylist.Batch{Lifted: []events.Lift{step.apply}})
		if got := Read(t, s).Lifted; len(got) != 1 || !equalLifts(got[0], step.want) {
			t.Errorf("remembers %+v, want %+v", got, step.want)
		}
	}
}

func testLiftInBatch(t *testing.T, s denylist.Store) {
	a, b := Session(1, "s"), Session(2, "s")
	Apply(t, s, denylist.Batch{Entries: []events.Revocation{a, b}, Lifted: []events.Lift{Lift(a)}})
	wantFound(t, s, a, b)
}

func testCursor(t *testing.T, s denylist.Store) {
	first := denylist.Cursor{Epoch: "e1", Sequence: 1 << 52, FreshAsOf: Now().Add(123456789)}
	Apply(t, s, denylist.Batch{Cursor: first, Entries: []events.Revocation{Session(1, "s")}})
	wantCursor(t, s, first)
	Apply(t, s, denylist.Batch{Entries: []events.Revocation{Session(2, "s")}})
	wantCursor(t, s, first)
	second := denylist.Cursor{Epoch: "another epoch", Sequence: 7}
	Apply(t, s, denylist.Batch{Cursor: second})
	wantCursor(t, s, second)
}

func testLarge(t *testing.T, s denylist.Store) {
	const n = 20_000
	var b denylist.Batch
	for i := range n {
		r := Session(i, string(RevocationID(i)))
		if i%10 == 0 {
			r = Subject(i, string(RevocationID(i)))
		}
		b.Entries = append(b.Entries, r)
	}
	b.Cursor = denylist.Cursor{Epoch: "e", Sequence: n}
	Apply(t, s, b)
	got := Read(t, s)
	if !slices.Equal(got.Entries, b.Entries) {
		t.Errorf("%d of %d entries, or not the same", len(got.Entries), n)
	}
	wantCursor(t, s, b.Cursor)
	b = denylist.Batch{}
	for _, r := range got.Entries {
		b.Lifted = append(b.Lifted, Lift(r))
	}
	Apply(t, s, b)
	if got := Read(t, s); len(got.Entries) != 0 || len(got.Lifted) != n {
		t.Errorf("%d entries and %d lifts after all were lifted", len(got.Entries), len(got.Lifted))
	}
}

func testExpire(t *testing.T, s denylist.Store) {
	until := map[string]time.Time{"past": Now().Add(-time.Second), "now": Now(), "future": Now().Add(time.Second), "never": {}}
	var b denylist.Batch
	n := 0
	for name, at := range until {
		for _, r := range []events.Revocation{Session(n, name), Subject(n+1, name)} {
			r.Until = at
			b.Entries = append(b.Entries, r)
		}
		l := Lift(Session(n+2, name))
		l.Until = at
		b.Lifted = append(b.Lifted, l)
		n += 3
	}
	b.Cursor = denylist.Cursor{Epoch: "e", Sequence: 1}
	Apply(t, s, b)
	if err := s.Expire(t.Context(), Now()); err != nil {
		t.Fatalf("expiring: %v", err)
	}
	got := Read(t, s)
	if len(got.Entries) != 6 || len(got.Lifted) != 3 || got.Cursor != b.Cursor {
		t.Errorf("%d entries and %d lifts are left, cursor %+v", len(got.Entries), len(got.Lifted), got.Cursor)
	}
	for _, r := range b.Entries {
		if r.Target == "past" {
			wantFound(t, s, r)
		} else {
			wantFound(t, s, r, r)
		}
	}
}

func testConcurrent(t *testing.T, s denylist.Store) {
	Apply(t, s, denylist.Batch{Entries: []events.Revocation{Session(0, "kept")}})
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				found, err := s.Find(events.KindSession, "https://id.example", "kept")
				if err != nil || len(found) != 1 {
					t.Errorf("found %+v, %v", found, err)
					return
				}
				for _, err := range s.Load() {
					if err != nil {
						t.Errorf("loading: %v", err)
						return
					}
				}
			}
		})
	}
	defer readers.Wait()
	defer close(done)
	for i := range 200 {
		r := Session(i+1, fmt.Sprint(i))
		Apply(t, s, denylist.Batch{Entries: []events.Revocation{r}})
		wantFound(t, s, r, r)
		if i%20 == 0 {
			Apply(t, s, denylist.Batch{Lifted: []events.Lift{Lift(r)}})
			if err := s.Expire(t.Context(), Now()); err != nil {
				t.Errorf("expiring: %v", err)
			}
			wantFound(t, s, r)
		}
	}
}
