package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
)

// revokeMany announces sessions named by their number and waits until they are on disk.
func revokeMany(t *testing.T, s *eventstest.Server, r *running, n int) {
	t.Helper()
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	s.Announce(t, n, func(i int) events.Revocation {
		return events.Revocation{
			ID: events.RevocationID(uuid.NewString()), Kind: events.KindSession, Issuer: unreachable, Target: fmt.Sprint(i),
			Reason: events.ReasonLogout, By: events.Initiator{Role: "user"}, Until: until,
		}
	})
	settled(t, r, n)
}

// settled waits until everything is on disk and enforced.
func settled(t *testing.T, r *running, n int) {
	t.Helper()
	eventstest.Eventually(t, func(context.Context) error {
		if list := r.node.Denylist.Status(); list.Narrow < n*999/1000 || list.Queued > 0 || list.Rebuilding || list.DiskErr != nil {
			return fmt.Errorf("%d entries, %d queued, rebuilding %v, %w", list.Narrow, list.Queued, list.Rebuilding, list.DiskErr)
		}
		return nil
	})
}

// The files of the store are overwritten beneath a sidecar at work: no revoked token
// passes at any time, none is denied that is not revoked, and the feed brings back what
// was lost. A restart then finds it on disk.
func TestStoreDamagedBeneathASidecar(t *testing.T) {
	t.Parallel()
	const size = 5000
	s := eventstest.RunServer(t, eventstest.Lazy())
	i := newIssuance(t, s)
	dir := t.TempDir()
	r := startSidecar(t, s, i.public(), dir)
	signer, key := newKey(t, "k-1", unreachable)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, eventstest.Realm, key)})
	good := tokenWith(t, signer, "another")
	r.becomes(t, good, http.StatusOK)
	revokeMany(t, s, r, size)
	r.becomes(t, tokenWith(t, signer, "17"), http.StatusUnauthorized)

	r.stop() // which makes a table of them
	r = startSidecar(t, s, i.public(), dir)
	settled(t, r, size)
	overwriteTables(t, filepath.Join(dir, "data", "denylist"))
	lost := 0
	for n := 0; n < size; n += 97 {
		switch got := r.judge(t, tokenWith(t, signer, fmt.Sprint(n))); got {
		case http.StatusServiceUnavailable:
			lost++
		case http.StatusUnauthorized:
		default:
			t.Fatalf("session %d: %d", n, got)
		}
		if got := r.judge(t, good); got != http.StatusOK {
			t.Errorf("the one that is not revoked: %d", got)
		}
	}
	if lost == 0 {
		t.Error("nothing was lost, so this shows nothing")
	}
	settled(t, r, size)
	for n := 0; n < size; n += 97 {
		if got := r.judge(t, tokenWith(t, signer, fmt.Sprint(n))); got != http.StatusUnauthorized {
			t.Errorf("session %d in the end: %d", n, got)
		}
	}
	if r.node.Syncer.State().Resyncs == 0 {
		t.Error("the feed was not followed from its beginning")
	}
	r.stop()
	s.Stop()
	r = startSidecar(t, s, i.public(), dir)
	for n := 0; n < size; n += 97 {
		if got := r.judge(t, tokenWith(t, signer, fmt.Sprint(n))); got != http.StatusUnauthorized {
			t.Errorf("session %d after a restart without the broker: %d", n, got)
		}
	}
}

// overwriteTables puts zeros over every second page in the middle of every table: half of
// the entries, so that looking a few dozen up meets the damage.
func overwriteTables(t *testing.T, store string) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(store, "badger*", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	for _, name := range tables {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		for at := int64(8192); err == nil && at < info.Size()*3/4; at += 8 << 10 {
			_, err = f.WriteAt(make([]byte, 4096), at)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// With a disk that cannot be used a sidecar starts, says so, serves from memory, and
// takes the disk into use as soon as it can.
func TestStartsWithoutADisk(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := newIssuance(t, s)
	dir := t.TempDir()
	inTheWay := filepath.Join(dir, "data", "denylist")
	if err := errors.Join(os.MkdirAll(filepath.Dir(inTheWay), 0o700), os.WriteFile(inTheWay, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	r := startSidecar(t, s, i.public(), dir)
	signer, key := newKey(t, "k-1", unreachable)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, eventstest.Realm, key)})
	revoked, good := tokenWith(t, signer, "0"), tokenWith(t, signer, "another")
	r.becomes(t, revoked, http.StatusOK)
	n := revocation(events.KindSession, "0")
	i.publish(t, eventstest.Realm.FeedEntry(n.Kind, n.Issuer, n.Target), events.Revoked{Revocation: n})
	r.becomes(t, revoked, http.StatusUnauthorized)
	if list := r.node.Denylist.Status(); list.DiskErr == nil || list.Queued != 1 {
		t.Errorf("%+v", list)
	}
	if got := r.judge(t, good); got != http.StatusOK {
		t.Errorf("the one that is not revoked: %d", got)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	settled(t, r, 1)
	r.stop()
	s.Stop()
	r = startSidecar(t, s, i.public(), dir)
	if got := r.judge(t, revoked); got != http.StatusUnauthorized {
		t.Errorf("after a restart without the broker: %d", got)
	}
}
