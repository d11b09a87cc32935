package fleet

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
)

func reportOf(sidecar, instance string, sequence uint64) events.Report {
	return events.Report{Sidecar: sidecar, Instance: instance, State: events.StateFollowing, Epoch: "e", Sequence: sequence}
}

// Who is expected: everyone heard of within the lifetime that has not signed off and
// whose store nobody else has by now.
func TestTableAgainstATwin(t *testing.T) {
	const lifetime, limit = 10 * time.Second, 5
	rapid.Check(t, func(t *rapid.T) {
		table := newTable(limit, func(key) {})
		type fact struct {
			k    key
			seen time.Time
		}
		var twin []fact
		now := time.Unix(1000, 0)
		lastRefusal := time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			table.expire(now, lifetime)
			var alive []fact
			for _, f := range twin {
				if now.Sub(f.seen) <= lifetime {
					alive = append(alive, f)
				}
			}
			twin = alive
			r := reportOf(
				rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"),
				fmt.Sprint(rapid.IntRange(1, 3).Draw(t, "instance")), 1)
			if rapid.Bool().Draw(t, "replaces") {
				r.Replaces = fmt.Sprint(rapid.IntRange(1, 3).Draw(t, "replaced"))
			}
			if rapid.IntRange(0, 4).Draw(t, "off") == 0 {
				r.State = events.StateSignedOff
			}
			got := table.take(r, now)

			var next []fact
			known := false
			for _, f := range twin {
				switch {
				case r.Replaces != "" && r.Replaces != r.Instance && f.k == (key{r.Sidecar, r.Replaces}):
				case f.k == (key{r.Sidecar, r.Instance}):
					known = true
				default:
					next = append(next, f)
				}
			}
			want := taken
			switch {
			case r.State == events.StateSignedOff:
				want = signedOff
			case !known && len(next) >= limit:
				want, lastRefusal = full, now
			default:
				next = append(next, fact{key{r.Sidecar, r.Instance}, now})
			}
			twin = next
			if got != want {
				t.Fatalf("%+v: %s, want %s", r, got, want)
			}
			if len(table.members) != len(twin) {
				t.Fatalf("%d members, want %v", len(table.members), twin)
			}
			for _, f := range twin {
				if m, ok := table.members[f.k]; !ok || !m.Seen.Equal(f.seen) {
					t.Fatalf("%v: %+v, want one seen at %s", f.k, m, f.seen)
				}
			}
			if got, want := table.overfull(now, lifetime), !lastRefusal.IsZero() && now.Sub(lastRefusal) <= lifetime; got != want {
				t.Fatalf("overfull %t, want %t", got, want)
			}
		}
	})
}

// Only a sidecar's own word counts, of the same epoch, for what has come far enough; and
// by how much the fleet spreads its answers is not taken for slowness.
func TestRound(t *testing.T) {
	acked := time.Unix(1000, 0)
	r := &round{epoch: "e", sequence: 7, acked: acked, answered: map[key]time.Duration{}}
	now := acked.Add(500 * time.Millisecond)
	other := reportOf("a", "1", 9)
	other.Epoch = "f"
	for name, report := range map[string]events.Report{"behind": reportOf("a", "1", 6), "of another epoch": other} {
		if _, first := r.take(report, now); first {
			t.Errorf("a report that is %s counts", name)
		}
	}
	late := reportOf("a", "1", 9)
	late.Asked, late.Held = 8, 497*time.Millisecond
	if took, first := r.take(late, now); !first || took != 3*time.Millisecond {
		t.Errorf("took %s (%t), want 3ms", took, first)
	}
	if _, first := r.take(late, now); first {
		t.Error("the same sidecar counts twice")
	}
	unasked := reportOf("b", "1", 9)
	unasked.Asked, unasked.Held = 6, 400*time.Millisecond
	if took, first := r.take(unasked, now); !first || took != 500*time.Millisecond {
		t.Errorf("what was held lower counts: %s (%t)", took, first)
	}
	early := reportOf("c", "1", 9)
	early.Asked, early.Held = 7, time.Minute
	if took, first := r.take(early, now); !first || took != 0 {
		t.Errorf("before the acknowledgement: %s (%t)", took, first)
	}
}
