package denylist

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// candidate is what could stand in front of the store (ADR-0006). All are asked by
// hash and may say yes of an absent key, though never no of a present one.
type candidate interface {
	insert(key uint64, until int64)
	// probe gives the bits of the keys that may be there, of those in which.
	probe(keys *[kinds]uint64, which uint8, now int64) uint8
	// expire lets go of what expired before now. live gives the keys that have not:
	// only the store knows them, unless the structure does itself.
	expire(now int64, live func(yield func(key uint64, until int64)))
}

// chosen is the index.
type chosen struct{ *Index }

func (c chosen) insert(key uint64, until int64)                { c.Insert(key, until) }
func (c chosen) expire(now int64, _ func(func(uint64, int64))) { c.Expire(now) }

// flat is one array of slots like those of the index, with linear probing. An expired
// slot can be taken again, but it goes on leading to the slots after it until the
// table is made anew.
type flat struct {
	slots []uint64 // a power of two
	taken int
	shift int
}

func newFlat(entries int) *flat {
	f := &flat{}
	f.clear(1 << bits.Len(uint(max(entries, 512)*10/6)))
	return f
}

// clear makes a table of so many slots, a power of two.
func (f *flat) clear(size int) {
	*f = flat{slots: make([]uint64, size), shift: 64 - bits.TrailingZeros(uint(size))}
}

func (f *flat) insert(key uint64, until int64) {
	if f.taken*10 >= len(f.slots)*7 {
		old := f.slots
		f.clear(2 * len(old))
		f.refill(old, 0)
	}
	f.put(key&fingerprint | unitUp(until))
}

func (f *flat) put(slot uint64) {
	for i := slot >> f.shift; ; i++ {
		s := &f.slots[i&uint64(len(f.slots)-1)]
		switch {
		case *s == 0:
			f.taken++
			*s = slot
			return
		case *s&fingerprint == slot&fingerprint:
			*s = max(*s, slot)
			return
		}
	}
}

func (f *flat) refill(old []uint64, horizon uint64) {
	for _, s := range old {
		if s != 0 && expiryOf(s) >= horizon {
			f.put(s)
		}
	}
}

func (f *flat) probe(keys *[kinds]uint64, which uint8, now int64) (hits uint8) {
	unit, mask := unitDown(now), uint64(len(f.slots)-1)
	var first [kinds]uint64
	for i, key := range keys {
		first[i] = f.slots[key>>f.shift] // all at once, as the index does
	}
	for n, key := range keys {
		if which&(1<<n) == 0 {
			continue
		}
		for i, slot := key>>f.shift, first[n]; slot != 0; slot = f.slots[i&mask] {
			if slot&fingerprint == key&fingerprint {
				if expiryOf(slot) >= unit {
					hits |= 1 << n
				}
				break
			}
			i++
		}
	}
	return hits
}

func (f *flat) expire(now int64, _ func(func(uint64, int64))) {
	live, horizon := 0, unitDown(now)
	for _, s := range f.slots {
		if s != 0 && expiryOf(s) >= horizon {
			live++
		}
	}
	old := f.slots
	*f = *newFlat(live)
	f.refill(old, horizon)
}

// bloom is a blocked filter: sixteen bits an entry, eight of them set, all in one
// cache line. It knows neither keys nor expiries, so to grow or to forget it must be
// given all live keys again.
type bloom struct {
	blocks  [][8]uint64
	entries int
	room    int
}

const bitsEach = 16

func newBloom(entries int) *bloom {
	room := max(entries, 1024)
	return &bloom{blocks: make([][8]uint64, room*bitsEach/512), room: room}
}

// at gives a key's block and the eight words' bits, from a second hash.
func (b *bloom) at(key uint64) (*[8]uint64, uint64) {
	n, _ := bits.Mul64(key, uint64(len(b.blocks)))
	return &b.blocks[n], key * 0x9e3779b97f4a7c15
}

func (b *bloom) insert(key uint64, _ int64) {
	block, h := b.at(key)
	for w := range block {
		block[w] |= 1 << (h >> (64 - 6*(w+1)) & 63)
	}
	b.entries++
}

func (b *bloom) probe(keys *[kinds]uint64, which uint8, _ int64) (hits uint8) {
	var first [kinds]uint64
	for i, key := range keys {
		block, _ := b.at(key)
		first[i] = block[0]
	}
	for n, key := range keys {
		if which&(1<<n) == 0 {
			continue
		}
		block, h := b.at(key)
		all := first[n] >> (h >> 58 & 63)
		for w := 1; w < len(block); w++ {
			all &= block[w] >> (h >> (64 - 6*(w+1)) & 63)
		}
		hits |= uint8(all&1) << n
	}
	return hits
}

func (b *bloom) expire(_ int64, live func(func(uint64, int64))) {
	n := 0
	live(func(uint64, int64) { n++ })
	*b = *newBloom(n)
	live(b.insert)
}

// builtin is Go's map. It would need a lock besides.
type builtin map[uint64]int64

func (m builtin) insert(key uint64, until int64) { m[key] = max(m[key], until) }

func (m builtin) probe(keys *[kinds]uint64, which uint8, now int64) (hits uint8) {
	for n, key := range keys {
		if which&(1<<n) != 0 {
			if until, ok := m[key]; ok && until >= now {
				hits |= 1 << n
			}
		}
	}
	return hits
}

func (m builtin) expire(now int64, _ func(func(uint64, int64))) {
	for key, until := range m {
		if until < now {
			delete(m, key)
		}
	}
}

// candidates makes one of each, empty; the filter has to be told how much will come.
func candidates(entries int) []struct {
	name string
	make func() candidate
} {
	return []struct {
		name string
		make func() candidate
	}{
		{"buckets", func() candidate { return chosen{NewIndex(0)} }},
		{"flat", func() candidate { return newFlat(0) }},
		{"bloom", func() candidate { return newBloom(entries) }},
		{"map", func() candidate { return builtin{} }},
	}
}

// Every candidate finds what it was given and forgets what has expired.
func TestCandidates(t *testing.T) {
	const n = 20_000
	for _, c := range candidates(n) {
		t.Run(c.name, func(t *testing.T) {
			x := c.make()
			keys := fill(x, n)
			var ask [kinds]uint64
			found := func(half int, now int64) (hits int) {
				for i := half; i < n; i += 2 {
					ask[0] = keys[i]
					hits += int(x.probe(&ask, 1, now))
				}
				return hits
			}
			if all := found(0, benchNow) + found(1, benchNow); all != n {
				t.Errorf("%d of %d are found", all, n)
			}
			x.expire(laterNow, living(keys))
			if gone, left := found(0, laterNow), found(1, laterNow); gone > n/500 || left != n/2 {
				t.Errorf("%d of the expired half and %d of the other are found", gone, left)
			}
		})
	}
}

// laterNow is when every other entry of fill has expired.
const laterNow = benchUntil + 1800

// fill inserts keys, of which those with an even number expire an hour before the
// others.
func fill(c candidate, entries int) []uint64 {
	keys, r := make([]uint64, entries), rand.New(rand.NewPCG(1, 2))
	for i := range keys {
		keys[i] = r.Uint64()
		c.insert(keys[i], benchUntil+int64(i%2)*3600)
	}
	return keys
}

// living gives the other half, as a scan of the store would.
func living(keys []uint64) func(func(uint64, int64)) {
	return func(yield func(uint64, int64)) {
		for i := 1; i < len(keys); i += 2 {
			yield(keys[i], benchUntil+3600)
		}
	}
}

// heapNow is what is in use after a collection.
func heapNow() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkCandidates holds the structures against each other that could stand in
// front of the store, by one token's four keys, drawn anew each time. Insert is one key,
// growth included. Expired is absent once half of the entries have expired: hits-before
// and hits-after are the share of those that is still found until the structure is told,
// and then; expire is what telling it costs. The filter gets the living keys for nothing,
// which otherwise are a scan of the store.
func BenchmarkCandidates(b *testing.B) {
	for _, entries := range sizes(b) {
		for _, c := range candidates(entries) {
			name := func(what string) string { return fmt.Sprintf("%s/entries=%d/%s", what, entries, c.name) }
			before := heapNow()
			x := c.make()
			keys := fill(x, entries)
			size := (heapNow()-before)/float64(entries) - 8 // the keys themselves
			r := rand.New(rand.NewPCG(3, 4))
			b.Run(name("absent"), func(b *testing.B) { absent(b, x, r); b.ReportMetric(size, "B/entry") })
			b.Run(name("present"), func(b *testing.B) {
				var ask [kinds]uint64
				b.ReportAllocs()
				for b.Loop() {
					for i := range 4 {
						ask[i] = keys[r.IntN(entries)]
					}
					if x.probe(&ask, 0b1111, benchNow) != 0b1111 {
						b.Fatal("a key is missing")
					}
				}
			})
			b.Run(name("expired"), func(b *testing.B) { expired(b, c.make, entries, r) })
			b.Run(name("insert"), func(b *testing.B) {
				y, n := c.make(), 0
				b.ReportAllocs()
				for b.Loop() {
					if n++; n == entries {
						y, n = c.make(), 0
					}
					y.insert(r.Uint64(), benchUntil)
				}
			})
		}
	}
}

func absent(b *testing.B, x candidate, r *rand.Rand) {
	b.Helper()
	var ask [kinds]uint64
	hits := 0
	b.ReportAllocs()
	for b.Loop() {
		for i := range 4 {
			ask[i] = r.Uint64()
		}
		hits += bits.OnesCount8(x.probe(&ask, 0b1111, benchNow))
	}
	b.ReportMetric(float64(hits)/float64(b.N), "false-hits/op")
}

// expired is what becomes of a structure half of which has expired.
func expired(b *testing.B, create func() candidate, entries int, r *rand.Rand) {
	b.Helper()
	empty := heapNow()
	x := create()
	keys := fill(x, entries)
	share := func() float64 {
		var ask [kinds]uint64
		hits := 0
		for i := 0; i < entries; i += 2 {
			ask[0] = keys[i]
			hits += int(x.probe(&ask, 1, laterNow))
		}
		return 2 * float64(hits) / float64(entries)
	}
	before := share()
	began := time.Now()
	x.expire(laterNow, living(keys))
	took := time.Since(began)
	after, size := share(), heapNow()-empty-8*float64(entries)
	runtime.KeepAlive(keys) // which size leaves out
	absent(b, x, r)
	b.ReportMetric(before, "hits-before")
	b.ReportMetric(after, "hits-after")
	b.ReportMetric(float64(took.Nanoseconds())/float64(entries), "expire-ns/entry")
	b.ReportMetric(2*size/float64(entries), "B/living-entry")
}
