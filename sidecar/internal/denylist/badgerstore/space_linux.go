package badgerstore

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// writable says what keeps the store from writing.
func (s *Store) writable() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.cfg.Dir, &fs); err != nil {
		return fmt.Errorf("looking at the file system: %w", err)
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return unix.EROFS
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < s.cfg.MinFree { // #nosec G115 -- a size
		return fmt.Errorf("%w: %d bytes free, %d needed", unix.ENOSPC, free, s.cfg.MinFree)
	}
	return nil
}
