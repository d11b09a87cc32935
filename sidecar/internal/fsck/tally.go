package fsck

import (
	"hash/maphash"
	"time"

	"github.com/revocast/revocast/events"
)

// tally says of two sets where they differ.
type tally struct {
	seed  maphash.Seed
	bits  int // of a hash that choose its bucket
	count []int32
	sum   []uint64
}

func newTally(bits int) *tally {
	return &tally{seed: maphash.MakeSeed(), bits: bits, count: make([]int32, 1<<bits), sum: make([]uint64, 1<<bits)}
}

// rule is what makes entries the same ([denylist.SameRule]).
type rule struct {
	kind           events.Kind
	scope          events.Scope
	issuer         events.Issuer
	target         string
	id             events.RevocationID
	cut            events.Position
	cutTime, until int64
	except         events.SessionID
}

// hash is that of an entry in canonical form. Nobody outside can choose entries whose
// hashes meet, since the seed is another each time.
func (t *tally) hash(r *events.Revocation) uint64 {
	return maphash.Comparable(t.seed, rule{
		r.Kind, r.Scope, r.Issuer, r.Target, r.ID, r.Cut, seconds(r.CutTime), seconds(r.Until), r.Except,
	})
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return t.Unix()
}

func (t *tally) bucket(hash uint64) uint64 { return hash >> (64 - t.bits) }

// add counts an entry of one side, remove one of the other.
func (t *tally) add(hash uint64) {
	t.count[t.bucket(hash)]++
	t.sum[t.bucket(hash)] += hash
}

func (t *tally) remove(hash uint64) {
	t.count[t.bucket(hash)]--
	t.sum[t.bucket(hash)] -= hash
}

// differs reports whether the sides differ in a bucket.
func (t *tally) differs(bucket uint64) bool { return t.count[bucket] != 0 || t.sum[bucket] != 0 }

// stretch is some of the buckets: from is the first, to the one behind the last.
type stretch struct{ from, to uint64 }

// suspects cuts the buckets into stretches with so many that differ in each.
func (t *tally) suspects(most int) (list []stretch) {
	found := 0
	for i := range uint64(len(t.sum)) {
		if !t.differs(i) {
			continue
		}
		if found%most == 0 {
			list = append(list, stretch{from: i})
		}
		list[len(list)-1].to = i + 1
		found++
	}
	return list
}

// within reports whether a hash lies in a bucket of s in which the sides differ.
func (t *tally) within(s stretch, hash uint64) bool {
	b := t.bucket(hash)
	return s.from <= b && b < s.to && t.differs(b)
}
