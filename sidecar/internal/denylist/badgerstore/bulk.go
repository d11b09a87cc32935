package badgerstore

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"github.com/revocast/revocast/sidecar/internal/denylist"
)

// bulkEntries is from how many entries on a batch is sorted and becomes a table at
// once, which takes less than half the time.
const bulkEntries = 16_384

// bulkName is the table being made, beside its number until the manifest has it.
const bulkName = "bulk"

func isBulk(dir string, f os.DirEntry) bool {
	bulk, err := os.Stat(filepath.Join(dir, bulkName))
	if err != nil {
		return false
	}
	info, err := f.Info()
	return err == nil && os.SameFile(bulk, info)
}

// bulk adds a batch without lifts as a table of its own, cursor included. While Badger
// is opened again with it, whoever looks something up waits. It is false, and nothing
// has been added, while somebody reads everything, which takes too long to wait for.
func (s *Store) bulk(b denylist.Batch) (done bool, err error) {
	if err := s.ready(); err != nil {
		return false, err
	}
	g, err := s.use(false)
	if err != nil {
		return false, err
	}
	made := filepath.Join(g.dir, bulkName)
	err = s.judge(g, g.guard(func() error { return s.make(made, b, g.db.MaxVersion()+1) }))
	s.unuse(g, false)
	if err != nil {
		return false, err
	}
	give, ok := s.borrow(g)
	if !ok {
		return false, nil
	}
	again, err := s.cfg.addTable(g, made)
	if err == nil && b.Cursor != (denylist.Cursor{}) {
		s.cursor, s.synced, s.unsynced = b.Cursor, b.Cursor, false
	}
	give(again)
	return err == nil, err
}

// make writes the table. Its records are newer than all others.
func (s *Store) make(name string, b denylist.Batch, version uint64) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	records := sorted(b)
	if b.Cursor != (denylist.Cursor{}) {
		// Whatever came before is synced before Badger is opened again.
		m := mark{s.boot, b.Cursor}.encode()
		records = append([]record{{key: cursorKey(), value: m}, {key: syncedKey(), value: m}}, records...)
	}
	return writeTable(name, records, version)
}

// borrow takes a generation away from its readers, who wait, until done gives them
// another; nil if it could not be opened. It is false if that may take long.
func (s *Store) borrow(g *generation) (done func(*generation), ok bool) {
	turn := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen != g || g.loads > 0 {
		return nil, false
	}
	s.gen, s.turn = nil, turn
	return func(again *generation) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.gen, s.turn = again, nil
		if again == nil {
			s.failed = turn
		}
		close(turn)
	}, true
}

// addTable closes g, whose readers leave soon, adds a table and opens it again.
func (c *Config) addTable(g *generation, made string) (*generation, error) {
	if err := g.guard(g.close); err != nil {
		return nil, err
	}
	known, err := inspectManifest(filepath.Join(g.dir, badger.ManifestFilename))
	if err != nil {
		return nil, err
	}
	id := uint64(1)
	for have := range known {
		id = max(id, have+1)
	}
	if err := errors.Join(os.Link(made, tableName(g.dir, id)), syncFile(g.dir)); err != nil {
		return nil, err
	}
	if err := appendManifest(g.dir, 0, id); err != nil {
		return nil, err
	}
	if err := os.Remove(made); err != nil {
		return nil, err
	}
	return c.openGeneration(g.dir, len(known)+1)
}
