package fsck_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
	"github.com/revocast/revocast/sidecar/internal/fsck"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// feed is a stream of events; the index is the sequence, from 1.
type feed []events.Event

func (f feed) Read(_ context.Context, from, to uint64) iter.Seq2[replica.Batch, error] {
	return func(yield func(replica.Batch, error) bool) {
		if to > uint64(len(f)) {
			yield(replica.Batch{}, fmt.Errorf("nothing at %d", to))
			return
		}
		if to == 0 {
			to = uint64(len(f))
		}
		for ; from <= to; from += 3 {
			last := min(from+2, to)
			if !yield(replica.Batch{Last: last, Events: f[from-1 : last]}, nil) {
				return
			}
		}
	}
}

// world is both sides, and what a comparison has to find.
type world struct {
	store *memstore.Store
	feed  feed
	tail  feed // behind the cursor
	lifts []events.Lift
	kept  []events.Revocation
	want  fsck.Report
	next  int
}

func (w *world) entry(until time.Duration) events.Revocation {
	w.next++
	kind := events.Kinds()[w.next%6]
	target := fmt.Sprint("t-", w.next)
	if kind == events.KindAll {
		target = ""
	}
	r, err := denylist.Canonical(events.Revocation{
		ID: events.RevocationID(fmt.Sprint("r-", w.next)), Kind: kind, Issuer: "https://id.example", Target: target,
		Reason: "x", Until: time.Now().Add(until),
	})
	if err != nil {
		panic(err)
	}
	return r
}

func liftOf(r events.Revocation) events.Lift {
	return events.Lift{RevocationID: r.ID, Kind: r.Kind, Issuer: r.Issuer, Target: r.Target, Until: r.Until}
}

// what can be true of one entry.
func cases() map[string]func(w *world) {
	revoked := func(r events.Revocation) events.Event { return events.Revoked{Revocation: r} }
	return map[string]func(*world){
		"on both sides": func(w *world) {
			r := w.entry(time.Hour)
			w.feed, w.kept = append(w.feed, revoked(r)), append(w.kept, r)
		},
		"announced twice": func(w *world) {
			r := w.entry(time.Hour)
			w.feed, w.kept = append(w.feed, revoked(r), revoked(r)), append(w.kept, r)
		},
		"missing": func(w *world) {
			w.feed = append(w.feed, revoked(w.entry(time.Hour)))
			w.want.Missing.Count++
		},
		"missing, announced twice": func(w *world) {
			r := w.entry(time.Hour)
			w.feed = append(w.feed, revoked(r), revoked(r))
			w.want.Missing.Count++
		},
		"different": func(w *world) {
			r := w.entry(time.Hour)
			w.feed = append(w.feed, revoked(r))
			r.Until = r.Until.Add(time.Minute)
			w.kept = append(w.kept, r)
			w.want.Different.Count++
			w.want.OnlyInStore.Earlier++
		},
		"renewed": func(w *world) {
			r := w.entry(time.Hour)
			w.feed, w.kept = append(w.feed, revoked(r)), append(w.kept, r)
			r.Until = r.Until.Add(time.Minute)
			w.feed, w.kept = append(w.feed, revoked(r)), append(w.kept, r)
		},
		"only in the store": func(w *world) {
			w.kept = append(w.kept, w.entry(time.Hour))
			w.want.OnlyInStore.Earlier++
		},
		"expired in the store": func(w *world) {
			w.kept = append(w.kept, w.entry(-time.Minute))
			w.want.OnlyInStore.Expired++
		},
		"expired in the feed": func(w *world) {
			w.feed = append(w.feed, revoked(w.entry(-time.Minute)))
		},
		"lifted": func(w *world) {
			r := w.entry(time.Hour)
			w.feed = append(w.feed, revoked(r), events.Lifted{Lift: liftOf(r)})
			w.lifts = append(w.lifts, liftOf(r))
			w.want.Lifted++
		},
		"lifted, but not in the store": func(w *world) {
			r := w.entry(time.Hour)
			w.feed, w.kept = append(w.feed, revoked(r), events.Lifted{Lift: liftOf(r)}), append(w.kept, r)
			w.want.MissingLifts.Count++
		},
		"lifted by a stranger": func(w *world) {
			r := w.entry(time.Hour)
			l := liftOf(r)
			l.Signature = []byte("forged")
			w.feed, w.kept = append(w.feed, revoked(r), events.Lifted{Lift: l}), append(w.kept, r)
			w.want.Feed.Unsigned++
		},
		"behind the cursor": func(w *world) {
			w.tail = append(w.tail, revoked(w.entry(time.Hour)))
			w.want.Behind++
		},
		"behind the cursor, in the store already": func(w *world) {
			r := w.entry(time.Hour)
			w.tail, w.kept = append(w.tail, revoked(r)), append(w.kept, r)
			w.want.Behind++
		},
		"unreadable": func(w *world) {
			w.feed = append(w.feed, nil)
			w.want.Feed.Unreadable++
		},
	}
}

// run puts the sides together and compares them.
func (w *world) run(t interface{ Fatal(...any) }, epoch events.Epoch, most int) fsck.Report {
	w.store = memstore.New()
	cursor := denylist.Cursor{Epoch: "e", Sequence: uint64(len(w.feed))}
	if err := w.store.Apply(denylist.Batch{Lifted: w.lifts}); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Apply(denylist.Batch{Entries: w.kept, Cursor: cursor}); err != nil {
		t.Fatal(err)
	}
	r, err := fsck.RunWith(context.Background(), fsck.Parts{
		Store: w.store, Feed: slices.Concat(w.feed, w.tail, feed{events.Heartbeat{Epoch: epoch}}),
		VerifyLift: func(l events.Lift) bool { return l.Signature == nil },
	}, most)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantReport(t interface{ Fatalf(string, ...any) }, got, want fsck.Report) {
	if got.Missing.Count != want.Missing.Count || got.Different.Count != want.Different.Count || got.OnlyInStore != want.OnlyInStore ||
		got.Lifted != want.Lifted || got.MissingLifts.Count != want.MissingLifts.Count || got.Behind != want.Behind ||
		got.Feed.Unsigned != want.Feed.Unsigned || got.Feed.Unreadable != want.Feed.Unreadable || got.StillThere.Count != 0 {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	clean := want.Missing.Count+want.Different.Count+want.MissingLifts.Count == 0
	if got.Clean != clean || got.Clean != (len(got.Faults) == 0) {
		t.Fatalf("clean is %v: %q", got.Clean, got.Faults)
	}
}

// One entry of each sort, alone: exactly that is found.
func TestEachCase(t *testing.T) {
	for name, add := range cases() {
		t.Run(name, func(t *testing.T) {
			w := &world{feed: feed{events.BarrierPassed{}}}
			add(w)
			r := w.run(t, "e", 1000)
			wantReport(t, r, w.want)
			for _, n := range []fsck.Named{r.Missing, r.Different, r.MissingLifts} {
				if len(n.Examples) != n.Count || n.Count > 0 && n.Examples[0].RevocationID != "r-1" {
					t.Errorf("named: %+v", n)
				}
			}
		})
	}
}

// Any number of any of them, in rounds of any size.
func TestAllCases(t *testing.T) {
	table := cases()
	var names []string
	for name := range table {
		names = append(names, name)
	}
	slices.Sort(names)
	rapid.Check(t, func(t *rapid.T) {
		w := &world{feed: feed{events.BarrierPassed{}}}
		for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 0, 40).Draw(t, "cases") {
			table[name](w)
		}
		most := rapid.IntRange(1, 5).Draw(t, "suspects a round")
		r := w.run(t, "e", most)
		wantReport(t, r, w.want)
		if differ := w.want.Missing.Count + w.want.OnlyInStore.Earlier; differ > 0 && r.Rounds < 2 {
			t.Fatalf("%d rounds for %d differences, %d a round", r.Rounds, differ, most)
		}
	})
}

// A store that follows another life of the feed lacks nothing of this one.
func TestAnotherEpoch(t *testing.T) {
	w := &world{feed: feed{events.BarrierPassed{}}}
	for _, name := range []string{"missing", "on both sides", "only in the store", "lifted, but not in the store"} {
		cases()[name](w)
	}
	r := w.run(t, "f", 1000)
	if !r.Clean || r.SameEpoch || r.OnlyInStore.Earlier != 1 || r.Missing.Count != 0 || len(r.Notes) < 2 {
		t.Errorf("%+v", r)
	}
}

// An empty store has not followed anything, and a cursor beyond the feed's end is no
// report at all.
func TestNothingToCompare(t *testing.T) {
	f := feed{events.Revoked{Revocation: (&world{}).entry(time.Hour)}, events.Heartbeat{Epoch: "e"}}
	r, err := fsck.Run(t.Context(), fsck.Parts{Store: memstore.New(), Feed: f}, nil)
	if err != nil || !r.Clean || r.Behind != 1 || r.SameEpoch {
		t.Errorf("%+v, %v", r, err)
	}
	s := memstore.New()
	if err := s.Apply(denylist.Batch{Cursor: denylist.Cursor{Epoch: "e", Sequence: 9}}); err != nil {
		t.Fatal(err)
	}
	if _, err := fsck.Run(t.Context(), fsck.Parts{Store: s, Feed: f}, nil); err == nil {
		t.Error("a feed that ends before the cursor is compared")
	}
}

// What the store holds and the index does not find is a fault.
func TestIndex(t *testing.T) {
	w := &world{feed: feed{events.BarrierPassed{}}}
	for range 12 {
		cases()["on both sides"](w)
	}
	w.run(t, "e", 1000)
	check := func(lookups fsck.Lookups) fsck.Report {
		t.Helper()
		r, err := fsck.Run(t.Context(), fsck.Parts{Store: w.store, Feed: append(w.feed, events.Heartbeat{Epoch: "e"}), Lookups: lookups}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	whole, err := denylist.New(denylist.Config{}, memstore.New())
	if err != nil {
		t.Fatal(err)
	}
	if err := whole.Apply(denylist.Batch{Entries: w.kept}); err != nil {
		t.Fatal(err)
	}
	if r := check(whole); !r.Clean || !r.Index.Checked || r.Index.Entries != 12 {
		t.Errorf("a whole index: %+v", r)
	}
	empty, err := denylist.New(denylist.Config{}, memstore.New())
	if err != nil {
		t.Fatal(err)
	}
	if r := check(empty); r.Clean || r.Index.Missing.Count != 12 {
		t.Errorf("an empty index: %+v", r)
	}
}
