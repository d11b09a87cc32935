package denylist_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
)

var errDisk = errors.New("disk on fire")

// faulty is a store with faults: it fails, it waits, it counts.
type faulty struct {
	denylist.Store
	writesFail, readsFail atomic.Bool
	finds, expires        atomic.Int64
	entered, leave        chan struct{} // if set, Apply passes through both
}

func (f *faulty) Apply(b denylist.Batch) error {
	if f.entered != nil {
		f.entered <- struct{}{}
		<-f.leave
	}
	if f.writesFail.Load() {
		return errDisk
	}
	err := f.Store.Apply(b)
	if f.entered != nil {
		f.entered <- struct{}{}
		<-f.leave
	}
	return err
}

func (f *faulty) Find(k events.Kind, i events.Issuer, name string) ([]events.Revocation, error) {
	f.finds.Add(1)
	if f.readsFail.Load() {
		return nil, errDisk
	}
	return f.Store.Find(k, i, name)
}

func (f *faulty) Expire(ctx context.Context, now time.Time) error {
	f.expires.Add(1)
	return f.Store.Expire(ctx, now)
}

func (f *faulty) Load() iter.Seq2[denylist.Batch, error] {
	return func(yield func(denylist.Batch, error) bool) {
		for b, err := range f.Store.Load() {
			if f.readsFail.Load() && len(b.Entries) > 0 && !b.Entries[0].Kind.Wide() {
				b, err = denylist.Batch{}, errDisk
			}
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// start runs d until the test ends.
func start(t *testing.T, d *denylist.Denylist) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Errorf("running: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// tokenOf gives a prepared token of a session.
func tokenOf(d *denylist.Denylist, session string) *denylist.Token {
	t := &denylist.Token{
		Issuer: "https://id.example", ID: "t", Session: events.SessionID(session), Subject: "u", Client: "c", Key: "k",
		SessionAt: events.Position{Shard: 3, Sequence: 1 << 51}, MintedAt: events.Position{Shard: 3, Sequence: 1 << 51},
	}
	d.Prepare(t)
	return t
}

func wantVerdict(t *testing.T, d *denylist.Denylist, session string, denied bool) {
	t.Helper()
	f, err := d.Lookup(t.Context(), tokenOf(d, session), denylisttest.Now())
	if err != nil || f.Denied != denied {
		t.Errorf("session %q: %+v, %v; want denied %v", session, f, err, denied)
	}
}

func sessions(names ...string) denylist.Batch {
	var b denylist.Batch
	for i, name := range names {
		b.Entries = append(b.Entries, denylisttest.Session(i, name))
	}
	return b
}

// An entry denies before it is on disk, while it is being written, after it has
// been written and before it leaves the queue, and afterwards.
func TestDeniesAtEveryStepToTheDisk(t *testing.T) {
	store := &faulty{Store: memstore.New(), entered: make(chan struct{}), leave: make(chan struct{})}
	d := newList(t, store)
	apply(t, d, sessions("a"))
	wantVerdict(t, d, "a", true)
	start(t, d)
	<-store.entered // being written
	wantVerdict(t, d, "a", true)
	apply(t, d, sessions("b")) // behind the one being written
	wantVerdict(t, d, "b", true)
	store.leave <- struct{}{}
	<-store.entered // written, not yet out of the queue
	wantVerdict(t, d, "a", true)
	store.leave <- struct{}{}
	for range 2 { // the same for b
		<-store.entered
		wantVerdict(t, d, "a", true)
		wantVerdict(t, d, "b", true)
		store.leave <- struct{}{}
	}
	until(t, "writing", func() bool { return d.Status().Queued == 0 })
	wantVerdict(t, d, "a", true)
	wantVerdict(t, d, "b", true)
	wantVerdict(t, d, "c", false)
}

// With a real disk, beside the writer and while lists are filled, expired and
// written: what Apply has returned for is denied at every later moment (INV-2).
func TestNothingAppliedIsMissed(t *testing.T) {
	store, err := badgerstore.Open(badgerstore.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	d, err := denylist.New(denylist.Config{Confirmed: 10}, store)
	if err != nil {
		t.Fatal(err)
	}
	start(t, d)
	var applied atomic.Int64
	var readers sync.WaitGroup
	done := make(chan struct{})
	for r := range 2 {
		readers.Go(func() {
			for i := int64(r); ; i += 7 {
				select {
				case <-done:
					return
				default:
				}
				n := applied.Load()
				if n == 0 {
					continue
				}
				last, earlier := tokenOf(d, fmt.Sprint(n-1)), tokenOf(d, fmt.Sprint(i%n))
				for _, token := range []*denylist.Token{last, earlier} {
					if f, err := d.Lookup(t.Context(), token, denylisttest.Now()); err != nil || !f.Denied {
						t.Errorf("session %s of %d: %+v, %v", token.Session, n, f, err)
						return
					}
				}
				if f, err := d.Lookup(t.Context(), tokenOf(d, "another"), denylisttest.Now()); err != nil || f.Denied {
					t.Errorf("another session: %+v, %v", f, err)
					return
				}
			}
		})
	}
	for n := 0; n < 3000; {
		var b denylist.Batch
		for range 1 + n%50 {
			b.Entries = append(b.Entries, denylisttest.Session(n, fmt.Sprint(n)))
			n++
		}
		b.Cursor = denylist.Cursor{Epoch: "e", Sequence: uint64(n)}
		apply(t, d, b)
		applied.Store(int64(n))
		d.Expire(denylisttest.Now())
	}
	until(t, "writing", func() bool { return d.Status().Queued == 0 })
	close(done)
	readers.Wait()
}

func TestFailingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &faulty{Store: memstore.New()}
		d := newList(t, store)
		start(t, d)
		store.writesFail.Store(true)
		store.readsFail.Store(true)
		apply(t, d, sessions("a", "b"))
		apply(t, d, denylist.Batch{Entries: []events.Revocation{denylisttest.Subject(9, "u")}, Cursor: denylist.Cursor{Epoch: "e", Sequence: 9}})
		time.Sleep(time.Minute)
		if s := d.Status(); !errors.Is(s.DiskErr, errDisk) || s.Queued != 2 || s.Cursor.Sequence != 9 {
			t.Errorf("while it fails: %+v", s)
		}
		wantVerdict(t, d, "a", true)
		wantVerdict(t, d, "c", false) // the index knows without the disk
		store.writesFail.Store(false)
		time.Sleep(time.Minute)
		if s := d.Status(); s.DiskErr != nil || s.Queued != 0 {
			t.Errorf("after it has come back: %+v", s)
		}
		if got := denylisttest.Read(t, store.Store); len(got.Entries) != 3 || got.Cursor.Sequence != 9 {
			t.Errorf("on disk: %+v", got)
		}
		// What only the disk could confirm is not known, which is not "not denied".
		if f, err := d.Lookup(t.Context(), tokenOf(d, "a"), denylisttest.Now()); !errors.Is(err, errDisk) || f.Denied {
			t.Errorf("%+v, %v", f, err)
		}
		// What denies without the disk denies.
		old := tokenOf(d, "a")
		old.SessionAt.Sequence, old.MintedAt.Sequence = 1, 1
		if f, err := d.Lookup(t.Context(), old, denylisttest.Now()); err != nil || !f.Denied || f.Revocation.Kind != events.KindSubject {
			t.Errorf("%+v, %v", f, err)
		}
		store.readsFail.Store(false)
		wantVerdict(t, d, "a", true)
		store.readsFail.Store(true)
		wantVerdict(t, d, "a", true) // it has been confirmed
	})
}

func TestWarmStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := memstore.New()
		b := sessions("a", "b")
		b.Entries = append(b.Entries, denylisttest.Subject(9, "u"))
		b.Cursor = denylist.Cursor{Epoch: "e", Sequence: 9, FreshAsOf: denylisttest.Now()}
		b.Lifted = []events.Lift{denylisttest.Lift(denylisttest.Session(5, "lifted"))}
		denylisttest.Apply(t, disk, b)
		store := &faulty{Store: disk}
		d := newList(t, store)
		if s := d.Status(); s.Cursor != b.Cursor || s.Complete || s.Wide[events.KindSubject] != 1 || s.Lifted != 1 {
			t.Errorf("at first: %+v", s)
		}
		wantVerdict(t, d, "a", true)
		wantVerdict(t, d, "c", false)
		if store.finds.Load() == 0 {
			t.Error("nobody asked the disk")
		}
		// As long as the index is not complete, only the disk knows who passes.
		store.readsFail.Store(true)
		if f, err := d.Lookup(t.Context(), tokenOf(d, "c"), denylisttest.Now()); !errors.Is(err, errDisk) {
			t.Errorf("%+v, %v", f, err)
		}
		start(t, d)
		time.Sleep(time.Minute)
		if s := d.Status(); s.Complete || !errors.Is(s.DiskErr, errDisk) {
			t.Errorf("while it cannot be filled: %+v", s)
		}
		store.readsFail.Store(false)
		time.Sleep(time.Minute)
		if s := d.Status(); !s.Complete || s.DiskErr != nil || s.Narrow != 2 {
			t.Errorf("after it has been filled: %+v", s)
		}
		store.finds.Store(0)
		wantVerdict(t, d, "c", false)
		if n := store.finds.Load(); n != 0 {
			t.Errorf("the disk was asked %d times for what the index knows", n)
		}
		wantVerdict(t, d, "b", true)
		// The lift is still remembered.
		apply(t, d, denylist.Batch{Entries: []events.Revocation{denylisttest.Session(5, "lifted")}})
		wantVerdict(t, d, "lifted", false)
	})
}

func TestShutdownWritesWhatIsQueued(t *testing.T) {
	store := memstore.New()
	d := newList(t, store)
	apply(t, d, sessions("a", "b"))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := d.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := denylisttest.Read(t, store); len(got.Entries) != 2 {
		t.Errorf("%d entries on disk", len(got.Entries))
	}
	broken := &faulty{Store: memstore.New()}
	broken.writesFail.Store(true)
	d = newList(t, broken)
	apply(t, d, sessions("a"))
	if err := d.Run(ctx); !errors.Is(err, errDisk) {
		t.Errorf("shutting down without a disk: %v", err)
	}
}

// Everything goes when it has expired: memory at once, disk when Run comes to it.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := memstore.New()
		store := &faulty{Store: disk}
		d := newList(t, store)
		start(t, d)
		synctest.Wait() // Run is idle and has to be told
		b := sessions("a", "b")
		b.Entries = append(b.Entries, denylisttest.Subject(9, "u"))
		b.Lifted = []events.Lift{denylisttest.Lift(denylisttest.Session(5, "lifted"))}
		apply(t, d, b)
		synctest.Wait()
		wantVerdict(t, d, "a", true) // and is confirmed
		if got := denylisttest.Read(t, disk); len(got.Entries) != 3 || store.expires.Load() != 0 {
			t.Errorf("on disk at first: %+v", got)
		}
		end := denylisttest.Now().Add(time.Hour)
		d.Expire(end)
		synctest.Wait()
		if s := d.Status(); s.Narrow != 2 || s.Wide[events.KindSubject] != 1 || s.Lifted != 1 {
			t.Errorf("at the last moment: %+v", s)
		}
		if got := denylisttest.Read(t, disk); len(got.Entries) != 3 {
			t.Errorf("on disk at the last moment: %+v", got)
		}
		d.Expire(end.Add(2 * time.Minute)) // the index counts in units
		synctest.Wait()
		if s := d.Status(); s.Narrow != 0 || len(s.Wide) != 0 || s.Lifted != 0 || s.Queued != 0 {
			t.Errorf("afterwards: %+v", s)
		}
		if got := denylisttest.Read(t, disk); len(got.Entries)+len(got.Lifted) != 0 {
			t.Errorf("on disk afterwards: %+v", got)
		}
		wantVerdict(t, d, "a", false) // forgotten even by a clock that goes back
		apply(t, d, sessions("c"))
		synctest.Wait()
		if n := store.expires.Load(); n != 2 {
			t.Errorf("the disk was searched %d times", n)
		}
	})
}

// While the disk takes nothing, the queue still lets go of what has expired.
func TestQueueExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &faulty{Store: memstore.New()}
		store.writesFail.Store(true)
		d := newList(t, store)
		start(t, d)
		now := denylisttest.Now()
		for i := range 50_000 {
			r := denylisttest.Session(i, fmt.Sprint(i))
			r.Until = now.Add(time.Minute)
			apply(t, d, denylist.Batch{Entries: []events.Revocation{r}, Cursor: denylist.Cursor{Epoch: "e", Sequence: uint64(i)}})
		}
		if n := d.Status().Queued; n != 50_000 {
			t.Errorf("%d entries are queued", n)
		}
		d.Expire(now.Add(2 * time.Minute))
		if n := d.Status().Queued; n > 8192 { // the segment being written stays
			t.Errorf("%d entries are still queued", n)
		}
		apply(t, d, sessions("a"))
		store.writesFail.Store(false)
		time.Sleep(time.Minute)
		if s := d.Status(); s.Queued != 0 || s.DiskErr != nil {
			t.Errorf("in the end: %+v", s)
		}
		if found, err := store.Find(events.KindSession, "https://id.example", "a"); err != nil || len(found) != 1 {
			t.Errorf("what came later: %+v, %v", found, err)
		}
	})
}
