package badgerstore

import (
	"fmt"
	"os"
	"path/filepath"
)

// OpenAfterBoot opens a store as if the machine had been started anew since.
func OpenAfterBoot(cfg Config) (*Store, error) { return open(cfg, "another boot") }

// Sync makes the cursor given last the synced one.
func (s *Store) Sync() error {
	if err := s.sync(); err != nil {
		return err
	}
	s.synced, s.syncedAt = s.cursor, s.syncedAt.AddDate(1000, 0, 0) // and leaves it there
	return nil
}

// Break closes Badger beneath the store, which fails its next write.
func (s *Store) Break() error { return s.gen.db.Close() }

// FillDisk makes the store believe that less than it needs is free.
func (s *Store) FillDisk(full bool) {
	s.cfg.MinFree = 1
	if full {
		s.cfg.MinFree = 1 << 62
	}
}

// Put writes a record that Apply would not write.
func (s *Store) Put(key, value []byte) error {
	w := newWriter(s.gen.db)
	defer w.discard()
	if err := w.set(key, value); err != nil {
		return err
	}
	return w.commit()
}

// Logs are the files of recent writes, the newest last.
func Logs(dir string) []string {
	names, err := filepath.Glob(filepath.Join(Current(dir), "*.mem"))
	if err != nil {
		panic(err)
	}
	return names
}

// LogSize is how large a log is from its beginning.
const LogSize = 2 * memTableBytes

// Current is the directory of the latest generation.
func Current(dir string) string {
	numbers, err := generations(dir)
	if err != nil || len(numbers) == 0 {
		panic(fmt.Sprint("no generation in ", dir, err))
	}
	return generationDir(dir, numbers[len(numbers)-1])
}

// Files are all files that Badger keeps.
func Files(dir string) []string {
	entries, err := os.ReadDir(Current(dir))
	if err != nil {
		panic(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, filepath.Join(Current(dir), e.Name()))
	}
	return names
}
