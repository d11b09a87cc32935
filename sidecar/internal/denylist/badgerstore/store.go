package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

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
	cfg    Config
	dir    string // Badger's, within cfg.Dir
	lock   *os.File
	boot   string
	damage error

	// mu keeps db open while it is used: Badger unmaps its files when it closes.
	mu     sync.RWMutex
	db     *badger.DB    // nil while failed or closed
	failed chan struct{} // closed when the Badger that failed is; nil if none did
	closed bool

	// What only the writer uses.
	cursor   denylist.Cursor // as given last
	synced   denylist.Cursor // all entries before it have been synced
	syncedAt time.Time
	unsynced bool // entries have been written since
	deleted  int  // keys deleted since the tables were merged
}

// Damage says why what was in the directory could not be used and the store began
// empty; nil if it could.
func (s *Store) Damage() error { return s.damage }

func (s *Store) warn(format string, args ...any) {
	(&logger{s.cfg.Warn}).say(format, args)
}

// Close writes down what a restart needs and closes the store. Whoever asks later
// gets an error.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if s.failed != nil {
		<-s.failed
	}
	if s.db != nil {
		err = errors.Join(s.settle(s.db), s.db.Close())
		s.db = nil
	}
	if err = errors.Join(err, s.lock.Close()); err != nil {
		return fmt.Errorf("closing denylist %s: %w", s.cfg.Dir, err)
	}
	return nil
}

// settle makes the newest cursor the synced one.
func (s *Store) settle(db *badger.DB) error {
	if err := s.writable(); err != nil {
		return err
	}
	if err := s.sync(); err != nil {
		return err
	}
	w := newWriter(db)
	defer w.discard()
	if err := w.set(syncedKey(), mark{s.boot, s.cursor}.encode()); err != nil {
		return err
	}
	return w.commit()
}

// sync syncs the logs of recent writes, also of tables being written out. Finished
// tables and the manifest Badger syncs itself.
func (s *Store) sync() error {
	logs, err := filepath.Glob(filepath.Join(s.dir, "*.mem"))
	for _, name := range append(logs, s.dir) {
		f, e := os.Open(name) // #nosec G304 -- in our own directory
		if errors.Is(e, os.ErrNotExist) {
			continue // it has become a table
		}
		if e == nil {
			e = errors.Join(f.Sync(), f.Close())
		}
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	s.unsynced = false
	return nil
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

// write has f write to Badger. After an error that Badger is not to be used any
// more: some of its calls would end the process. It is opened again for the next f.
func (s *Store) write(f func(*badger.DB) error) error {
	if err := s.writable(); err != nil {
		return err
	}
	if err := s.reopen(); err != nil {
		return err
	}
	s.mu.RLock()
	db, err := s.db, errClosed
	if db != nil {
		err = f(db)
	}
	s.mu.RUnlock()
	if err != nil && db != nil {
		s.abandon(db)
	}
	return err
}

// abandon closes a Badger that failed, beside us: it may wait for its disk.
func (s *Store) abandon(db *badger.DB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != db {
		return
	}
	done := make(chan struct{})
	s.db, s.failed = nil, done
	go func() { // Close and reopen wait for it
		defer close(done)
		if err := db.Close(); err != nil {
			s.warn("closing a store that failed: %v", err)
		}
	}()
}

// reopen opens a store that failed, as it is.
func (s *Store) reopen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if s.db != nil {
		return nil
	}
	select {
	case <-s.failed:
	default:
		return errFailed
	}
	db, err := s.openBadger()
	if err != nil {
		return fmt.Errorf("opening it again: %w", err)
	}
	s.db, s.failed = db, nil
	return nil
}

// read has f read from Badger.
func (s *Store) read(f func(*badger.Txn) error) (err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return errClosed
	}
	if s.db == nil {
		return errFailed
	}
	defer func() {
		if p := recover(); p != nil { // reading beside a write that is failing
			err = fmt.Errorf("%w: %.200v", errFailed, p)
		}
	}()
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	return f(txn)
}
