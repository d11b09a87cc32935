package badgerstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
)

// errDamaged is returned for files that are not as Badger left them.
var errDamaged = errors.New("store is damaged")

// inspect looks at the files of a store that nobody has open, and says what is wrong
// with them and how many tables there are. Badger leaves out tables whose index does
// not match its checksum, removes those that its manifest has lost, and ends the
// process over other damage; none of that may happen to a denylist.
//
// It reads what does not grow with the list: the manifest, the index of every table,
// the sizes of logs, and those of them that a kill left beside the newest. Blocks are proved when they are read (see [generation.prove]).
func inspect(dir string) (tables int, err error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("inspecting: %w", err)
	}
	if !slices.ContainsFunc(files, isData) {
		return 0, nil
	}
	known, err := inspectManifest(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return 0, err
	}
	var newest uint64 // version of any record in the tables
	for id := range known {
		version, err := inspectTable(table.NewFilename(id, dir), options.NoVerification)
		if err != nil {
			return 0, err
		}
		newest = max(newest, version)
	}
	logs, err := logsOf(dir)
	if err != nil {
		return 0, err
	}
	for i, name := range logs {
		err := inspectLog(name)
		if err == nil && i < len(logs)-1 {
			err = inspectOlderLog(name)
		}
		if err != nil {
			return 0, err
		}
	}
	// A crash while a table is made leaves one that the manifest does not know, whole
	// or not, and Badger removes it. A whole one newer than all it knows, without the
	// log it was made from beside the present one, is one that the manifest has lost.
	for _, f := range files {
		id, isTable := table.ParseFileID(f.Name())
		if _, is := known[id]; !isTable || is || len(logs) > 1 || isBulk(dir, f) {
			continue
		}
		if version, err := inspectTable(filepath.Join(dir, f.Name()), options.OnTableRead); err == nil && version > newest {
			return 0, fmt.Errorf("%w: manifest lacks %s", errDamaged, f.Name())
		}
	}
	return len(known), nil
}

func isData(f fs.DirEntry) bool {
	switch filepath.Ext(f.Name()) {
	case ".sst", ".mem":
		return true
	}
	return f.Name() == badger.ManifestFilename
}

// inspectManifest gives the tables there have to be. A record cut off at the end is
// one that Badger had not acted upon.
func inspectManifest(name string) (map[uint64]badger.TableManifest, error) {
	f, err := os.Open(name) // #nosec G304 -- in our own directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no manifest", errDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("inspecting: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	_, err = io.Copy(io.Discard, f)  // which Badger does not tell from a wrong content
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, fmt.Errorf("inspecting: %w", err)
	}
	m, _, err := badger.ReplayManifestFile(f, format, badger.DefaultOptions(""))
	if err != nil {
		return nil, fmt.Errorf("%w: manifest: %w", errDamaged, err)
	}
	return m.Tables, nil
}

// inspectTable opens a table and gives the version of its newest record.
func inspectTable(name string, mode options.ChecksumVerificationMode) (version uint64, err error) {
	defer func() {
		if p := recover(); p != nil { // how Badger says that a table makes no sense
			err = fmt.Errorf("%w: %.200v", errDamaged, p)
		}
	}()
	t, err := openTable(name, mode)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EINVAL): // not there, or empty
		return 0, fmt.Errorf("%w: %w", errDamaged, err)
	case err != nil:
		return 0, fmt.Errorf("inspecting: %w", err)
	}
	newest := t.MaxVersion()
	if err := t.Close(-1); err != nil {
		return 0, fmt.Errorf("inspecting %s: %w", filepath.Base(name), err)
	}
	return newest, nil
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
	_, err = io.ReadFull(f, key[:])
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
	case err != nil:
		return fmt.Errorf("inspecting: %w", err)
	case size.Size() == 2*memTableBytes && key == [8]byte{}:
		return nil
	}
	return fmt.Errorf("%w: %s cut off", errDamaged, filepath.Base(name))
}
