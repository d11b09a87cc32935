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
	if err := s.write(func(db *badger.DB) error { return s.apply(db, b) }); err != nil {
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
		entry := appendLiftKey(nil, tagEntry, l)
		lifted[string(entry)] = true
		if err := errors.Join(w.deleteUnder(before, entry), w.remember(l)); err != nil {
			return err
		}
	}
	for i := range b.Entries {
		r := &b.Entries[i]
		if len(lifted) > 0 && lifted[string(appendLiftKey(nil, tagEntry, liftOf(r)))] {
			continue
		}
		if err := w.set(appendEntryKey(nil, r), appendEntryValue(nil, r)); err != nil {
			return err
		}
	}
	s.unsynced = s.unsynced || len(b.Entries)+len(b.Lifted) > 0
	if b.Cursor == (denylist.Cursor{}) {
		return w.commit()
	}
	// Last, so that they are in the last transaction.
	err := errors.Join(
		w.set(syncedKey(), appendMark(nil, &mark{s.boot, s.synced})),
		w.set(cursorKey(), appendMark(nil, &mark{s.boot, b.Cursor})),
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
	for _, tag := range []byte{tagLift, tagEntry} {
		for from := []byte{tag}; from != nil; {
			if err := ctx.Err(); err != nil {
				return err
			}
			var expired [][]byte
			err := s.read(func(txn *badger.Txn) (err error) {
				expired, from, err = findExpired(txn, tag, from, now)
				return err
			})
			if err == nil && len(expired) > 0 {
				err = s.write(func(db *badger.DB) error { return deleteAll(db, expired) })
			}
			if err != nil {
				return fmt.Errorf("expiring: %w", err)
			}
			s.deleted += len(expired)
		}
	}
	return s.reclaim()
}

// findExpired gives expired keys with the tag from the key from on, and the key to
// go on from; nil at the end.
func findExpired(txn *badger.Txn, tag byte, from []byte, now time.Time) (expired [][]byte, next []byte, err error) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{tag}})
	defer it.Close()
	looks := 0
	for it.Seek(from); it.Valid(); it.Next() {
		item := it.Item()
		if looks++; looks > expireLooks || len(expired) == expireKeys {
			return expired, item.KeyCopy(nil), nil
		}
		var until time.Time
		if tag == tagEntry {
			until, err = untilOfEntry(item.Key())
		} else {
			err = item.Value(func(v []byte) error {
				l, err := decodeLift(item.Key(), v)
				until = l.Until
				return err
			})
		}
		if err != nil {
			return nil, nil, err
		}
		if denylist.Expired(until, now) {
			expired = append(expired, item.KeyCopy(nil))
		}
	}
	return expired, nil, nil
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

// reclaim merges the tables when enough has been deleted: only that gives the
// space of what was deleted back.
func (s *Store) reclaim() error {
	if s.deleted < reclaimAfter {
		return nil
	}
	err := s.write(func(db *badger.DB) error { return db.Flatten(1) })
	if err != nil {
		return fmt.Errorf("reclaiming space: %w", err)
	}
	s.deleted = 0
	return nil
}

const reclaimAfter = 100_000_000

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
	key, until := appendLiftKey(nil, tagLift, l), l.Until
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
	return w.set(key, appendLiftValue(nil, until))
}
