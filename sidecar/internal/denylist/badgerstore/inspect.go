package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

// errDamaged is returned for files that are not as Badger left them.
var errDamaged = errors.New("store is damaged")

// inspect reads the files of a store that nobody has open, and says what is wrong
// with them. Badger leaves out tables whose checksums do not match, cuts off what
// it cannot read of its manifest and logs, and ends the process over some damage;
// none of that may happen to a denylist.
//
// Every block of every table is read: 70 MB for a million entries.
func inspect(dir string) (err error) {
	defer func() {
		if p := recover(); p != nil { // how Badger says that a table makes no sense
			err = fmt.Errorf("%w: %.200v", errDamaged, p)
		}
	}()
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("inspecting: %w", err)
	}
	if !slices.ContainsFunc(files, isData) {
		return nil
	}
	tables, err := inspectManifest(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return err
	}
	for id := range tables {
		if err := inspectTable(table.NewFilename(id, dir)); err != nil {
			return err
		}
	}
	for _, f := range files {
		if filepath.Ext(f.Name()) == ".mem" {
			if err := inspectLog(filepath.Join(dir, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func isData(f fs.DirEntry) bool {
	switch filepath.Ext(f.Name()) {
	case ".sst", ".mem":
		return true
	}
	return f.Name() == badger.ManifestFilename
}

// inspectManifest gives the tables there have to be.
func inspectManifest(name string) (map[uint64]badger.TableManifest, error) {
	f, err := os.Open(name) // #nosec G304 -- in our own directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no manifest", errDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("inspecting: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	m, whole, err := badger.ReplayManifestFile(f, format, badger.DefaultOptions(""))
	if err != nil {
		return nil, fmt.Errorf("%w: manifest: %w", errDamaged, err)
	}
	if size, err := f.Stat(); err != nil || size.Size() != whole {
		return nil, fmt.Errorf("%w: manifest cut off", errDamaged)
	}
	return m.Tables, nil
}

func inspectTable(name string) error {
	f, err := z.OpenMmapFile(name, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	t, err := table.OpenTable(f, table.Options{ChkMode: options.OnTableRead})
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err := t.Close(-1); err != nil {
		return fmt.Errorf("inspecting %s: %w", filepath.Base(name), err)
	}
	return nil
}

// inspectLog checks the size of a log of recent writes, which Badger allocates at
// once, and that it is not encrypted. What a power cut left unwritten at its end
// Badger cuts off; the synced cursor is for that.
func inspectLog(name string) error {
	f, err := os.Open(name) // #nosec G304 -- in our own directory
	if err != nil {
		return fmt.Errorf("inspecting: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	size, err := f.Stat()
	if err != nil {
		return fmt.Errorf("inspecting: %w", err)
	}
	var key [8]byte
	if _, err := f.Read(key[:]); err != nil || size.Size() != 2*memTableBytes || !bytes.Equal(key[:], make([]byte, 8)) {
		return fmt.Errorf("%w: %s cut off", errDamaged, filepath.Base(name))
	}
	return nil
}
