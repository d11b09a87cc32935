package eventstest

import "testing"

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
