package denylist

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

func TestBucketIsACacheLine(t *testing.T) {
	for _, entries := range []int{0, 100_000} {
		x := NewIndex(entries)
		if at := uintptr(unsafe.Pointer(&x.table.Load().buckets[0])); at%64 != 0 || unsafe.Sizeof(bucket{}) != 64 {
			t.Errorf("a bucket of %d bytes at %#x", unsafe.Sizeof(bucket{}), at)
		}
	}
}

func TestUnits(t *testing.T) {
	const turn = firstSecond + 1000*unitSeconds
	for _, c := range []struct {
		until, now int64
		expired    bool
	}{
		{turn, turn, false},
		{turn - 1, turn, false},          // rounded up
		{turn, turn + 1, false},          // the present is rounded down
		{turn, turn + unitSeconds, true}, // at last
		{turn + 1, turn + unitSeconds, false},
		{never, turn, false},
		{never, 1 << 62, false},
		{1 << 62, 1 << 61, false},
		{firstSecond + (lastUnit+5)*unitSeconds, firstSecond + (lastUnit+3)*unitSeconds, false},
		{firstSecond + (lastUnit+5)*unitSeconds, 1 << 62, false}, // beyond what a slot can say
		{-1 << 62, turn, true},
		{0, 0, false},
		{-1 << 62, -1 << 63, false},
	} {
		x := NewIndex(0)
		x.Insert(7<<60, c.until)
		if found := x.Contains(7<<60, c.now); found == c.expired {
			t.Errorf("until %d, now %d: found is %v", c.until, c.now, found)
		}
		if c.until >= c.now && c.expired {
			t.Errorf("until %d, now %d: wrong test", c.until, c.now)
		}
	}
}

// model is what an index is to do: of each fingerprint, the last unit.
type model map[uint64]uint64

func (m model) insert(key uint64, until int64, horizon uint64) {
	if u := unitUp(until); u >= horizon {
		m[key&fingerprint] = max(m[key&fingerprint], u)
	}
}

// crowded draws keys whose homes are few, at both ends of a table and in between,
// so that chains become long and wrap around.
func crowded() *rapid.Generator[uint64] {
	return rapid.Custom(func(t *rapid.T) uint64 {
		end := rapid.SampledFrom([]uint64{0, 0x8000 << 48, 0xffff << 48}).Draw(t, "where")
		return end | rapid.Uint64Range(0, 255).Draw(t, "key")<<(expiryBits+8) | rapid.Uint64Range(0, 1).Draw(t, "below the fingerprint")
	})
}

func TestIndexIsLikeItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, m := NewIndex(0), model{}
		now := int64(benchNow)
		seconds := rapid.Int64Range(-2*unitSeconds, 10*unitSeconds)
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				for _, key := range rapid.SliceOfN(crowded(), 1, 60).Draw(t, "keys") {
					until := now + seconds.Draw(t, "until")
					x.Insert(key, until)
					m.insert(key, until, x.horizon)
				}
			},
			"expire": func(t *rapid.T) {
				now += rapid.Int64Range(0, 4*unitSeconds).Draw(t, "seconds")
				x.Expire(now)
				for key, until := range m {
					if until < unitDown(now) {
						delete(m, key)
					}
				}
			},
			"rebuild": func(*rapid.T) { x.rebuild(x.table.Load()) },
			"": func(t *rapid.T) {
				for _, key := range rapid.SliceOfN(crowded(), 20, 20).Draw(t, "asked") {
					later := now + max(0, seconds.Draw(t, "later"))
					if got, want := x.Contains(key, later), m[key&fingerprint] >= unitDown(later); got != want {
						t.Fatalf("key %x at %d: %v, want %v", key, later, got, want)
					}
				}
				for key, until := range m {
					if !x.Contains(key, firstSecond+int64(until)*unitSeconds) {
						t.Fatalf("key %x is missing", key)
					}
				}
				if x.entries < len(m) {
					t.Fatalf("%d entries are counted, there are %d", x.entries, len(m))
				}
				wantInvariants(t, x.table.Load(), x.horizon)
			},
		})
	})
}

// wantInvariants checks what the comment on table promises readers.
func wantInvariants(t interface{ Fatalf(string, ...any) }, tab *table, horizon uint64) {
	for at := range tab.buckets {
		for _, slot := range tab.buckets[at] {
			if expiryOf(slot) < horizon {
				continue
			}
			for i := tab.home(slot); i != uint64(at); i = tab.next(i) {
				if tab.buckets[i][flag] == 0 {
					t.Fatalf("entry %x in bucket %d cannot be reached past bucket %d", slot, at, i)
				}
			}
		}
	}
}

func TestIndexGrowsAndShrinks(t *testing.T) {
	const n = 200_000
	x, r := NewIndex(0), rand.New(rand.NewPCG(1, 2))
	keys := make([]uint64, n)
	least := x.Size().Bytes
	for i := range keys {
		keys[i] = r.Uint64()
		x.Insert(keys[i], benchUntil+int64(i%2)*3600)
		if size := x.Size(); size.Bytes > max(16*(i+1), least) {
			t.Fatalf("%d bytes for %d entries", size.Bytes, i+1)
		}
	}
	for _, k := range keys {
		if !x.Contains(k, benchNow) {
			t.Fatal("a key is missing after growth")
		}
	}
	x.Expire(benchUntil + 1800) // half of them
	if size := x.Size(); size.Entries != n/2 {
		t.Errorf("%d entries are left of %d", size.Entries, n/2)
	}
	falsely := 0
	for i, k := range keys {
		switch found := x.Contains(k, benchUntil+1800); {
		case i%2 == 1 && !found:
			t.Fatal("a key is missing after others had expired")
		case i%2 == 0 && found:
			falsely++ // it shares its fingerprint with one that lives
		}
	}
	if falsely > 3 {
		t.Errorf("%d expired keys are found", falsely)
	}
	x.Expire(benchUntil + 7200)
	if size := x.Size(); size.Entries != 0 || size.Bytes != least {
		t.Errorf("%d entries, %d bytes after all had expired", size.Entries, size.Bytes)
	}
	if big := NewIndex(n); big.Size().Bytes < 8*n {
		t.Errorf("%d bytes for %d entries expected", big.Size().Bytes, n)
	}
}

// Entries come and go for fifteen lifetimes; the table stays, and stays short of
// chains.
func TestSteadyChurnNeverRebuilds(t *testing.T) {
	const living, life = 40_000, 50 // entries; units
	x := NewIndex(living * 10 / 9)
	before, r := x.table.Load(), rand.New(rand.NewPCG(1, 2))
	for unit := range int64(15 * life) {
		now := benchNow + unit*unitSeconds
		for range living / life {
			x.Insert(r.Uint64(), now+life*unitSeconds)
		}
		x.Expire(now)
	}
	if x.table.Load() != before {
		t.Error("the table has been rebuilt")
	}
	far := 0
	for i := range before.buckets {
		if before.buckets[i][flag] != 0 {
			far++
		}
	}
	if share := float64(far) / float64(len(before.buckets)); share > 0.2 {
		t.Errorf("%.0f%% of the buckets lead on to the next", 100*share)
	}
}

// Readers find every key that has been inserted while a writer fills chains, lets
// their beginnings expire, moves what is left and rebuilds the table.
func TestReadersMissNothing(t *testing.T) {
	const rounds = 60
	x := NewIndex(0)
	var keys [rounds * 40]uint64
	var published atomic.Int64
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for last := false; !last; {
				last = done.Load()
				for i := range published.Load() {
					if !x.Contains(keys[i], benchNow) {
						t.Errorf("key %d is missing", i)
						return
					}
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(5, 6))
	// Homes are 1,500 buckets, so that filler and keeper fill them time and again.
	home := func() uint64 { return r.Uint64N(1500)<<49 | r.Uint64()>>16 }
	now, n := int64(benchNow), 0
	for range rounds {
		for range 400 {
			x.Insert(home(), now+unitSeconds)
		}
		for range len(keys) / rounds {
			keys[n] = home()
			x.Insert(keys[n], never)
			n++
			published.Store(int64(n))
		}
		now += 3 * unitSeconds
		x.Expire(now)
		if n%2000 == 0 {
			x.writing.Lock()
			x.rebuild(x.table.Load())
			x.writing.Unlock()
		}
		runtime.Gosched()
	}
	done.Store(true)
	readers.Wait()
	wantInvariants(t, x.table.Load(), x.horizon)
}

// What is inserted while Expire walks through the table stays, also if the table is
// rebuilt meanwhile.
func TestInsertBetweenSteps(t *testing.T) {
	for steps := range 4 {
		x, r := NewIndex(0), rand.New(rand.NewPCG(1, 2))
		for x.Size().Bytes < 1<<20 {
			x.Insert(r.Uint64(), benchNow) // which will have expired
		}
		full := int(maxLoad * float64(x.table.Load().slots()))
		for x.Size().Entries < full-10 {
			x.Insert(r.Uint64(), benchNow)
		}
		w := x.walk(benchUntil)
		for range steps {
			w.step()
		}
		keys := make([]uint64, 2000)
		for i := range keys { // with the eleventh the table is rebuilt
			keys[i] = r.Uint64()
			x.Insert(keys[i], never)
		}
		for w.step() {
		}
		for _, k := range keys {
			if !x.Contains(k, benchUntil) {
				t.Fatalf("a key is missing that came after %d steps", steps)
			}
		}
		if size := x.Size(); size.Entries < len(keys) {
			t.Errorf("after %d steps %d entries are counted", steps, size.Entries)
		}
	}
}

// A key is found at every moment while it is moved from the next bucket into its
// home, and while the chain that led to it is cut.
func TestReadersMissNoMove(t *testing.T) {
	const buckets, horizon = 1 << 15, 3
	strayed := func() *table {
		tab := newTable(buckets)
		for home := 0; home < buckets; home += 2 {
			for s := range tab.buckets[home] {
				tab.buckets[home][s] = horizon - 1 // expired, the flag too
			}
			tab.buckets[home+1][home/2%8] = uint64(home)<<49 | lastUnit
		}
		return tab
	}
	var current atomic.Pointer[table]
	current.Store(strayed())
	var moving atomic.Uint64 // a key; all keys are in all tables
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !done.Load() {
				if key := moving.Load(); !current.Load().contains(key, horizon) {
					t.Errorf("key %x is missing", key)
					return
				}
			}
		})
	}
	for range 20 {
		tab := strayed()
		current.Store(tab)
		for home := uint64(0); home < buckets; home += 2 {
			moving.Store(home << 49)
			tab.tidy(home, home+1, horizon)
			if tab.buckets[home][flag] != 0 {
				t.Fatal("the chain has not been cut")
			}
		}
	}
	done.Store(true)
	readers.Wait()
}

func TestSameKeyIsOneEntry(t *testing.T) {
	x := NewIndex(0)
	for i := range int64(100_000) {
		x.Insert(1<<40, benchUntil+i%1000*unitSeconds)
	}
	if size := x.Size(); size.Entries != 1 {
		t.Errorf("%d entries", size.Entries)
	}
	if last := int64(benchUntil + 999*unitSeconds); !x.Contains(1<<40, last) {
		t.Error("it does not live as long as the last of them")
	}
}

func TestIndexAllocatesNothing(t *testing.T) {
	x := filled(10_000)
	var keys [kinds]uint64
	r := rand.New(rand.NewPCG(7, 8))
	if n := testing.AllocsPerRun(1000, func() {
		for i := range keys {
			keys[i] = r.Uint64()
		}
		x.probe(&keys, 1<<kinds-1, benchNow)
		x.Contains(keys[0], benchNow)
		x.Insert(keys[1], benchUntil)
		keys[2] = x.Hash(1, "https://id.example", "0198f3a2-7c1e-7b3d-9a4f-0123456789ab")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHashesDiffer(t *testing.T) {
	x, y := NewIndex(0), NewIndex(0)
	seen := map[uint64]string{}
	for _, at := range []target{{1, "a", "bc"}, {1, "ab", "c"}, {2, "a", "bc"}, {1, "abc", ""}, {1, "", "abc"}} {
		h := x.Hash(at.kind, at.issuer, at.name)
		if other, twice := seen[h]; twice {
			t.Errorf("%+v and %s have one hash", at, other)
		}
		seen[h] = fmt.Sprint(at)
		if h == y.Hash(at.kind, at.issuer, at.name) {
			t.Errorf("%+v has one hash in two indexes", at)
		}
	}
}
