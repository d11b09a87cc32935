package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

// generation is one Badger in a directory of its own. What is merged, or begun anew,
// is the next one; it counts as soon as its directory has its name, and the earlier
// ones are removed.
type generation struct {
	dir string
	db  *badger.DB
	// users keep it open: Badger unmaps its files when it closes.
	users sync.WaitGroup
	// loads are those of them that may take long; the store's mu guards it.
	loads int

	mu     sync.Mutex
	tables map[uint64]*witness // by id
	fitAt  time.Time           // when all were last found fit
}

// Names of directories within the store's own.
const (
	firstGeneration = "badger"
	nextGeneration  = "next" // being made
)

// generations gives the numbers of those in dir, the latest last.
func generations(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for the latest generation: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		if e.Name() == firstGeneration {
			numbers = append(numbers, 0)
		} else if suffix, ok := strings.CutPrefix(e.Name(), firstGeneration+"."); ok {
			if n, err := strconv.Atoi(suffix); err == nil && n > 0 {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func generationDir(dir string, number int) string {
	name := firstGeneration
	if number > 0 {
		name += "." + strconv.Itoa(number)
	}
	return filepath.Join(dir, name)
}

// openGeneration opens the Badger in dir, or makes one. It has to have so many
// tables: Badger leaves out those whose index it cannot read.
func (c *Config) openGeneration(dir string, tables int) (_ *generation, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %.200v", errDamaged, p)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := removeValueLog(dir); err != nil {
		return nil, err
	}
	db, err := badger.Open(c.badger(dir))
	if err != nil {
		return nil, err
	}
	if n := len(db.Tables()); n < tables {
		return nil, errors.Join(fmt.Errorf("%w: %d of %d tables can be read", errDamaged, n, tables), db.Close())
	}
	return &generation{dir: dir, db: db, tables: map[uint64]*witness{}}, nil
}

// close waits for the users, of whom there will be no more.
func (g *generation) close() error {
	g.users.Wait()
	var errs []error
	for _, t := range g.tables {
		errs = append(errs, t.Close(-1))
	}
	return errors.Join(append(errs, g.db.Close())...)
}

// guard runs f, which reads g's files. They are mapped into memory: a file that has
// become shorter, or a disk that fails, is a fault, which would end the process.
func (g *generation) guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %.200v", errDamaged, p)
			if g.db.IsClosed() {
				err = errFailed // and its files are not there any more
			}
		}
	}()
	return f()
}

// read has f read from Badger.
func (g *generation) read(f func(*badger.Txn) error) error {
	return g.guard(func() error {
		if err := g.allFit(); err != nil {
			return err
		}
		txn := g.db.NewTransaction(false)
		defer txn.Discard()
		return f(txn)
	})
}

// openTable opens a table and reads its index, and its blocks if the mode says so.
func openTable(name string, mode options.ChecksumVerificationMode) (*table.Table, error) {
	f, err := z.OpenMmapFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	t, err := table.OpenTable(f, table.Options{ChkMode: mode})
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errDamaged, filepath.Base(name), err)
	}
	return t, nil
}
