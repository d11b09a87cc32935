package badgerstore_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
)

// Whatever happens to the tables beneath a store that has them open, no entry is ever
// absent: it is found, or the store says that it has lost what it held, and can be
// begun anew at once.
func TestDamageWhileRunning(t *testing.T) {
	const entries = 36_000
	original := t.TempDir()
	s := open(t, original)
	fillAtOnce(t, s, 0, 18_000)
	fillAtOnce(t, s, 18_000, entries-18_000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	found := 0
	for how, damage := range map[string]func(name string, size int64) error{
		"empty":               func(name string, _ int64) error { return os.Truncate(name, 0) },
		"cut off":             func(name string, size int64) error { return os.Truncate(name, rand.Int64N(size)) },
		"cut off by a little": func(name string, size int64) error { return os.Truncate(name, size-1-rand.Int64N(8)) },
		"a byte wrong":        func(name string, size int64) error { return flip(name, rand.Int64N(size)) },
		"its index wrong":     func(name string, size int64) error { return flip(name, size-1-rand.Int64N(size/20)) },
		"zeros":               func(name string, size int64) error { return zeros(name, rand.Int64N(size)) },
	} {
		for round := range 2 {
			t.Run(how, func(t *testing.T) {
				dir := snapshot(t, original)
				s := open(t, dir)
				if round == 1 { // everything has been read once
					if n := len(denylisttest.Read(t, s).Entries); n != entries {
						t.Fatalf("%d entries before", n)
					}
				}
				tables, err := filepath.Glob(filepath.Join(badgerstore.Current(dir), "*.sst"))
				if err != nil || len(tables) < 2 {
					t.Fatal(tables, err)
				}
				name := tables[rand.IntN(len(tables))]
				info, err := os.Stat(name)
				if err != nil {
					t.Fatal(err)
				}
				if err := damage(name, info.Size()); err != nil {
					t.Fatal(err)
				}
				lost := wantFoundOrLost(t, s, entries)
				if lost == nil {
					lost = loadError(s)
				}
				if lost == nil {
					return // the byte was of no use to anyone
				}
				found++
				wantLost(t, s, lost)
				denylisttest.Apply(t, s, denylist.Batch{Anew: true})
				if got := denylisttest.Read(t, s); len(got.Entries) != 0 || got.Cursor != (denylist.Cursor{}) {
					t.Errorf("begun anew, it holds %+v", got)
				}
				fill(t, s, 0, 10)
				if n := wantWhole(t, s); n != 10 {
					t.Errorf("cursor %d after going on", n)
				}
			})
		}
	}
	if found < 8 {
		t.Errorf("only %d of 12 stores noticed", found)
	}
}

// A denylist that meets damage when it starts follows no cursor for whose entries it has
// nothing: it denies what was on disk, or says that it has to be told everything again.
func TestDamageMetAtStart(t *testing.T) {
	const entries = 18_000
	original := t.TempDir()
	s := open(t, original)
	fillAtOnce(t, s, 0, entries)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(badgerstore.Current(original), "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	info, err := os.Stat(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	began := 0
	for at := int64(4 << 10); at < info.Size(); at += info.Size() / 12 {
		dir := snapshot(t, original)
		if err := flip(filepath.Join(badgerstore.Current(dir), filepath.Base(tables[0])), at); err != nil {
			t.Fatal(err)
		}
		d, err := denylist.New(denylist.Config{}, open(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		if d.Status().Cursor == (denylist.Cursor{}) {
			began++
			continue
		}
		for i := 0; i < entries; i += 97 {
			r := session(i)
			token := denylist.Token{Issuer: r.Issuer, Session: events.SessionID(r.Target)}
			d.Prepare(&token)
			if f, err := d.Lookup(t.Context(), &token, denylisttest.Now()); err == nil && !f.Denied {
				t.Fatalf("byte %d wrong: entry %d passes with cursor %+v", at, i, d.Status().Cursor)
			}
		}
	}
	if began == 0 {
		t.Error("no damage was met at the start")
	}
}

// fillAtOnce applies n sessions in one batch, which becomes a table.
func fillAtOnce(tb testing.TB, s denylist.Store, first, n int) {
	tb.Helper()
	b := denylist.Batch{Cursor: denylist.Cursor{Epoch: "e", Sequence: uint64(first + n)}}
	for i := range n {
		b.Entries = append(b.Entries, session(first+i))
	}
	denylisttest.Apply(tb, s, b)
}

func wantFoundOrLost(t *testing.T, s denylist.Store, entries int) (lost error) {
	t.Helper()
	for i := rand.IntN(100); i < entries; i += 1 + rand.IntN(100) {
		n, err := find(s, i)
		if err == nil && n != 1 || err != nil && !errors.Is(err, denylist.ErrLost) || err == nil && lost != nil {
			t.Fatalf("entry %d: found %d, %v", i, n, err)
		}
		lost = err
	}
	return lost
}

func zeros(name string, at int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, 512), at)
	return errors.Join(err, f.Close())
}

// A log that is cut off beneath a store is noticed by the next write, before Badger
// falls over it.
func TestLogCutOffWhileRunning(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s, 0, 10)
	if err := os.Truncate(badgerstore.Logs(dir)[0], 100); err != nil {
		t.Fatal(err)
	}
	if err := apply(s, 10); !errors.Is(err, denylist.ErrLost) {
		t.Fatal(err)
	}
	denylisttest.Apply(t, s, denylist.Batch{Anew: true})
	fill(t, s, 0, 10)
	if n := wantWhole(t, s); n != 10 {
		t.Errorf("cursor %d", n)
	}
}

// A merge never passes over what it cannot read.
func TestMergeOfDamagedTables(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	const tables = 13
	for i := range tables {
		fillAtOnce(t, s, i*17_000, 17_000)
	}
	names, err := filepath.Glob(filepath.Join(badgerstore.Current(dir), "*.sst"))
	if err != nil || len(names) < tables {
		t.Fatal(names, err)
	}
	whole := snapshot(t, dir)
	if err := s.Expire(t.Context(), denylisttest.Now()); err != nil {
		t.Fatal(err)
	}
	if n := wantWhole(t, s); n != tables*17_000 || badgerstore.Current(dir) == filepath.Dir(names[0]) {
		t.Errorf("cursor %d after a merge, in %s", n, badgerstore.Current(dir))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	if err := badgerstore.Copy(dir, copied); err != nil {
		t.Fatal(err)
	}
	if n := wantWhole(t, open(t, copied)); n != tables*17_000 {
		t.Errorf("cursor %d in a copy", n)
	}
	if n := wantWhole(t, open(t, dir)); n != tables*17_000 {
		t.Errorf("cursor %d after a merge and a restart", n)
	}

	s = open(t, whole)
	b, err := os.ReadFile(names[0])
	if err == nil {
		t.Errorf("the tables merged are still there: %d bytes", len(b))
	}
	damaged := filepath.Join(badgerstore.Current(whole), filepath.Base(names[3]))
	if err := flip(damaged, 300_000); err != nil {
		t.Fatal(err)
	}
	if err := s.Expire(t.Context(), denylisttest.Now()); !errors.Is(err, denylist.ErrLost) {
		t.Errorf("merging: %v", err)
	}
	wantLost(t, s, loadError(s))
}

// A crash at any step of a bulk or a merge leaves what was before or what comes after.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fillAtOnce(t, s, 0, 20_000)
	for name, leave := range map[string]func(dir string) error{
		"a table half made": func(dir string) error {
			return os.WriteFile(filepath.Join(badgerstore.Current(dir), "bulk"), []byte("half"), 0o600)
		},
		"a table made and not yet known": func(dir string) error {
			in := badgerstore.Current(dir)
			tables, err := filepath.Glob(filepath.Join(in, "*.sst"))
			if err != nil {
				return err
			}
			b, err := os.ReadFile(tables[0])
			return errors.Join(err, os.WriteFile(filepath.Join(in, "bulk"), b, 0o600),
				os.Link(filepath.Join(in, "bulk"), filepath.Join(in, "000099.sst")))
		},
		"a merge half done": func(dir string) error {
			next := filepath.Join(dir, "next")
			return errors.Join(os.Mkdir(next, 0o700), os.WriteFile(filepath.Join(next, "000001.sst"), []byte("half"), 0o600))
		},
		"an earlier generation": func(dir string) error {
			return errors.Join(os.Rename(badgerstore.Current(dir), filepath.Join(dir, "badger.7")), os.Mkdir(filepath.Join(dir, "badger.3"), 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			copied := snapshot(t, dir)
			if err := leave(copied); err != nil {
				t.Fatal(err)
			}
			s := open(t, copied)
			if n := wantWhole(t, s); n != 20_000 || s.Damage() != nil {
				t.Errorf("cursor %d, %v", n, s.Damage())
			}
			fillAtOnce(t, s, 20_000, 20_000)
			if n := wantWhole(t, s); n != 40_000 {
				t.Errorf("cursor %d after going on", n)
			}
			left, err := os.ReadDir(copied)
			if err != nil || len(left) != 2 { // LOCK and the generation
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// Load gives one moment, whatever is written or merged meanwhile.
func TestLoadIsOfOneMoment(t *testing.T) {
	s := open(t, t.TempDir())
	const before = 20_000
	fillAtOnce(t, s, 0, before)
	var got denylist.Batch
	batches := 0
	for b, err := range s.Load() {
		if err != nil {
			t.Fatal(err)
		}
		if batches++; batches == 1 {
			got.Cursor = b.Cursor
		}
		got.Entries = append(got.Entries, b.Entries...)
		fillAtOnce(t, s, before+(batches-1)*100, 100)
		if batches == 2 { // with what would be a table if nobody were reading
			fillAtOnce(t, s, before, 17_000)
			if err := s.Expire(t.Context(), denylisttest.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(got.Entries) != before || got.Cursor.Sequence != before {
		t.Errorf("%d entries with cursor %d", len(got.Entries), got.Cursor.Sequence)
	}
	if n := wantWhole(t, s); n <= before {
		t.Errorf("cursor %d afterwards", n)
	}
	var names [][]byte
	for _, r := range got.Entries {
		names = append(names, []byte(r.Target))
	}
	for i := range names[1:] {
		if bytes.Equal(names[i], names[i+1]) {
			t.Fatalf("%s twice", names[i])
		}
	}
}
