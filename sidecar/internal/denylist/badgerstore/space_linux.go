package badgerstore

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// writable says what keeps the store from writing.
func (s *Store) writable() error { return s.free(s.cfg.MinFree) }

// free is nil if so many bytes are free.
func (s *Store) free(least uint64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.cfg.Dir, &fs); err != nil {
		return fmt.Errorf("looking at the file system: %w", err)
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return unix.EROFS
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < least { // #nosec G115 -- a size
		return fmt.Errorf("%w: %d bytes free, %d needed", unix.ENOSPC, free, least)
	}
	return nil
}
