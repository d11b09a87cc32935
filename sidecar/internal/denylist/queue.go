package denylist

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist/compact"
)

// queue holds what has been applied and is not on disk yet, in the order of the
// feed. It is not safe for concurrent use.
//
// It is never full: while the disk lags or fails, memory is the only place where
// these entries deny, so none is refused and none is dropped before it expires. A
// narrow entry takes about 50 bytes.
type queue struct {
	segments []*segment // oldest first
	narrow   int
	writing  int // how many of the first are on their way to the disk
}

// segmentEntries is how many entries are written at a time.
const segmentEntries = 8192

// segment is a stretch of the feed that is written in one go. Narrow entries are
// packed into records, wide ones are in the wide table as well.
//
// A record is: kind; varint source; varint expiry; packed id; packed target.
type segment struct {
	records []byte
	places  []place // of the records; in order once the segment is sealed
	sources []source
	wide    []events.Revocation
	lifted  []events.Lift
	cursor  Cursor
	until   int64 // when the last of it expires
	sealed  bool  // takes nothing more: it is full, on its way to the disk, or ends with lifts
}

// place says where a record is: above, the upper half of its key; below, its offset.
type place uint64

func placeOf(key uint64, offset int) place {
	return place(key&^math.MaxUint32 | uint64(offset)) // #nosec G115 -- a segment is a few megabytes at most
}

func (p place) offset() int { return int(p & math.MaxUint32) }

// source is what the entries of one time have in common.
type source struct {
	issuer events.Issuer
	reason events.Reason
	by     events.Initiator
}

// narrow is how many narrow entries the segment has.
func (s *segment) narrow() int { return len(s.places) }

// seal has the segment take nothing more.
func (s *segment) seal() {
	if !s.sealed {
		s.sealed = true
		slices.Sort(s.places)
	}
}

// open gives the segment that takes the next entry.
func (q *queue) open() *segment {
	var records []byte
	var places []place
	if n := len(q.segments); n > 0 {
		s := q.segments[n-1]
		full := s.narrow()+len(s.wide) >= segmentEntries
		if !s.sealed && !full {
			return s
		}
		s.seal()
		if full { // the next one will be, too
			records = make([]byte, 0, len(s.records)+len(s.records)/64)
			places = make([]place, 0, segmentEntries)
		}
	}
	s := &segment{records: records, places: places}
	q.segments = append(q.segments, s)
	return s
}

// add takes in one entry; key is the index's and matters only for narrow kinds.
func (q *queue) add(r *events.Revocation, key uint64) {
	s := q.open()
	s.until = max(s.until, untilSeconds(r.Until))
	if r.Kind.Wide() {
		s.wide = append(s.wide, *r)
		return
	}
	s.places = append(s.places, placeOf(key, len(s.records)))
	b := append(s.records, byte(r.Kind))
	b = binary.AppendVarint(b, int64(s.source(r)))
	b = binary.AppendVarint(b, untilSeconds(r.Until))
	b = compact.Append(b, string(r.ID))
	s.records = compact.Append(b, r.Target)
	q.narrow++
}

// source gives the number of r's source. Neighbours nearly always share theirs.
func (s *segment) source(r *events.Revocation) int {
	is := source{r.Issuer, r.Reason, r.By}
	for i := len(s.sources) - 1; i >= 0 && i >= len(s.sources)-8; i-- {
		if s.sources[i] == is {
			return i
		}
	}
	s.sources = append(s.sources, is)
	return len(s.sources) - 1
}

// finish ends a batch: its lifts follow the entries before them, and whatever
// comes later must not be removed by them, so they end their segment.
func (q *queue) finish(lifted []events.Lift, c Cursor) {
	if len(lifted) == 0 && c == (Cursor{}) {
		return
	}
	s := q.open()
	if c != (Cursor{}) {
		s.cursor = c
	}
	for _, l := range lifted {
		s.until = max(s.until, untilSeconds(l.Until))
	}
	s.lifted = lifted
	if len(lifted) > 0 {
		s.seal()
	}
}

// find appends the narrow entries that name at, whose key is given.
func (q *queue) find(found []events.Revocation, at target, key uint64) []events.Revocation {
	least := placeOf(key, 0)
	for _, s := range q.segments {
		places := s.places
		if s.sealed {
			first, _ := slices.BinarySearch(places, least)
			places = places[first:]
		}
		for _, p := range places {
			if p&^math.MaxUint32 != least {
				if s.sealed {
					break
				}
				continue
			}
			if r, _ := s.read(s.records[p.offset():]); targetOf(&r) == at {
				found = append(found, r)
			}
		}
	}
	return found
}

// read decodes the record that b begins with.
func (s *segment) read(b []byte) (r events.Revocation, rest []byte) {
	r.Kind, b = events.Kind(b[0]), b[1:]
	from, n := binary.Varint(b)
	b = b[n:]
	until, n := binary.Varint(b)
	id, b, _ := compact.Cut(b[n:])
	name, b, _ := compact.Cut(b)
	is := s.sources[from]
	r.ID, r.Target = events.RevocationID(id), name
	r.Issuer, r.Reason, r.By = is.issuer, is.reason, is.by
	r.Until = deadline(until)
	return r, b
}

// writeSegments is how many segments are written in one go, if there are so many: a
// store writes much at once faster than little. None follows one with lifts.
const writeSegments = 4

// oldest seals the segments to be written next, none if there are none. They do not
// change any more, but for their cursors, and may be read without a lock.
func (q *queue) oldest() []*segment {
	n := 0
	for _, s := range q.segments[:min(len(q.segments), writeSegments)] {
		s.seal()
		n++
		if len(s.lifted) > 0 {
			break
		}
	}
	q.writing = n
	return slices.Clone(q.segments[:n])
}

// entries appends what the segment holds.
func (s *segment) entries(to []events.Revocation) []events.Revocation {
	to = slices.Grow(to, s.narrow()+len(s.wide))
	for b := s.records; len(b) > 0; {
		var r events.Revocation
		r, b = s.read(b)
		to = append(to, r)
	}
	return append(to, s.wide...)
}

// drop removes what has been written.
func (q *queue) drop(written []*segment) {
	q.segments = slices.DeleteFunc(q.segments, func(s *segment) bool {
		if !slices.Contains(written, s) {
			return false
		}
		q.narrow -= s.narrow()
		return true
	})
	q.writing = 0
}

// forgetCursors leaves the entries: those before them are not on disk any more.
func (q *queue) forgetCursors() {
	for _, s := range q.segments {
		s.cursor = Cursor{}
	}
}

// failed says that what oldest gave is not on its way any more.
func (q *queue) failed() { q.writing = 0 }

// bytes is what the queue takes of memory.
func (q *queue) bytes() int {
	n := 0
	for _, s := range q.segments {
		n += cap(s.records) + cap(s.places)*placeBytes + len(s.wide)*wideBytes
	}
	return n
}

// expire lets go of segments that a disk which does not take them has outlived, so
// that a queue never holds more than what still denies. Their cursor goes too: the
// one on disk may lag. The first ones may be on their way to the disk.
func (q *queue) expire(now int64) {
	keep := min(q.writing, len(q.segments))
	waiting := slices.DeleteFunc(q.segments[keep:], func(s *segment) bool {
		gone := s.until < now
		if gone {
			q.narrow -= s.narrow()
		}
		return gone
	})
	q.segments = q.segments[:keep+len(waiting)]
}
