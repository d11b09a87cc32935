package fsck_test

import (
	"context"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
	"github.com/revocast/revocast/sidecar/internal/fsck"
)

// BenchmarkRun compares two sides that agree, and two that differ in every tenth entry,
// both in memory: what the comparison itself costs.
func BenchmarkRun(b *testing.B) {
	const size = 200_000
	for name, every := range map[string]int{"agree": 0, "differ": 10} {
		w := &world{feed: make(feed, 0, size)}
		for n := range size {
			r := w.entry(time.Hour)
			r.Kind, r.Target = events.KindSession, string(r.ID)
			w.feed = append(w.feed, events.Revoked{Revocation: r})
			if every == 0 || n%every != 0 {
				w.kept = append(w.kept, r)
			}
		}
		store := memstore.New()
		cursor := denylist.Cursor{Epoch: "e", Sequence: size}
		if err := store.Apply(denylist.Batch{Entries: w.kept, Cursor: cursor}); err != nil {
			b.Fatal(err)
		}
		feed := append(w.feed, events.Heartbeat{Epoch: "e"})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := fsck.Run(context.Background(), fsck.Parts{Store: store, Feed: feed}, nil)
				if err != nil || r.Clean != (every == 0) {
					b.Fatalf("%+v, %v", r, err)
				}
			}
			b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}
