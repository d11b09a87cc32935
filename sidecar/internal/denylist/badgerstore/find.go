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
	err := s.read(func(g *generation) error {
		var key [128]byte
		prefix := appendName(key[:0], tagEntry, kind, issuer, target)
		return g.proved(prefix, successor(prefix), func() error {
			txn := g.db.NewTransaction(false)
			defer txn.Discard()
			return collect(txn, prefix, &found)
		})
	})
	if err != nil {
		return nil, fmt.Errorf("finding a %s: %w", kind, err)
	}
	return found, nil
}

// collect appends the entries under prefix.
func collect(txn *badger.Txn, prefix []byte, into *[]events.Revocation) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(prefix); it.Valid(); it.Next() {
		if err := appendEntry(it.Item(), into); err != nil {
			return err
		}
	}
	return nil
}

func appendEntry(item *badger.Item, into *[]events.Revocation) error {
	return item.Value(func(v []byte) error {
		r, err := decodeEntry(item.Key(), v)
		*into = append(*into, r)
		return err
	})
}

// loadEntries is how many narrow entries Load gives at a time.
const loadEntries = 4096

// Load implements [denylist.Store]. All of it is one transaction of Badger.
func (s *Store) Load() iter.Seq2[denylist.Batch, error] {
	return func(yield func(denylist.Batch, error) bool) {
		g, err := s.use(true)
		if err != nil {
			yield(denylist.Batch{}, fmt.Errorf("loading: %w", err))
			return
		}
		defer s.unuse(g, true)
		txn := g.db.NewTransaction(false)
		defer txn.Discard()
		for b, err := range g.batches(txn) {
			if err != nil {
				yield(denylist.Batch{}, fmt.Errorf("loading: %w", s.judge(g, err)))
				return
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

func (g *generation) batches(txn *badger.Txn) iter.Seq2[denylist.Batch, error] {
	return func(yield func(denylist.Batch, error) bool) {
		var first denylist.Batch
		err := g.guard(func() (err error) {
			first, err = g.loadFirst(txn)
			return err
		})
		if !yield(first, err) || err != nil {
			return
		}
		for _, kind := range []events.Kind{events.KindToken, events.KindSession} {
			prefix := []byte{tagEntry, byte(kind)}
			var b denylist.Batch
			for err := range g.walk(txn, prefix, loadEntries, func(item *badger.Item) error {
				return appendEntry(item, &b.Entries)
			}) {
				if len(b.Entries) == 0 && err == nil {
					continue
				}
				if !yield(b, err) || err != nil {
					return
				}
				b = denylist.Batch{}
			}
		}
	}
}

// walk gives everything under prefix to each, and nil after every so many records and
// at the end: so far nothing was left out. It ends with the first error.
func (g *generation) walk(txn *badger.Txn, prefix []byte, many int, each func(*badger.Item) error) iter.Seq[error] {
	return func(yield func(error) bool) {
		var it *badger.Iterator
		defer func() {
			if it != nil {
				it.Close()
			}
		}()
		for from := prefix; from != nil; {
			err := g.guard(func() error {
				if err := g.allFit(); err != nil {
					return err
				}
				if it == nil {
					it = txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
					it.Seek(prefix)
				}
				begin, end := from, successor(prefix)
				from = nil
				for n := 0; it.Valid(); it.Next() {
					if n++; n > many {
						from = it.Item().KeyCopy(nil)
						end = from
						break
					}
					if err := each(it.Item()); err != nil {
						return err
					}
				}
				return g.prove(begin, end)
			})
			if !yield(err) || err != nil {
				return
			}
		}
	}
}

func (g *generation) loadFirst(txn *badger.Txn) (denylist.Batch, error) {
	var b denylist.Batch
	lifts := func(item *badger.Item) error {
		return item.Value(func(v []byte) error {
			l, err := decodeLift(item.Key(), v)
			b.Lifted = append(b.Lifted, l)
			return err
		})
	}
	for err := range g.walk(txn, []byte{tagLift}, loadEntries, lifts) {
		if err != nil {
			return b, err
		}
	}
	for _, kind := range events.Kinds() {
		prefix := []byte{tagEntry, byte(kind)}
		if !kind.Wide() {
			continue
		}
		err := g.proved(prefix, successor(prefix), func() error { return collect(txn, prefix, &b.Entries) })
		if err != nil {
			return b, err
		}
	}
	err := g.proved([]byte{tagMeta}, []byte{tagMeta + 1}, func() error {
		newest, err := readMark(txn, cursorKey())
		b.Cursor = newest.cursor
		return err
	})
	return b, err
}
