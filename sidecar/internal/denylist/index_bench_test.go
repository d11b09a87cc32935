package denylist

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Nothing of these tests expires unless it is told to.
const (
	benchNow   = 1_795_310_000
	benchUntil = benchNow + 3600
)

func filled(entries int) *Index {
	x := NewIndex(0)
	r := rand.New(rand.NewPCG(1, 2))
	for range entries {
		x.Insert(r.Uint64(), benchUntil)
	}
	return x
}

// sizes are those the index is judged by; the largest takes 150 MB.
func sizes(b *testing.B) []int {
	if testing.Short() {
		return []int{10_000, 1_000_000}
	}
	b.Helper()
	return []int{10_000, 1_000_000, 10_000_000}
}

// One operation asks for the keys of one token that nobody has asked for before,
// so that each comes out of memory and not out of a cache.
func BenchmarkIndexAbsent(b *testing.B) {
	for _, entries := range sizes(b) {
		x := filled(entries)
		r := rand.New(rand.NewPCG(3, 4))
		for _, n := range []int{1, 4, kinds} {
			b.Run(fmt.Sprintf("entries=%d/keys=%d", entries, n), func(b *testing.B) {
				var keys [kinds]uint64
				hits := 0
				for b.Loop() {
					for i := range n {
						keys[i] = r.Uint64()
					}
					if x.probe(&keys, 1<<n-1, benchNow) != 0 {
						hits++
					}
				}
				b.ReportMetric(float64(x.Size().Bytes)/float64(entries), "B/entry")
				b.ReportMetric(float64(hits)/float64(b.N), "false-hits/op")
			})
		}
	}
}

// One operation tidies a whole index, half of which has expired since.
func BenchmarkIndexExpire(b *testing.B) {
	const entries = 1_000_000
	r := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		b.StopTimer()
		x := NewIndex(entries)
		for i := range entries {
			x.Insert(r.Uint64(), benchUntil+int64(i%2)*3600)
		}
		b.StartTimer()
		x.Expire(benchUntil + 1800)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/entries, "ns/entry")
}
