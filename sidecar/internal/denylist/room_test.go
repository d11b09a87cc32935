package denylist_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
)

// A feed that is read from its beginning waits for a slow disk before the queue takes
// more than half of the budget; one that is followed, and one beside a disk that fails,
// waits for nothing.
func TestColdStartWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const batch = 1000
		store := &faulty{Store: memstore.New(), entered: make(chan struct{}), leave: make(chan struct{})}
		d, err := denylist.New(denylist.Config{Budget: 1 << 20}, store)
		if err != nil {
			t.Fatal(err)
		}
		start(t, d)
		most, given := d.MostUnwritten(), 0
		give := func(fresh time.Time) {
			b := denylist.Batch{Cursor: denylist.Cursor{Epoch: "e", Sequence: uint64(given + batch), FreshAsOf: fresh}}
			for i := range batch {
				b.Entries = append(b.Entries, denylisttest.Session(given+i, fmt.Sprint(given+i)))
			}
			apply(t, d, b)
			given += batch
		}
		for d.Status().Queued < most {
			give(time.Time{})
		}
		if s := d.Status(); most >= 1<<20 || s.Queued > most+batch || s.MemoryBytes-s.IndexBytes > 3<<18 {
			t.Errorf("at most %d, and %+v", most, s)
		}
		waited := make(chan struct{})
		go func() {
			give(denylisttest.Now())
			close(waited)
		}()
		synctest.Wait()
		select {
		case <-waited:
			t.Fatal("it does not wait")
		default:
		}
		for range 2 { // into a write, and out of it
			<-store.entered
			store.leave <- struct{}{}
		}
		<-waited
		for range 3 * most / batch {
			give(denylisttest.Now()) // the disk takes nothing, and nobody waits
		}
		go func() {
			for range store.entered {
				store.leave <- struct{}{}
			}
		}()
		for d.Status().Queued > 0 {
			time.Sleep(time.Second)
		}
		t.Cleanup(func() { close(store.entered) })
	})
}
