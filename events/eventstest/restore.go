package eventstest

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Save copies what a server that is down has on disk, for [Server.PutBack].
func (s *Server) Save(t testing.TB) (saved string) {
	t.Helper()
	return s.copyStore(t, s.options.StoreDir)
}

// PutBack gives a server that is down the disk of an earlier [Server.Save], as
// somebody does who restores a backup: whatever came since is gone.
func (s *Server) PutBack(t testing.TB, saved string) {
	t.Helper()
	s.options.StoreDir = s.copyStore(t, saved)
}

func (s *Server) copyStore(t testing.TB, from string) (to string) {
	t.Helper()
	if s.running.Load() != nil {
		t.Fatal("server is running")
	}
	to = s.home.TempDir()
	if err := copyTree(to, from); err != nil {
		t.Fatal(err)
	}
	return to
}

// PutBackStream does the same to one stream, whatever the others have seen of it since.
func (s *Server) PutBackStream(t testing.TB, saved, stream string) {
	t.Helper()
	s.PutBack(t, s.options.StoreDir) // a copy, of which saved copies stay untouched
	to := streamDir(t, s.options.StoreDir, stream)
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(to, streamDir(t, saved, stream)); err != nil {
		t.Fatal(err)
	}
}

// streamDir finds where a server keeps a stream.
func streamDir(t testing.TB, store, stream string) (dir string) {
	t.Helper()
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == stream {
			dir = path
			return fs.SkipAll
		}
		return err
	})
	if err != nil || dir == "" {
		t.Fatalf("no directory of stream %s: %v", stream, err)
	}
	return dir
}
