//go:build !linux

package gen

import "context"

func newAlarm(ctx context.Context) alarm { return newTimerAlarm(ctx) }
