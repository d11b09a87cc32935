package badgerstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
)

func open(t testing.TB, dir string) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Config{Dir: dir, Warn: func(m string) { t.Logf("badger: %s", m) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	denylisttest.Run(t, func(t testing.TB) denylist.Store { return open(t, t.TempDir()) })
}

func find(s denylist.Store, i int) (int, error) {
	r := session(i)
	found, err := s.Find(r.Kind, r.Issuer, r.Target)
	return len(found), err
}

func apply(s denylist.Store, i int) error {
	return s.Apply(denylist.Batch{Entries: []events.Revocation{session(i)}, Cursor: denylist.Cursor{Epoch: "e", Sequence: uint64(i) + 1}})
}

func TestOneProcessOnly(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := badgerstore.Open(badgerstore.Config{Dir: dir}); !errors.Is(err, badgerstore.ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	if err := apply(s, 0); err != nil {
		t.Errorf("the first one's store: %v", err)
	}
}

// A directory that cannot be used for now is taken into use as soon as it can.
func TestUnusableDirectory(t *testing.T) {
	if s, err := badgerstore.Open(badgerstore.Config{}); err == nil {
		t.Errorf("opened without a directory, %v", s.Close())
	}
	inTheWay := filepath.Join(t.TempDir(), "file")
	for name, cfg := range map[string]badgerstore.Config{
		"a file":        {Dir: inTheWay},
		"below a file":  {Dir: filepath.Join(inTheWay, "store")},
		"no room":       {Dir: t.TempDir(), MinFree: 1 << 62},
		"no room, full": {Dir: dirWith(t, 10), MinFree: 1 << 62},
	} {
		t.Run(name, func(t *testing.T) {
			if cfg.MinFree == 0 {
				if err := errors.Join(os.RemoveAll(inTheWay), os.WriteFile(inTheWay, nil, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			s, err := badgerstore.Open(cfg)
			if err != nil || s.Unusable() == nil {
				t.Fatal(err, s)
			}
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			wantLost(t, s, loadError(s))
			anew := denylist.Batch{Anew: true}
			if err := s.Apply(anew); err == nil {
				t.Fatal("begun anew where it cannot be")
			}
			wantLost(t, s, loadError(s))
			if cfg.MinFree > 0 {
				s.FillDisk(false)
			} else if err := os.Remove(inTheWay); err != nil {
				t.Fatal(err)
			}
			denylisttest.Apply(t, s, anew)
			if got := denylisttest.Read(t, s); len(got.Entries) != 0 || got.Cursor != (denylist.Cursor{}) {
				t.Errorf("begun anew, it holds %+v", got)
			}
			fill(t, s, 0, 10)
			if n := wantWhole(t, s); n != 10 {
				t.Errorf("cursor %d", n)
			}
		})
	}
}

func loadError(s denylist.Store) (errs error) {
	for _, err := range s.Load() {
		errs = errors.Join(errs, err)
	}
	return errs
}

// dirWith gives a directory with a store of n sessions.
func dirWith(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s, 0, n)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOtherFormatBeginsAnew(t *testing.T) {
	dir := dirWith(t, 10)
	manifest := filepath.Join(dir, "badger", "MANIFEST")
	b, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	b[5]++ // the external magic version
	if err := os.WriteFile(manifest, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if got := denylisttest.Read(t, s); s.Damage() == nil || len(got.Entries) > 0 || got.Cursor != (denylist.Cursor{}) {
		t.Errorf("damage %v, %d entries, cursor %+v", s.Damage(), len(got.Entries), got.Cursor)
	}
}

// What cannot be read for now is not damaged: it is not given, and stays.
func TestUnreadableIsNotRemoved(t *testing.T) {
	for _, pattern := range []string{"MANIFEST", "*.sst", "*.mem"} {
		dir := dirWith(t, 10)
		if pattern == "*.mem" { // which a store that was closed has not
			running := t.TempDir()
			fill(t, open(t, running), 0, 10)
			dir = snapshot(t, running)
		}
		names, err := filepath.Glob(filepath.Join(dir, "badger", pattern))
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		// A directory in a file's place cannot be read, not even by root.
		aside := filepath.Join(dir, "aside")
		if err := errors.Join(os.Rename(names[0], aside), os.Mkdir(names[0], 0o700)); err != nil {
			t.Fatal(err)
		}
		s, err := badgerstore.Open(badgerstore.Config{Dir: dir})
		if err != nil || s.Unusable() == nil || s.Damage() != nil {
			t.Fatal(pattern, err, s.Unusable(), s.Damage())
		}
		wantLost(t, s, loadError(s))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(names[0]), os.Rename(aside, names[0])); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
		if n := wantWhole(t, s); n != 10 || s.Damage() != nil {
			t.Errorf("%s: cursor %d, %v", pattern, n, s.Damage())
		}
	}
}

// A record that cannot be read is an error and not the end of a list.
func TestMalformedRecord(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s, 0, 10)
	// Beside session 3: its tag, kind and packed names, and then nonsense.
	key := append([]byte{2, byte(events.KindSession), 19}, "https://id.example"...)
	key = append(key, 0, 0x01, 0x98, 0xf3, 0xa2, 0x7c, 0x1e, 0x7b, 0x3d, 0x9a, 0x4f, 0, 0, 0, 0, 0, 3, 'x')
	if err := s.Put(key, nil); err != nil {
		t.Fatal(err)
	}
	if n, err := find(s, 3); err == nil {
		t.Errorf("found %d", n)
	}
	if n, err := find(s, 4); err != nil || n != 1 {
		t.Errorf("its neighbour: found %d, %v", n, err)
	}
	failed := false
	for _, err := range s.Load() {
		failed = failed || err != nil
	}
	if !failed {
		t.Error("loaded it")
	}
	if err := s.Expire(t.Context(), denylisttest.Now()); err == nil {
		t.Error("expired it")
	}
}

func TestClosed(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s, 0, 10)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := find(s, 3); err == nil {
		t.Errorf("found %d", n)
	}
	if apply(s, 11) == nil || s.Expire(t.Context(), denylisttest.Now()) == nil {
		t.Error("still takes writes")
	}
	for b, err := range s.Load() {
		if err == nil {
			t.Errorf("loaded %+v", b)
		}
	}
}

// A write that fails leaves what was written before, and the next one succeeds.
func TestFailedWrite(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s, 0, 10)
	if err := s.Break(); err != nil {
		t.Fatal(err)
	}
	if err := apply(s, 10); err == nil {
		t.Fatal("a broken store took a write")
	}
	if n, err := find(s, 3); err == nil {
		t.Errorf("a broken store found %d", n)
	}
	until(t, "opening again", func() bool { return apply(s, 10) == nil }) // Badger may still be closing
	if n := wantWhole(t, s); n != 11 {
		t.Errorf("cursor %d", n)
	}
}

func TestFullDisk(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s, 0, 10)
	s.FillDisk(true)
	if err := apply(s, 10); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	if n, err := find(s, 3); err != nil || n != 1 {
		t.Errorf("found %d, %v", n, err)
	}
	s.FillDisk(false)
	if err := apply(s, 10); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if n := wantWhole(t, s); n != 11 {
		t.Errorf("cursor %d", n)
	}
}

func TestExpireGivesSpaceBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fillWith(t, s, 0, 60_000, func(i int) events.Revocation {
		r := session(i)
		r.Target += strings.Repeat("x", 300) // fewer of them make a table
		return r
	})
	kept := session(100_000)
	kept.Until = time.Time{}
	denylisttest.Apply(t, s, denylist.Batch{Entries: []events.Revocation{kept}})
	until(t, "writing tables", func() bool { return tableBytes(t, dir) > 20<<20 })
	before := tableBytes(t, dir)
	if err := s.Expire(t.Context(), denylisttest.Now().Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if after := tableBytes(t, dir); after > before/2 {
		t.Errorf("%d bytes before, %d after all but one had expired", before, after)
	}
	if got := denylisttest.Read(t, s); len(got.Entries) != 1 || got.Cursor.Sequence != 60_000 {
		t.Errorf("%d entries are left, cursor %+v", len(got.Entries), got.Cursor)
	}
}

// tableBytes is the size of what Badger has written out. Besides there is always a
// log of recent writes.
func tableBytes(t *testing.T, dir string) (sum int64) {
	t.Helper()
	for _, name := range badgerstore.Files(dir) {
		if info, err := os.Stat(name); err == nil && filepath.Ext(name) == ".sst" {
			sum += info.Size()
		}
	}
	return sum
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
		time.Sleep(time.Millisecond)
	}
}
