package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
)

// Apply implements [denylist.Store].
func (s *Store) Apply(b denylist.Batch) error {
	if b.Anew {
		if err := s.begin(); err != nil {
			return fmt.Errorf("beginning anew: %w", err)
		}
		b.Anew = false
		if len(b.Entries)+len(b.Lifted) == 0 && b.Cursor == (denylist.Cursor{}) {
			return nil
		}
	}
	var err error
	done := false
	if len(b.Entries) >= bulkEntries && len(b.Lifted) == 0 {
		done, err = s.bulk(b)
	}
	if !done && err == nil {
		err = s.write(func(g *generation) error { return s.apply(g.db, b) })
	}
	if err != nil {
		return fmt.Errorf("applying %d entries and %d lifts: %w", len(b.Entries), len(b.Lifted), err)
	}
	return nil
}

func (s *Store) apply(db *badger.DB, b denylist.Batch) error {
	if err := s.advance(); err != nil {
		return err
	}
	before := db.NewTransaction(false)
	defer before.Discard()
	w := newWriter(db)
	defer w.discard()
	lifted := map[string]bool{}
	for i := range b.Lifted {
		l := &b.Lifted[i]
		entry := liftKey(tagEntry, l)
		lifted[string(entry)] = true
		if err := errors.Join(w.deleteUnder(before, entry), w.remember(l)); err != nil {
			return err
		}
	}
	for i := range b.Entries {
		r := &b.Entries[i]
		if len(lifted) > 0 && lifted[string(liftKey(tagEntry, liftOf(r)))] {
			continue
		}
		if err := w.set(entryKey(r), entryValue(r)); err != nil {
			return err
		}
	}
	s.unsynced = s.unsynced || len(b.Entries)+len(b.Lifted) > 0
	if b.Cursor == (denylist.Cursor{}) {
		return w.commit()
	}
	// Last, so that they are in the last transaction.
	err := errors.Join(
		w.set(syncedKey(), mark{s.boot, s.synced}.encode()),
		w.set(cursorKey(), mark{s.boot, b.Cursor}.encode()),
		w.commit())
	if err == nil {
		s.cursor = b.Cursor
	}
	return err
}

func liftOf(r *events.Revocation) *events.Lift {
	return &events.Lift{RevocationID: r.ID, Kind: r.Kind, Issuer: r.Issuer, Target: r.Target}
}

// expireKeys is how many keys Expire deletes at a time, and expireLooks how many
// it looks at before others may close the store.
const (
	expireKeys  = 4096
	expireLooks = 1 << 18
)

// Expire implements [denylist.Store].
func (s *Store) Expire(ctx context.Context, now time.Time) error {
	kept := 0
	for _, tag := range []byte{tagLift, tagEntry} {
		for from := []byte{tag}; from != nil; {
			if err := ctx.Err(); err != nil {
				return err
			}
			e := search{tag: tag, now: now}
			err := s.read(func(g *generation) error {
				return g.read(func(txn *badger.Txn) error { return e.run(txn, from) })
			})
			if err == nil && len(e.expired) > 0 {
				err = s.write(func(g *generation) error { return deleteAll(g.db, e.expired) })
			}
			if err != nil {
				return fmt.Errorf("expiring: %w", err)
			}
			s.deleted += len(e.expired)
			kept += e.kept
			from = e.next
		}
	}
	if s.deleted < max(reclaimAfter, kept) && !s.scattered() {
		return nil
	}
	if err := s.merge(ctx); err != nil {
		return fmt.Errorf("merging: %w", err)
	}
	return nil
}

// search looks for expired keys.
type search struct {
	tag byte
	now time.Time

	expired [][]byte
	kept    int
	next    []byte // where to go on; nil at the end
}

func (e *search) run(txn *badger.Txn, from []byte) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{e.tag}})
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		item := it.Item()
		if len(e.expired) == expireKeys || e.kept == expireLooks {
			e.next = item.KeyCopy(nil)
			return nil
		}
		until, err := untilOf(item)
		if err != nil {
			return err
		}
		if denylist.Expired(until, e.now) {
			e.expired = append(e.expired, item.KeyCopy(nil))
		} else {
			e.kept++
		}
	}
	return nil
}

func untilOf(item *badger.Item) (until time.Time, err error) {
	if item.Key()[0] == tagEntry {
		return untilOfEntry(item.Key())
	}
	err = item.Value(func(v []byte) error {
		l, err := decodeLift(item.Key(), v)
		until = l.Until
		return err
	})
	return until, err
}

func deleteAll(db *badger.DB, keys [][]byte) error {
	w := newWriter(db)
	defer w.discard()
	for _, k := range keys {
		if err := w.delete(k); err != nil {
			return err
		}
	}
	return w.commit()
}

// writer writes in as few transactions as Badger allows, in order.
type writer struct {
	db  *badger.DB
	txn *badger.Txn
}

func newWriter(db *badger.DB) *writer {
	return &writer{db, db.NewTransaction(true)}
}

func (w *writer) discard()      { w.txn.Discard() }
func (w *writer) commit() error { return w.txn.Commit() }

func (w *writer) set(key, value []byte) error {
	return w.do(func() error { return w.txn.Set(key, value) })
}

func (w *writer) delete(key []byte) error {
	return w.do(func() error { return w.txn.Delete(key) })
}

// do tries f again in the next transaction when this one is full.
func (w *writer) do(f func() error) error {
	err := f()
	if !errors.Is(err, badger.ErrTxnTooBig) {
		return err
	}
	if err := w.txn.Commit(); err != nil {
		return err
	}
	w.txn = w.db.NewTransaction(true)
	return f()
}

// deleteUnder deletes all keys with the prefix that before sees. It does not look
// in the transaction it writes to, which Badger would sort for every look.
func (w *writer) deleteUnder(before *badger.Txn, prefix []byte) error {
	it := before.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := w.delete(it.Item().KeyCopy(nil)); err != nil {
			return err
		}
	}
	return nil
}

// remember keeps a lift for the longer of the times given for it.
func (w *writer) remember(l *events.Lift) error {
	key, until := liftKey(tagLift, l), l.Until
	item, err := w.txn.Get(key)
	if err == nil {
		err = item.Value(func(v []byte) error {
			have, err := decodeLift(key, v)
			until = denylist.LaterUntil(have.Until, until)
			return err
		})
	}
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return err
	}
	return w.set(key, liftValue(until))
}
