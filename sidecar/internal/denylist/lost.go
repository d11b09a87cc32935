package denylist

import (
	"errors"
	"fmt"
	"time"
)

// errRebuilding is why a look-up cannot be judged that only the disk could answer.
var errRebuilding = errors.New("denylist's store is being filled anew")

// loss is what there is to know of a store that lost what it held. The zero loss is
// a store that holds whatever has left the queue.
//
//	none ──lose──▶ asked ──the feed begins again──▶ following ──proved──▶ none
//
// While it is not none, what only the disk had is nowhere, so a miss on disk proves
// nothing. The cursor on disk meanwhile says no more than the new store holds.
type loss struct {
	phase phase
	anew  bool // the store is still to be begun anew
	count int  // grows whenever the store is another
	cause error
	// fresh is the freshness with which the feed began again. The next one that
	// differs has been proved from there.
	fresh time.Time
}

type phase uint8

const (
	none phase = iota
	asked
	following
)

// disk is what the store was at some moment.
type disk struct {
	whole bool // it held whatever had left the queue
	empty bool // and nothing had
	count int
}

func (l *loss) disk() disk {
	return disk{whole: l.phase == none, empty: l.phase == none && l.anew, count: l.count}
}

// proved is nil if a miss in the store proves something: it has been whole all the
// time since before, when the queue was looked at.
func (l *loss) proved(before disk) error {
	if !before.whole || l.count != before.count {
		return errRebuilding
	}
	return nil
}

// stored gives the cursor that the disk may keep for c, which has been applied, and
// whether everything that was lost has come again. A sequence of zero is no beginning:
// the parts of a snapshot have it too.
func (l *loss) stored(c Cursor, begins bool) (_ Cursor, whole bool) {
	switch {
	case l.phase == none, c == Cursor{}:
		return c, false
	case l.phase == asked:
		if !begins {
			return Cursor{}, false // of the feed as it went on
		}
		l.phase, l.fresh = following, c.FreshAsOf
	case !c.FreshAsOf.Equal(l.fresh):
		l.phase, l.cause = none, nil
		return c, true
	}
	// What was fresh is in memory, and nowhere else yet: a restart must not claim it.
	c.FreshAsOf = time.Time{}
	return c, false
}

// Lost has a value when the store has lost what it held: the feed is to be followed
// from its beginning again. Until that has been done and proved, what memory knows
// denies as before, and what only the disk could answer is an error.
func (d *Denylist) Lost() <-chan struct{} { return d.resync }

// lose takes note of an error that says so, of a store as it was before.
func (d *Denylist) lose(err error, before disk) {
	if !errors.Is(err, ErrLost) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.loss.anew || d.loss.count != before.count {
		return // known
	}
	d.loss = loss{phase: asked, anew: true, count: d.loss.count + 1, cause: err}
	d.queue.forgetCursors()
	d.signal()
	select {
	case d.resync <- struct{}{}:
	default:
	}
}

// begin has a store that lost what it held begin anew.
func (d *Denylist) begin() error {
	d.mu.RLock()
	l := d.loss
	d.mu.RUnlock()
	if !l.anew {
		return nil
	}
	if err := d.store.Apply(Batch{Anew: true}); err != nil {
		return fmt.Errorf("beginning the denylist's store anew: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loss.anew = false
	d.loss.count++
	if d.loss.phase == none {
		d.loss.cause = nil
	}
	return nil
}
