package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/revocast/revocast/sidecar/internal/denylist"
)

// errClosed and errFailed are what an unusable store answers; nothing follows from
// either about any token.
var (
	errClosed = errors.New("denylist's store is closed")
	errFailed = errors.New("denylist's store has failed and is not open again yet")
)

// Store is a [denylist.Store] on disk.
type Store struct {
	cfg      Config
	lock     *os.File // nil until the directory is ours
	boot     string
	damage   error
	unusable error

	// mu guards which generation is read.
	mu     sync.Mutex
	gen    *generation   // nil while failed, lost or closed
	turn   chan struct{} // closed when gen, for a moment nil, is there again
	lost   error         // why what was on disk cannot be read
	closed bool
	// retired are generations on their way out.
	retired sync.WaitGroup

	// What only the writer uses.
	dir      string          // the generation's
	failed   chan struct{}   // closed when the Badger that failed is
	cursor   denylist.Cursor // as given last
	synced   denylist.Cursor // all entries before it have been synced
	syncedAt time.Time
	unsynced bool // entries have been written since
	deleted  int  // keys deleted since the tables were merged
}

// Damage says why what was in the directory could not be used and the store began
// empty; nil if it could.
func (s *Store) Damage() error { return s.damage }

// Unusable says why the directory could not be used when the store was opened; nil
// if it could. [denylist.Batch].Anew takes it into use as soon as it can.
func (s *Store) Unusable() error { return s.unusable }

func (s *Store) warn(format string, args ...any) {
	(&logger{s.cfg.Warn}).say(format, args)
}

// closeWithin is how long Close waits for a Badger that cannot be closed, or a disk that hangs.
const closeWithin = 10 * time.Second

// Close writes down what a restart needs and closes the store. Whoever asks later
// gets an error. On a disk that cannot be written nothing is written down, and
// nothing is lost but time: the logs have it.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	g := s.gen
	s.gen = nil
	s.mu.Unlock()
	var err error
	if g != nil {
		err = s.writable()
	}
	var settled error
	if g != nil && err == nil {
		s.retired.Go(func() {
			settled = g.guard(func() error { return s.settle(g) })
			s.closeGeneration(g)
		})
	}
	done := make(chan struct{})
	go func() { // ends with the process, at the latest
		defer close(done)
		s.retired.Wait()
	}()
	late := time.NewTimer(closeWithin)
	defer late.Stop()
	select {
	case <-done:
		err = errors.Join(err, settled)
	case <-late.C:
		err = errors.Join(err, errFailed)
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	if err != nil {
		return fmt.Errorf("closing denylist %s: %w", s.cfg.Dir, err)
	}
	return nil
}

func (s *Store) closeGeneration(g *generation) {
	if err := g.guard(g.close); err != nil {
		s.warn("closing %s: %v", filepath.Base(g.dir), err)
	}
}

// retire closes a generation that is read no more, and removes it.
func (s *Store) retire(g *generation) {
	s.retired.Go(func() {
		s.closeGeneration(g)
		if err := os.RemoveAll(g.dir); err != nil {
			s.warn("removing %s: %v", filepath.Base(g.dir), err)
		}
	})
}

// settle makes the newest cursor the synced one.
func (s *Store) settle(g *generation) error {
	if err := errors.Join(s.sync(), g.logFit()); err != nil {
		return err
	}
	w := newWriter(g.db)
	defer w.discard()
	if err := w.set(syncedKey(), mark{s.boot, s.cursor}.encode()); err != nil {
		return err
	}
	return w.commit()
}

// sync syncs the logs of recent writes, also of tables being written out. Finished
// tables and the manifest Badger syncs itself.
func (s *Store) sync() error {
	logs, err := logsOf(s.dir)
	for _, name := range append(logs, s.dir) {
		if e := syncFile(name); !errors.Is(e, os.ErrNotExist) { // or it has become a table
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	s.unsynced = false
	return nil
}

func syncFile(name string) error {
	f, err := os.Open(name) // #nosec G304 -- in our own directory
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncEvery is how far the synced cursor may lag behind.
const syncEvery = time.Second

// advance moves the synced cursor up to the last one given, now and then.
func (s *Store) advance() error {
	if time.Since(s.syncedAt) < syncEvery {
		return nil
	}
	if s.unsynced {
		if err := s.sync(); err != nil {
			return err
		}
	}
	s.synced, s.syncedAt = s.cursor, time.Now()
	return nil
}

// use gives what is to be read, until done is called on its users.
func (s *Store) use(long bool) (*generation, error) {
	for {
		s.mu.Lock()
		g, turn, err := s.gen, s.turn, s.state()
		if g != nil {
			g.users.Add(1)
			if long {
				g.loads++
			}
		}
		s.mu.Unlock()
		if g != nil || turn == nil {
			return g, err
		}
		<-turn
	}
}

func (s *Store) unuse(g *generation, long bool) {
	if long {
		s.mu.Lock()
		g.loads--
		s.mu.Unlock()
	}
	g.users.Done()
}

// state says why there is no generation.
func (s *Store) state() error {
	switch {
	case s.closed:
		return errClosed
	case s.lost != nil:
		return fmt.Errorf("%w: %w", denylist.ErrLost, s.lost)
	case s.gen == nil:
		return errFailed
	}
	return nil
}

// read has f read from Badger. Damage ends the generation.
func (s *Store) read(f func(*generation) error) error {
	g, err := s.use(false)
	if err != nil {
		return err
	}
	defer s.unuse(g, false)
	return s.judge(g, g.guard(func() error { return f(g) }))
}

// judge gives err, and ends the generation if it says that its files are damaged.
func (s *Store) judge(g *generation, err error) error {
	if !errors.Is(err, errDamaged) {
		return err
	}
	s.mu.Lock()
	ours := s.gen == g
	if ours {
		s.gen, s.lost = nil, err
		s.retire(g)
	}
	s.mu.Unlock()
	if ours {
		s.warn("the store has been damaged and is to be begun anew: %v", err)
	}
	return fmt.Errorf("%w: %w", denylist.ErrLost, err)
}

// write has f write to Badger. After an error that Badger is not to be used any
// more: some of its calls would end the process. It is opened again for the next f.
func (s *Store) write(f func(*generation) error) error {
	if err := s.ready(); err != nil {
		return err
	}
	g, err := s.use(false)
	if err != nil {
		return err
	}
	err = s.judge(g, g.guard(func() error {
		if err := errors.Join(g.logFit(), g.allFit()); err != nil {
			return err
		}
		return f(g)
	}))
	s.unuse(g, false)
	if err != nil {
		s.abandon(g)
	}
	return err
}

// abandon closes a Badger that failed, beside us: it may wait for its disk.
func (s *Store) abandon(g *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen != g {
		return
	}
	done := make(chan struct{})
	s.gen, s.failed = nil, done
	s.retired.Go(func() {
		defer close(done)
		s.closeGeneration(g)
	})
}

// ready says whether there is a store, and room to write to it.
func (s *Store) ready() error {
	s.mu.Lock()
	err := s.state()
	s.mu.Unlock()
	if err != nil && !errors.Is(err, errFailed) {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	return s.reopen()
}

// reopen opens a store that failed.
func (s *Store) reopen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.state(); !errors.Is(err, errFailed) {
		return err
	}
	select {
	case <-s.failed:
	default:
		return errFailed
	}
	g, err := s.openWhole(s.dir)
	if errors.Is(err, errDamaged) {
		s.lost = err
		s.warn("the store has been damaged and is to be begun anew: %v", err)
		return s.state()
	}
	if err != nil {
		return fmt.Errorf("opening it again: %w", err)
	}
	s.gen, s.failed = g, nil
	return nil
}

// begin opens an empty store in place of what there is, or was.
func (s *Store) begin() error {
	if err := s.lockOurs(); err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	numbers, err := generations(s.cfg.Dir)
	if err != nil {
		return err
	}
	number := 0
	if len(numbers) > 0 {
		number = numbers[len(numbers)-1] + 1
	}
	dir := generationDir(s.cfg.Dir, number)
	g, err := s.cfg.openGeneration(dir, 0)
	if err != nil {
		return err
	}
	if err := syncFile(s.cfg.Dir); err != nil {
		return errors.Join(err, g.close())
	}
	return s.replace(g, denylist.Cursor{})
}

// replace makes g, which ends with the cursor and is synced, what is read from now on.
func (s *Store) replace(g *generation, c denylist.Cursor) error {
	s.mu.Lock()
	old, closed, lost := s.gen, s.closed, s.lost != nil
	if !closed {
		s.gen, s.lost = g, nil
	}
	if !closed && old != nil {
		s.retire(old)
	}
	s.mu.Unlock()
	if closed {
		return errors.Join(errClosed, g.close())
	}
	if lost && s.dir == "" { // what could not be used is in nobody's hands
		if err := s.removeBefore(g.dir); err != nil {
			s.warn("%v", err)
		}
	}
	s.dir, s.cursor, s.synced = g.dir, c, c
	s.unsynced, s.deleted = false, 0
	return nil
}

// removeBefore removes all generations but the one in dir.
func (s *Store) removeBefore(dir string) error {
	numbers, err := generations(s.cfg.Dir)
	for _, n := range numbers {
		if old := generationDir(s.cfg.Dir, n); old != dir {
			err = errors.Join(err, os.RemoveAll(old))
		}
	}
	return err
}
