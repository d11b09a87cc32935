package denylist

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/revocast/revocast/events"
)

// Index says of a key either that it is certainly not in it, or that it may be:
// then someone else has to look again. It keeps no keys, only 64 bits of each: a
// fingerprint of 40 and an expiry of 24. Of keys with one fingerprint it keeps the
// later expiry, so it errs towards a second look only.
//
// Readers take no lock and allocate nothing; they may run beside one another and
// beside writers, who take turns. A key whose Insert has returned is found by
// every later look-up until its expiry has passed, whatever writers do meanwhile.
//
// What has expired is overwritten by later inserts and tidied away in place by
// [Index.Expire]; the table is rebuilt only to grow or to shrink.
type Index struct {
	seed  maphash.Seed
	least uint64 // buckets never fewer than this
	table atomic.Pointer[table]

	writing sync.Mutex
	horizon uint64 // what expired before this unit is free
	entries int    // not expired when last counted, and inserted since
}

// maxLoad is the share of the slots that may be taken before the table grows, and
// newLoad the share taken in a new one. Between them an entry costs 11.4 to 15.1
// bytes, and a probe of an absent key touches 1.1 to 1.5 cache lines.
const (
	maxLoad = 0.70
	newLoad = 0.53
)

// NewIndex makes an index with room for entries; it grows beyond them by itself
// and never shrinks below them.
func NewIndex(entries int) *Index {
	least := bucketsFor(entries)
	x := &Index{seed: maphash.MakeSeed(), least: least, horizon: unitDown(0)}
	x.table.Store(newTable(least))
	return x
}

// Hash gives the key of an id. It differs from one index to the next, so that
// nobody can choose ids that meet.
func (x *Index) Hash(kind events.Kind, issuer events.Issuer, id string) uint64 {
	return maphash.Comparable(x.seed, target{kind, issuer, id})
}

// Contains reports whether the key may be in the index at the time now, in Unix
// seconds.
func (x *Index) Contains(key uint64, now int64) bool {
	return x.table.Load().contains(key, unitDown(now))
}

// probe asks for several keys at once, those whose bits are set in which, and
// returns the bits of those that may be there. All buckets are touched before any
// is looked through, so that the memory is waited for once and not key by key.
func (x *Index) probe(keys *[kinds]uint64, which uint8, now int64) (hits uint8) {
	t := x.table.Load()
	unit := unitDown(now)
	for i := range keys {
		atomic.LoadUint64(&t.buckets[t.home(keys[i])][flag])
	}
	for i := range keys {
		if which&(1<<i) != 0 && t.contains(keys[i], unit) {
			hits |= 1 << i
		}
	}
	return hits
}

// Insert adds a key that expires after until, in Unix seconds.
func (x *Index) Insert(key uint64, until int64) {
	x.writing.Lock()
	defer x.writing.Unlock()
	unit := unitUp(until)
	if unit < x.horizon {
		return
	}
	t := x.table.Load()
	if t.insert(key&fingerprint|unit, x.horizon) {
		x.entries++
	}
	// The key can be found already: whoever waits for it need not wait for growth.
	if float64(x.entries) > maxLoad*float64(t.slots()) {
		x.rebuild(t)
	}
}

// Expire forgets what expired before now, in Unix seconds: its place becomes free,
// entries that had found no room where they belong move there, and a table mostly
// empty gives way to a smaller one. A later call with an earlier now forgets
// nothing more.
func (x *Index) Expire(now int64) {
	w, more := x.walk(now), true
	for more {
		more = w.step()
	}
}

// walk is one way of Expire through the table.
type walk struct {
	x      *Index
	t      *table
	from   uint64 // the next bucket
	live   int    // entries found so far
	before int    // entries counted at its start
}

// stretch is how many buckets a step tidies: 256 kB of them. An insert waits for a
// step, not for a walk.
const stretch = 4096

func (x *Index) walk(now int64) *walk {
	x.writing.Lock()
	defer x.writing.Unlock()
	x.horizon = max(x.horizon, unitDown(now))
	return &walk{x: x, t: x.table.Load(), before: x.entries}
}

// step goes on and reports whether there is more to do.
func (w *walk) step() bool {
	x := w.x
	x.writing.Lock()
	defer x.writing.Unlock()
	switch {
	case x.table.Load() != w.t: // rebuilt meanwhile, without what expired
	case w.from < w.t.count():
		to := min(w.from+stretch, w.t.count())
		w.live += w.t.tidy(w.from, to, x.horizon)
		w.from = to
		return true
	case max(bucketsFor(w.live), x.least) <= w.t.count()/2:
		x.rebuild(w.t)
	default:
		x.entries += w.live - w.before // what came meanwhile counts, perhaps twice
	}
	return false
}

// rebuild publishes a table of the right size with what has not expired.
func (x *Index) rebuild(old *table) {
	live := old.live(x.horizon)
	t := newTable(max(bucketsFor(live), x.least))
	for i := range old.buckets {
		for _, slot := range old.buckets[i] { // only writers write, and we hold their lock
			if expiryOf(slot) >= x.horizon {
				t.insert(slot, x.horizon)
			}
		}
	}
	x.entries = live
	x.table.Store(t)
}

// IndexSize is how large an index is.
type IndexSize struct {
	// Entries that had not expired when Expire last ran, or came since.
	Entries int
	// Bytes of memory in the table.
	Bytes int
}

// Size may be called at any time.
func (x *Index) Size() IndexSize {
	x.writing.Lock()
	defer x.writing.Unlock()
	return IndexSize{Entries: x.entries, Bytes: x.table.Load().slots() * 8}
}
