package denylist_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
)

const million = 1_000_000

// stretchOf gives the n sessions from the first one on, as a feed would.
func stretchOf(first, n int) denylist.Batch {
	b := denylist.Batch{Cursor: denylist.Cursor{Epoch: "e", Sequence: uint64(first + n)}}
	for i := first; i < first+n; i++ {
		b.Entries = append(b.Entries, denylisttest.Session(i, string(denylisttest.RevocationID(i))))
	}
	return b
}

// onDisk gives a list of n sessions that are all on a real disk.
func onDisk(b *testing.B, n int) *denylist.Denylist {
	b.Helper()
	store, err := badgerstore.Open(badgerstore.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	d := newList(b, store)
	for first := 0; first < n; first += 5000 {
		apply(b, d, stretchOf(first, 5000))
		if err := d.Flush(); err != nil {
			b.Fatal(err)
		}
	}
	return d
}

// manyTokens gives tokens with all six names, of which subject, client and key are
// shared by some.
func manyTokens(d *denylist.Denylist, n int, session func(i int) string) []denylist.Token {
	tokens := make([]denylist.Token, n)
	for i := range tokens {
		tokens[i] = denylist.Token{
			Issuer:    "https://id.example",
			ID:        events.TokenID(fmt.Sprintf("0198f3a2-0000-7b3d-9a4f-%012x", i)),
			Session:   events.SessionID(session(i)),
			Subject:   events.Subject(fmt.Sprintf("user-%d", i/3)),
			Client:    events.ClientID(fmt.Sprintf("client-%d", i%10)),
			Key:       events.KeyID(fmt.Sprintf("key-%d", i%2)),
			SessionAt: events.Position{Shard: 3, Sequence: 1 << 51}, MintedAt: events.Position{Shard: 3, Sequence: 1 << 51},
		}
		d.Prepare(&tokens[i])
	}
	return tokens
}

func free(i int) string    { return fmt.Sprintf("0198f3a2-ffff-7b3d-9a4f-%012x", i) }
func revoked(i int) string { return string(denylisttest.RevocationID(i)) }

// One operation is one token's whole look-up among a million revoked sessions.
func BenchmarkLookup(b *testing.B) {
	d := onDisk(b, million)
	now := denylisttest.Now()
	run := func(name string, tokens []denylist.Token, denied bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i += 7919
				if f, err := d.Lookup(b.Context(), &tokens[i%len(tokens)], now); err != nil || f.Denied != denied {
					b.Fatal(f, err)
				}
			}
		})
	}
	run("passes/tokens=1000", manyTokens(d, 1000, free), false)
	run("passes/tokens=50000", manyTokens(d, 50_000, free), false)
	run("passes/tokens=1000000", manyTokens(d, million, free), false)
	run("denied/confirmed-before", manyTokens(d, 1000, revoked), true)
	run("denied/confirmed-on-disk", manyTokens(d, million, revoked), true)

	spares := denylisttest.Subject(1, "")
	spares.Cut.Sequence, spares.Except = 1, ""
	var cuts denylist.Batch
	for i := range 1000 {
		spares.Target = fmt.Sprintf("user-%d", i/3)
		cuts.Entries = append(cuts.Entries, spares)
	}
	apply(b, d, cuts)
	run("passes/spared-by-a-cut", manyTokens(d, 1000, free), false)
}

// One operation takes 5,000 entries into memory; the disk is not written.
func BenchmarkApply(b *testing.B) {
	batch := stretchOf(0, 5000)
	d, n := newList(b, memstore.New()), 0
	for b.Loop() {
		if n += 5000; n%million == 0 { // or memory would be full before the clock is
			b.StopTimer()
			d = newList(b, memstore.New())
			b.StartTimer()
		}
		for i := range batch.Entries {
			batch.Entries[i].Target = revoked(n + i)
		}
		apply(b, d, batch)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
}

// One operation is a cold start: a million entries are applied while Run writes
// them to a real disk.
func BenchmarkCatchUp(b *testing.B) {
	var queued int
	for b.Loop() {
		store, err := badgerstore.Open(badgerstore.Config{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		d := newList(b, store)
		ctx, stop := context.WithCancel(b.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := d.Run(ctx); err != nil {
				b.Error(err)
			}
		})
		for first := 0; first < million; first += 5000 {
			apply(b, d, stretchOf(first, 5000))
		}
		queued = max(queued, d.Status().Queued)
		b.StopTimer()
		stop()
		running.Wait() // which writes the rest
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*million/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64(queued), "queued-at-the-end")
}

// What a million entries cost in memory: queued, which is the most they ever do,
// and written. A queue leaves nothing behind.
func BenchmarkMemory(b *testing.B) {
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	var queued, index float64
	for b.Loop() {
		before := heap()
		d := newList(b, &discarding{Store: memstore.New()})
		for first := 0; first < million; first += 5000 {
			apply(b, d, stretchOf(first, 5000))
		}
		queued = heap() - before
		if err := d.Flush(); err != nil {
			b.Fatal(err)
		}
		index = heap() - before
		runtime.KeepAlive(d)
	}
	b.ReportMetric(queued/million, "B/queued-entry")
	b.ReportMetric(index/million, "B/written-entry")
}

// discarding takes no memory for what it is given.
type discarding struct{ denylist.Store }

func (discarding) Apply(denylist.Batch) error { return nil }
