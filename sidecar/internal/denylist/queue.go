package denylist

import (
	"encoding/binary"
	"slices"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist/compact"
)

// queue holds what has been applied and is not on disk yet, in the order of the
// feed. It is not safe for concurrent use.
//
// It is never full: while the disk lags or fails, memory is the only place where
// these entries deny, so none is refused and none is dropped before it expires. A
// narrow entry takes about 90 bytes.
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
// A record is: uvarint, how far back the previous record with the same short key
// is (0 for none); kind; varint source; varint expiry; packed id; packed target.
type segment struct {
	records []byte
	last    map[uint32]uint32 // short key → offset of its last record
	sources []source
	wide    []events.Revocation
	lifted  []events.Lift
	cursor  Cursor
	narrow  int
	until   int64 // when the last of it expires
	sealed  bool  // takes nothing more, since it is on its way to the disk or ends with lifts
}

// source is what the entries of one time have in common.
type source struct {
	issuer events.Issuer
	reason events.Reason
	by     events.Initiator
}

// open gives the segment that takes the next entry.
func (q *queue) open() *segment {
	if n := len(q.segments); n > 0 {
		if s := q.segments[n-1]; !s.sealed && s.narrow+len(s.wide) < segmentEntries {
			return s
		}
	}
	s := &segment{last: map[uint32]uint32{}}
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
	short, at := uint32(key>>32), uint32(len(s.records)) // #nosec G115 -- a segment is a few megabytes at most
	var back uint32
	if previous, ok := s.last[short]; ok {
		back = at - previous
	}
	s.last[short] = at
	b := binary.AppendUvarint(s.records, uint64(back))
	b = append(b, byte(r.Kind))
	b = binary.AppendVarint(b, int64(s.source(r)))
	b = binary.AppendVarint(b, untilSeconds(r.Until))
	b = compact.Append(b, string(r.ID))
	s.records = compact.Append(b, r.Target)
	s.narrow++
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
	s.sealed = len(lifted) > 0
}

// find appends the narrow entries that name at, whose key is given.
func (q *queue) find(found []events.Revocation, at target, key uint64) []events.Revocation {
	for _, s := range q.segments {
		offset, ok := s.last[uint32(key>>32)]
		for ok {
			r, back, _ := s.read(s.records[offset:])
			if targetOf(&r) == at {
				found = append(found, r)
			}
			offset, ok = offset-back, back > 0
		}
	}
	return found
}

// read decodes the record that b begins with.
func (s *segment) read(b []byte) (r events.Revocation, back uint32, rest []byte) {
	distance, n := binary.Uvarint(b)
	b = b[n:]
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
	return r, uint32(distance), b // #nosec G115 -- written from a uint32
}

// writeSegments is how many segments are written in one go, if there are so many: a
// store writes much at once faster than little. None follows one with lifts.
const writeSegments = 8

// oldest seals the segments to be written next, none if there are none. They do not
// change any more, but for their cursors, and may be read without a lock.
func (q *queue) oldest() []*segment {
	n := 0
	for _, s := range q.segments[:min(len(q.segments), writeSegments)] {
		s.sealed = true
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
	to = slices.Grow(to, s.narrow+len(s.wide))
	for b := s.records; len(b) > 0; {
		var r events.Revocation
		r, _, b = s.read(b)
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
		q.narrow -= s.narrow
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
		n += cap(s.records) + len(s.last)*lastBytes + len(s.wide)*wideBytes
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
			q.narrow -= s.narrow
		}
		return gone
	})
	q.segments = q.segments[:keep+len(waiting)]
}
