package denylisttest

import (
	"cmp"
	"slices"
	"testing"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
)

// Read gives all that s holds, in a fixed order, and fails the test if
// Load does not keep its order: lifts and wide entries first, narrow ones later.
func Read(t testing.TB, s denylist.Store) denylist.Batch {
	t.Helper()
	var all denylist.Batch
	n := 0
	for b, err := range s.Load() {
		if err != nil {
			t.Fatalf("loading: %v", err)
		}
		if n++; n == 1 {
			all.Cursor, all.Lifted = b.Cursor, b.Lifted
		} else if len(b.Lifted) > 0 || b.Cursor != (denylist.Cursor{}) || len(b.Entries) == 0 {
			t.Errorf("batch %d is not one of narrow entries: %+v", n, b)
		}
		for _, r := range b.Entries {
			if r.Kind.Wide() != (n == 1) {
				t.Errorf("a %s is in batch %d", r.Kind, n)
			}
		}
		all.Entries = append(all.Entries, b.Entries...)
	}
	if n == 0 {
		t.Error("loaded no batch at all")
	}
	all.Entries = sorted(all.Entries)
	slices.SortFunc(all.Lifted, compareLifts)
	return all
}

func sorted(entries []events.Revocation) []events.Revocation {
	s := slices.Clone(entries)
	slices.SortFunc(s, func(a, b events.Revocation) int {
		return cmp.Or(compareLifts(Lift(a), Lift(b)),
			cmp.Compare(a.Cut.Shard, b.Cut.Shard), cmp.Compare(a.Cut.Sequence, b.Cut.Sequence),
			a.CutTime.Compare(b.CutTime), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Except, b.Except),
			a.Until.Compare(b.Until))
	})
	return s
}

func compareLifts(a, b events.Lift) int {
	return cmp.Or(cmp.Compare(a.RevocationID, b.RevocationID), cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.Target, b.Target))
}

func equalLifts(a, b events.Lift) bool {
	return compareLifts(a, b) == 0 && a.Until.Equal(b.Until)
}

// wantFound looks for what like names.
func wantFound(t testing.TB, s denylist.Store, like events.Revocation, want ...events.Revocation) {
	t.Helper()
	got, err := s.Find(like.Kind, like.Issuer, like.Target)
	if err != nil {
		t.Fatalf("finding %s %q: %v", like.Kind, like.Target, err)
	}
	if got = sorted(got); !equalEntries(got, sorted(want)) {
		t.Errorf("%s %q: found\n%+v\nwant\n%+v", like.Kind, like.Target, got, want)
	}
}

// equalEntries compares all but reason and initiator: of two entries that differ in
// nothing else a store keeps either.
func equalEntries(a, b []events.Revocation) bool {
	return slices.EqualFunc(a, b, func(a, b events.Revocation) bool { return denylist.SameRule(&a, &b) })
}

func wantCursor(t testing.TB, s denylist.Store, want denylist.Cursor) {
	t.Helper()
	if got := Read(t, s).Cursor; got != want {
		t.Errorf("cursor %+v, want %+v", got, want)
	}
}
