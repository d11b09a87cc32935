package badgerstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/dgraph-io/badger/v4"
)

const (
	// reclaimAfter is how many deleted keys at least are worth a merge. More than are
	// left must have been deleted as well, so that no more is written than was before.
	reclaimAfter = 20_000
	// scatteredTables is how many unmerged tables at least are. Each is one more place
	// to look at for whoever asks.
	scatteredTables = 12
	// mergedLevel is Badger's last one, of which no two tables overlap.
	mergedLevel = 6
	// mergeRecords is how many are read before it is proved that none was missing.
	mergeRecords = 4096
)

// scattered reports whether a third or more of the store has not been merged.
func (s *Store) scattered() bool {
	g, err := s.use(false)
	if err != nil {
		return false
	}
	defer s.unuse(g, false)
	var tables, loose, merged int
	for _, t := range g.db.Tables() {
		if t.Level == mergedLevel {
			merged += int(t.KeyCount)
			continue
		}
		tables++
		loose += int(t.KeyCount)
	}
	return tables >= scatteredTables && 2*loose >= merged
}

// merge writes what is there, sorted and without what was deleted, into tables of a
// new generation. Badger's own merging takes a block that it cannot read for the end
// of a table, and a table that it could not write for written.
func (s *Store) merge(ctx context.Context) error {
	if err := s.roomToMerge(); err != nil {
		s.warn("merging has to wait: %v", err)
		return nil // nothing is wrong but the space it takes
	}
	next := filepath.Join(s.cfg.Dir, nextGeneration)
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	if err := os.Mkdir(next, 0o700); err != nil {
		return err
	}
	var ids []uint64
	err := s.read(func(g *generation) (err error) {
		ids, err = g.copyTo(ctx, next)
		return err
	})
	if err == nil {
		err = errors.Join(writeManifest(next, mergedLevel, ids), syncFile(next))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(next))
	}
	if err := s.turnTo(next, len(ids)); err != nil {
		return err
	}
	debug.FreeOSMemory() // what took tens of megabytes is over for a long time
	return nil
}

// turnTo gives a generation that has been made its name and opens it.
func (s *Store) turnTo(next string, tables int) error {
	numbers, err := generations(s.cfg.Dir)
	if err != nil {
		return err
	}
	dir := generationDir(s.cfg.Dir, numbers[len(numbers)-1]+1)
	if err := errors.Join(os.Rename(next, dir), syncFile(s.cfg.Dir)); err != nil {
		return err
	}
	g, err := s.cfg.openGeneration(dir, tables)
	if err != nil {
		return errors.Join(err, s.discard(dir)) // or it would count at the next start
	}
	return s.replace(g, s.cursor)
}

// roomToMerge asks for as much space as the store takes now, and what must stay free.
func (s *Store) roomToMerge() error {
	var size uint64
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && filepath.Ext(f.Name()) == ".sst" {
			size += uint64(info.Size()) // #nosec G115 -- a size
		}
	}
	return s.free(s.cfg.MinFree + size)
}

// copyTo writes all records into tables in dir.
func (g *generation) copyTo(ctx context.Context, dir string) (ids []uint64, err error) {
	txn := g.db.NewTransaction(false)
	defer txn.Discard()
	w := tables{dir: dir}
	defer w.discard()
	for _, tag := range []byte{tagMeta, tagLift, tagEntry} {
		for err := range g.walk(txn, []byte{tag}, mergeRecords, func(item *badger.Item) error {
			return item.Value(func(v []byte) error { return w.add(item.Key(), item.Version(), v) })
		}) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return w.finish()
}
