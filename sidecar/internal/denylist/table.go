package denylist

import (
	"math"
	"math/bits"
	"sync/atomic"
)

// A slot holds a fingerprint in its upper 40 bits and below it an expiry in
// units. Zero is a slot never used; dead is one given up.
const (
	expiryBits  = 24
	lastUnit    = 1<<expiryBits - 1 // never expires
	fingerprint = ^uint64(lastUnit)
	dead        = uint64(1)

	// A unit is 64 seconds. Counted from 2020 they last until 2054; what expires
	// later does not expire here, and whoever confirms a hit knows better.
	unitSeconds = 64
	firstSecond = 1_577_836_800
)

// unitUp rounds an expiry up. Units begin at 2, so that a slot in use is never zero
// and a dead one always expired.
func unitUp(second int64) uint64 {
	second = max(second, firstSecond+2*unitSeconds)
	return min(uint64(second-firstSecond+unitSeconds-1)/unitSeconds, lastUnit)
}

// unitDown rounds the present down, to the first unit that has not expired.
func unitDown(second int64) uint64 {
	second = max(second, firstSecond+2*unitSeconds)
	return min(uint64(second-firstSecond)/unitSeconds, lastUnit)
}

func expiryOf(slot uint64) uint64 { return slot & lastUnit }

// bucket is one cache line. Slots 0 to 6 are filled in any order. The last slot,
// the flag, is filled only when the others are: it is zero unless there may be
// entries that belong here and had to go to the buckets that follow.
type bucket [8]uint64

const flag = len(bucket{}) - 1

// table is an open table in which an entry stands in its home bucket or, if that
// was full, in the next one with room. The home follows from the fingerprint, so
// entries can be moved to a larger table, or nearer to their home, without keys.
//
// Readers hold no lock, so every change keeps these true at every moment:
//
//   - An entry stands no farther from its home than the first bucket whose flag is
//     zero. The flag is zeroed only when no entry stands beyond that needs it.
//   - An entry moves only towards its home, or from a flag to a slot before it, and
//     is written to its new place before it vanishes from the old one. A reader
//     looks the other way round: from the far end of the chain to the home, and at
//     the flag of a bucket before its other slots. So it cannot miss what moves.
type table struct{ buckets []bucket }

// leastBuckets make 64 kB. The runtime begins an allocation of that size on a page,
// so that a bucket is exactly one cache line.
const leastBuckets = 1024

func newTable(buckets uint64) *table {
	return &table{buckets: make([]bucket, max(buckets, leastBuckets))}
}

// bucketsFor is how many buckets a new table needs for entries.
func bucketsFor(entries int) uint64 {
	return max(uint64(math.Ceil(float64(entries)/newLoad/float64(len(bucket{})))), leastBuckets)
}

func (t *table) count() uint64 { return uint64(len(t.buckets)) }
func (t *table) slots() int    { return len(t.buckets) * len(bucket{}) }

// home spreads fingerprints evenly over any number of buckets, in ascending order:
// growing reads and writes memory from one end to the other.
func (t *table) home(slot uint64) uint64 {
	h, _ := bits.Mul64(slot&fingerprint, t.count())
	return h
}

func (t *table) next(i uint64) uint64 {
	if i++; i < t.count() {
		return i
	}
	return 0
}

// contains reports whether an entry with the key's fingerprint that has not expired
// before unit is in the table.
func (t *table) contains(key, unit uint64) bool {
	home := t.home(key)
	b := &t.buckets[home]
	least := key&fingerprint | unit // of all matching slots
	span := 1<<expiryBits - unit    // how many values match
	if atomic.LoadUint64(&b[flag]) == 0 {
		return b.contains(least, span)
	}
	return t.containsFar(home, least, span)
}

// containsFar looks through a chain of several buckets, from its far end.
func (t *table) containsFar(home, least, span uint64) bool {
	i, steps := home, 0
	for atomic.LoadUint64(&t.buckets[i][flag]) != 0 && steps < len(t.buckets) {
		i = t.next(i)
		steps++
	}
	for ; steps > 0; steps-- {
		if t.buckets[i].contains(least, span) {
			return true
		}
		if i == 0 {
			i = t.count()
		}
		i--
	}
	return t.buckets[home].contains(least, span)
}

// contains compares all eight slots without a branch, the flag first.
func (b *bucket) contains(least, span uint64) bool {
	_, h7 := bits.Sub64(atomic.LoadUint64(&b[flag])-least, span, 0)
	_, h6 := bits.Sub64(atomic.LoadUint64(&b[6])-least, span, 0)
	_, h5 := bits.Sub64(atomic.LoadUint64(&b[5])-least, span, 0)
	_, h4 := bits.Sub64(atomic.LoadUint64(&b[4])-least, span, 0)
	_, h3 := bits.Sub64(atomic.LoadUint64(&b[3])-least, span, 0)
	_, h2 := bits.Sub64(atomic.LoadUint64(&b[2])-least, span, 0)
	_, h1 := bits.Sub64(atomic.LoadUint64(&b[1])-least, span, 0)
	_, h0 := bits.Sub64(atomic.LoadUint64(&b[0])-least, span, 0)
	return h7|h6|h5|h4|h3|h2|h1|h0 != 0
}

// insert puts an entry into the first free slot of its chain, or raises the expiry
// of the entry with the same fingerprint. It reports whether a slot was taken.
// There is always a free one: the table grows long before the last is taken.
func (t *table) insert(entry, horizon uint64) bool {
	var free *uint64
	i := t.home(entry)
	for range t.buckets {
		b := &t.buckets[i]
		for s := range b {
			switch slot := b[s]; {
			case expiryOf(slot) < horizon:
				if free == nil {
					free = &b[s]
				}
			case slot&fingerprint == entry&fingerprint:
				atomic.StoreUint64(&b[s], max(slot, entry))
				return false
			}
		}
		if b[flag] == 0 {
			break
		}
		i = t.next(i)
	}
	atomic.StoreUint64(free, entry)
	return true
}

// live counts what has not expired.
func (t *table) live(horizon uint64) int {
	n := 0
	for i := range t.buckets {
		n += t.buckets[i].live(horizon)
	}
	return n
}

func (b *bucket) live(horizon uint64) int {
	n := 0
	for _, slot := range b {
		if expiryOf(slot) >= horizon {
			n++
		}
	}
	return n
}

// tidy brings the entries of the buckets in [from, to) nearer to their homes, so
// that chains become as short as in a new table, and counts what has not expired.
func (t *table) tidy(from, to, horizon uint64) (live int) {
	for i := from; i < to; i++ {
		b := &t.buckets[i]
		if b[flag] != 0 && !t.pull(i, horizon) {
			if expiryOf(b[flag]) >= horizon {
				t.move(b, flag, b, horizon)
			}
			if expiryOf(b[flag]) < horizon {
				atomic.StoreUint64(&b[flag], 0)
			}
		}
		live += b.live(horizon)
	}
	return live
}

// pull fetches into bucket i what stands beyond it and belongs there or before. It
// reports whether anything had to stay, and so needs the flag of i.
func (t *table) pull(i, horizon uint64) (stays bool) {
	far, distance := i, uint64(0)
	for t.buckets[far][flag] != 0 && distance < t.count()-1 {
		far = t.next(far)
		distance++
		b := &t.buckets[far]
		for s := range b {
			if expiryOf(b[s]) < horizon || t.strayed(b[s], far) < distance {
				continue
			}
			if !t.move(b, s, &t.buckets[i], horizon) {
				return true
			}
		}
	}
	return false
}

// strayed is how many buckets an entry stands beyond its home.
func (t *table) strayed(slot, at uint64) uint64 {
	home := t.home(slot)
	if home > at {
		return at + t.count() - home
	}
	return at - home
}

// move copies slot s of b to a free slot of to before its flag, and then gives the
// old one up. It leaves a dead entry there, not zero: the slot may be a flag.
func (t *table) move(b *bucket, s int, to *bucket, horizon uint64) bool {
	for d := range flag {
		if expiryOf(to[d]) < horizon {
			atomic.StoreUint64(&to[d], b[s])
			atomic.StoreUint64(&b[s], dead)
			return true
		}
	}
	return false
}
