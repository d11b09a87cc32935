package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
)

// witness is a table opened beside Badger.
type witness struct {
	*table.Table
	// Where its index begins, and the checksum from there on.
	index int
	sum   uint32
}

// witnesses gives all tables. There are no fewer than Badger had when it was last
// read: within a generation none is ever removed.
func (g *generation) witnesses() ([]*witness, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	infos := g.db.Tables()
	all := make([]*witness, 0, len(infos))
	for i := range infos {
		w := g.tables[infos[i].ID]
		if w == nil {
			t, err := openTable(table.NewFilename(infos[i].ID, g.dir), options.OnBlockRead)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EINVAL) { // gone, or empty
				err = fmt.Errorf("%w: %w", errDamaged, err)
			}
			if err != nil {
				return nil, err
			}
			// The index, its size in four bytes, a checksum, the size of that in four.
			end := len(t.Data) - 8 - int(binary.BigEndian.Uint32(t.Data[len(t.Data)-4:]))
			w = &witness{Table: t, index: end - t.IndexSize()}
			w.sum = crc32.Checksum(t.Data[w.index:], y.CastagnoliCrcTable)
			g.tables[infos[i].ID] = w
		}
		all = append(all, w)
	}
	return all, nil
}

// fit returns errDamaged unless the table has its size and its index is what it was.
// Badger ends the process over an index that makes no sense.
func (w *witness) fit() error {
	info, err := w.Fd.Stat()
	if err != nil {
		return err
	}
	if info.Size() < w.Size() || crc32.Checksum(w.Data[w.index:], y.CastagnoliCrcTable) != w.sum {
		return fmt.Errorf("%w: %s has been changed", errDamaged, filepath.Base(w.Filename()))
	}
	return nil
}

// fitFor is how long it is taken for granted of all tables, for those who read much.
const fitFor = 10 * time.Second

// allFit returns errDamaged unless all tables are fit.
func (g *generation) allFit() error {
	tables, err := g.witnesses()
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.fitAt) < fitFor {
		return nil
	}
	for _, w := range tables {
		if err := w.fit(); err != nil {
			return err
		}
	}
	g.fitAt = time.Now()
	return nil
}

// logFit returns errDamaged if the log has become shorter: Badger writes to it in
// memory, and would take the process with it.
func (g *generation) logFit() error {
	logs, err := logsOf(g.dir)
	if err != nil || len(logs) == 0 {
		return err
	}
	info, err := os.Stat(logs[len(logs)-1])
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it has become a table
	case err != nil:
		return err
	case info.Size() < 2*memTableBytes:
		return fmt.Errorf("%w: %s has been cut off", errDamaged, info.Name())
	}
	return nil
}

// proved has f read keys from one up to another, nil for the end, and returns
// errDamaged unless every block of every table that may hold such keys is whole.
// Badger takes a block that it cannot read for the end of its table; so nothing
// follows from what was not there before this has returned.
func (g *generation) proved(from, to []byte, f func() error) error {
	tables, err := g.holding(from, to)
	if err != nil {
		return err
	}
	for _, w := range tables {
		if err := w.fit(); err != nil {
			return err
		}
	}
	if err := f(); err != nil {
		return err
	}
	return g.prove(from, to)
}

// prove returns errDamaged unless all that has been read was whole.
func (g *generation) prove(from, to []byte) error {
	tables, err := g.holding(from, to)
	if err != nil {
		return err
	}
	for _, w := range tables {
		if err := w.prove(from, to); err != nil {
			return err
		}
	}
	return nil
}

// holding gives the tables that may hold keys from one up to another.
func (g *generation) holding(from, to []byte) ([]*witness, error) {
	all, err := g.witnesses()
	if err != nil {
		return nil, err
	}
	some := all[:0]
	for _, w := range all {
		if bytes.Compare(y.ParseKey(w.Biggest()), from) >= 0 && (to == nil || bytes.Compare(y.ParseKey(w.Smallest()), to) < 0) {
			some = append(some, w)
		}
	}
	return some, nil
}

// prove goes by the order of the records, whose blocks have checksums of their own.
func (w *witness) prove(from, to []byte) error {
	damaged := fmt.Errorf("%w: %s cannot be read", errDamaged, filepath.Base(w.Filename()))
	start := y.KeyWithTs(from, math.MaxUint64) // before all versions of from
	begins := y.CompareKeys(start, w.Smallest()) <= 0
	if !begins {
		before := w.NewIterator(table.REVERSED | table.NOCACHE)
		defer func() { _ = before.Close() }() // the table stays open
		if before.Seek(start); !before.Valid() || y.CompareKeys(before.Key(), start) >= 0 {
			return damaged
		}
	}
	it := w.NewIterator(table.NOCACHE)
	defer func() { _ = it.Close() }()
	it.Seek(start)
	if !it.Valid() || y.CompareKeys(it.Key(), start) < 0 || begins && !bytes.Equal(it.Key(), w.Smallest()) {
		return damaged
	}
	last := false
	for ; it.Valid(); it.Next() {
		if to != nil && bytes.Compare(y.ParseKey(it.Key()), to) >= 0 {
			return nil
		}
		last = bytes.Equal(it.Key(), w.Biggest())
	}
	if !last {
		return damaged
	}
	return nil
}

// successor is the least key after all that begin with prefix; nil if there is none.
func successor(prefix []byte) []byte {
	next := bytes.Clone(prefix)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return next[:i+1]
		}
	}
	return nil
}
