package race

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
)

// size is how many rounds a test does.
func size(few, all int) int {
	if os.Getenv("PROOF") == "full" {
		return all
	}
	return few
}

// slow is a disk that takes its time: before it writes, after it has written and
// before it says so, and now and then before it answers.
type slow struct{ denylist.Store }

func pause(most time.Duration) { time.Sleep(rand.N(most)) }

func (s slow) Apply(b denylist.Batch) error {
	pause(3 * time.Millisecond)
	err := s.Store.Apply(b)
	pause(3 * time.Millisecond)
	return err
}

func (s slow) Find(k events.Kind, i events.Issuer, name string) ([]events.Revocation, error) {
	found, err := s.Store.Find(k, i, name)
	if rand.IntN(8) == 0 {
		pause(time.Millisecond) // what was found may be out of date by then
	}
	return found, err
}

func (s slow) Expire(ctx context.Context, now time.Time) error {
	pause(3 * time.Millisecond)
	return s.Store.Expire(ctx, now)
}

// slowDisk is a real store, made slow.
func slowDisk(t *testing.T) denylist.Store {
	t.Helper()
	store, err := badgerstore.Open(badgerstore.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return slow{store}
}

// write runs the disk writer until the test ends.
func write(t *testing.T, d *denylist.Denylist) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Errorf("writing: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
}
