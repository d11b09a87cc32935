package badgerstore

import (
	"fmt"
	"iter"

	"github.com/dgraph-io/badger/v4"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
)

// Find implements [denylist.Store].
func (s *Store) Find(kind events.Kind, issuer events.Issuer, target string) ([]events.Revocation, error) {
	var found []events.Revocation
	err := s.read(func(txn *badger.Txn) error {
		var key [128]byte
		prefix := appendName(key[:0], tagEntry, kind, issuer, target)
		_, err := collect(txn, prefix, prefix, 0, &found)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("finding a %s: %w", kind, err)
	}
	return found, nil
}

// collect appends the entries under prefix from the key from on, up to limit of
// them if that is not zero, and gives the key of the next; nil if there is none.
func collect(txn *badger.Txn, prefix, from []byte, limit int, into *[]events.Revocation) ([]byte, error) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		item := it.Item()
		if limit > 0 && len(*into) >= limit {
			return item.KeyCopy(nil), nil
		}
		err := item.Value(func(v []byte) error {
			r, err := decodeEntry(item.Key(), v)
			*into = append(*into, r)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// loadEntries is how many narrow entries Load gives at a time.
const loadEntries = 4096

// Load implements [denylist.Store].
func (s *Store) Load() iter.Seq2[denylist.Batch, error] {
	return func(yield func(denylist.Batch, error) bool) {
		first, err := s.loadFirst()
		if err != nil {
			yield(denylist.Batch{}, fmt.Errorf("loading: %w", err))
			return
		}
		if !yield(first, nil) {
			return
		}
		for _, kind := range []events.Kind{events.KindToken, events.KindSession} {
			prefix := []byte{tagEntry, byte(kind)}
			for from := prefix; from != nil; {
				var b denylist.Batch
				err := s.read(func(txn *badger.Txn) (err error) {
					from, err = collect(txn, prefix, from, loadEntries, &b.Entries)
					return err
				})
				if err != nil {
					yield(denylist.Batch{}, fmt.Errorf("loading: %w", err))
					return
				}
				if len(b.Entries) > 0 && !yield(b, nil) {
					return
				}
			}
		}
	}
}

func (s *Store) loadFirst() (denylist.Batch, error) {
	var b denylist.Batch
	err := s.read(func(txn *badger.Txn) error {
		lifts := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{tagLift}})
		defer lifts.Close()
		for lifts.Rewind(); lifts.Valid(); lifts.Next() {
			item := lifts.Item()
			err := item.Value(func(v []byte) error {
				l, err := decodeLift(item.Key(), v)
				b.Lifted = append(b.Lifted, l)
				return err
			})
			if err != nil {
				return err
			}
		}
		for _, kind := range events.Kinds() {
			if prefix := []byte{tagEntry, byte(kind)}; kind.Wide() {
				if _, err := collect(txn, prefix, prefix, 0, &b.Entries); err != nil {
					return err
				}
			}
		}
		newest, err := readMark(txn, cursorKey())
		b.Cursor = newest.cursor
		return err
	})
	return b, err
}
