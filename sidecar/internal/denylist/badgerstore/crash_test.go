package badgerstore_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
)

// A store of these tests holds sessions 0, 1, 2, ...; its cursor is how many.

// wantWhole fails the test if an entry before the cursor is missing.
func wantWhole(t *testing.T, s denylist.Store) (cursor uint64) {
	t.Helper()
	got := denylisttest.Read(t, s)
	present := map[events.RevocationID]bool{}
	for _, r := range got.Entries {
		present[r.ID] = true
	}
	for i := range got.Cursor.Sequence {
		if !present[denylisttest.RevocationID(int(i))] {
			t.Fatalf("cursor %d, but entry %d of %d is missing", got.Cursor.Sequence, i, len(present))
		}
	}
	return got.Cursor.Sequence
}

// snapshot copies a store's files, open or not, as a crash would leave them.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	for t.Context().Err() == nil {
		if to, ok := tryCopy(t, dir); ok {
			return to
		}
	}
	t.Fatal("the files would not hold still")
	return ""
}

// tryCopy is false if tables were made or merged meanwhile: unlike a crash, it sees
// one file earlier than another.
func tryCopy(t *testing.T, dir string) (string, bool) {
	t.Helper()
	to, files := t.TempDir(), badgerstore.Files(dir)
	if err := os.Mkdir(filepath.Join(to, "badger"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			return "", false
		}
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(to, "badger", filepath.Base(name))
		content := bytes.TrimRight(b, "\x00") // most of a log has not been written yet
		if err := errors.Join(os.WriteFile(copied, content, 0o600), os.Truncate(copied, int64(len(b)))); err != nil {
			t.Fatal(err)
		}
	}
	return to, slices.Equal(files, badgerstore.Files(dir))
}

func TestCleanRestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s, 0, 1000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, openAgain := range map[string]func(badgerstore.Config) (*badgerstore.Store, error){
		"same boot": badgerstore.Open, "another boot": badgerstore.OpenAfterBoot,
	} {
		s, err := openAgain(badgerstore.Config{Dir: dir})
		if err != nil || s.Damage() != nil {
			t.Fatal(name, err, s.Damage())
		}
		if n := wantWhole(t, s); n != 1000 {
			t.Errorf("%s: cursor %d", name, n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// After a crash of the process nothing is lost; the machine has all it wrote.
func TestProcessCrash(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 20 {
		fill(t, s, i*50, 50)
	}
	again := open(t, snapshot(t, dir))
	if n := wantWhole(t, again); n != 1000 || again.Damage() != nil {
		t.Errorf("cursor %d, %v", n, again.Damage())
	}
}

// After a power cut, what had not been synced may be lost in any part; the cursor
// falls back to where all had been.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s, 0, 500)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 500, 1) // with this goes the synced cursor
	logs := badgerstore.Logs(dir)
	synced := contentOf(t, logs[len(logs)-1])
	fill(t, s, 501, 500)
	for range 4 {
		after := snapshot(t, dir)
		logs := badgerstore.Logs(after)
		lose(t, logs[len(logs)-1], len(synced))
		again, err := badgerstore.OpenAfterBoot(badgerstore.Config{Dir: after})
		if err != nil || again.Damage() != nil {
			t.Fatal(err, again.Damage())
		}
		if n := wantWhole(t, again); n != 500 {
			t.Errorf("cursor %d, want the synced one", n)
		}
		fill(t, again, 500, 1)
		if n := wantWhole(t, again); n != 501 {
			t.Errorf("cursor %d after going on", n)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// contentOf gives the part of a log that has been written.
func contentOf(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimRight(b, "\x00")
}

// lose empties some pages of a log beyond the first keep bytes.
func lose(t *testing.T, name string, keep int) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	written := len(contentOf(t, name))
	for at := (keep/page + 1) * page; at < written; at += page {
		if rand.IntN(2) == 0 {
			if _, err := f.WriteAt(make([]byte, page), int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Whatever happens to a file, what a store gives is whole, or it says that it is not
// and can be begun anew.
func TestDamage(t *testing.T) {
	const entries = 9000
	dir := t.TempDir()
	s := open(t, dir)
	fillWith(t, s, 0, entries, large) // which fill tables and begin a log
	whole, found := snapshot(t, dir), 0
	all := denylisttest.Read(t, s).Entries
	for _, file := range badgerstore.Files(whole) {
		for how, damage := range map[string]func(name string, size int64) error{
			"missing":             func(name string, _ int64) error { return os.Remove(name) },
			"empty":               func(name string, _ int64) error { return os.Truncate(name, 0) },
			"cut off":             func(name string, size int64) error { return os.Truncate(name, rand.Int64N(size)) },
			"cut off by a little": func(name string, size int64) error { return os.Truncate(name, max(0, size-1-rand.Int64N(8))) },
			"a byte wrong":        func(name string, size int64) error { return flip(name, rand.Int64N(size)) },
		} {
			name := filepath.Base(file)
			isLog := filepath.Ext(name) == ".mem"
			if isLog && how == "a byte wrong" {
				continue // a log ends where it cannot be read, which is TestPowerCut
			}
			if empty := name == "DISCARD" || name == "LOCK" || filepath.Ext(name) == ".vlog"; empty && how != "cut off" {
				continue // nothing is kept in these
			}
			t.Run(name+" "+how, func(t *testing.T) {
				copied := snapshot(t, whole)
				at := filepath.Join(copied, "badger", name)
				info, err := os.Stat(at)
				if err != nil || info.Size() == 0 {
					t.Skip("empty")
				}
				if err := damage(at, info.Size()); err != nil {
					t.Fatal(err)
				}
				s := open(t, copied)
				foundLater := false
				if _, err := wantWholeOrLost(t, s, entries); err != nil {
					found++
					foundLater = true
					wantLost(t, s, err)
					denylisttest.Apply(t, s, denylist.Batch{Anew: true})
				}
				got := denylisttest.Read(t, s)
				n := got.Cursor.Sequence
				switch {
				case foundLater:
					if n != 0 || len(got.Entries) != 0 {
						t.Errorf("begun anew, but the cursor is %d", n)
					}
				case s.Damage() != nil:
					found++
					if n != 0 || len(got.Entries) != 0 {
						t.Errorf("damaged (%v), but the cursor is %d", s.Damage(), n)
					}
				case !isLog && (n != entries || !slices.Equal(got.Entries, all)): // with a log goes its cursor
					t.Errorf("cursor %d, no damage, and not what was written", n)
				}
				fill(t, s, int(n), 1) // it goes on
				if now := wantWhole(t, s); now != n+1 {
					t.Errorf("cursor %d after going on from %d", now, n)
				}
			})
		}
	}
	if found == 0 {
		t.Error("no damage was found")
	}
}

// wantWholeOrLost asks a store for all of its entries, one by one and together, and
// fails the test if any is missing without an error.
func wantWholeOrLost(t *testing.T, s denylist.Store, entries int) (cursor uint64, lost error) {
	t.Helper()
	if s.(*badgerstore.Store).Damage() != nil {
		return 0, nil // it is empty
	}
	count := 0
	for b, err := range s.Load() {
		lost = errors.Join(lost, err)
		count += len(b.Entries)
		cursor = max(cursor, b.Cursor.Sequence)
	}
	if lost == nil && count < int(cursor) {
		t.Errorf("cursor %d, but %d entries are loaded", cursor, count)
	}
	for i := 0; i < entries; i += 101 {
		n, err := find(s, i)
		if lost != nil && err == nil && n == 0 || lost == nil && (err != nil || i < int(cursor) && n == 0) {
			t.Fatalf("entry %d: found %d, %v; %v", i, n, err, lost)
		}
	}
	return cursor, lost
}

// wantLost fails the test if a store that lost what it held does not say so.
func wantLost(t *testing.T, s denylist.Store, err error) {
	t.Helper()
	if !errors.Is(err, denylist.ErrLost) {
		t.Errorf("damaged: %v", err)
	}
	if err := apply(s, 0); !errors.Is(err, denylist.ErrLost) {
		t.Errorf("a store that is lost takes a write: %v", err)
	}
	if n, err := find(s, 0); !errors.Is(err, denylist.ErrLost) {
		t.Errorf("a store that is lost found %d, %v", n, err)
	}
}

// A log that is damaged while a newer one, with the cursor, is whole.
func TestOlderLogDamaged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	n := 0
	grow := func() {
		fillWith(t, s, n, 500, large)
		n += 500
	}
	for range 4 {
		grow()
	}
	before := snapshot(t, dir) // one log
	first := badgerstore.Logs(dir)[0]
	until(t, "a newer log", func() bool {
		grow()
		logs := badgerstore.Logs(dir)
		return len(logs) == 1 && logs[0] != first
	})
	newer := badgerstore.Logs(snapshot(t, dir))[0]
	b, err := os.ReadFile(newer)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(before, "badger", filepath.Base(newer)), b, 0o600); err != nil {
		t.Fatal(err)
	}
	older := filepath.Base(badgerstore.Logs(before)[0])
	for how, damage := range map[string]func(log string) error{
		"whole":        func(string) error { return nil },
		"cut off":      func(log string) error { return os.Truncate(log, int64(len(contentOf(t, log))/2)) },
		"a byte wrong": func(log string) error { return flip(log, 20+rand.Int64N(1<<20)) },
	} {
		t.Run(how, func(t *testing.T) {
			dir := snapshot(t, before)
			if err := damage(filepath.Join(badgerstore.Current(dir), older)); err != nil {
				t.Fatal(err)
			}
			again := open(t, dir)
			if (again.Damage() == nil) != (how == "whole") {
				t.Errorf("damage: %v", again.Damage())
			}
			if how != "whole" { // what came between the two copies is in neither log
				wantWhole(t, again)
			}
		})
	}
}

func flip(name string, at int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil && err != io.EOF {
		return err
	}
	b[0] ^= 1 << rand.IntN(8)
	if _, err := f.WriteAt(b[:], at); err != nil {
		return err
	}
	return f.Close()
}

const (
	writerDir  = "REVOCAST_TEST_WRITER_DIR"
	writerBulk = "REVOCAST_TEST_WRITER_BULK"
)

// TestWriterProcess is no test but the process that TestKill kills.
func TestWriterProcess(t *testing.T) {
	dir := os.Getenv(writerDir)
	if dir == "" {
		t.Skip("not a process to be killed")
	}
	s := open(t, dir)
	n := int(wantWhole(t, s))
	for bulk := os.Getenv(writerBulk) != ""; bulk; n += 16_400 { // in tables, which are merged
		fillAtOnce(t, s, n, 16_400)
		fmt.Println(n + 16_400)
		if err := s.Expire(t.Context(), denylisttest.Now()); err != nil {
			t.Fatal(err)
		}
	}
	for ; ; n += 100 {
		fill(t, s, n, 100)
		fmt.Println(n + 100)
	}
}

// What a process had applied when it was killed is there when the next one opens.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for range 4 {
		killWriter(t, dir, 100)
	}
}

// The same while tables are made and merged.
func TestKillWhileMerging(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		killWriter(t, dir, 8, writerBulk+"=yes")
	}
}

// killWriter kills a process that writes to dir after anything up to so many batches.
func killWriter(t *testing.T, dir string, batches int, env ...string) {
	t.Helper()
	writer := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriterProcess$")
	writer.Env = append(append(os.Environ(), writerDir+"="+dir), env...)
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	lines, last, wanted := bufio.NewScanner(out), 0, rand.IntN(batches)
	for seen := 0; seen <= wanted && lines.Scan(); {
		if _, err := fmt.Sscan(lines.Text(), &last); err == nil {
			seen++
		}
	}
	if err := writer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Wait() // it was killed
	s := open(t, dir)
	if n := int(wantWhole(t, s)); n < last || last == 0 || s.Damage() != nil {
		t.Errorf("cursor %d, but %d had been applied; %v", n, last, s.Damage())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
