package denylist

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/revocast/revocast/events"
)

// Status is the state of a denylist.
type Status struct {
	// Cursor is what is enforced; the disk may be behind.
	Cursor Cursor
	// Complete is false while the index is still being filled from disk.
	Complete bool
	// Rebuilding says that the store has lost what it held and the feed has not yet
	// brought all of it again. Meanwhile a token that only the disk could judge is
	// not judged; if Complete is false too, that is every token with an id.
	Rebuilding bool
	// Narrow is how many narrow entries there are, by the index: those of equal
	// fingerprint and wide ones not told apart. Wide is exact, by kind.
	Narrow int
	Wide   map[events.Kind]int
	// Lifted is how many lifts are remembered.
	Lifted int
	// Queued is how many narrow entries are not on disk yet.
	Queued int
	// IndexBytes is what the index takes of memory, MemoryBytes the whole list
	// without its store: index, queue, wide entries, lifts, confirmed denials.
	IndexBytes  int
	MemoryBytes int
	// OverBudget says that MemoryBytes is more than [Config].Budget allows.
	OverBudget bool
	// DiskErr is what keeps the queue from being written or the index from being
	// filled, or why the disk lost what it held. It is tried again, and nil as soon as
	// that has succeeded.
	DiskErr error
}

// What things take in memory, with what holds them: strings of usual length, and the
// map at three quarters.
const (
	wideBytes      = int(unsafe.Sizeof(events.Revocation{})) + 160
	confirmedBytes = wideBytes + int(unsafe.Sizeof(target{}))*3/2
	liftedBytes    = int(unsafe.Sizeof(liftedEntry{}))*3/2 + 150
	placeBytes     = int(unsafe.Sizeof(place(0)))
)

// Entries is how many entries there are, by the index: of wide ones that name the same,
// one counts. Unlike [Denylist.Status] it costs nothing.
func (d *Denylist) Entries() int { return d.index.Size().Entries }

// Status gives the present state.
func (d *Denylist) Status() Status {
	d.mu.RLock()
	defer d.mu.RUnlock()
	size := d.index.Size()
	s := Status{
		Cursor:     d.cursor,
		Complete:   d.complete.Load(),
		Rebuilding: d.loss.phase != none,
		Wide:       map[events.Kind]int{},
		Lifted:     len(d.lifted),
		Queued:     d.queue.narrow,
		IndexBytes: size.Bytes,
		DiskErr:    errors.Join(d.writeErr, d.fillErr),
	}
	if d.loss.cause != nil {
		s.DiskErr = errors.Join(s.DiskErr, fmt.Errorf("filling the denylist's store anew: %w", d.loss.cause))
	}
	wide := 0
	for at, list := range d.wide {
		s.Wide[at.kind] += len(list)
		wide += len(list)
	}
	s.Narrow = max(size.Entries-len(d.wide), 0)
	s.MemoryBytes = size.Bytes + d.queue.bytes() + wide*wideBytes + len(d.lifted)*liftedBytes +
		len(d.confirmed.entries)*confirmedBytes
	s.OverBudget = d.budget > 0 && s.MemoryBytes > d.budget
	return s
}
