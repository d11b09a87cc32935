package gen

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// kernelAlarm is an alarm made of a timer of the kernel (timerfd_create(2)). While a
// process is idle, the Go runtime waits for its own timers in whole milliseconds, which
// is longer than a sidecar takes to answer.
type kernelAlarm struct {
	file   *os.File
	fd     int
	disarm func() bool
}

// newAlarm falls back on the runtime's timers where there are no more descriptors. What
// that costs shows in the start delays.
func newAlarm(ctx context.Context) alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return newTimerAlarm(ctx)
	}
	// Being non-blocking, it is read through the runtime's poller.
	file := os.NewFile(uintptr(fd), "timer")
	return kernelAlarm{file, fd, context.AfterFunc(ctx, func() {
		_ = file.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed file
	})}
}

func (a kernelAlarm) wait(d time.Duration) bool {
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if unix.TimerfdSettime(a.fd, 0, &at, nil) != nil {
		time.Sleep(d) // cannot happen; an arrival must not be lost to it
		return true
	}
	var expirations [8]byte
	_, err := a.file.Read(expirations[:])
	return err == nil
}

func (a kernelAlarm) close() {
	a.disarm()
	_ = a.file.Close() // nothing was written to it
}
