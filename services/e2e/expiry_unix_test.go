//go:build unix

package e2e

import (
	"io/fs"
	"syscall"
)

// allocated is what a file takes on the disk: Badger's logs are longer than that.
func allocated(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}
