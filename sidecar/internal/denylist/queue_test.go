package denylist

import (
	"fmt"
	"slices"
	"testing"

	"github.com/revocast/revocast/events"
)

func entry(id int, kind events.Kind, issuer events.Issuer, name string) events.Revocation {
	return canonical(events.Revocation{
		ID: events.RevocationID(fmt.Sprint(id)), Kind: kind, Issuer: issuer, Target: name,
		Reason: events.Reason(fmt.Sprint("reason ", id%20)), Until: deadline(int64(1000 + id)),
	})
}

// Entries whose keys are equal by chance do not pass for one another.
func TestQueueTellsEqualKeysApart(t *testing.T) {
	entries := []events.Revocation{
		entry(1, events.KindSession, "i", "a"),
		entry(2, events.KindToken, "i", "a"),
		entry(3, events.KindSession, "j", "a"),
		entry(4, events.KindSession, "i", "b"),
		entry(5, events.KindSession, "i", "a"),
	}
	var q queue
	q.add(new(entry(6, events.KindSession, "i", "other")), 8<<32)
	for i := range entries {
		q.add(&entries[i], 7<<32|uint64(5-i))
	}
	for _, sealed := range []bool{false, true} {
		if sealed {
			q.segments[0].seal()
		}
		for i, want := range [][]int{{1, 5}, {2}, {3}, {4}} {
			var got []int
			for _, r := range q.find(nil, targetOf(&entries[i]), 7<<32) {
				got = append(got, slices.Index(entries, r)+1)
			}
			if !slices.Equal(got, want) {
				t.Errorf("sealed %t, %+v: found %v, want %v", sealed, targetOf(&entries[i]), got, want)
			}
		}
	}
}

// What goes in comes out, in order, whole, and in pieces of which only those after
// the last entry of a batch have its cursor.
func TestQueueKeepsTheOrder(t *testing.T) {
	const n = (writeSegments+1)*segmentEntries + 7
	var q queue
	var want []events.Revocation
	for i := range n {
		r := entry(i, events.KindSession, "i", fmt.Sprint(i))
		want = append(want, r)
		q.add(&r, uint64(i)<<32)
	}
	q.finish(nil, Cursor{Epoch: "e", Sequence: n})
	var got []events.Revocation
	for segments := q.oldest(); len(segments) > 0; segments = q.oldest() {
		for _, s := range segments {
			some := s.entries(nil)
			if len(some) > segmentEntries {
				t.Errorf("%d entries at a time", len(some))
			}
			got = append(got, some...)
			if whole := len(got) == n; (s.cursor.Sequence == n) != whole {
				t.Errorf("cursor %+v after %d entries", s.cursor, len(got))
			}
		}
		if len(segments) > writeSegments {
			t.Errorf("%d segments at a time", len(segments))
		}
		q.drop(segments)
	}
	if !slices.Equal(got, want) || q.narrow != 0 {
		t.Errorf("%d of %d entries, or not the same; %d are left", len(got), n, q.narrow)
	}
}
