package denylist_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
)

// losing is a store that can lose what it held, and that may be unusable.
type losing struct {
	denylist.Store
	mu             sync.Mutex
	lost, unusable bool
	begun          int
	gives          int // how many batches it loads before it fails
}

func (l *losing) lose(unusable bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost, l.unusable = true, unusable
}

func (l *losing) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unusable = false
}

func (l *losing) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost {
		return fmt.Errorf("%w: %w", denylist.ErrLost, errDisk)
	}
	return nil
}

func (l *losing) Apply(b denylist.Batch) error {
	if b.Anew {
		l.mu.Lock()
		if l.unusable {
			l.mu.Unlock()
			return errDisk
		}
		l.lost = false
		l.begun++
		l.mu.Unlock()
	}
	if err := l.err(); err != nil {
		return err
	}
	return l.Store.Apply(b)
}

func (l *losing) Find(k events.Kind, i events.Issuer, name string) ([]events.Revocation, error) {
	if err := l.err(); err != nil {
		return nil, err
	}
	return l.Store.Find(k, i, name)
}

func (l *losing) Expire(ctx context.Context, now time.Time) error {
	if err := l.err(); err != nil {
		return err
	}
	return l.Store.Expire(ctx, now)
}

func (l *losing) Load() iter.Seq2[denylist.Batch, error] {
	return func(yield func(denylist.Batch, error) bool) {
		given := 0
		for b, err := range l.Store.Load() {
			if e := l.err(); e != nil && given >= l.gives {
				b, err = denylist.Batch{}, e
			}
			given++
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// feed gives batches of a feed whose n-th entry revokes session n.
func feedAt(n int, fresh time.Time) denylist.Batch {
	b := denylist.Batch{Cursor: denylist.Cursor{Epoch: "e", Sequence: uint64(n), FreshAsOf: fresh}, Begins: n == 0}
	if n > 0 {
		b.Entries = append(b.Entries, denylisttest.Session(n, fmt.Sprint(n)))
	}
	return b
}

func wantError(t *testing.T, d *denylist.Denylist, session string) {
	t.Helper()
	if f, err := d.Lookup(t.Context(), tokenOf(d, session), denylisttest.Now()); err == nil || f.Denied {
		t.Errorf("session %s: %+v, %v; want an error", session, f, err)
	}
}

func wantAsked(t *testing.T, d *denylist.Denylist) {
	t.Helper()
	select {
	case <-d.Lost():
	default:
		t.Error("nobody was told to follow the feed from its beginning")
	}
}

// A store that loses what it held while the index is complete: what memory knows
// counts, what only the disk knew is an error, until the feed has brought it again.
func TestStoreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := denylisttest.Now()
		store := &losing{Store: memstore.New()}
		d := newList(t, store)
		start(t, d)
		wide := feedAt(0, now)
		wide.Entries = []events.Revocation{denylisttest.Subject(9, "someone")}
		wide.Cursor.Sequence, wide.Begins = 1, false
		apply(t, d, wide)
		for n := 2; n <= 5; n++ {
			apply(t, d, feedAt(n, now))
		}
		synctest.Wait()
		wantVerdict(t, d, "2", true) // and is confirmed
		store.lose(true)
		apply(t, d, feedAt(6, now.Add(time.Second))) // and so it is noticed
		synctest.Wait()
		wantAsked(t, d)
		if s := d.Status(); !s.Rebuilding || !s.Complete || !errors.Is(s.DiskErr, errDisk) || s.Cursor.Sequence != 6 {
			t.Errorf("%+v", s)
		}
		wantVerdict(t, d, "2", true)
		wantError(t, d, "3")
		wantVerdict(t, d, "6", true)
		wantVerdict(t, d, "none", false) // the index knows
		store.mend()
		apply(t, d, feedAt(7, now.Add(2*time.Second))) // the feed as it goes on
		time.Sleep(time.Minute)
		got := denylisttest.Read(t, store)
		if got.Cursor != (denylist.Cursor{}) || len(got.Entries) != 2 || store.begun != 1 {
			t.Errorf("begun %d times, on disk %+v", store.begun, got)
		}
		wantError(t, d, "3")
		wantVerdict(t, d, "7", true)

		// From its beginning again, with the freshness that it had.
		apply(t, d, feedAt(0, now.Add(2*time.Second)))
		apply(t, d, wideAt(wide, now.Add(2*time.Second)))
		for n := 2; n <= 7; n++ {
			apply(t, d, feedAt(n, now.Add(2*time.Second)))
			synctest.Wait()
			got := denylisttest.Read(t, store)
			if got.Cursor.Sequence != uint64(n) || !got.Cursor.FreshAsOf.IsZero() {
				t.Errorf("at %d: on disk %+v", n, got.Cursor)
			}
			wantVerdict(t, d, "none", false)
			wantVerdict(t, d, fmt.Sprint(n), true)
		}
		last := feedAt(0, now.Add(3*time.Second))
		last.Cursor.Sequence, last.Begins = 8, false
		apply(t, d, last)
		synctest.Wait()
		if s := d.Status(); s.Rebuilding || s.DiskErr != nil {
			t.Errorf("in the end: %+v", s)
		}
		if got := denylisttest.Read(t, store); got.Cursor != last.Cursor || len(got.Entries) != 7 {
			t.Errorf("in the end on disk: %+v", got)
		}
		for n := 2; n <= 7; n++ {
			wantVerdict(t, d, fmt.Sprint(n), true)
		}
		if denylisttest.Read(t, store).Cursor.FreshAsOf.IsZero() {
			t.Error("what was proved is not on disk")
		}
	})
}

func wideAt(b denylist.Batch, fresh time.Time) denylist.Batch {
	b.Cursor.FreshAsOf = fresh
	return b
}

// A store that loses what it held before the index was filled from it: no token with
// an id is judged until the feed has brought everything again.
func TestStoreLostWhileFilling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := denylisttest.Now()
		disk := memstore.New()
		for n := 1; n <= 5; n++ {
			denylisttest.Apply(t, disk, feedAt(n, now))
		}
		store := &losing{Store: disk}
		d := newList(t, store)
		wantVerdict(t, d, "3", true)
		store.lose(false)
		start(t, d)
		synctest.Wait()
		wantAsked(t, d)
		for _, fresh := range []time.Duration{0, time.Second} { // the second: as it went on
			apply(t, d, feedAt(6, now.Add(fresh)))
			time.Sleep(time.Minute)
			if s := d.Status(); s.Complete || !s.Rebuilding {
				t.Errorf("%+v", s)
			}
			wantError(t, d, "4")
			wantError(t, d, "none")
			wantVerdict(t, d, "6", true)
		}
		apply(t, d, feedAt(0, now.Add(time.Second)))
		for n := 1; n <= 6; n++ {
			wantError(t, d, "none")
			apply(t, d, feedAt(n, now.Add(time.Second)))
		}
		wantError(t, d, "none")
		store.lose(false) // once more
		apply(t, d, feedAt(7, now.Add(time.Second)))
		synctest.Wait()
		wantAsked(t, d)
		apply(t, d, feedAt(8, now.Add(2*time.Second)))
		wantError(t, d, "none")
		apply(t, d, feedAt(0, now.Add(2*time.Second)))
		for n := 1; n <= 8; n++ {
			apply(t, d, feedAt(n, now.Add(2*time.Second)))
		}
		apply(t, d, feedAt(9, now.Add(3*time.Second)))
		time.Sleep(time.Minute)
		wantVerdict(t, d, "none", false)
		for n := 1; n <= 9; n++ {
			wantVerdict(t, d, fmt.Sprint(n), true)
		}
		if s := d.Status(); !s.Complete || s.Rebuilding || s.DiskErr != nil {
			t.Errorf("in the end: %+v", s)
		}
	})
}

// A loss that shows when the store is to forget what has expired is as good as any.
func TestStoreLostWhenExpiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := denylisttest.Now()
		store := &losing{Store: memstore.New()}
		d := newList(t, store)
		start(t, d)
		apply(t, d, feedAt(1, now))
		synctest.Wait()
		store.lose(false)
		d.Expire(now.Add(time.Second))
		time.Sleep(time.Minute)
		wantAsked(t, d)
		wantError(t, d, "1")
		apply(t, d, feedAt(0, now))
		apply(t, d, feedAt(1, now))
		apply(t, d, feedAt(2, now.Add(time.Second)))
		time.Sleep(time.Minute)
		if s := d.Status(); s.DiskErr != nil || s.Rebuilding || s.Queued != 0 || store.begun != 1 {
			t.Errorf("begun %d times, %+v", store.begun, s)
		}
		wantVerdict(t, d, "1", true)
	})
}

// A store may turn out to be damaged behind its first batch, when its cursor is known
// already. That cursor must not be followed: what it stands for is not there.
func TestStartLosesWhatFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := denylisttest.Now()
		disk := memstore.New()
		for n := 1; n <= 3; n++ {
			denylisttest.Apply(t, disk, feedAt(n, now))
		}
		store := &losing{Store: disk, gives: 1}
		store.lose(false)
		d := newList(t, store)
		start(t, d)
		if s := d.Status(); s.Cursor != (denylist.Cursor{}) || s.DiskErr == nil {
			t.Errorf("at first: %+v", s)
		}
		for n := 1; n <= 3; n++ {
			apply(t, d, feedAt(n, now))
		}
		time.Sleep(time.Minute)
		for _, name := range []string{"1", "2", "3"} {
			wantVerdict(t, d, name, true)
		}
		if s := d.Status(); s.DiskErr != nil || s.Queued != 0 || s.Cursor != feedAt(3, now).Cursor {
			t.Errorf("in the end: %+v", s)
		}
		if got := denylisttest.Read(t, store); len(got.Entries) != 3 || got.Cursor != feedAt(3, now).Cursor {
			t.Errorf("on disk: %+v", got)
		}
	})
}

// The parts of a snapshot stand at sequence zero like a beginning. A store lost between
// two of them has lost the first, and what follows does not bring it again.
func TestLostBetweenPartsOfASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := denylisttest.Now()
		store := &losing{Store: memstore.New()}
		d := newList(t, store)
		start(t, d)
		part := func(n int) denylist.Batch {
			b := feedAt(n, time.Time{})
			b.Cursor.Sequence = 0
			return b
		}
		apply(t, d, part(1))
		synctest.Wait()
		store.lose(false)
		wantError(t, d, "1")
		apply(t, d, part(2))
		apply(t, d, feedAt(3, now.Add(time.Second)))
		synctest.Wait()
		wantAsked(t, d)
		wantError(t, d, "1")
		wantVerdict(t, d, "3", true)
		apply(t, d, feedAt(0, time.Time{}))
		apply(t, d, part(1))
		apply(t, d, part(2))
		apply(t, d, feedAt(3, now.Add(2*time.Second)))
		synctest.Wait()
		for _, session := range []string{"1", "2", "3"} {
			wantVerdict(t, d, session, true)
		}
		wantVerdict(t, d, "none", false)
	})
}

// With a disk that cannot be used a list begins empty, serves from memory, and takes
// the disk into use as soon as it can.
func TestStartWithoutDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := denylisttest.Now()
		disk := memstore.New()
		old := feedAt(1, now)
		old.Entries[0].Target = "of another time"
		denylisttest.Apply(t, disk, old)
		store := &losing{Store: disk}
		store.lose(true)
		d := newList(t, store)
		start(t, d)
		if s := d.Status(); s.Cursor != (denylist.Cursor{}) || !s.Complete || s.Rebuilding || s.DiskErr == nil {
			t.Errorf("at first: %+v", s)
		}
		for n := 1; n <= 3; n++ {
			apply(t, d, feedAt(n, now))
		}
		time.Sleep(time.Minute)
		select {
		case <-d.Lost():
			t.Error("asked for what it is given anyway")
		default:
		}
		if s := d.Status(); !errors.Is(s.DiskErr, errDisk) || s.Queued != 3 || s.MemoryBytes <= s.IndexBytes {
			t.Errorf("without a disk: %+v", s)
		}
		wantVerdict(t, d, "2", true)
		wantVerdict(t, d, "none", false)
		store.mend()
		time.Sleep(time.Minute)
		if s := d.Status(); s.DiskErr != nil || s.Queued != 0 {
			t.Errorf("with the disk: %+v", s)
		}
		got := denylisttest.Read(t, store)
		if len(got.Entries) != 3 || got.Cursor != feedAt(3, now).Cursor {
			t.Errorf("on disk: %+v", got)
		}
		wantVerdict(t, d, "2", true)
		wantVerdict(t, d, "none", false)
		wantVerdict(t, d, "of another time", false)
	})
}

func TestBudget(t *testing.T) {
	d, err := denylist.New(denylist.Config{Budget: 300_000}, memstore.New())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; n < 100_000 && !d.Status().OverBudget; n += 100 {
		b := denylist.Batch{}
		for i := range 100 {
			b.Entries = append(b.Entries, denylisttest.Session(n+i, fmt.Sprint(n+i)))
		}
		apply(t, d, b)
	}
	if s := d.Status(); !s.OverBudget || s.MemoryBytes < 300_000 || n < 1000 {
		t.Errorf("%d entries: %+v", n, s)
	}
	for i := range n {
		wantVerdict(t, d, fmt.Sprint(i), true) // none is evicted
	}
	if _, err := denylist.New(denylist.Config{Budget: -1}, memstore.New()); err == nil {
		t.Error("a negative budget was taken")
	}
}
