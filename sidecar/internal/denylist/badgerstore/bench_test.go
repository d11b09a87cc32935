package badgerstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
)

const million = 1_000_000

func session(i int) events.Revocation {
	return denylisttest.Session(i, string(denylisttest.RevocationID(i)))
}

// large gives a session of a kilobyte.
func large(i int) events.Revocation {
	r := session(i)
	r.Reason = events.Reason(strings.Repeat("r", 1000))
	return r
}

// fill applies n sessions from the first one on, as the denylist's queue does.
func fill(tb testing.TB, s denylist.Store, first, n int) {
	tb.Helper()
	fillWith(tb, s, first, n, session)
}

func fillWith(tb testing.TB, s denylist.Store, first, n int, entry func(i int) events.Revocation) {
	tb.Helper()
	for from := first; from < first+n; from += 8192 {
		to := min(from+8192, first+n)
		b := denylist.Batch{Cursor: denylist.Cursor{Epoch: "e", Sequence: uint64(to)}}
		for i := from; i < to; i++ {
			b.Entries = append(b.Entries, entry(i))
		}
		denylisttest.Apply(tb, s, b)
	}
}

// diskBytes is what the files under dir really take.
func diskBytes(tb testing.TB, dir string) int64 {
	tb.Helper()
	var sum int64
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if info, e := os.Stat(path); e == nil {
			sum += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return sum
}

func BenchmarkApply(b *testing.B) {
	s := open(b, b.TempDir())
	n := 0
	for b.Loop() {
		fill(b, s, n, 8192)
		n += 8192
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkFind looks up what is there and what is not, in a store just filled, where tables
// overlap, and in one that has been merged, as a sidecar does when it forgets.
func BenchmarkFind(b *testing.B) {
	for _, n := range []int{10_000, million} {
		dir := b.TempDir()
		s := open(b, dir)
		fill(b, s, 0, n)
		find := func(state, name string, kind events.Kind) {
			b.Run(fmt.Sprintf("entries=%d/%s/%s", n, state, name), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					i = (i + 7919) % n
					found, err := s.Find(kind, "https://id.example", string(denylisttest.RevocationID(i)))
					if err != nil || (len(found) == 1) != (kind == events.KindSession) {
						b.Fatal(found, err)
					}
				}
			})
		}
		find("unmerged", "absent", events.KindToken)
		find("unmerged", "present", events.KindSession)
		if err := s.Expire(b.Context(), denylisttest.Now()); err != nil { // which merges what is scattered
			b.Fatal(err)
		}
		find("merged", "absent", events.KindToken)
		find("merged", "present", events.KindSession)
	}
}

func BenchmarkLoadAndOpen(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir)
	fill(b, s, 0, million)
	b.Run("load", func(b *testing.B) {
		n := 0
		for b.Loop() {
			for batch, err := range s.Load() {
				if err != nil {
					b.Fatal(err)
				}
				n += len(batch.Entries)
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(diskBytes(b, dir))/million, "B/entry")
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			s, err := badgerstore.Open(badgerstore.Config{Dir: dir})
			if err != nil || s.Damage() != nil {
				b.Fatal(err, s.Damage())
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
