package badgerstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"

	"github.com/revocast/revocast/sidecar/internal/denylist"
)

// tableBytes is how large merged tables become, about 50,000 entries. To make one takes
// three times as much memory.
const tableBytes = 4 << 20

func tableOptions() table.Options {
	defaults := badger.DefaultOptions("")
	return table.Options{
		TableSize: tableBytes, BlockSize: defaults.BlockSize, BloomFalsePositive: defaults.BloomFalsePositive,
		Compression: options.None,
	}
}

func tableName(dir string, id uint64) string { return table.NewFilename(id, dir) }

// tables writes records, which come sorted, into tables of a new directory.
type tables struct {
	dir     string
	ids     []uint64
	builder *table.Builder
}

func (w *tables) add(key []byte, version uint64, value []byte) error {
	if w.builder != nil && w.builder.ReachedCapacity() {
		if err := w.write(); err != nil {
			return err
		}
	}
	if w.builder == nil {
		w.builder = table.NewTableBuilder(tableOptions())
	}
	w.builder.Add(y.KeyWithTs(key, version), y.ValueStruct{Value: value}, 0)
	return nil
}

func (w *tables) write() error {
	defer w.discard()
	id := uint64(len(w.ids) + 1)
	w.ids = append(w.ids, id)
	return writeFile(tableName(w.dir, id), w.builder.Finish())
}

func (w *tables) finish() ([]uint64, error) {
	if w.builder != nil {
		if err := w.write(); err != nil {
			return nil, err
		}
	}
	return w.ids, nil
}

func (w *tables) discard() {
	if w.builder != nil {
		w.builder.Close()
		w.builder = nil
	}
}

type record struct {
	key, value []byte
	rank       uint64 // orders keys, unless it is the same
}

// sorted gives the entries of a batch as records in the order of their keys, each
// once.
func sorted(b denylist.Batch) []record {
	records := make([]record, 0, len(b.Entries))
	var value []byte
	for i := range b.Entries {
		if v := entryValue(&b.Entries[i]); !bytes.Equal(v, value) { // neighbours nearly always share theirs
			value = v
		}
		records = append(records, record{key: entryKey(&b.Entries[i]), value: value})
	}
	// Most keys begin alike, and what then differs is at random.
	alike := len(records[0].key)
	for _, r := range records {
		for alike > 0 && !bytes.HasPrefix(r.key, records[0].key[:alike]) {
			alike--
		}
	}
	for i := range records {
		var first [8]byte
		copy(first[:], records[i].key[alike:])
		records[i].rank = binary.BigEndian.Uint64(first[:])
	}
	slices.SortFunc(records, func(a, b record) int {
		if a.rank != b.rank {
			return cmp.Compare(a.rank, b.rank)
		}
		return bytes.Compare(a.key, b.key)
	})
	return slices.CompactFunc(records, func(a, b record) bool { return bytes.Equal(a.key, b.key) })
}

// writeTable writes one table of sorted records.
func writeTable(name string, records []record, version uint64) error {
	b := table.NewTableBuilder(tableOptions())
	defer b.Close()
	for _, r := range records {
		b.Add(y.KeyWithTs(r.key, version), y.ValueStruct{Value: r.value}, 0)
	}
	return writeFile(name, b.Finish())
}

// writeFile writes and syncs a new file. Unlike Badger it does so by writing, not by
// memory: a full disk is an error and no end of the process.
func writeFile(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 -- in our own directory
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// manifestVersion is that of Badger 4.
const manifestVersion = 8

// writeManifest makes the manifest of a new directory: "Bdgr", the version of our
// records, that of the file, and a record for the tables.
func writeManifest(dir string, level uint32, ids []uint64) error {
	b := append([]byte("Bdgr"), 0, format, 0, manifestVersion)
	set, err := manifestRecord(level, ids...)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, badger.ManifestFilename), append(b, set...))
}

// appendManifest adds a table to the manifest of a store that nobody has open.
func appendManifest(dir string, level uint32, id uint64) error {
	b, err := manifestRecord(level, id)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, badger.ManifestFilename), os.O_APPEND|os.O_WRONLY, 0) // #nosec G304 -- in our own directory
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// manifestRecord is one change of the manifest: length, checksum, the change.
func manifestRecord(level uint32, ids ...uint64) ([]byte, error) {
	var set pb.ManifestChangeSet
	for _, id := range ids {
		set.Changes = append(set.Changes, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_CREATE, Level: level})
	}
	change, err := proto.Marshal(&set)
	if err != nil {
		return nil, fmt.Errorf("writing the manifest: %w", err)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(change))) // #nosec G115 -- bytes a table
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(change, y.CastagnoliCrcTable))
	return append(b, change...), nil
}
