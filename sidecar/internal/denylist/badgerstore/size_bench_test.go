package badgerstore_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
)

// full is how many entries the large benchmarks use: ten million with PROOF=full.
func full() int {
	if os.Getenv("PROOF") == "full" {
		return 10 * million
	}
	return million
}

// scattered gives a session whose name is anywhere among the others.
func scattered(r *rand.Rand, i int) events.Revocation {
	return denylisttest.Session(i, fmt.Sprintf("%08x-%04x-4000-8000-%012x", r.Uint32(), r.Uint32N(1<<16), r.Uint64N(1<<48)))
}

// One operation writes so many entries, as a cold start does.
func BenchmarkBulk(b *testing.B) {
	for _, many := range []int{8192, 32_768, 65_536, 131_072} {
		b.Run(fmt.Sprint(many), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			s := open(b, b.TempDir())
			n := 0
			batch := denylist.Batch{Entries: make([]events.Revocation, many)}
			for b.Loop() {
				b.StopTimer()
				for i := range batch.Entries {
					batch.Entries[i] = scattered(r, n+i)
				}
				n += many
				batch.Cursor = denylist.Cursor{Epoch: "e", Sequence: uint64(n)}
				b.StartTimer()
				denylisttest.Apply(b, s, batch)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// A large store: opened, looked up in and loaded before and after it was merged.
func BenchmarkLarge(b *testing.B) {
	dir, n := b.TempDir(), full()
	s := open(b, dir)
	r := rand.New(rand.NewPCG(1, 2))
	var names []string
	batch := denylist.Batch{Entries: make([]events.Revocation, 65_536)}
	for first := 0; first < n; first += len(batch.Entries) {
		for i := range batch.Entries {
			batch.Entries[i] = scattered(r, first+i)
		}
		names = append(names, batch.Entries[first%len(batch.Entries)].Target)
		batch.Cursor = denylist.Cursor{Epoch: "e", Sequence: uint64(first + 1)}
		denylisttest.Apply(b, s, batch)
	}
	measure := func(state string) {
		b.Run(state+"/find", func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if found, err := s.Find(events.KindSession, "https://id.example", names[i%len(names)]); err != nil || len(found) != 1 {
					b.Fatal(found, err)
				}
			}
		})
		b.Run(state+"/load", func(b *testing.B) {
			for b.Loop() {
				count := 0
				for batch, err := range s.Load() {
					if err != nil {
						b.Fatal(err)
					}
					count += len(batch.Entries)
				}
				b.ReportMetric(float64(count), "entries")
			}
		})
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.Run(state+"/open", func(b *testing.B) {
			for b.Loop() {
				var err error
				if s, err = badgerstore.Open(badgerstore.Config{Dir: dir}); err != nil || s.Damage() != nil || s.Unusable() != nil {
					b.Fatal(err, s)
				}
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(diskBytes(b, dir))/float64(n), "B/entry")
		})
		s = open(b, dir)
	}
	measure("scattered")
	start := time.Now()
	if err := s.Expire(b.Context(), denylisttest.Now()); err != nil {
		b.Fatal(err)
	}
	b.Logf("merged %.0f entries a second", float64(n)/time.Since(start).Seconds())
	measure("merged")
}
