package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/revocast/revocast/sidecar/internal/denylist"
)

// Config says where a store is.
type Config struct {
	// Dir is the store's own; it is made if need be, with mode 0700.
	Dir string
	// MinFree is how many bytes must be free in Dir for the store to write; 0 means
	// 128 MiB. Badger maps its files into memory, and a process that writes to such
	// a file on a full disk is killed.
	MinFree uint64
	// Warn, if set, takes what Badger has to say in warnings and errors. It must
	// be safe for concurrent use.
	Warn func(message string)
}

const defaultMinFree = 128 << 20

// format is that of keys and values. Badger keeps it in its manifest; a store of
// another format is thrown away like a damaged one.
const format = 1

// memTableBytes keeps the memory small that Badger takes when idle: it allocates
// whole tables of recent writes, this large.
const memTableBytes = 8 << 20

func (c *Config) badger(dir string) badger.Options {
	return badger.DefaultOptions(dir).
		WithExternalMagic(format).
		WithLogger(&logger{c.Warn}).
		WithMetricsEnabled(false).
		WithSyncWrites(false).
		WithDetectConflicts(false). // there is one writer
		WithMemTableSize(memTableBytes).
		WithNumMemtables(3).
		// Badger loses what a merge cannot read or write, and says nothing. We merge.
		WithNumCompactors(0).
		WithNumLevelZeroTables(1 << 20).
		WithNumLevelZeroTablesStall(1 << 21).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithNumGoroutines(1).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithCompression(options.None).
		WithValueLogFileSize(1 << 20) // values are small enough to stay beside their keys
}

// logger passes on what matters.
type logger struct{ warn func(string) }

func (l *logger) Errorf(format string, args ...any)   { l.say(format, args) }
func (l *logger) Warningf(format string, args ...any) { l.say(format, args) }
func (l *logger) Infof(string, ...any)                {}
func (l *logger) Debugf(string, ...any)               {}

func (l *logger) say(format string, args []any) {
	if l.warn != nil {
		l.warn(strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

// ErrInUse is returned by Open for a directory that another process has open.
var ErrInUse = errors.New("denylist is in use by another process")

// Open opens the store in cfg.Dir, or makes one. If what is there is damaged it is
// removed and the store begins empty; [Store.Damage] then says what was wrong. If the
// directory cannot be used for now, what it held is [denylist.ErrLost] and
// [Store.Unusable] says why. Only a directory that another process uses is refused.
func Open(cfg Config) (*Store, error) {
	if cfg.MinFree == 0 {
		cfg.MinFree = defaultMinFree
	}
	s, err := open(cfg, bootID())
	if err != nil {
		return nil, fmt.Errorf("opening denylist %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func open(cfg Config, boot string) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("no directory given")
	}
	s := &Store{cfg: cfg, boot: boot}
	err := s.lockOurs()
	if errors.Is(err, ErrInUse) {
		return nil, err
	}
	if err == nil {
		err = s.load()
	}
	if err != nil {
		s.unusable, s.lost = err, err
		s.warn("the store cannot be used for now: %v", err)
	}
	return s, nil
}

// lockOurs makes the directory ours.
func (s *Store) lockOurs() error {
	if s.lock != nil {
		return nil
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	lock, err := lockDir(s.cfg.Dir)
	s.lock = lock
	return err
}

// load opens what is there, or begins anew if that cannot be trusted.
func (s *Store) load() error {
	if err := s.writable(); err != nil {
		return err
	}
	dir, err := s.latest()
	if err != nil {
		return err
	}
	err = s.tryLoad(dir)
	if !errors.Is(err, errDamaged) {
		return err
	}
	s.damage = err
	if err := s.discard(dir); err != nil {
		return fmt.Errorf("removing what is damaged (%w): %w", s.damage, err)
	}
	return s.tryLoad(dir)
}

// discard removes a generation. Under another name first: what a crash in the midst of it
// would leave might look whole.
func (s *Store) discard(dir string) error {
	gone := filepath.Join(s.cfg.Dir, nextGeneration)
	if err := errors.Join(os.RemoveAll(gone), os.Rename(dir, gone), syncFile(s.cfg.Dir)); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// latest gives the directory of the latest generation, and removes what a crash has
// left of others.
func (s *Store) latest() (string, error) {
	numbers, err := generations(s.cfg.Dir)
	if err != nil {
		return "", err
	}
	remove := []string{filepath.Join(s.cfg.Dir, nextGeneration)}
	last := 0
	for i, n := range numbers {
		if i < len(numbers)-1 {
			remove = append(remove, generationDir(s.cfg.Dir, n))
		}
		last = n
	}
	for _, dir := range remove {
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("removing what is left of %s: %w", filepath.Base(dir), err)
		}
	}
	return generationDir(s.cfg.Dir, last), nil
}

// tryLoad opens what is there. Its error is [errDamaged] only if nothing but the
// files can be at fault.
func (s *Store) tryLoad(dir string) error {
	g, err := s.openWhole(dir)
	if err != nil {
		return err
	}
	var cursor denylist.Cursor
	err = g.guard(func() error {
		return g.proved([]byte{tagMeta}, []byte{tagMeta + 1}, func() (err error) {
			cursor, err = restoreCursor(g.db, s.boot)
			return err
		})
	})
	if errors.Is(err, errMalformed) {
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err != nil {
		return errors.Join(err, g.close())
	}
	s.dir = dir
	// What the last process wrote, this one vouches for.
	if err := s.sync(); err != nil {
		return errors.Join(err, g.close())
	}
	s.gen, s.cursor, s.synced = g, cursor, cursor
	return nil
}

// openWhole opens a generation that has been inspected.
func (s *Store) openWhole(dir string) (*generation, error) {
	tables, err := inspect(dir)
	if err != nil {
		return nil, err
	}
	g, err := s.cfg.openGeneration(dir, tables)
	if err != nil && canMakeFiles(dir) {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return g, err
}

// canMakeFiles tells damage from missing rights, a full disk and a lack of file
// descriptors, of which Badger's errors keep nothing but their text.
func canMakeFiles(dir string) bool {
	f, err := os.CreateTemp(dir, "probe")
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) == nil
}

// removeValueLog removes files in which nothing is kept, since all values are
// small, but over which Badger would stumble if they were damaged.
func removeValueLog(dir string) error {
	logs, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	for _, name := range append(logs, filepath.Join(dir, "DISCARD")) {
		if e := os.Remove(name); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// restoreCursor gives the newest cursor if the machine has run since it was
// written, so that all writes before it are in the files. Else it goes back to the
// synced one.
func restoreCursor(db *badger.DB, boot string) (denylist.Cursor, error) {
	var newest, synced mark
	err := db.View(func(txn *badger.Txn) (err error) {
		if newest, err = readMark(txn, cursorKey()); err != nil {
			return err
		}
		synced, err = readMark(txn, syncedKey())
		return err
	})
	if err != nil || newest == synced || boot != "" && newest.boot == boot {
		return newest.cursor, err
	}
	return synced.cursor, db.Update(func(txn *badger.Txn) error {
		return txn.Set(cursorKey(), mark{boot, synced.cursor}.encode())
	})
}

func readMark(txn *badger.Txn, key []byte) (mark, error) {
	var m mark
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return m, nil
	}
	if err == nil {
		err = item.Value(func(v []byte) (err error) {
			m, err = decodeMark(v)
			return err
		})
	}
	return m, err
}

// bootID tells one run of the machine from the next; empty where nothing does.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
