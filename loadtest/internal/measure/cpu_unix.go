//go:build unix

package measure

import (
	"syscall"
	"time"
)

// cpuTime is the processor time that this process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // which its callers take as not known
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
