package gen

import (
	"context"
	"time"
)

// alarm wakes one worker.
type alarm interface {
	// wait returns true after d, which is more than zero, or false early because the
	// alarm's context has ended.
	wait(d time.Duration) bool
	close()
}

// timerAlarm is an alarm made of a timer of the runtime.
type timerAlarm struct {
	timer *time.Timer
	ended <-chan struct{}
}

func newTimerAlarm(ctx context.Context) alarm { return timerAlarm{time.NewTimer(0), ctx.Done()} }

func (a timerAlarm) wait(d time.Duration) bool {
	a.timer.Reset(d)
	select {
	case <-a.timer.C:
		return true
	case <-a.ended:
		return false
	}
}

func (a timerAlarm) close() { a.timer.Stop() }
