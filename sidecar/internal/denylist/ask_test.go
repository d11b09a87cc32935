package denylist_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
)

// stalling is a store whose reads hang until they are let go.
type stalling struct {
	denylist.Store
	mu    sync.Mutex
	letGo chan struct{} // nil: reads do not hang
	reads int
}

func (s *stalling) Find(k events.Kind, i events.Issuer, name string) ([]events.Revocation, error) {
	s.mu.Lock()
	letGo := s.letGo
	s.reads++
	s.mu.Unlock()
	if letGo != nil {
		<-letGo
	}
	return s.Store.Find(k, i, name)
}

// hang makes reads hang from now on; the result lets them go.
func (s *stalling) hang() (letGo func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.letGo = make(chan struct{})
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.letGo)
		s.letGo = nil
	}
}

// A disk that hangs holds nobody up for longer than they wait, ties up no more than a
// few goroutines however many ask, denies nobody whom it need not be asked about, and
// goes on where it was when it comes back.
func TestDiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stalling{Store: memstore.New()}
		var names []string
		for n := range 200 {
			names = append(names, fmt.Sprint("s-", n))
		}
		denylisttest.Apply(t, store, sessions(names...))
		d, err := denylist.New(denylist.Config{}, store)
		if err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() {
			if err := d.Run(running); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait() // the index is complete
		letGo := store.hang()
		began := time.Now()
		var waiting sync.WaitGroup
		for _, name := range names {
			waiting.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				f, err := d.Lookup(ctx, tokenOf(d, name), denylisttest.Now())
				if !errors.Is(err, context.DeadlineExceeded) || f.Denied {
					t.Errorf("%s: %+v, %v", name, f, err)
				}
			})
		}
		waiting.Wait()
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("answered after %v", took)
		}
		if store.reads != 64 {
			t.Errorf("%d reads hang for 200 look-ups", store.reads)
		}
		if f, err := d.Lookup(t.Context(), tokenOf(d, "another"), denylisttest.Now()); err != nil || f.Denied {
			t.Errorf("one that memory answers: %+v, %v", f, err)
		}
		letGo()
		synctest.Wait()
		before := store.reads
		denied := 0
		for _, name := range names {
			f, err := d.Lookup(t.Context(), tokenOf(d, name), denylisttest.Now())
			if err != nil {
				t.Fatal(err)
			}
			if f.Denied {
				denied++
			}
		}
		if again := store.reads - before; denied != len(names) || again != len(names)-64 {
			t.Errorf("%d denied, %d reads: what was found late was not kept", denied, again)
		}
		stop()
		run.Wait()
	})
}

// Who does not wait is told what memory knows, and the disk is not asked.
func TestLookupThatDoesNotWait(t *testing.T) {
	store := &stalling{Store: memstore.New()}
	denylisttest.Apply(t, store, sessions("disk"))
	d, err := denylist.New(denylist.Config{}, store) // and nobody runs it
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(sessions("memory")); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if f, err := d.Lookup(over, tokenOf(d, "memory"), denylisttest.Now()); err != nil || !f.Denied {
			t.Fatalf("what memory knows: %+v, %v", f, err)
		}
		if f, err := d.Lookup(over, tokenOf(d, "disk"), denylisttest.Now()); !errors.Is(err, context.Canceled) || f.Denied {
			t.Fatalf("what the disk knows: %+v, %v", f, err)
		}
	}
	if store.reads != 0 {
		t.Errorf("the disk was asked %d times", store.reads)
	}
}

// Run ends only when no question to the disk is left, so that the store may be closed.
func TestRunWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stalling{Store: memstore.New()}
		denylisttest.Apply(t, store, sessions("s"))
		d, err := denylist.New(denylist.Config{}, store)
		if err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(running) }()
		synctest.Wait()
		letGo := store.hang()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := d.Lookup(ctx, tokenOf(d, "s"), denylisttest.Now()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		stop()
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("ended with %v while a read was under way", err)
		default:
		}
		letGo()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// writeHangs is a store whose writes hang until they are let go.
type writeHangs struct {
	denylist.Store
	letGo chan struct{}
}

func (s *writeHangs) Apply(b denylist.Batch) error {
	<-s.letGo
	return s.Store.Apply(b)
}

// A disk that hangs keeps nobody from ending, and is named.
func TestEndOfADiskThatHangs(t *testing.T) {
	for name, hang := range map[string]func(*testing.T, *denylist.Denylist, *stalling) (letGo func()){
		"reading": func(t *testing.T, d *denylist.Denylist, s *stalling) func() {
			letGo := s.hang()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := d.Lookup(ctx, tokenOf(d, "s"), denylisttest.Now()); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			return letGo
		},
		"writing": func(t *testing.T, d *denylist.Denylist, s *stalling) func() {
			letGo := make(chan struct{})
			s.Store = &writeHangs{s.Store, letGo}
			if err := d.Apply(sessions("another")); err != nil {
				t.Fatal(err)
			}
			return func() { close(letGo) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &stalling{Store: memstore.New()}
				denylisttest.Apply(t, store, sessions("s"))
				d, err := denylist.New(denylist.Config{}, store)
				if err != nil {
					t.Fatal(err)
				}
				running, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- d.Run(running) }()
				synctest.Wait()
				letGo := hang(t, d, store)
				synctest.Wait()
				stop()
				if err := <-ended; !errors.Is(err, denylist.ErrHangs) {
					t.Errorf("ended with %v", err)
				}
				letGo()
			})
		})
	}
}
