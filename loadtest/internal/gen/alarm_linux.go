package gen

import (
	"context"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kernelAlarm is an alarm made of a timer of the kernel (timerfd_create(2)). While a
// process is idle, the Go runtime waits for its own timers in whole milliseconds, which
// is longer than a sidecar takes to answer.
type kernelAlarm struct {
	file   *os.File
	raw    syscall.RawConn
	disarm func() bool
}

// newAlarm falls back on the runtime's timers where there are no more descriptors. What
// that costs shows in the start delays.
func newAlarm(ctx context.Context) alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return newTimerAlarm(ctx)
	}
	// Being non-blocking, it is waited for by the runtime's poller.
	file := os.NewFile(uintptr(fd), "timer")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close() // nothing was written to it
		return newTimerAlarm(ctx)
	}
	return kernelAlarm{file, raw, context.AfterFunc(ctx, func() {
		_ = file.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed file
	})}
}

// wait never reads the timer: that it can be read is all there is to know, and setting it
// again takes that back. Reading would be two more calls of the kernel for each arrival.
func (a kernelAlarm) wait(d time.Duration) bool {
	due := time.Now().Add(d)
	err := a.raw.Read(func(fd uintptr) (over bool) {
		left := time.Until(due)
		if left <= 0 {
			return true
		}
		at := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}
		if unix.TimerfdSettime(int(fd), 0, &at, nil) != nil {
			time.Sleep(left) // cannot happen; an arrival must not be lost to it
			return true
		}
		return false
	})
	return err == nil
}

func (a kernelAlarm) close() {
	a.disarm()
	_ = a.file.Close() // nothing was written to it
}
