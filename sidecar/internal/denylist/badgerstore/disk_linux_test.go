package badgerstore_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
)

// smallDisk mounts a file system of a few megabytes, which root may.
func smallDisk(t *testing.T, flags uintptr) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, "size=64m,mode=0700"); err != nil {
		t.Skipf("a file system of its own cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillUp leaves no byte free.
func fillUp(t *testing.T, dir string) (filler string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// A disk that becomes full beneath a store that is used: nothing can be written,
// everything can be read, and nothing of Badger's writes to memory that is not there.
// With room again it goes on.
func TestDiskBecomesFull(t *testing.T) {
	disk := smallDisk(t, 0)
	s, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(disk, "store"), MinFree: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	fillAtOnce(t, s, 0, 20_000)
	fill(t, s, 20_000, 500)
	filler := fillUp(t, disk)
	for range 3 {
		if err := apply(s, 20_500); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, denylist.ErrLost) {
			t.Fatalf("a full disk: %v", err)
		}
		if err := s.Expire(t.Context(), denylisttest.Now()); err != nil {
			t.Fatalf("expiring what has not expired: %v", err)
		}
		if n := wantWhole(t, s); n != 20_500 {
			t.Fatalf("cursor %d", n)
		}
		if err := wantFoundOrLost(t, s, 20_500); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 20_500, 500)
	if n := wantWhole(t, s); n != 21_000 {
		t.Fatalf("cursor %d", n)
	}
	// It can be closed without writing, and has it all.
	fillUp(t, disk)
	if err := s.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("closed on a full disk: %v", err)
	}
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(disk, "store"))); err != nil {
		t.Fatal(err)
	}
	if n := wantWhole(t, open(t, copied)); n != 21_000 {
		t.Errorf("cursor %d after a restart elsewhere", n)
	}
}

// A file system that is read-only at the start is taken into use when it is not.
func TestReadOnlyDisk(t *testing.T) {
	disk := smallDisk(t, unix.MS_RDONLY)
	s, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(disk, "store"), MinFree: 8 << 20})
	if err != nil || !errors.Is(s.Unusable(), unix.EROFS) {
		t.Fatal(err, s.Unusable())
	}
	wantLost(t, s, loadError(s))
	if err := s.Apply(denylist.Batch{Anew: true}); !errors.Is(err, unix.EROFS) {
		t.Fatalf("begun anew: %v", err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	denylisttest.Apply(t, s, denylist.Batch{Anew: true})
	fill(t, s, 0, 10)
	if n := wantWhole(t, s); n != 10 {
		t.Errorf("cursor %d", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

const limitedDir = "REVOCAST_TEST_LIMITED_DIR"

// TestLimitedProcess is no test but the process of TestFileSizeLimit.
func TestLimitedProcess(t *testing.T) {
	dir := os.Getenv(limitedDir)
	if dir == "" {
		t.Skip("not a process with a limit")
	}
	limit := func(bytes uint64) {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}); err != nil {
			t.Fatal(err)
		}
	}
	limit(1 << 20)
	s, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	if err != nil || s.Unusable() == nil {
		t.Fatal(err, "opened")
	}
	wantLost(t, s, loadError(s))
	limit(unix.RLIM_INFINITY)
	denylisttest.Apply(t, s, denylist.Batch{Anew: true})
	fill(t, s, 0, 100)
	limit(1 << 20)
	b := denylist.Batch{Cursor: denylist.Cursor{Epoch: "e", Sequence: 40_000}}
	for i := range 40_000 {
		b.Entries = append(b.Entries, session(i))
	}
	if err := s.Apply(b); !errors.Is(err, unix.EFBIG) {
		t.Errorf("more than a file may hold: %v", err)
	}
	if n := wantWhole(t, s); n != 100 {
		t.Errorf("cursor %d", n)
	}
	limit(unix.RLIM_INFINITY)
	denylisttest.Apply(t, s, b)
	if n := wantWhole(t, s); n != 40_000 {
		t.Errorf("cursor %d", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	fmt.Println("went through")
}

// A limit on the size of files is like a full disk.
func TestFileSizeLimit(t *testing.T) {
	limited := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLimitedProcess$", "-test.v")
	limited.Env = append(os.Environ(), limitedDir+"="+t.TempDir())
	if out, err := limited.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%.4000s", err, out)
	}
}
